"""Pairs of nodes: configuration, starting, asking."""

from world import World

SERVICE = "10.9.0.100"
OURS, ORIGINAL = "ours", "the original"

# A machine's own address in the service network.
ADDRESSES = {"alpha": "10.9.0.1/24", "beta": "10.9.0.2/24", "client": "10.9.0.200/24"}

# Slow machines on a busy host: nobody may look dead for being slow.
TIMES = "keepalive 1\nwarntime 8\ndeadtime 15\ninitdead 60\n"
AUTHKEYS = "auth 1\n1 sha1 a-key-for-machines\n"


class Node:
    """A machine with a daemon of one kind."""

    def __init__(self, machine, kind: str):
        self.machine, self.kind, self.name = machine, kind, machine.name

    def start_daemon(self):
        """Starts the daemon in the background."""
        program = "ha heartbeat" if self.kind == OURS else "/usr/libexec/heartbeat/heartbeat"
        self.machine.ask(program)

    def stop_daemon(self):
        """Stops it, with its resources."""
        program = "ha heartbeat" if self.kind == OURS else "/usr/libexec/heartbeat/heartbeat"
        self.machine.ask(f"{program} -k", 300)

    def standby(self, what="all"):
        """Gives resources to the other node."""
        self.machine.ask(("ha hb_standby " if self.kind == OURS else "/usr/share/heartbeat/hb_standby ") + what)

    def cl_status(self, words: str) -> str:
        """What this kind's own cl_status prints."""
        return self.machine.run(("ha " if self.kind == OURS else "") + f"cl_status {words}")[1].strip()

    def has(self, address=SERVICE) -> bool:
        """Does its kernel have this address?"""
        return f" {address}/" in self.machine.ask("ip -o address show")

    def sees(self, other, state="active") -> bool:
        """Does its daemon take the other node's state to be this?"""
        return self.cl_status(f"nodestatus {other.name}") == state

    def holds(self, resources: str) -> bool:
        """Is this the answer of `cl_status rscstatus`?"""
        return self.cl_status("rscstatus") == resources

    def log(self) -> str:
        """The daemon's log."""
        return self.machine.ask("cat /var/log/ha-log")


def configuration(media: str, *, more="", haresources=None, auto_failback="off") -> dict:
    """The three files of /etc/ha.d."""
    ha_cf = f"logfile /var/log/ha-log\n{TIMES}{media}auto_failback {auto_failback}\n{more}node alpha beta\n"
    if haresources is None:
        haresources = f"alpha IPaddr2::{SERVICE}/24/eth0\n"
    return {"/etc/ha.d/ha.cf": ha_cf, "/etc/ha.d/authkeys": AUTHKEYS, "/etc/ha.d/haresources": haresources}


def node(world: World, name: str, kind: str, files: dict, **options) -> Node:
    """A machine for a node, switched off; both kinds read the same files."""
    machine = world.machine(name, debian=options.pop("debian", False) or kind == ORIGINAL, files=files,
                            address=ADDRESSES[name], **options)
    return Node(machine, kind)
