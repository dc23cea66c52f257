"""Archives in the kernel's initramfs format (cpio "newc"), written without being root."""

import stat
from pathlib import Path


class Archive:
    """Files for the first file system of a machine. Archives can be put one after another."""

    def __init__(self):
        self._parts = []
        self._count = 0
        self._folders = set()

    def folder(self, path: str, mode: int = 0o755):
        """A folder, with those above it."""
        path = path.strip("/")
        if not path or path in self._folders:
            return
        self.folder(str(Path(path).parent) if "/" in path else "")
        self._folders.add(path)
        self._entry(path, stat.S_IFDIR | mode, b"")

    def file(self, path: str, content, mode: int = 0o644):
        """A file with this content (bytes, text, or the path of a file to copy)."""
        if isinstance(content, Path):
            content = content.read_bytes()
        elif isinstance(content, str):
            content = content.encode()
        self._above(path)
        self._entry(path.strip("/"), stat.S_IFREG | mode, content)

    def link(self, path: str, target: str):
        """A symbolic link."""
        self._above(path)
        self._entry(path.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def device(self, path: str, major: int, minor: int, mode: int = 0o600):
        """A character device."""
        self._above(path)
        self._entry(path.strip("/"), stat.S_IFCHR | mode, b"", (major, minor))

    def to_bytes(self) -> bytes:
        """The archive with its end mark."""
        end = Archive()
        end._entry("TRAILER!!!", 0, b"")
        return b"".join(self._parts + end._parts)

    def _above(self, path: str):
        self.folder(str(Path("/" + path.strip("/")).parent))

    def _entry(self, name: str, mode: int, content: bytes, device=(0, 0)):
        self._count += 1
        encoded = name.encode() + b"\0"
        fields = [self._count, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        self._parts += [_padded(head), _padded(content)]


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
