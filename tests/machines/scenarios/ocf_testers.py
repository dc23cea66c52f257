"""Debian's ocf-tester on those of our agents that need kernel parts of a whole machine; the others are
tested so by tests/agents/ocf_tester.rs."""

import re

from cluster import OURS, node
from scenario import Scenario
from supplies import DEBIAN_ROOT

from .storage import FIRST, LVM_LOCAL, SECOND, SHARED_DISK_MB, TWO_WAYS, boot

FOLDER = "/usr/lib/ocf/resource.d/heartbeat"
THIRD = "/dev/vde"
MODULES = ["dm_mod", "raid1", "sd_mod", "scsi_debug dev_size_mb=16", "configfs", "target_core_mod", "tcm_loop"]
# Each agent is called some twenty-five times by an emulated machine.
LIMIT_SECONDS = 900


def play(world):
    """LVM, Raid1, LinuxSCSI, and LinuxSCSI with a reservation."""
    alpha = node(world, "alpha", OURS, {"/etc/lvm/lvmlocal.conf": LVM_LOCAL}, debian=True, modules=MODULES)
    for number in range(3):
        disk = alpha.machine.new_disk(f"disk{number}", SHARED_DISK_MB)
        alpha.machine.qemu += ["-drive", f"if=virtio,format=raw,file={disk}"]
    boot(alpha.machine)
    machine = alpha.machine
    machine.ask("mkdir /original-ocf")

    machine.ask(f"pvcreate -q {FIRST} && vgcreate -q tested {FIRST} && lvcreate -q -n data -l 100%FREE tested && "
                "vgchange -q -a n tested")
    tested(world, machine, "LVM", volgrpname="tested")

    machine.ask(f"mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --assume-clean {SECOND} {THIRD} && "
                "mdadm --detail --scan > /etc/mdadm/mdadm.conf && mdadm --stop /dev/md0")
    tested(world, machine, "Raid1", raidconf="/etc/mdadm/mdadm.conf", raiddev="/dev/md0")

    place = machine.ask("ls /sys/class/scsi_device").split()[0]
    tested(world, machine, "LinuxSCSI", scsi=place)

    there = set(machine.ask("ls /sys/class/scsi_device").split())
    machine.ask(TWO_WAYS)

    def added():
        return set(machine.ask("ls /sys/class/scsi_device").split()) - there

    world.expect("the kernel has two ways to a disk that knows reservations", lambda: len(added()) == 2)
    tested(world, machine, "LinuxSCSI", scsi=sorted(added())[0], reserve="yes", key="a1", abort="no")


def tested(world, machine, agent, **parameters):
    """Ours in the place of Debian's agent; then Debian's own, for the record."""
    machine.ask(f"[ -e /original-ocf/{agent} ] || cp {FOLDER}/{agent} /original-ocf/; "
                f"ln -sf /usr/local/sbin/ha {FOLDER}/{agent}")
    words = " ".join(f"-o {name}={value}" for name, value in parameters.items())
    code, said = machine.run(f"ocf-tester -n tested {words} {FOLDER}/{agent}", LIMIT_SECONDS)
    world.check(f"ocf-tester {words} {agent}: exit code {code}, {last(said)}"
                + ("" if code == 0 else f"\n{said}"), code == 0 and said.endswith("passed all tests\n")
                and "* rc=" not in said)
    machine.ask(f"rm {FOLDER}/{agent} && cp /original-ocf/{agent} {FOLDER}/{agent}")
    if "reserve" in parameters:
        # Debian's agent does not know it.
        return
    code, said = machine.run(f"ocf-tester -n tested {words} {FOLDER}/{agent}", LIMIT_SECONDS)
    failed = "; ".join(re.findall(r"^\* (rc=.*)$", said, re.M))
    world.note(f"Debian's {agent}, for comparison: exit code {code}, {failed or last(said)}")


def last(said: str) -> str:
    """The verdict of ocf-tester."""
    return said.rstrip().splitlines()[-1].strip() if said.strip() else "nothing said"


SCENARIOS = [
    Scenario("ocf-tester", "Debian's ocf-tester on our LVM, Raid1 and LinuxSCSI with Debian's kernel", play,
             (DEBIAN_ROOT,), ("resource-agents", "lvm2", "mdadm", "sg3-utils")),
]
