"""A volume that DRBD keeps on both machines, and the resources on it, with Debian's kernel module."""

from cluster import ADDRESSES, SERVICE
from scenario import Scenario
from supplies import DEBIAN_ROOT

from .storage import DATA, FIRST, boot, fail_over, pair

DISK_MB = 64

CONFIGURATION = "resource r0 {\n  protocol C;\n  net { cram-hmac-alg sha1; shared-secret machines; }\n" + "".join(
    f"  on {name} {{ device /dev/drbd0; disk {FIRST}; address {ADDRESSES[name].split('/')[0]}:7788; "
    "meta-disk internal; }\n" for name in ("alpha", "beta")) + "}\n"


def drbd(world):
    """The how-to's order: drbddisk, Filesystem, address."""
    resources = f"alpha drbddisk::r0 Filesystem::/dev/drbd0::/data::ext4 IPaddr2::{SERVICE}/24/eth0\n"
    files = {"/etc/drbd.d/r0.res": CONFIGURATION}
    alpha, beta = pair(world, resources, 0, ["drbd", "libcrc32c", "sha1_generic", "hmac"], files)
    world.network_cable(alpha.machine, beta.machine)
    for each in (alpha, beta):
        # Each has its own disk.
        each.machine.disks.append(each.machine.new_disk("own", DISK_MB))
    boot(alpha.machine, beta.machine)
    for each in (alpha, beta):
        each.machine.ask("drbdadm create-md --force r0 && drbdadm up r0")
    # Nothing is on either disk, so nothing has to be copied.
    alpha.machine.ask("drbdadm wait-connect r0 && drbdadm -- --clear-bitmap new-current-uuid r0")
    world.expect("both disks are up to date, both secondary", lambda: states(alpha) == "UpToDate/UpToDate"
                 and roles(alpha) == "Secondary/Secondary")
    world.note(alpha.machine.ask("head -n 1 /proc/drbd"))
    beside(world, alpha)
    alpha.machine.ask("ha drbddisk r0 start && mkfs.ext4 -q /dev/drbd0 && ha drbddisk r0 stop")
    fail_over(world, alpha, beta, lambda each: roles(each).startswith("Primary/"))
    restart(world, alpha, beta)


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
    return each.machine.ask("drbdadm role r0").strip()


def states(each):
    """Of this side's disk and the other's."""
    return each.machine.ask("drbdadm dstate r0").strip()


SCENARIOS = [
    Scenario("drbd", "A DRBD volume with Debian's kernel: beside Debian's drbddisk, and in a pair", drbd,
             (DEBIAN_ROOT,), ("heartbeat", "drbd-utils")),
]
