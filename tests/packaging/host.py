"""Throw-away hosts: a root of Debian's packages below memory, in namespaces of its own.

Nothing is mounted outside of a mount namespace that ends with the host, and nothing is removed that
something is mounted below: what a host writes is in a tmpfs that the kernel forgets.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time

# The first process of a host makes its root and then does nothing. $1 lower folders, $2 the mount point.
FIRST = r"""
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 host "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" overlay "$2/root"
cd "$2/root"
mkdir -p proc sys dev run tmp
mount -t proc proc proc
mount -t sysfs sys sys
mount -t tmpfs -o mode=755 dev dev
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm
mount -t tmpfs -o mode=755 run run
mkdir -p run/lock
hostname "$3"
ip link set lo up
# The machine's own file systems are out of sight from here on.
mkdir -p old
pivot_root . old
umount -l /old
rmdir /old
echo made
if [ -n "$4" ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs tmp tmp
    echo "$3" > /etc/hostname
    # The settings of the kernel are those of the machine: this systemd must not touch them.
    mkdir -p /etc/systemd/system
    for unit in systemd-sysctl systemd-modules-load systemd-udevd; do
        ln -sf /dev/null /etc/systemd/system/$unit.service
    done
    exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=null < /dev/null > /srv/systemd.log 2>&1
fi
# As a first process it also waits for whom nobody else does.
sleep infinity &
wait
"""


class Failure(Exception):
    """Something is not as it must be."""


class NotPossible(Exception):
    """This machine lacks something; the text says what."""


def run(command, **more):
    """Runs on this machine; the output as text. Fails with it."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more)
    if done.returncode:
        raise Failure(f"{command}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


class Host:
    """One host. `name` is its host name; `lower` the folders of its root, uppermost first."""

    def __init__(self, name, lower, systemd=False):
        self.name = name
        self.group = new_group(name) if systemd else None
        self.place = tempfile.mkdtemp(prefix=f"ha-packaging-{name}-")
        self.start(["sh", "-c", FIRST, "sh", ":".join(str(folder) for folder in lower), self.place, name,
                    "systemd" if systemd else ""])

    def start(self, first):
        """Makes the namespaces; their first process says when everything is made."""
        words = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child", "--propagation",
                 "private", *(["--cgroup"] if self.group else []), *first]
        if self.group:
            words = ["sh", "-c", f'echo $$ > {self.group}/cgroup.procs && exec "$@"', "sh", *words]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        stdin=subprocess.DEVNULL, start_new_session=True)
        if self.process.stdout.readline() != "made\n":
            self.process.kill()
            said = self.process.stderr.read()
            self.close()
            raise Failure(f"no host could be made: {said}")
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        self.pid = int(open(children, encoding="ascii").read().split()[0])

    def close(self):
        """The kernel ends everything in it; the mount point is an empty folder then."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        if self.group:
            remove_group(self.group)
        try:
            os.rmdir(self.place)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def command(self, words):
        """The same command, in the host."""
        inside = ["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-u", "-i", "-r/proc/" + str(self.pid) + "/root"]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8",
                 "DEBIAN_FRONTEND=noninteractive", "TERM=dumb"]
        return inside + clean + list(words)

    def try_sh(self, script, seconds=180):
        """Exit code and output of a shell script in the host."""
        done = subprocess.run(self.command(["sh", "-c", f"cd /; {script}"]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False, timeout=seconds, errors="replace")
        return done.returncode, done.stdout

    def sh(self, script, seconds=180):
        """The output; another exit code than 0 is a failure."""
        code, said = self.try_sh(script, seconds)
        if code:
            raise Failure(f"{self.name}: {script}\nexit code {code}\n{said}")
        return said

    def put(self, path, content, mode=0o644):
        """A file with this content: text, or the path of a file to copy."""
        data = content.encode() if isinstance(content, str) else content.read_bytes()
        script = f'cd /; mkdir -p "$(dirname {path})" && cat > {path} && chmod {mode:o} {path}'
        subprocess.run(self.command(["sh", "-c", script]), input=data, check=True)

    def has(self, path):
        """Whether there is something, a link that leads nowhere included."""
        return self.try_sh(f"[ -e {path} ] || [ -L {path} ]")[0] == 0

    def wait(self, what, script, seconds=90, wanted=0):
        """Until the script's exit code is the wanted one."""
        end = time.monotonic() + seconds
        while True:
            code, said = self.try_sh(script)
            if code == wanted:
                return said
            if time.monotonic() > end:
                log = self.try_sh("tail -n 40 /var/log/ha-log /var/log/ha-debug")[1]
                raise Failure(f"{self.name}: not so after {seconds} s: {what}\n{said}\n{log}")
            time.sleep(0.2)

    def daemon_pid(self):
        """The number in the pid file."""
        return int(self.sh("cat /var/run/heartbeat.pid"))


def new_group(name):
    """A control group of its own for a systemd, in the second hierarchy wherever that is mounted."""
    for line in open("/proc/mounts", encoding="utf-8"):
        words = line.split()
        if words[2] == "cgroup2":
            folder = f"{words[1]}/ha-packaging-{os.getpid()}-{name}"
            os.mkdir(folder)
            return folder
    raise NotPossible("no cgroup2 is mounted here, which systemd needs")


def remove_group(folder):
    """With those inside it, innermost first: rmdir(2) is the only way, and does no harm."""
    for _ in range(50):
        for path, _, _ in os.walk(folder, topdown=False):
            try:
                os.rmdir(path)
            except OSError:
                pass
        if not os.path.exists(folder):
            return
        time.sleep(0.1)


class Switch:
    """A network for hosts: eth0 with 10.9.0.1, 10.9.0.2. A host that is gone leaves the others' ends alone."""

    def __init__(self, *hosts):
        self.process = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link add br0 type bridge && "
                                         "ip link set br0 up && echo made && exec sleep infinity"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "made\n":
            raise Failure("no switch could be made")
        inside = ["nsenter", "-t", str(self.process.pid), "-n"]
        for number, host in enumerate(hosts, 1):
            run(inside + ["ip", "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0",
                          "netns", str(host.pid)])
            run(inside + ["ip", "link", "set", f"port{number}", "master", "br0", "up"])
            host.sh(f"ip addr add 10.9.0.{number}/24 brd + dev eth0 && ip link set eth0 up")
            # Whatever the root's builder left there: names are asked for in vain, and nobody says so.
            host.put("/etc/resolv.conf", "nameserver 10.9.0.77\n")

    def close(self):
        """Its namespace ends with its process."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def as_found(program):
    """The program's path, also where PATH leaves out its folder."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


# As FIRST, for a root with nothing in it. $1 the program, $2 the mount point, $3 the name.
FIRST_BARE = r"""
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 host "$2"
mkdir -p "$2/proc" "$2/sys" "$2/dev" "$2/etc/ha.d"
cp "$1" "$2/ha"
mount -t proc proc "$2/proc"
mount -t sysfs sys "$2/sys"
mount -t tmpfs -o mode=755 dev "$2/dev"
mknod -m 666 "$2/dev/null" c 1 3
mknod -m 666 "$2/dev/urandom" c 1 9
hostname "$3"
ip link set lo up
echo made
sleep infinity &
wait
"""


class Bare(Host):
    """A host whose root has our binary, /proc, /sys, /dev and /etc/ha.d, and no other file."""

    def __init__(self, name, binary):
        self.name, self.group = name, None
        self.place = tempfile.mkdtemp(prefix=f"ha-packaging-{name}-")
        self.start(["sh", "-c", FIRST_BARE, "sh", str(binary), self.place, name])

    def enter(self, *words):
        """A command of this machine in the namespaces of the host."""
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-u", "-i", *words]

    def sh(self, script, seconds=180):
        """With the programs of this machine."""
        return run(self.enter("sh", "-c", script))

    def ha(self, *words):
        """Exit code and output of our binary, which sees nothing but its root."""
        done = subprocess.run(self.enter("env", "-i", as_found("chroot"), self.place, "/ha", *words), text=True, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=90)
        return done.returncode, done.stdout

    def configure(self, files):
        """Into /etc/ha.d."""
        for name, text in files.items():
            subprocess.run(self.enter("sh", "-c", f"umask 077; cat > {self.place}/etc/ha.d/{name}"), check=True,
                           input=text.encode())

    def has_address(self, address):
        """It is on eth0."""
        return f" {address}/" in self.sh("ip -o addr show dev eth0")

    def wait(self, what, holds, seconds=90):
        """Until it holds."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise Failure(f"{self.name}: not so after {seconds} s: {what}\n{self.sh(f'cat {self.place}/ha-log')}")
            time.sleep(0.1)

    def wait_address(self, address):
        """Until it is there."""
        self.wait("the address is here", lambda: self.has_address(address))
