"""Other architectures than this machine's: what emulates them, their kernel, compiler and console."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """One row of the table."""

    # As packaging/build-static calls it.
    name: str
    # As apt calls it.
    debian: str
    # The emulator, with the board.
    qemu: tuple
    console: str
    # The package of Debian's kernel.
    kernel: str
    # Compiles a static program of one file.
    compiler: tuple
    # Packages for all this.
    packages: tuple = ()


OWN = Architecture("x86_64", "amd64", ("qemu-system-x86_64",), "ttyS0", "linux-image-amd64", ("musl-gcc", "-static"),
                   ("musl-tools",))
I686 = Architecture("i686", "i386", ("qemu-system-i386",), "ttyS0", "linux-image-686-pae",
                    ("i686-linux-gnu-gcc", "-static"), ("gcc-i686-linux-gnu", "libc6-dev-i386-cross"))
AARCH64 = Architecture("aarch64", "arm64", ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57"), "ttyAMA0",
                       "linux-image-arm64", ("aarch64-linux-gnu-gcc", "-static"),
                       ("qemu-system-arm", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"))
