"""Two machines that boot by Debian's sysvinit: heartbeat is started by the boot alone, on one from our
package, on the other from the bare file."""

from cluster import OURS, SERVICE, configuration, node
from scenario import Scenario
from supplies import DEBIAN_ROOT

FILES = configuration("bcast eth0\n", more="watchdog /dev/watchdog\n")
# All scripts of a boot, emulated.
BOOT_SECONDS = 600
# A watchdog that is not fed would have bitten by then (see watchdogs.py).
LONGER_SECONDS = 25
ROOT_MB = 1024
PACKAGE = "/srv/ha.deb"
# By their paths: busybox, whose shell runs the commands, has a dpkg of its own.
BY_PACKAGE = f"/usr/bin/dpkg --auto-deconfigure -i {PACKAGE}"
# A host without any package of this kind, to which the file was copied.
WITHOUT = "/usr/bin/dpkg -P heartbeat cluster-glue resource-agents && ! ls -d /etc/init.d/heartbeat /usr/sbin/heartbeat"
BY_FILE = "/usr/local/sbin/ha install --enable"


def play(world):
    """Installation, boot, a daemon that hangs, a boot after that, a shutdown."""
    alpha, beta = (node(world, name, OURS, {}, debian=True, state=False, root_mb=ROOT_MB, spare=["softdog"])
                   for name in ("alpha", "beta"))
    world.network_cable(alpha.machine, beta.machine)
    install(world, alpha, beta)
    for each in (alpha, beta):
        each.machine.own_init = True
        each.machine.files = FILES
        each.machine.start()
    for each in (alpha, beta):
        each.machine.wait_ready(BOOT_SECONDS)
        booted(world, each)
    world.expect(f"alpha has {SERVICE}, both nodes are active, nobody started anything but the boot",
                 lambda: alpha.has() and not beta.has() and alpha.sees(beta) and beta.sees(alpha))
    world.hold("alpha keeps it, the watchdog is fed", lambda: alpha.machine.is_on() and alpha.has(), LONGER_SECONDS)
    hangs(world, alpha, beta)
    alpha.machine.start()
    alpha.machine.wait_ready(BOOT_SECONDS)
    booted(world, alpha)
    world.expect("both nodes are active again, the address is still on beta",
                 lambda: alpha.sees(beta) and beta.sees(alpha) and beta.has() and not alpha.has())
    world.expect("nothing is under way", lambda: beta.holds("all") and alpha.holds("none"))
    shut_down(world, beta, alpha)


def install(world, alpha, beta):
    """A first boot, in which nothing of the machines' own init runs."""
    alpha.machine.files = {PACKAGE: world.supplies.deb()}
    for each in (alpha, beta):
        each.machine.start()
    for each in (alpha, beta):
        each.machine.wait_ready()
    alpha.machine.ask(BY_PACKAGE, BOOT_SECONDS)
    world.note(f"alpha: {BY_PACKAGE} in the place of Debian's heartbeat: ha "
               + alpha.machine.ask("/usr/bin/dpkg-query -W -f '${db:Status-Abbrev}, heartbeat ' ha; "
                                   "/usr/bin/dpkg-query -W -f '${db:Status-Abbrev}' heartbeat || echo gone"))
    beta.machine.ask(WITHOUT, BOOT_SECONDS)
    beta.machine.ask(BY_FILE, BOOT_SECONDS)
    world.note(f"beta: no such package; {BY_FILE}")
    for each in (alpha, beta):
        links = each.machine.ask("cd /etc && echo rc2.d/S??heartbeat rc0.d/K??heartbeat rc6.d/K??heartbeat").split()
        world.check(f"{each.name}: the run levels have {' '.join(links)}", not any("?" in link for link in links))
        each.machine.ask("sync")
        each.machine.kill()


def booted(world, each):
    """What the boot did."""
    machine = each.machine
    init = machine.ask("readlink /proc/1/exe").strip()
    world.check(f"{each.name} was booted by {init}, run level {machine.ask('runlevel').strip()}",
                init.endswith("/sbin/init"))
    world.check(f"{each.name}: the init script started heartbeat",
                "Starting High-Availability services: " in machine.console()
                and machine.succeeds("/etc/init.d/heartbeat status"))
    world.check(f"{each.name}: softdog was loaded by the script, and the daemon uses it",
                machine.succeeds("grep -q '^softdog ' /proc/modules")
                and "Using watchdog device: /dev/watchdog" in each.log())


def hangs(world, alpha, beta):
    """The daemon stands still; the module that the script loaded resets the machine."""
    world.expect("nothing is under way", lambda: alpha.cl_status("rscstatus") in ("all", "local")
                 and beta.cl_status("rscstatus") != "transition")
    world.keep_log(alpha.machine)
    alpha.machine.ask("killall -STOP heartbeat")
    world.check("alpha's daemon gets SIGSTOP; the address is still there", alpha.has())
    world.expect("alpha is reset", lambda: not alpha.machine.is_on(), 90)
    world.check("its kernel's last word: softdog: Initiating system reboot",
                "softdog: Initiating system reboot" in alpha.machine.console())
    world.expect("beta has the address", beta.has)


def shut_down(world, leaving, staying):
    """A proper shutdown stops the daemon first; the watchdog does not bite in it."""
    world.keep_log(leaving.machine)
    leaving.machine.ask("(sleep 1; /sbin/shutdown -h now) > /dev/null 2>&1 &")
    world.note(f"{leaving.name}: shutdown -h now")
    world.expect(f"{staying.name} has the address", staying.has)
    world.expect(f"{leaving.name} is off", lambda: not leaving.machine.is_on(), BOOT_SECONDS)
    console = leaving.machine.console()
    world.check("its init script stopped heartbeat, the watchdog let go",
                "Stopping High-Availability services: " in console and "softdog: Initiating" not in console)
    world.check(f"{staying.name}'s log knows of a planned stop",
                "Received shutdown notice from 'beta'" in staying.log())


SCENARIOS = [
    Scenario("sysvinit-boot", "Heartbeat is started by the boot of sysvinit, from our package and from the bare file",
             play, (DEBIAN_ROOT,), ("sysvinit-core", "insserv", "heartbeat")),
]
