/* First program of a machine that has no other but ours: it mounts /proc, /sys and /dev, loads the
 * modules of /modules, gives eth0 its address, and then runs our program with the words that are typed
 * on the console. It tells exit codes, and each address that comes or goes. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "/ha"
#define WORDS_MAX 32
#define ADDRESSES_MAX 4096
#define MODULE_MAX (8 << 20)

static void must(int failed, const char *what)
{
    if (failed) {
        printf("machine: %s: %s\n", what, strerror(errno));
        fflush(stdout);
    }
}

static void load_modules(void)
{
    char line[1024];
    FILE *list = fopen("/modules", "re");
    must(list == NULL, "/modules");
    while (list && fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        char *parameters = strchr(line, ' ');
        if (parameters)
            *parameters++ = 0;
        /* The older call: finit_module came with Linux 3.8. */
        static char module[MODULE_MAX];
        int file = open(line, O_RDONLY | O_CLOEXEC);
        long bytes = 0, more = 0;
        while (file >= 0 && (more = read(file, module + bytes, sizeof module - bytes)) > 0)
            bytes += more;
        must(file < 0 || syscall(SYS_init_module, module, bytes, parameters ? parameters : ""), line);
        if (file >= 0)
            close(file);
    }
    if (list)
        fclose(list);
}

static void set_up(const char *interface, const char *address, const char *mask)
{
    struct ifreq request = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
    if (address) {
        in->sin_family = AF_INET;
        must(inet_pton(AF_INET, address, &in->sin_addr) != 1 || ioctl(udp, SIOCSIFADDR, &request), address);
        must(inet_pton(AF_INET, mask, &in->sin_addr) != 1 || ioctl(udp, SIOCSIFNETMASK, &request), mask);
    }
    must(ioctl(udp, SIOCGIFFLAGS, &request), interface);
    request.ifr_flags |= IFF_UP;
    must(ioctl(udp, SIOCSIFFLAGS, &request), interface);
    close(udp);
}

/* The IPv4 addresses of the kernel, each between blanks. */
static void addresses(char *text)
{
    struct ifaddrs *list = NULL, *each;
    char one[INET_ADDRSTRLEN];
    strcpy(text, " ");
    if (getifaddrs(&list))
        return;
    for (each = list; each; each = each->ifa_next) {
        if (!each->ifa_addr || each->ifa_addr->sa_family != AF_INET)
            continue;
        inet_ntop(AF_INET, &((struct sockaddr_in *)each->ifa_addr)->sin_addr, one, sizeof one);
        if (strlen(text) + strlen(one) + 2 < ADDRESSES_MAX) {
            strcat(text, one);
            strcat(text, " ");
        }
    }
    freeifaddrs(list);
}

static void tell_addresses(void)
{
    static char before[ADDRESSES_MAX];
    char now[ADDRESSES_MAX];
    addresses(now);
    if (strcmp(before, now)) {
        printf("machine: addresses%s.\n", now);
        fflush(stdout);
        strcpy(before, now);
    }
}

static void run(char *line)
{
    char *words[WORDS_MAX + 1] = {PROGRAM};
    int count = 1;
    for (char *word = strtok(line, " \r\n"); word && count < WORDS_MAX; word = strtok(NULL, " \r\n"))
        words[count++] = word;
    if (count == 1)
        return;
    pid_t child = fork();
    if (child == 0) {
        execv(PROGRAM, words);
        _exit(127);
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("machine: exit %d: %s\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), words[1]);
    fflush(stdout);
}

int main(void)
{
    char line[1024];
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/dev", 0755);
    must(mount("proc", "/proc", "proc", 0, NULL), "/proc");
    must(mount("sys", "/sys", "sysfs", 0, NULL), "/sys");
    must(mount("dev", "/dev", "devtmpfs", 0, NULL), "/dev");
    load_modules();
    const char *name = getenv("machine"), *address = getenv("address");
    must(!name || sethostname(name, strlen(name)), "its name");
    set_up("lo", NULL, NULL);
    if (address)
        set_up("eth0", address, "255.255.255.0");
    printf("machine: %s is up\n", name ? name : "?");
    struct pollfd console = {.fd = 0, .events = POLLIN};
    for (;;) {
        tell_addresses();
        if (poll(&console, 1, 200) == 1 && fgets(line, sizeof line, stdin))
            run(line);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}
