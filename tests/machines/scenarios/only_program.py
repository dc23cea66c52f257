"""Machines whose only program is our static binary, besides the one that the kernel starts first."""

import re

from architecture import AARCH64, I686
from cluster import SERVICE, configuration
from scenario import Scenario
from supplies import C_COMPILER, Missing
from world import NotPossible

ADDRESSES = {"alpha": "10.9.0.1", "beta": "10.9.0.2"}


def play(world, binary=None):
    """An address fails over between two of them."""
    first = world.supplies.compiled("only.c")
    alpha, beta = (make(world, name, first, binary or world.supplies.binary) for name in ADDRESSES)
    world.network_cable(alpha, beta)
    world.note("in each: the program that the kernel starts, /ha, /etc/ha.d, kernel modules; no other file")
    for machine in (alpha, beta):
        machine.start()
    for machine in (alpha, beta):
        world.expect(f"{machine.name} is up", lambda machine=machine: f"{machine.name} is up" in machine.console())
    for machine in (alpha, beta):
        machine.type("heartbeat")
        world.expect(f"the daemon is started on {machine.name}",
                     lambda machine=machine: "machine: exit 0: heartbeat" in machine.console())
    world.expect(f"alpha has {SERVICE}", lambda: has(alpha))
    world.expect("both know each other", lambda: answers(alpha, "cl_status nodestatus beta", "active")
                 and answers(beta, "cl_status nodestatus alpha", "active"))
    world.check("beta does not have the address", not has(beta))
    world.expect("nothing is under way", lambda: answers(alpha, "cl_status rscstatus", "all|local")
                 and answers(beta, "cl_status rscstatus", "none|foreign|local"))

    alpha.type("hb_standby all")
    world.expect("hb_standby on alpha: beta has the address, alpha has not", lambda: has(beta) and not has(alpha))
    world.expect("nothing is under way", lambda: answers(beta, "cl_status rscstatus", "all"))
    beta.type("hb_standby all")
    world.expect("hb_standby on beta: alpha has the address, beta has not", lambda: has(alpha) and not has(beta))
    world.expect("nothing is under way", lambda: answers(alpha, "cl_status rscstatus", "all"))

    alpha.kill()
    world.note("alpha loses its power")
    world.expect("beta has the address", lambda: has(beta))


def make(world, name, first, binary):
    """A machine of one program: there is no shell, no library, no account file, no /var, no /run."""
    def files(archive, module_lines):
        archive.file("init", first, 0o755)
        archive.file("modules", "".join(module_lines))
        archive.file("ha", binary, 0o755)
        for path, content in configuration("bcast eth0\n").items():
            # There is no /var/log.
            archive.file(path, content.replace("/var/log/ha-log", "/dev/console"), 0o600)

    return world.machine(name, first=files, state=False, modules=["virtio_net"],
                         kernel_words=f"machine={name} address={ADDRESSES[name]}")


def has(machine, address=SERVICE) -> bool:
    """As its first program told last."""
    told = re.findall(r"machine: addresses (.*) \.", machine.console())
    return bool(told) and address in told[-1].split()


def answers(machine, command: str, pattern: str) -> bool:
    """Runs a command and looks at what it prints."""
    before = len(machine.console())
    machine.type(command)
    ended = machine.wait_for(r"machine: exit \d+: ", before)
    return re.search(rf"^({pattern})\r?$", ended, re.M) is not None


def play_oldest(world):
    """The same on the oldest of Debian's kernels that apt reaches."""
    try:
        out_of_reach = world.supplies.use_oldest_kernel()
    except Missing as missing:
        raise NotPossible(str(missing)) from None
    world.note(f"kernel {world.supplies.kernel_release}"
               + (f"; out of apt's reach here: {', '.join(out_of_reach)}" if out_of_reach else ""))
    play(world)


def play_other(architecture):
    """The same on machines of another architecture, with our program for it."""
    def played(world):
        try:
            binary = world.supplies.use_architecture(architecture)
        except Missing as missing:
            raise NotPossible(str(missing)) from None
        world.note(f"our program for {architecture.name}: {binary.stat().st_size} bytes")
        play(world, binary)
    return played


SCENARIOS = [
    Scenario("only-program", "The static binary is the only program of two machines, and an address fails over",
             play, (C_COMPILER,)),
    Scenario("oldest-kernel", "The same on the oldest kernel of Debian's that apt reaches", play_oldest,
             (C_COMPILER,)),
    Scenario("only-program-i686", "The same on machines of i686 with Debian's kernel", play_other(I686)),
    Scenario("only-program-aarch64", "The same on machines of aarch64 with Debian's kernel", play_other(AARCH64)),
]
