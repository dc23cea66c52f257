"""What is done with the packages on throw-away hosts."""

import re
import time

from host import Bare, Failure, Host, Switch

ADDRESS = "10.9.0.100"
HA_CF = """keepalive 200ms
deadtime 3
warntime 1
initdead 5
udpport 694
bcast eth0
auto_failback off
logfile /var/log/ha-log
node node1
node node2
"""
HARESOURCES = f"node1 IPaddr2::{ADDRESS}/24/eth0\n"
AUTHKEYS = "auth 1\n1 sha1 7c5b0c66f2a1d0c8\n"
# What accounts leave, and what an administrator made (startstop by this test).
ACCOUNTS = [f"/etc/{name}" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")]
ADMINISTRATORS = [f"/etc/ha.d/{name}" for name in ("ha.cf", "haresources", "authkeys", "resource.d/startstop")]
ADMINISTRATORS += ["/run"]
# Every name of the legacy places that a how-to article or a script may use.
PLACES = [
    "/usr/sbin/ha", "/usr/sbin/heartbeat", "/usr/lib/heartbeat/heartbeat", "/usr/lib64/heartbeat/ipfail",
    "/usr/libexec/heartbeat/heartbeat", "/usr/share/heartbeat/hb_standby", "/usr/lib/heartbeat/hb_standby",
    "/usr/bin/cl_status", "/usr/sbin/stonith", "/usr/sbin/ha_logger", "/usr/sbin/meatclient", "/etc/ha.d/harc",
    "/etc/ha.d/rc.d/status", "/etc/ha.d/rc.d/ip-request", "/etc/ha.d/resource.d/IPaddr",
    "/etc/ha.d/resource.d/Filesystem", "/usr/libexec/heartbeat/send_arp", "/etc/init.d/heartbeat",
    "/etc/logrotate.d/heartbeat", "/usr/share/doc/heartbeat-3.0.6/ha.cf", "/usr/share/doc/heartbeat-3.0.6/authkeys",
    "/usr/share/doc/heartbeat/haresources", "/usr/share/doc/ha/README.config", "/etc/ha.d/README.config",
    "/usr/sbin/lrmadmin", "/usr/sbin/cibsecret", "/usr/lib/firewalld/services/heartbeat.xml",
]


def check(what, holds, said=""):
    """Says what is so, or fails with what was said instead."""
    if not holds:
        raise Failure(f"is not so: {what}\n{said}")
    print(f"    {what}", flush=True)


def configure(host):
    """By copying samples from where articles copy them, then with what this test needs."""
    for name in ("ha.cf", "haresources", "authkeys"):
        host.sh(f"cp /usr/share/doc/heartbeat-3.0.6/{name} /etc/ha.d/" if host.has("/usr/share/doc/heartbeat-3.0.6")
                else "true")
    host.put("/etc/ha.d/ha.cf", HA_CF)
    host.put("/etc/ha.d/haresources", HARESOURCES)
    host.put("/etc/ha.d/authkeys", AUTHKEYS, 0o600)


def holds_address(host):
    """The service address is on it."""
    return host.try_sh(f"ip addr show dev eth0 | grep -q 'inet {ADDRESS}/'")[0] == 0


def wait_address(host):
    """Until it is."""
    host.wait("the address is here", f"ip addr show dev eth0 | grep -q 'inet {ADDRESS}/'")


def wait_stable(host):
    """Until nothing is on its way."""
    host.wait("resources are at rest", "cl_status rscstatus | grep -Eq 'all|local|foreign|none'")
    host.wait("both nodes are active", "[ $(cl_status nodestatus node1)$(cl_status nodestatus node2) = activeactive ]")


def files(host):
    """Every path of the host that is kept on disk."""
    return set(host.sh("find / -xdev \\( -path /tmp -o -path /var/cache -o -path /var/lib/dpkg -o -path /var/log "
                       "-o -path /var/lib/rpm -o -path /var/lib/apt -o -path /srv -o -path /root -o -path /old \\) -prune "
                       "-o -print").splitlines())


def check_installed(host):
    """Files, links, folders, accounts."""
    missing = [path for path in PLACES if host.try_sh(f"[ -e {path} ]")[0]]
    check("every legacy place has its file or link", not missing, missing)
    modes = host.sh("stat -c '%n %a %U %G' /var/lib/heartbeat /var/lib/heartbeat/cores /var/lib/heartbeat/cores/root "
                    "/var/lib/heartbeat/cores/hacluster /var/run/heartbeat /etc/ha.d /etc/ha.d/rc.d/status")
    wanted = """/var/lib/heartbeat 755 root root
/var/lib/heartbeat/cores 755 root root
/var/lib/heartbeat/cores/root 700 root root
/var/lib/heartbeat/cores/hacluster 700 hacluster haclient
/var/run/heartbeat 750 hacluster haclient
/etc/ha.d 755 root root
/etc/ha.d/rc.d/status 755 root root
"""
    check("folders have the original's modes and owners", modes == wanted.replace("700 hacluster haclient", "700 hacluster root")
          or modes == wanted)
    said = host.sh("getent passwd hacluster; getent group haclient")
    check("hacluster has 17 and haclient 65", ":17:65:" in said and "haclient:x:65:" in said)
    code, said = host.try_sh("lrmadmin -C")
    check("lrmadmin says what to use instead", code == 1 and "hb_standby" in said)


def check_unconfigured(host):
    """Nothing starts, and the script says why, as the original's."""
    code, said = host.try_sh("/etc/init.d/heartbeat start")
    check("an unconfigured start says so and exits with 0", code == 0 and said ==
          "Heartbeat not configured: /etc/ha.d/ha.cf not found. Heartbeat failure [rc=1]. Failed.\n")


def check_init_script(host):
    """Verbs, texts and exit codes while nothing runs."""
    code, said = host.try_sh("/etc/init.d/heartbeat status")
    check("status of a stopped daemon: LSB exit code 3", (code, said) == (3, "heartbeat is stopped. No process\n"))
    code, said = host.try_sh("/etc/init.d/heartbeat nonsense")
    check("wrong use shows the verbs", code == 1 and
          said == "Usage: /etc/init.d/heartbeat {start|stop|status|restart|reload|force-reload}\n")
    code, said = host.try_sh("/etc/init.d/heartbeat standby")
    check("standby of a stopped daemon", code == 1 and said == "auto_failback: off\nHeartbeat is not currently running.\n")
    code, said = host.try_sh("/etc/init.d/heartbeat stop")
    check("stop of a stopped daemon", code == 0 and said == "Stopping High-Availability services: Done.\n\n")
    host.put("/etc/ha.d/resource.d/startstop", "#!/bin/sh\necho \"$*\" >> /srv/hooks\n", 0o755)


def start_pair(one, other):
    """By the init script; the address comes up on the first."""
    for host in (one, other):
        said = host.sh("/etc/init.d/heartbeat start")
        check(f"{host.name}: start", re.fullmatch(r"Starting High-Availability services: "
              r"(\S+ INFO:  Resource is stopped\n)?Done\.\n\n", said), said)
    wait_address(one)
    for host in (one, other):
        wait_stable(host)
        host.sh("[ -e /var/lock/subsys/heartbeat ]")
    check("the address is on node1 alone", not holds_address(other))
    code, said = one.try_sh("/etc/init.d/heartbeat status")
    check("status of a running daemon", code == 0 and
          re.fullmatch(r"heartbeat OK \[pid \d+ et al\] is running on node1 \[node1\]\.\.\.\n", said))
    check("the startstop hook ran", one.sh("cat /srv/hooks") .startswith("pre-start\npost-start 0\n")
          or "pre-start\npost-start 0" in one.sh("cat /srv/hooks"))


def switch(one, other):
    """A planned one by the init script, and back by the command."""
    said = one.sh("/etc/init.d/heartbeat standby")
    check("standby moves the address", "Attempting to enter standby mode" in said)
    wait_address(other)
    wait_stable(one)
    other.wait("rest", "cl_status rscstatus | grep -q all")
    other.sh("/usr/share/heartbeat/hb_standby all")
    wait_address(one)
    one.wait("rest", "cl_status rscstatus | grep -q all")
    wait_stable(other)


def watched_upgrade(host, install):
    """Installs a newer package; the address never goes away and the daemon's number stays."""
    before = host.daemon_pid()
    host.sh(f"(while ip addr show dev eth0 | grep -q 'inet {ADDRESS}/'; do :; done; echo gone > /srv/gone) "
            "> /dev/null 2>&1 & echo $! > /srv/watcher")
    print(host.sh(install), flush=True)
    host.wait("the new program goes on", "grep -q 'Going on where the former program ended' /var/log/ha-log")
    check("the daemon has the same number", host.daemon_pid() == before)
    check("its file is the new one", host.sh(f"readlink /proc/{before}/exe").strip() == "/usr/sbin/ha")
    check("the address never went", not host.has("/srv/gone") and holds_address(host))
    host.sh("kill $(cat /srv/watcher)")


def crash(victim, survivor):
    """The host is gone from one moment to the next."""
    victim.close()
    start = time.monotonic()
    wait_address(survivor)
    check(f"node2 has the address {time.monotonic() - start:.1f} s after node1 was gone", True)


def check_no_links(host):
    """No link to the program is left."""
    links = host.sh("find /etc /usr -lname '*sbin/ha'").split()
    check("no link to the program is left", not links, links)


def check_removed(host, before, remove, kept):
    """Nothing runs, nothing of the package is left, the administrator's files are."""
    remover = host.sh(remove)
    check("the removal says nothing alarming", "left alone" not in remover)
    check("the daemon is gone", host.try_sh("pgrep -x heartbeat")[0] == 1)
    check("the address is gone", not holds_address(host))
    check_nothing_left(host, before, kept)
    for name in ("ha.cf", "haresources", "authkeys"):
        check(f"{name} is still there", host.has(f"/etc/ha.d/{name}"))


def check_nothing_left(host, before, kept):
    """Of what came since then, only what begins with one of these."""
    folders = ("/etc/ha.d", "/etc/ha.d/rc.d", "/etc/ha.d/resource.d")
    left = sorted(path for path in files(host) - before - set(folders) if not path.startswith(tuple(kept)))
    check("nothing else is left", not left, left)


def fresh_deb(supplies):
    """Debian without Heartbeat, SysV: install, configure, start, switch, upgrade, fail over, remove, purge."""
    with Host("node1", [supplies.root("plain")]) as one, Host("node2", [supplies.root("plain")]) as two, \
            Switch(one, two):
        before = files(two)
        for host in (one, two):
            host.put("/srv/ha.deb", supplies.deb)
            host.sh("dpkg -i /srv/ha.deb")
            check_installed(host)
            check_unconfigured(host)
            configure(host)
            check_init_script(host)
        check("runlevels have it", two.sh("ls /etc/rc2.d").strip().find("heartbeat") >= 0)
        start_pair(one, two)
        switch(one, two)
        one.put("/srv/newer.deb", supplies.newer_deb)
        watched_upgrade(one, "dpkg -i /srv/newer.deb")
        crash(one, two)
        # Until a purge the links of runlevels stay, as the script itself does: it ends at once then.
        kept = ["/etc/rc", "/etc/systemd/system/multi-user", "/etc/ufw", "/var/lib/heartbeat", "/var/lib/systemd",
                *ACCOUNTS, *ADMINISTRATORS]
        conffiles = two.sh("dpkg -s ha | sed -n '/^Conffiles/,/^[A-Z][a-z]*:/s/^ \\([^ ]*\\) .*/\\1/p'").split()
        check_removed(two, before, "dpkg -r ha 2>&1", kept + conffiles)
        check_no_links(two)
        two.sh("dpkg -P ha")
        check_nothing_left(two, before, [*ACCOUNTS, *ADMINISTRATORS, "/etc/rc"])
        check("no runlevel has it", not two.sh("ls -d /etc/rc?.d/*heartbeat 2> /dev/null || :"))
        check("identity and generation are gone", not two.has("/var/lib/heartbeat"))
        for name in ("ha.cf", "haresources", "authkeys", "resource.d/startstop"):
            check(f"{name} is still there", two.has(f"/etc/ha.d/{name}"))


def replaced_deb(supplies):
    """Debian's heartbeat 3.0.6 runs on both nodes; the package takes its place on one, then on the other."""
    lower = [supplies.root("original")]
    with Host("node1", lower) as one, Host("node2", lower) as two, Switch(one, two):
        for host in (one, two):
            configure(host)
            host.put("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n", 0o755)
            # A wrapper that the administrator changed, and a plugin that he uses.
            host.sh("echo '# changed here' >> /etc/ha.d/resource.d/Delay")
            host.put("/etc/ha.d/resource.d/mine", "#!/bin/sh\nexit 0\n", 0o755)
            said = host.try_sh("/etc/init.d/heartbeat start")
            print("   ", said[1].strip().splitlines()[-1])
        wait_address(one)
        one.wait("rest", "cl_status rscstatus | grep -Eq 'all|local'")
        two.wait("rest", "cl_status rscstatus | grep -Eq 'foreign|none|local'")
        for host in (one, two):
            check(f"{host.name}: Debian's daemon runs", "heartbeat" in host.sh(f"readlink /proc/{host.daemon_pid()}/exe"))
            host.put("/srv/ha.deb", supplies.deb)
            # The one as it is told, the other by hand.
            by_apt = host is one
            said = host.sh("apt-get install -y -q -o Dir::Etc::sourcelist=/dev/null /srv/ha.deb 2>&1" if by_apt
                           else "dpkg -i /srv/ha.deb 2>&1")
            check("apt takes heartbeat and cluster-glue away and leaves resource-agents",
                  host.try_sh("dpkg -s heartbeat cluster-glue 2>&1 | grep -q 'ok installed'")[0] == 1
                  and "ok installed" in host.sh("dpkg -s resource-agents"))
            check("apt is content", host.try_sh("apt-get check -q && [ -z \"$(dpkg --audit)\" ]")[0] == 0)
            host.wait("our daemon runs", f"readlink /proc/$(tr -d ' ' < /var/run/heartbeat.pid)/exe | grep -qx /usr/sbin/ha")
            check("what was changed stays, what was not is a link now",
                  host.sh("tail -n 1 /etc/ha.d/resource.d/Delay; readlink /etc/ha.d/resource.d/IPaddr /etc/ha.d/harc")
                  == "# changed here\n/usr/sbin/ha\n/usr/sbin/ha\n" and host.has("/etc/ha.d/resource.d/mine"))
            check("resource-agents has its own programs", not host.try_sh("dpkg -V resource-agents")[1].strip())
            back = "[ -x /usr/lib/stonith/plugins/external/ipmi ] && stonith -L | grep -q external/ipmi"
            if by_apt:
                host.put("/etc/ha.d/ha.cf", HA_CF + "stonith_host node1 external/nut nowhere\n")
                said = host.sh("sh /var/lib/dpkg/info/ha.postinst configure 0.1.0-1 2>&1")
                check("fencing plugins that apt took away are told of", "names external/nut, a script of" in said, said)
                host.put("/etc/ha.d/ha.cf", HA_CF)
            else:
                check("fencing plugins that went with cluster-glue are back", host.try_sh(back)[0] == 0)
            wait_stable(host)
            (other,) = {one, two} - {host}
            wait_stable(other)
            check("the address is somewhere, and once", holds_address(one) != holds_address(two))
        one.sh("dpkg -P heartbeat cluster-glue 2>&1")
        check("a purge of the original takes nothing of ours", one.has("/etc/init.d/heartbeat")
              and one.has("/etc/logrotate.d/heartbeat") and one.has("/etc/ha.d/rc.d/status") and one.has("/etc/ha.d/harc"))
        holder, other = (one, two) if holds_address(one) else (two, one)
        crash(holder, other)


# A host of Red Hat's or SuSE's has it; here it notes how it is called.
CHKCONFIG = "#!/bin/sh\necho \"$*\" >> /srv/chkconfig\n"


def rpm(supplies):
    """rpm on SysV: install over an older heartbeat, start, switch, upgrade, fail over, erase."""
    lower = [supplies.root("rpm")]
    with Host("node1", lower) as one, Host("node2", lower) as two, Switch(one, two):
        for host in (one, two):
            host.put("/sbin/chkconfig", CHKCONFIG, 0o755)
            host.sh("rpm --initdb && mkdir -p /etc/rc3.d && touch /etc/rc3.d/S75heartbeat")
            host.put("/srv/old.rpm", supplies.old_rpm)
            host.put("/srv/ha.rpm", supplies.rpms[0] if host is one else supplies.rpms[1])
            host.put("/srv/newer.rpm", supplies.newer_rpms[0])
        before = files(two)
        for host in (one, two):
            said = host.sh("rpm -i --nodeps /srv/old.rpm && echo '# changed' >> /etc/ha.d/resource.d/Delay && "
                           "rpm -K /srv/ha.rpm && rpm -U --nodeps /srv/ha.rpm 2>&1")
            check("the older package is replaced, its changed script stays", host.sh("rpm -qa").startswith("ha-0")
                  and host.sh("tail -n 1 /etc/ha.d/resource.d/Delay") == "# changed\n", said)
            check("an unchanged one is a link now", host.sh("readlink /etc/ha.d/resource.d/IPaddr") == "/usr/sbin/ha\n")
            check("it starts at boot, as the older one did", host.sh("tail -n 2 /srv/chkconfig")
                  == "--add heartbeat\nheartbeat on\n", host.sh("cat /srv/chkconfig"))
            check_installed(host)
            check("what is installed is as it was packed", not host.try_sh("rpm -V --nodeps ha")[1].strip(),
                  host.try_sh("rpm -V --nodeps ha")[1])
            check_unconfigured(host)
            configure(host)
            check_init_script(host)
        start_pair(one, two)
        switch(one, two)
        watched_upgrade(one, "rpm -U --nodeps /srv/newer.rpm 2>&1")
        crash(one, two)
        # Folders that belong to packages which are not here.
        kept = [*ACCOUNTS, *ADMINISTRATORS, "/var/lib/heartbeat", "/etc/ha.d/resource.d/Delay", "/etc/sysconfig",
                "/usr/lib/firewalld", "/usr/share/fish", "/usr/share/zsh"]
        check_removed(two, before, "rpm -e ha 2>&1", kept)
        check_no_links(two)
        check("the state of the node stays", two.has("/var/lib/heartbeat/hb_uuid"))


def shown(host, name):
    """A property of the unit."""
    return host.sh(f"systemctl show -P {name} heartbeat.service").strip()


def daemon(host):
    """The daemon's number: the child of the unit's main process, its guard."""
    return int(host.sh("pgrep -P $(systemctl show -P MainPID heartbeat.service)").split()[0])


def systemd(supplies):
    """Debian with systemd: start, watch, a killed daemon, a hanging one, upgrade, stop, remove."""
    lower = [supplies.root("systemd")]
    with Host("node1", lower, systemd=True) as one, Host("node2", lower, systemd=True) as two, Switch(one, two):
        for host in (one, two):
            host.wait("systemd is up", "systemctl is-system-running | grep -Eq 'running|degraded'")
            host.put("/srv/ha.deb", supplies.deb)
            host.sh("dpkg -i /srv/ha.deb")
            said = host.try_sh("systemd-analyze verify --man=no heartbeat.service 2>&1 | grep -i heartbeat")[1]
            check("systemd-analyze has nothing to say", not said, said)
            check("it starts at boot", host.sh("systemctl is-enabled heartbeat.service") == "enabled\n")
            host.sh("systemctl start heartbeat.service")
            check("without a configuration it is not started", shown(host, "ActiveState") == "inactive")
            configure(host)
            # A hang is noticed in the time that a test has.
            host.put("/etc/systemd/system/heartbeat.service.d/test.conf", "[Service]\nWatchdogSec=4s\n")
            host.sh("systemctl daemon-reload && systemctl start heartbeat.service")
            check("it told that it serves", shown(host, "ActiveState") + shown(host, "SubState") == "activerunning")
        wait_address(one)
        wait_stable(one)
        wait_stable(two)
        main = shown(one, "MainPID")
        for _ in range(8):
            time.sleep(1)
            check("systemd hears it: no restart", shown(one, "NRestarts") == "0" and shown(one, "MainPID") == main)
        killed = daemon(one)
        one.sh(f"kill -9 {killed}")
        one.wait("the guard brings it back", f"pgrep -P {main} | grep -vqx {killed} && cl_status hbstatus")
        check("systemd did nothing", shown(one, "NRestarts") == "0" and shown(one, "MainPID") == main)
        check("the address stayed", holds_address(one))
        wait_stable(one)
        one.put("/srv/newer.deb", supplies.newer_deb)
        before = daemon(one)
        one.sh("dpkg -i /srv/newer.deb")
        one.wait("the new program goes on", "grep -q 'Going on where the former program ended' /var/log/ha-log")
        check("an upgrade changes no process and moves nothing", daemon(one) == before and holds_address(one)
              and shown(one, "MainPID") == main)
        one.sh("systemctl reload heartbeat.service")

        one.sh(f"kill -STOP {daemon(one)}")
        wait_address(two)
        one.wait("systemd has the hanging daemon killed", "grep -q 'hung and was killed' /var/log/ha-log")
        one.wait("everything was stopped, then it was started anew",
                 "[ $(systemctl show -P NRestarts heartbeat) = 1 ] && systemctl is-active heartbeat && cl_status hbstatus")
        check("the address is on node2 alone", holds_address(two) and not holds_address(one))
        wait_stable(one)
        wait_stable(two)

        two.sh("systemctl stop heartbeat.service")
        check("a stop ends it", two.try_sh("pgrep -x heartbeat")[0] == 1 and not holds_address(two))
        check("and is a success", shown(two, "Result") == "success", two.try_sh("systemctl status heartbeat")[1])
        wait_address(one)
        two.sh("systemctl start heartbeat.service")
        wait_stable(two)
        for _ in range(3):
            last = daemon(one)
            one.sh(f"kill -9 {last}")
            one.try_sh(f"for i in $(seq 50); do pgrep -P $(systemctl show -P MainPID heartbeat) | grep -vqx {last} && "
                       "cl_status hbstatus && exit; sleep 0.1; done")
        one.wait("killed again and again, the guard gives up", "! pgrep -x heartbeat")
        time.sleep(2)
        check("systemd does not know better", shown(one, "NRestarts") == "1" and shown(one, "ActiveState") == "failed")
        wait_address(two)
        two.sh("dpkg -r ha")
        check("the removal stops it", two.try_sh("pgrep -x heartbeat")[0] == 1 and not holds_address(two))


def replaced_systemd(supplies):
    """Debian's heartbeat runs as a service of systemd; the package takes its place, as apt does it."""
    lower = [supplies.root("original-systemd")]
    with Host("node1", lower, systemd=True) as one, Host("node2", lower, systemd=True) as two, Switch(one, two):
        for host in (one, two):
            host.wait("systemd is up", "systemctl is-system-running | grep -Eq 'running|degraded'")
            configure(host)
            host.sh("systemctl restart heartbeat.service")
        wait_address(one)
        one.wait("rest", "cl_status rscstatus | grep -Eq 'all|local'")
        two.wait("rest", "cl_status rscstatus | grep -Eq 'foreign|none|local'")
        for host in (one, two):
            host.put("/srv/ha.deb", supplies.deb)
            said = host.sh("apt-get install -y -q -o Dir::Etc::sourcelist=/dev/null /srv/ha.deb 2>&1")
            host.wait("our daemon runs as the service", "systemctl is-active heartbeat && "
                      "readlink /proc/$(systemctl show -P MainPID heartbeat)/exe | grep -qx /usr/sbin/ha")
            check("it starts at boot", host.sh("systemctl is-enabled heartbeat.service") == "enabled\n", said)
            wait_stable(one)
            wait_stable(two)
            check("the address is somewhere, and once", holds_address(one) != holds_address(two))
            check("it says what a purge of the original needs", "give: systemctl enable heartbeat" in said, said)
        one.sh("dpkg -P heartbeat cluster-glue 2>&1 && systemctl enable heartbeat.service")
        check("after that it starts at boot", one.sh("systemctl is-enabled heartbeat.service") == "enabled\n")


def bare_file(supplies):
    """The file alone on a host with systemd: `ha install --enable`, start, and away without a trace."""
    with Host("node1", [supplies.root("systemd")], systemd=True) as host, Host("node2", [supplies.root("systemd")]) as other, \
            Switch(host, other):
        host.wait("systemd is up", "systemctl is-system-running | grep -Eq 'running|degraded'")
        before = files(host)
        host.put("/srv/ha", supplies.binary, 0o755)
        for page in ("ha.8", "heartbeat.8", "IPaddr.7"):
            host.put(f"/srv/man/{page}", supplies.repository / "man" / page)
        said = host.sh("/srv/ha install --enable && systemctl daemon-reload")
        check("it starts at boot", host.sh("systemctl is-enabled heartbeat.service") == "enabled\n", said)
        check("pages come along", host.has("/usr/share/man/man7/ocf_heartbeat_IPaddr2.7"), said)
        configure(host)
        host.sh("systemctl start heartbeat")
        wait_address(host)
        host.sh("systemctl stop heartbeat")
        check("a stop takes the address away", not holds_address(host))
        said = host.sh("ha uninstall && systemctl daemon-reload")
        check("systemd knows of no such service", host.try_sh("systemctl is-enabled heartbeat.service")[0] != 0, said)
        check_nothing_left(host, before, ADMINISTRATORS + ["/etc/.pwd.lock"])


def empty_root(supplies):
    """The binary alone, in roots with nothing but /proc, /sys, /dev and /etc/ha.d, fails over an address."""
    with Bare("node1", supplies.binary) as one, Bare("node2", supplies.binary) as two, Switch(one, two):
        for host in (one, two):
            host.configure({"ha.cf": HA_CF.replace("/var/log/ha-log", "/ha-log"), "haresources": HARESOURCES,
                            "authkeys": AUTHKEYS})
            check(f"{host.name}: ha check finds no error", host.ha("check")[0] < 2, host.ha("check")[1])
            code, said = host.ha("heartbeat")
            check(f"{host.name}: it starts", code == 0, said)
        one.wait_address(ADDRESS)
        one.wait("rest", lambda: "all" in one.ha("cl_status", "rscstatus")[1] or "local" in one.ha("cl_status", "rscstatus")[1])
        two.wait("the other is known", lambda: "active" in two.ha("cl_status", "nodestatus", "node1")[1])
        check("the address is on node1 alone", not two.has_address(ADDRESS))
        one.close()
        start = time.monotonic()
        two.wait_address(ADDRESS)
        check(f"node2 has the address {time.monotonic() - start:.1f} s after node1 was gone", True)
        code, said = two.ha("heartbeat", "-k")
        check("a stop takes it away", code == 0 and not two.has_address(ADDRESS), said)
