"""The machines of one scenario, the cables between them, and what was seen."""

import re
import select
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path

from machine import Machine, MachineError

# How often a condition is looked at.
POLL_SECONDS = 0.5
# Until a condition must be seen, unless told otherwise; emulated machines are slow.
LIMIT_SECONDS = 120


class Failure(Exception):
    """A condition was not seen in time, or something happened that must not."""


class NotPossible(Exception):
    """The scenario cannot be played here; the text says what was seen."""


def _forward(sockets):
    """A hub: each packet goes to all the other machines that are on."""
    while True:
        for end in select.select([end for end, _ in sockets], [], [])[0]:
            packet = end.recv(65536)
            for other, near in sockets:
                if other is not end:
                    try:
                        other.sendto(packet, socket.MSG_DONTWAIT, near)
                    except OSError:
                        # It is off, or takes no more now: lost, as on a wire.
                        pass


class World:
    """Everything of it is gone after `close`, except the logs."""

    def __init__(self, scenario, supplies):
        self.supplies = supplies
        self.seen, self.machines, self._cables = [], {}, 0
        # Short: the paths of sockets may not be long.
        self.folder = Path(tempfile.mkdtemp(prefix="machines-"))
        self.logs = supplies.work / "logs" / scenario.name
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(parents=True)
        self._start = time.monotonic()

    def machine(self, name: str, **options) -> Machine:
        """A new machine, switched off."""
        self.machines[name] = Machine(self, name, **options)
        return self.machines[name]

    # ---- cables ----------------------------------------------------------------------------

    def serial_cable(self, one: Machine, other: Machine):
        """A null-modem cable between the next free serial lines of both."""
        path, name = self._cable()
        for machine, role in ((one, "server=on,wait=off"), (other, "reconnect=1")):
            machine.qemu += ["-chardev", f"socket,id={name},path={path},{role}", "-serial", f"chardev:{name}"]

    def network_cable(self, one: Machine, other: Machine):
        """An Ethernet cable between a new card in each."""
        path, name = self._cable()
        for machine, end, far_end, last_byte in ((one, "a", "b", 1), (other, "b", "a", 2)):
            sockets = f"local.type=unix,local.path={path}{end},remote.type=unix,remote.path={path}{far_end}"
            mac = f"52:54:00:00:{self._cables:02x}:{last_byte:02x}"
            machine.qemu += ["-netdev", f"dgram,id={name},{sockets}",
                             "-device", f"virtio-net-pci,netdev={name},mac={mac},romfile="]

    def network_hub(self, machines):
        """One Ethernet hub with a new card of each machine on it."""
        path, name = self._cable()
        sockets = []
        for number, machine in enumerate(machines, 1):
            near, far = f"{path}-{number}", f"{path}-hub{number}"
            end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            end.bind(far)
            sockets.append((end, near))
            machine.qemu += ["-netdev", f"dgram,id={name},local.type=unix,local.path={near},"
                                        f"remote.type=unix,remote.path={far}",
                             "-device", f"virtio-net-pci,netdev={name},romfile=,"
                                        f"mac=52:54:00:00:{self._cables:02x}:{number:02x}"]
        threading.Thread(target=_forward, args=(sockets,), daemon=True).start()

    def _cable(self):
        self._cables += 1
        return self.folder / f"cable{self._cables}", f"cable{self._cables}"

    # ---- conditions ------------------------------------------------------------------------

    def expect(self, text: str, condition, limit_s: float = LIMIT_SECONDS):
        """Waits until the condition holds, and writes that down. Its value is returned."""
        start = time.monotonic()
        while True:
            value = condition()
            took = time.monotonic() - start
            if value:
                self.note(f"{text}: seen" + (f" after {took:.0f} s" if took >= 1 else ""))
                return value
            if took > limit_s:
                raise Failure(f"not seen within {limit_s} s: {text}")
            time.sleep(POLL_SECONDS)

    def hold(self, text: str, condition, seconds: float):
        """The condition must hold all this time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not condition():
                raise Failure(f"did not last: {text}")
            time.sleep(POLL_SECONDS)
        self.note(f"{text}: for {seconds:.0f} s")

    def check(self, text: str, fact):
        """Must hold now."""
        if not fact:
            raise Failure(f"is not so: {text}")
        self.note(text)

    def note(self, text: str):
        """One line of the result."""
        text = re.sub(r"\s+", " ", text)
        self.seen.append(text)
        print(f"  {time.monotonic() - self._start:5.0f} s  {text}", flush=True)

    # ---- end -------------------------------------------------------------------------------

    def close(self):
        """Keeps the logs of the machines that are on, and switches all off."""
        for machine in self.machines.values():
            self.keep_log(machine)
            machine.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def keep_log(self, machine: Machine):
        """Copies the machine's log to the host, if the machine still answers."""
        if machine.first or not machine.is_on():
            return
        try:
            text = machine.run("cat /var/log/ha-log /var/log/ha-debug 2> /dev/null; dmesg | tail -n 40", 20)[1]
        except (MachineError, OSError):
            return
        with open(self.logs / f"{machine.name}.log", "a", encoding="utf-8") as file:
            file.write(text)
