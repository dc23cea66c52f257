"""A volume that DRBD keeps on both machines, and the resources on it, with Debian's kernel module."""

from cluster import SERVICE
from scenario import Scenario
from supplies import DEBIAN_ROOT

from .storage import DATA, FIRST, boot, fail_over, pair

DISK_MB = 64

NAMES = ("alpha", "beta")


def configuration(network="10.9.0", more="") -> str:
    """One volume, over that network."""
    ends = "".join(f"  on {name} {{ device /dev/drbd0; disk {FIRST}; address {network}.{number}:7788; "
                   "meta-disk internal; }\n" for number, name in enumerate(NAMES, 1))
    return ("resource r0 {\n  protocol C;\n  net { cram-hmac-alg sha1; shared-secret machines; }\n"
            f"{more}{ends}}}\n")


RESOURCES = f"alpha drbddisk::r0 Filesystem::/dev/drbd0::/data::ext4 IPaddr2::{SERVICE}/24/eth0\n"
# DRBD's own link, beside that of heartbeat.
REPLICATION = "10.8.0"
OUTDATE = ("  disk { fencing resource-only; }\n"
           "  handlers { fence-peer \"/usr/sbin/drbd-peer-outdater -t 30\"; }\n")
DOPD = "respawn root /usr/sbin/dopd\napiauth dopd uid=root\n"


def drbd(world):
    """The how-to's order: drbddisk, Filesystem, address."""
    alpha, beta = two_nodes(world, configuration())
    bring_up(world, alpha, beta)
    beside(world, alpha)
    alpha.machine.ask("ha drbddisk r0 start && mkfs.ext4 -q /dev/drbd0 && ha drbddisk r0 stop")
    fail_over(world, alpha, beta, lambda each: roles(each).startswith("Primary/"))
    restart(world, alpha, beta)


def two_nodes(world, volume, more=""):
    """Switched off, each with a disk of its own."""
    files = {"/etc/drbd.d/r0.res": volume}
    alpha, beta = pair(world, RESOURCES, 0, ["drbd", "libcrc32c", "sha1_generic", "hmac"], files, more)
    world.network_cable(alpha.machine, beta.machine)
    for each in (alpha, beta):
        each.machine.disks.append(each.machine.new_disk("own", DISK_MB))
    return alpha, beta


def bring_up(world, alpha, beta, before=""):
    """Switches them on, with a volume that is the same on both."""
    boot(alpha.machine, beta.machine)
    for number, each in enumerate((alpha, beta), 1):
        each.machine.ask(f"{before.replace('NUMBER', str(number))}drbdadm create-md --force r0 && drbdadm up r0")
    # Nothing is on either disk, so nothing has to be copied.
    alpha.machine.ask("drbdadm wait-connect r0 && drbdadm -- --clear-bitmap new-current-uuid r0")
    world.expect("both disks are up to date, both secondary", lambda: states(alpha) == "UpToDate/UpToDate"
                 and roles(alpha) == "Secondary/Secondary")
    world.note(alpha.machine.ask("head -n 1 /proc/drbd"))


def outdated(world):
    """DRBD loses its link, heartbeat does not: what is on the other node is marked as old."""
    alpha, beta = two_nodes(world, configuration(REPLICATION, OUTDATE), DOPD)
    world.network_cable(alpha.machine, beta.machine)
    bring_up(world, alpha, beta, f"ip address add {REPLICATION}.NUMBER/24 dev eth1 && ip link set eth1 up && "
                                 "ln -s $(command -v ha) /usr/sbin/dopd && "
                                 "ln -s $(command -v ha) /usr/sbin/drbd-peer-outdater && ")
    alpha.machine.ask("ha drbddisk r0 start && mkfs.ext4 -q /dev/drbd0 && ha drbddisk r0 stop")
    for each in (alpha, beta):
        each.start_daemon()
    world.expect("alpha has the address and the volume", lambda: alpha.has() and roles(alpha) == "Primary/Secondary")
    for each in (alpha, beta):
        for name in NAMES:
            world.expect(f"{each.name} knows of {name}'s dopd",
                         lambda on=each, of=name: on.cl_status(f"clientstatus {of} dopd 2000") == "online")
    beta.machine.ask("ip link set eth1 down")
    world.note("the link of DRBD is cut")
    world.expect("alpha knows that beta's data are old", lambda: states(alpha) == "UpToDate/Outdated")
    world.expect("beta knows it too", lambda: states(beta).startswith("Outdated/"))
    world.check("both are heartbeat's nodes as before", alpha.sees(beta) and beta.sees(alpha))
    alpha.machine.ask(f"echo later > {DATA} && sync")
    code, said = beta.machine.run("ha drbddisk r0 start")
    world.check(f"beta cannot become primary: exit code {code}", code == 1 and roles(beta).startswith("Secondary"))
    beta.machine.ask("ip link set eth1 up")
    world.note("the link is there again")
    world.expect("DRBD has brought beta's disk up to date", lambda: states(beta) == "UpToDate/UpToDate")
    world.expect("nothing is under way", lambda: alpha.cl_status("rscstatus") in ("all", "local"))
    alpha.standby()
    world.expect("hb_standby on alpha: beta has the address and the volume",
                 lambda: beta.has() and roles(beta).startswith("Primary/"))
    world.check("what was written on alpha is read on beta", beta.machine.ask(f"cat {DATA}") == "later\n")


def beside(world, alpha):
    """Debian's script and ours."""
    for starter, stopper in (("ha drbddisk", "/original/drbddisk"), ("/original/drbddisk", "ha drbddisk")):
        world.check(f"{starter} r0 start makes it primary",
                    alpha.machine.run(f"{starter} r0 start")[0] == 0 and roles(alpha) == "Primary/Secondary")
        told = [alpha.machine.run(f"{each} r0 status") for each in ("ha drbddisk", "/original/drbddisk")]
        world.check(f"status of both: {told[0]}", told[0] == told[1])
        world.check(f"{stopper} r0 stop makes it secondary",
                    alpha.machine.run(f"{stopper} r0 stop")[0] == 0 and roles(alpha) == "Secondary/Secondary")
        told = [alpha.machine.run(f"{each} r0 status") for each in ("ha drbddisk", "/original/drbddisk")]
        world.check(f"status of both: {told[0]}", told[0] == told[1])


def restart(world, alpha, beta):
    """The lost machine comes back, gets what it missed, and serves again."""
    boot(beta.machine)
    beta.machine.ask("drbdadm up r0")
    world.expect("beta is back, DRBD has brought its disk up to date", lambda: states(beta) == "UpToDate/UpToDate")
    for each in (alpha, beta):
        each.start_daemon()
    world.expect("alpha has the address and the volume", lambda: alpha.has() and roles(alpha).startswith("Primary/"))
    alpha.machine.ask(f"echo again > {DATA} && sync")
    world.expect("both nodes are active", lambda: alpha.sees(beta) and beta.sees(alpha))
    world.expect("nothing is under way", lambda: alpha.cl_status("rscstatus") in ("all", "local"))
    alpha.standby()
    world.expect("hb_standby on alpha: beta has the address and the volume",
                 lambda: beta.has() and roles(beta).startswith("Primary/"))
    world.check("what was written on alpha is read on beta", beta.machine.ask(f"cat {DATA}") == "again\n")


def roles(each):
    """Of this and the other side."""
    return each.machine.ask("drbdadm role r0 2> /dev/null").strip()


def states(each):
    """Of this side's disk and the other's."""
    return each.machine.ask("drbdadm dstate r0 2> /dev/null").strip()


SCENARIOS = [
    Scenario("drbd", "A DRBD volume with Debian's kernel: beside Debian's drbddisk, and in a pair", drbd,
             (DEBIAN_ROOT,), ("heartbeat", "drbd-utils")),
    Scenario("drbd-outdated", "DRBD's link is cut: dopd marks the other node's data as old, which cannot take over",
             outdated, (DEBIAN_ROOT,), ("drbd-utils",)),
]
