"""Agents that need kernel parts of a whole machine: volume groups and arrays on disks that two machines
share, beside Debian's agents and then as resources of a pair."""

from cluster import OURS, SERVICE, configuration, node
from scenario import Scenario
from supplies import DEBIAN_ROOT

SHARED_DISK_MB = 64
# The first disks are the root's and that of /var/lib/heartbeat.
FIRST, SECOND = "/dev/vdc", "/dev/vdd"
# No udev runs in these machines.
LVM_LOCAL = "activation {\n  udev_sync = 0\n  udev_rules = 0\n}\ndevices {\n  obtain_device_list_from_udev = 0\n}\n"
DATA = "/data/written-on-alpha"


def pair(world, haresources, disks, modules, files=None, more=""):
    """Two machines of Debian's programs and ours, switched off, with disks that both see."""
    files = configuration("bcast eth0\n", haresources=haresources, more=more) | (files or {})
    alpha, beta = (node(world, name, OURS, files, debian=True, modules=modules) for name in ("alpha", "beta"))
    for number in range(disks):
        disk = alpha.machine.new_disk(f"shared{number}", SHARED_DISK_MB)
        for each in (alpha, beta):
            each.machine.qemu += ["-drive", f"if=virtio,format=raw,file.locking=off,file={disk}"]
    return alpha, beta


def boot(*machines):
    """Switches them on, together. No administrator's script wins over a built-in agent there."""
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.wait_ready()
        machine.ask("mkdir -p /original /data && cd /etc/ha.d/resource.d && cp -a . /original && "
                    "rm -f LVM Raid1 Filesystem IPaddr IPaddr2 drbddisk LinuxSCSI")


def side_by_side(world, alpha, agent, words, is_active):
    """Debian's agent and ours on the same thing: one starts what the other stops, and both judge."""
    programs = {"ours": f"ha {agent} {words}", "Debian's": f"/original/{agent} {words}"}

    def run(whose, action):
        code, output = alpha.machine.run(f"{programs[whose]} {action}")
        world.check(f"{agent} {action}, {whose}: exit code {code}", code == 0 or action == "status" or output)
        return code

    def both_judge(active):
        ours, original = (run(whose, "status") for whose in programs)
        world.check(f"status of both is the same, {'active' if active else 'not active'}",
                    ours == original and is_active() == active and (ours == 0) == active)

    both_judge(False)
    for starter, stopper in (("ours", "Debian's"), ("Debian's", "ours")):
        world.check(f"{starter} starts", run(starter, "start") == 0)
        both_judge(True)
        world.check(f"{starter} starts again", run(starter, "start") == 0)
        world.check(f"{stopper} stops", run(stopper, "stop") == 0)
        both_judge(False)
        world.check(f"{stopper} stops again", run(stopper, "stop") == 0)


def fail_over(world, alpha, beta, is_active=lambda each: each.machine.succeeds("grep -q ' /data ' /proc/mounts")):
    """As resources of a pair, with a file system on top: planned switch and loss of power."""
    for each in (alpha, beta):
        each.start_daemon()

    def serves(each):
        return each.has() and is_active(each) and each.machine.succeeds("grep -q ' /data ext4 ' /proc/mounts")

    def serves_nothing(each):
        return not each.has() and not is_active(each) and not each.machine.succeeds("grep -q ' /data ' /proc/mounts")

    world.expect("alpha has all resources of the group, beta none", lambda: serves(alpha) and serves_nothing(beta))
    alpha.machine.ask(f"echo alpha > {DATA} && sync")
    world.expect("nothing is under way", lambda: alpha.sees(beta) and beta.sees(alpha)
                 and alpha.cl_status("rscstatus") in ("all", "local") and beta.cl_status("rscstatus") != "transition")
    alpha.standby()
    world.expect("hb_standby on alpha: beta has all resources of the group, alpha none",
                 lambda: serves(beta) and serves_nothing(alpha))
    world.check("what was written on alpha is read on beta", beta.machine.ask(f"cat {DATA}") == "alpha\n")
    world.expect("nothing is under way", lambda: beta.holds("all") and alpha.holds("none"))
    world.keep_log(beta.machine)
    beta.machine.kill()
    world.note("beta loses its power")
    world.expect("alpha has all resources of the group", lambda: serves(alpha))
    alpha.stop_daemon()
    world.check("alpha's daemon is stopped, and all resources with it", serves_nothing(alpha))


def lvm(world):
    """A volume group on one shared disk."""
    resources = f"alpha LVM::shared Filesystem::/dev/shared/data::/data::ext4 IPaddr2::{SERVICE}/24/eth0\n"
    alpha, beta = pair(world, resources, 1, ["dm_mod"], {"/etc/lvm/lvmlocal.conf": LVM_LOCAL})
    world.network_cable(alpha.machine, beta.machine)
    boot(alpha.machine, beta.machine)
    alpha.machine.ask(f"pvcreate -q {FIRST} && vgcreate -q shared {FIRST} && lvcreate -q -n data -l 100%FREE shared && "
                      "mkfs.ext4 -q /dev/shared/data && vgchange -q -a n shared")

    def is_active(each=alpha):
        return "shared-data" in each.machine.ask("dmsetup ls")

    side_by_side(world, alpha, "LVM", "shared", is_active)
    fail_over(world, alpha, beta, is_active)


def raid1(world):
    """An array of two shared disks."""
    resources = ("alpha Raid1::/etc/mdadm/mdadm.conf::/dev/md0 Filesystem::/dev/md0::/data::ext4 "
                 f"IPaddr2::{SERVICE}/24/eth0\n")
    alpha, beta = pair(world, resources, 2, ["raid1"])
    world.network_cable(alpha.machine, beta.machine)
    boot(alpha.machine, beta.machine)
    alpha.machine.ask(f"mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --assume-clean {FIRST} {SECOND} && "
                      "mkfs.ext4 -q /dev/md0 && mdadm --detail --scan > /etc/mdadm/mdadm.conf && mdadm --stop /dev/md0")
    beta.machine.write("/etc/mdadm/mdadm.conf", alpha.machine.ask("cat /etc/mdadm/mdadm.conf"))

    def is_active(each=alpha):
        return each.machine.succeeds("grep -q '^md0 : active .*raid1' /proc/mdstat")

    words = "/etc/mdadm/mdadm.conf /dev/md0"
    side_by_side(world, alpha, "Raid1", words, is_active)
    alpha.machine.ask(f"ha Raid1 {words} start && mdadm --fail /dev/md0 {SECOND}")
    codes = [alpha.machine.run(f"{program} {words} status")[0] for program in ("ha Raid1", "/original/Raid1")]
    world.check(f"one disk fails: status of ours {codes[0]}, of Debian's {codes[1]}", codes[0] == codes[1] == 0)
    alpha.machine.ask(f"mdadm --remove /dev/md0 {SECOND} && mdadm --zero-superblock {SECOND} && "
                      f"mdadm --add /dev/md0 {SECOND}")
    world.expect("the disk is whole again", lambda: "[UU]" in alpha.machine.ask("cat /proc/mdstat"))
    alpha.machine.ask(f"ha Raid1 {words} stop")
    fail_over(world, alpha, beta, is_active)


def scsi(world):
    """A disk of the kernel's SCSI simulator, which is taken away and found again."""
    alpha = node(world, "alpha", OURS, {}, debian=True, modules=["sd_mod", "scsi_debug dev_size_mb=16"])
    boot(alpha.machine)
    place = alpha.machine.ask("ls /sys/class/scsi_device").split()[0]
    world.note("the kernel has " + ("" if alpha.machine.succeeds("test -e /proc/scsi/scsi") else "no ")
               + "/proc/scsi/scsi, which Debian's agent needs")

    def is_active():
        return alpha.machine.succeeds(f"test -e /sys/class/scsi_device/{place}")

    def run(action):
        code, output = alpha.machine.run(f"ha LinuxSCSI {place} {action}")
        return code, f"{action} of {place}: exit code {code}" + (f", {output.strip()}" if code else "")

    original = alpha.machine.run(f"/original/LinuxSCSI {place} status")
    world.note(f"status, Debian's: exit code {original[0]}")
    for action, code, active in (("status", 0, True), ("start", 0, True), ("stop", 0, False), ("stop", 0, False),
                                 ("status", 7, False), ("start", 0, True), ("status", 0, True)):
        seen, text = run(action)
        world.check(text + (", the disk is there" if is_active() else ", the disk is not there"),
                    seen == code and is_active() == active)


# The kernel's own SCSI target with a disk in memory, and two ways to it, as two nodes have them.
TWO_WAYS = """
mkdir -p /var/target/pr
mount -t configfs config /sys/kernel/config 2> /dev/null
cd /sys/kernel/config/target || exit 1
mkdir -p core/rd_mcp_0/disk && echo rd_pages=2048 > core/rd_mcp_0/disk/control && echo 1 > core/rd_mcp_0/disk/enable
echo two-ways > core/rd_mcp_0/disk/wwn/vpd_unit_serial
for way in 1 2; do
    tpg=loopback/naa.500000000000000$way/tpgt_1
    mkdir -p $tpg && echo naa.600000000000000$way > $tpg/nexus && mkdir -p $tpg/lun/lun_0 || exit 1
    ln -s /sys/kernel/config/target/core/rd_mcp_0/disk $tpg/lun/lun_0/port || exit 1
done
"""


def reservation(world):
    """Two nodes' ways to one disk: whoever has the reservation writes, the other is kept from it."""
    modules = ["sd_mod", "configfs", "target_core_mod", "tcm_loop"]
    alpha = node(world, "alpha", OURS, {}, debian=True, modules=modules)
    boot(alpha.machine)
    alpha.machine.ask(TWO_WAYS)

    def places():
        return alpha.machine.ask("ls /sys/class/scsi_device").split()

    world.expect("the kernel has two ways to the disk", lambda: len(places()) == 2)
    one, other = ((place, key) for place, key in zip(sorted(places()), ("a1", "b2")))

    def call(way, action):
        place, key = way
        # Linux 6.1's target does not answer anything any more once it was asked to abort (preempt-abort).
        return (f"OCF_RESOURCE_INSTANCE=disk_{key} OCF_RESKEY_scsi={place} OCF_RESKEY_reserve=yes OCF_RESKEY_key={key} "
                f"OCF_RESKEY_abort=no OCF_RESKEY_ignore_deprecation=yes ha LinuxSCSI {action}")

    def run(way, action, code):
        seen, output = alpha.machine.run(call(way, action))
        world.check(f"{action} with key {way[1]}: exit code {seen}" + (f", {output.strip()}" if seen != code else ""),
                    seen == code)

    def device(way):
        return "/dev/" + alpha.machine.ask(f"ls /sys/class/scsi_device/{way[0]}/device/block").strip()

    def may_write(way):
        return alpha.machine.succeeds(f"dd if=/dev/zero of={device(way)} bs=4096 count=1 oflag=direct 2> /dev/null")

    def writes(first, second):
        seen = may_write(one), may_write(other)
        world.check(f"key a1 {'writes' if seen[0] else 'may not write'}, b2 {'writes' if seen[1] else 'may not write'}",
                    seen == (first, second))

    writes(True, True)
    run(one, "monitor", 7)
    for _ in range(2):
        run(one, "start", 0)
    run(one, "monitor", 0)
    run(other, "monitor", 7)
    writes(True, False)
    world.note(alpha.machine.ask(f"sg_persist --in --no-inquiry --read-reservation {device(other)}"))
    world.note("the other node takes over without asking")
    run(other, "start", 0)
    run(other, "monitor", 0)
    run(one, "monitor", 7)
    writes(False, True)
    world.note("the first takes it back, killed in the middle of its start again and again")
    for moment in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2):
        for way, rival in ((one, other), (other, one)):
            alpha.machine.run(f"{call(way, 'start')} & sleep {moment}; kill -9 $!; wait")
            for action in ("start", "monitor"):
                code = alpha.machine.run(call(way, action))[0]
                if code:
                    world.check(f"{action} after a kill at {moment} s: exit code {code}", False)
            if alpha.machine.run(call(rival, "monitor"))[0] != 7:
                world.check(f"the other lost it after a kill at {moment} s", False)
    writes(False, True)
    run(other, "stop", 0)
    run(other, "stop", 0)
    run(one, "start", 0)
    keys = alpha.machine.ask(f"sg_persist --in --no-inquiry --read-keys {device(one)}")
    world.check(f"the stop left no key of its own: {keys}", "0xa1" in keys and "0xb2" not in keys)
    run(one, "stop", 0)
    world.check("neither stop left its way to the disk" if not places() else f"left: {places()}", not places())


SCENARIOS = [
    Scenario("lvm", "A volume group with Debian's kernel and LVM: beside Debian's agent, and in a pair", lvm,
             (DEBIAN_ROOT,), ("resource-agents", "lvm2")),
    Scenario("raid1", "An array of two disks with Debian's kernel and mdadm: beside Debian's agent, and in a pair",
             raid1, (DEBIAN_ROOT,), ("resource-agents", "mdadm")),
    Scenario("linux-scsi", "A disk of the kernel's SCSI simulator is taken away and found again by LinuxSCSI", scsi,
             (DEBIAN_ROOT,), ("resource-agents",)),
    Scenario("reservation", "LinuxSCSI keeps the other node from writing, by sg_persist and the kernel's SCSI target",
             reservation, (DEBIAN_ROOT,), ("sg3-utils",)),
]
