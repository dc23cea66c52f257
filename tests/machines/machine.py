"""One machine: a QEMU process, its console, the agent in it."""

import base64
import json
import re
import select
import socket
import subprocess
import threading
import time
from pathlib import Path

from architecture import OWN
from archive import Archive
from supplies import as_found

# Modules that every machine has, those of a network card, of Debian's root, of the disk for /var/lib/heartbeat.
BASE = ["virtio_pci", "virtio_console"]
NET, ROOT, STATE = ["virtio_net"], ["virtio_blk", "squashfs", "overlay"], ["virtio_blk", "ext4"]

# From start to the agent's word. Emulated machines on a busy host are slow.
BOOT_SECONDS = 240
# A command's time, unless it is given.
RUN_SECONDS = 120

PASSWD = "root:x:0:0:root:/:/bin/sh\nhacluster:x:17:65:heartbeat:/var/lib/heartbeat:/bin/false\nnobody:x:65534:65534::/:/bin/false\n"
GROUP = "root:x:0:\nhaclient:x:65:\nnogroup:x:65534:\n"


class MachineError(Exception):
    """The machine did not do what every machine does."""


class Machine:
    """Made switched off. Its disks outlive it; everything else is gone with the power."""

    def __init__(self, world, name: str, *, debian=False, modules=(), files=None, address=None, memory_mb=None,
                 qemu=(), state=True, first=None, kernel_words="", spare=(), root_mb=None):
        # `spare`: modules that are there and not loaded; `root_mb`: what is written to Debian's root goes to a
        # disk of that size, which outlives a boot (without `state`).
        self.name, self.supplies, self.folder = name, world.supplies, world.folder
        self.debian, self.address, self.state = debian, address, state
        self.modules, self.files, self.qemu = list(modules), dict(files or {}), list(qemu)
        self.memory_mb = memory_mb or (384 if debian else 192 if world.supplies.architecture is OWN else 320)
        self.first, self.kernel_words = first, kernel_words
        self.spare, self.root_mb = list(spare), root_mb
        # The next boot is made by the root's own init, which starts the agent too.
        self.own_init = False
        self.console_file = world.logs / f"{name}.console"
        self.console_file.write_bytes(b"")
        self.disks, self.events = [], []
        self._process = self._control = self._monitor = None
        self._received, self._number = b"", 0
        if state:
            self.state_disk = self.new_disk("state", 16)
            subprocess.run([*_mkfs(), str(self.state_disk)], check=True)
        if root_mb:
            assert debian and not state
            self.root_disk = self.new_disk("root", root_mb)
            subprocess.run([*_mkfs(), str(self.root_disk)], check=True)

    def new_disk(self, name: str, size_mb: int) -> Path:
        """An empty disk image of this machine, kept when the power is lost."""
        path = self.folder / f"{self.name}-{name}.disk"
        with open(path, "wb") as file:
            file.truncate(size_mb << 20)
        return path

    # ---- power -----------------------------------------------------------------------------

    def start(self):
        """Power on, without waiting."""
        assert self._process is None, f"{self.name} is on"
        initrd = self.folder / f"{self.name}.initrd"
        initrd.write_bytes(self._first_files())
        log = open(self.folder / f"{self.name}.qemu", "ab")
        with open(self.console_file, "ab") as console:
            console.write(f"\n---- power on at {time.strftime('%H:%M:%S')} ----\n".encode())
        self._boot_from = self.console_file.stat().st_size
        self._process = subprocess.Popen(self._command(initrd), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        self._monitor = self._connect("monitor")
        self._monitor_rest = b""
        self._monitor.sendall(b'{"execute":"qmp_capabilities"}\n')
        self._control = None if self.first else self._connect("control")
        self._received = b""

    def wait_ready(self, limit_s: float = BOOT_SECONDS):
        """Until the agent is there."""
        end = time.monotonic() + limit_s
        while (line := self._line(end)) != "0 0 ":
            if line is None:
                raise MachineError(f"{self.name} did not come up; its console ends:\n{self.console()[-1500:]}")

    def boot(self):
        """Power on, and wait."""
        self.start()
        self.wait_ready()

    def kill(self):
        """Loss of power, at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._closed()

    def is_on(self) -> bool:
        """Does it run? One that was reset counts as off: no machine starts again by itself."""
        if self._process is not None and self._process.poll() is not None:
            self._read_events()
            self._closed()
        return self._process is not None

    def _closed(self):
        for connection in (self._control, self._monitor):
            if connection is not None:
                connection.close()
        self._process = self._control = self._monitor = None

    # ---- inside ----------------------------------------------------------------------------

    def run(self, command: str, limit_s: float = RUN_SECONDS):
        """Exit code and output (both streams) of a shell command in the machine."""
        self._number += 1
        number, encoded = str(self._number), base64.b64encode(command.encode()).decode()
        self._control.sendall(f"{number} {encoded}\n".encode())
        end = time.monotonic() + limit_s
        while (line := self._line(end)) is not None:
            words = line.split(" ")
            if words[0] == number:
                return int(words[1]), base64.b64decode(words[2]).decode(errors="replace")
        raise MachineError(f"{self.name} did not answer within {limit_s} s: {command}")

    def ask(self, command: str, limit_s: float = RUN_SECONDS) -> str:
        """The output of a command that must succeed."""
        code, output = self.run(command, limit_s)
        if code:
            raise MachineError(f"{self.name}: exit code {code}: {command}\n{output}")
        return output

    def succeeds(self, command: str) -> bool:
        """Does the command end with 0?"""
        return self.run(command)[0] == 0

    def write(self, path: str, text: str, mode: str = "644"):
        """Writes a file in the machine."""
        encoded = base64.b64encode(text.encode()).decode()
        self.ask(f"mkdir -p $(dirname {path}) && echo {encoded} | base64 -d > {path} && chmod {mode} {path}")

    def console(self) -> str:
        """What the console has shown since power on."""
        return self.console_file.read_bytes()[self._boot_from:].decode(errors="replace")

    def type(self, text: str):
        """Types a line on the console of a machine without agent."""
        self._typewriter().sendall(text.encode() + b"\n")

    def wait_for(self, pattern: str, start: int, limit_s: float = RUN_SECONDS) -> str:
        """What the console shows from this place on, once it holds the pattern."""
        end = time.monotonic() + limit_s
        while not re.search(pattern, text := self.console()[start:]):
            if time.monotonic() > end:
                raise MachineError(f"{self.name}'s console does not show {pattern!r} within {limit_s} s")
            time.sleep(0.1)
        return text

    def event(self, name: str):
        """What the hardware told under this name (a QMP event), or None."""
        self._read_events()
        return next((event for event in self.events if event["event"] == name), None)

    # ---- parts -----------------------------------------------------------------------------

    def _first_files(self) -> bytes:
        """The first file system."""
        here, archive = self.supplies.here, Archive()
        archive.device("dev/console", 5, 1)
        wanted = list(BASE)
        wanted += NET if self.address or self._has("virtio-net") else []
        wanted += (ROOT if self.debian else []) + (STATE if self.state or self.root_mb else []) + self.modules
        lines, loaded = [], self.supplies.modules(wanted)
        for file, parameters in self.supplies.modules(wanted + self.spare):
            inside = "lib/modules" + str(file).split("/lib/modules", 1)[1]
            archive.file(inside, file)
            if (file, parameters) in loaded:
                lines.append(f"/{inside} {parameters}".strip() + "\n")
        if self.first:
            self.first(archive, lines)
            return archive.to_bytes()
        names = ["modules.dep", "modules.alias", "modules.builtin", "modules.symbols"]
        # What Debian's own modprobe reads.
        names += [f"{name}.bin" for name in names] if self.spare else []
        for name in names:
            path = f"lib/modules/{self.supplies.kernel_release}/{name}"
            archive.file(path, self.supplies.modules_of / path)
        archive.file("machine/modules", "".join(lines))
        archive.file("machine/setup", self._setup())
        archive.file("machine/busybox", Path("/bin/busybox"), 0o755)
        archive.file("machine/agent", here / "guest" / "agent", 0o755)
        archive.file("init", here / "guest" / "init", 0o755)
        archive.file("overlay/usr/local/sbin/ha", self.supplies.binary, 0o755)
        archive.file("overlay/etc/hostname", self.name + "\n")
        if not self.debian:
            archive.file("overlay/etc/passwd", PASSWD)
            archive.file("overlay/etc/group", GROUP)
        for path, content in self.files.items():
            mode = 0o755
            if not isinstance(content, Path) and not str(content).startswith("#!"):
                mode = 0o600 if path.endswith("authkeys") else 0o644
            archive.file("overlay" + path, content, mode)
        return archive.to_bytes()

    def _setup(self) -> str:
        disk = f"/dev/vd{'b' if self.debian else 'a'}" if self.state else ""
        return (f"machine_name={self.name}\nroot_image={'yes' if self.debian else 'no'}\n"
                f"address={self.address or ''}\nstate_disk={disk}\n"
                f"root_disk={'/dev/vdb' if self.root_mb else ''}\nown_init={'yes' if self.own_init else 'no'}\n")

    def _command(self, initrd: Path) -> list:
        architecture = self.supplies.architecture
        command = [*architecture.qemu, "-name", self.name, "-accel", self.supplies.accelerator(), "-m",
                   str(self.memory_mb),
                   "-display", "none", "-nodefaults", "-no-reboot", "-nic", "none", "-action", "watchdog=reset",
                   "-kernel", str(self.supplies.kernel), "-initrd", str(initrd),
                   "-append", f"console={architecture.console} quiet panic=-1 {self.kernel_words}".strip(),
                   "-qmp", f"unix:{self.socket_path('monitor')},server=on,wait=off",
                   "-chardev", f"socket,id=console,path={self.socket_path('console')},server=on,wait=off,"
                               f"logfile={self.console_file},logappend=on",
                   "-serial", "chardev:console",
                   "-device", "virtio-serial-pci", "-chardev",
                   f"socket,id=control,path={self.socket_path('control')},server=on,wait=off",
                   "-device", "virtserialport,chardev=control,name=control"]
        if self.debian:
            command += ["-drive", f"if=virtio,format=raw,readonly=on,file={self.supplies.root_image}"]
        if self.state:
            command += ["-drive", f"if=virtio,format=raw,file={self.state_disk}"]
        if self.root_mb:
            command += ["-drive", f"if=virtio,format=raw,file={self.root_disk}"]
        for disk in self.disks:
            command += ["-drive", f"if=virtio,format=raw,file={disk}"]
        return command + self.qemu

    def _has(self, word: str) -> bool:
        return any(word in option for option in self.qemu)

    def socket_path(self, name: str) -> Path:
        """The place of a socket of this machine."""
        return self.folder / f"{self.name}.{name}"

    def _connect(self, name: str) -> socket.socket:
        end = time.monotonic() + 30
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(str(self.socket_path(name)))
                return connection
            except OSError:
                connection.close()
                if time.monotonic() > end or self._process.poll() is not None:
                    said = (self.folder / f"{self.name}.qemu").read_text(errors="replace")
                    raise MachineError(f"QEMU did not start {self.name}:\n{said[-2000:]}") from None
                time.sleep(0.05)

    def _typewriter(self):
        if self._control is None:
            self._control = self._connect("console")
            # What the console shows is in its file; unread here, it would make the machine wait.
            threading.Thread(target=_drain, args=(self._control,), daemon=True).start()
        return self._control

    def _line(self, end: float):
        """The next line from the agent, or None when the time is over or the machine is off."""
        while b"\n" not in self._received:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._control], [], [], left)[0]:
                return None
            data = self._control.recv(65536)
            if not data:
                return None
            self._received += data
        line, self._received = self._received.split(b"\n", 1)
        return line.decode()

    def _read_events(self):
        while self._monitor is not None and select.select([self._monitor], [], [], 0)[0]:
            try:
                data = self._monitor.recv(65536)
            except OSError:
                return
            if not data:
                return
            *lines, self._monitor_rest = (self._monitor_rest + data).split(b"\n")
            self.events += [message for message in map(json.loads, filter(None, lines)) if "event" in message]


def _drain(connection: socket.socket):
    try:
        while connection.recv(65536):
            pass
    except OSError:
        pass


def _mkfs() -> list:
    return [*as_found("mkfs.ext4"), "-q", "-F"]
