"""What machines are made of: Debian's packages, its kernel, a root with its programs, our binary."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from architecture import OWN
from archive import Archive

# Always needed on this machine.
TOOLS = ["qemu-system-x86", "busybox-static", "kmod", "e2fsprogs"]
# To make a root of Debian's packages.
ROOT_TOOLS = ["mmdebstrap", "squashfs-tools"]

# The kernel of all machines, unless a scenario takes another.
KERNEL = "linux-image-amd64"

# The programs of the root, besides Debian's essential ones.
ROOT_PACKAGES = [
    "heartbeat", "cluster-glue", "resource-agents", "iproute2", "iputils-ping", "procps", "psmisc", "kmod",
    "netbase", "mount", "util-linux", "e2fsprogs", "mdadm", "lvm2", "nfs-kernel-server", "nfs-common",
    "rpcbind", "drbd-utils", "sg3-utils", "libxml2-utils", "sysvinit-core", "initscripts", "insserv", "startpar",
]
# No machine needs these, and each boot reads the image.
ROOT_WITHOUT = ["/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*"]

# Debian's older releases, oldest first: Linux 2.6.32, 3.2, 3.16, 4.9, 4.19, 5.10. Those that are long
# over are only in the archive, whose keys have expired.
OLDER = [("http://archive.debian.org/debian", suite)
         for suite in ("squeeze", "wheezy", "jessie", "stretch", "buster")]
OLDER += [("http://deb.debian.org/debian", suite) for suite in ("buster", "bullseye")]
KEYS = Path("/usr/share/keyrings")

# A kernel of its own package boots in this time with hardware virtualisation, or that does not work.
KVM_PROBE_SECONDS = 20

# The words of Scenario.needs.
DEBIAN_ROOT, C_COMPILER = "root of Debian's packages", "C compiler"


class Missing(Exception):
    """Something is not here and cannot be had; the text says what, and what to do."""


class Supplies:
    """Everything is made once, in the folder `work`, and found there the next time."""

    def __init__(self, here: Path, work: Path, binary):
        self.here, self.work = here, work.resolve()
        self.repository = here.parents[1]
        self.work.mkdir(parents=True, exist_ok=True)
        self.binary = self._own_binary(binary)
        self.binary_hash = hashlib.sha256(self.binary.read_bytes()).hexdigest()
        self.version = _output([str(self.binary), "--version"]).strip()
        self.kernel = self.modules_of = self.accel = self.root_image = self.root_list = None
        self.architecture = OWN
        self._lists = False

    def prepare(self, needs: set):
        """Everything that scenarios with these needs use."""
        self.install(TOOLS)
        self.qemu_version = re.search(r"version (\S+)", _output(["qemu-system-x86_64", "--version"]))[1]
        self.use_kernel(KERNEL)
        self.accel = self._accelerator()
        if DEBIAN_ROOT in needs:
            self.install(ROOT_TOOLS)
            self._debian_root()
        if C_COMPILER in needs:
            self.install(OWN.packages)

    def use_own_architecture(self):
        """That of this machine, with the usual kernel."""
        self.architecture = OWN
        self.use_kernel(KERNEL)

    def use_architecture(self, architecture) -> Path:
        """Takes another one's emulator, compiler and kernel; the value is our program for it."""
        self.install(architecture.packages)
        release = re.search(r"VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text())[1]
        options = self._apt_options("http://deb.debian.org/debian", release, architecture.debian)
        self.use_kernel(architecture.kernel, options)
        self.architecture = architecture
        return self._built("--arch", architecture.name)

    def _built(self, *options) -> Path:
        done = subprocess.run([str(self.repository / "packaging" / "build-static"), *options],
                              stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise Missing("packaging/build-static failed; build it, or name a static binary with --binary")
        return Path(done.stdout.strip())

    def _own_binary(self, given) -> Path:
        given = given or self._built()
        if not given.is_file():
            raise Missing(f"{given} is not there")
        return given.resolve()

    # ---- packages --------------------------------------------------------------------------

    def install(self, packages):
        """Installs what is missing; nothing of it is started by that."""
        shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        there = {line.split()[0] for line in shown.stdout.splitlines() if line.endswith(" installed")}
        missing = [package for package in packages if package not in there]
        if not missing:
            return
        self._refresh()
        print(f"installing {' '.join(missing)}", flush=True)
        command = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing]
        if subprocess.run(_as_root(command), stdout=subprocess.DEVNULL, check=False).returncode:
            raise Missing(f"apt-get could not install {' '.join(missing)}; install them by hand")

    def _refresh(self):
        if not self._lists:
            subprocess.run(_as_root(["apt-get", "update", "-q"]), stdout=subprocess.DEVNULL, check=False)
            self._lists = True

    # ---- kernel ----------------------------------------------------------------------------

    def use_kernel(self, package: str, source=()):
        """Takes this package's kernel, or the one that it depends on, unpacked and not installed.
        `source` are options for apt where it is not to use this machine's own lists."""
        names = _output(["apt-cache", *source, "depends", "--important", package])
        depends = re.search(r"Depends: (linux-image-\d\S+)", names)
        package = depends[1] if depends else package
        place = self.work / "kernels" / package
        if not (place / "complete").exists():
            if not source:
                self._refresh()
            print(f"unpacking {package}", flush=True)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            if subprocess.run(["apt-get", *source, "download", "-q", package], cwd=place, check=False,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
                raise Missing(f"apt-get could not download {package}")
            deb = next(place.glob("*.deb"))
            subprocess.run(["dpkg-deb", "-x", deb, place], check=True)
            release = next(place.glob("boot/vmlinuz-*")).name.removeprefix("vmlinuz-")
            subprocess.run(as_found("depmod") + ["-b", place, release], check=True)
            version = _output(["dpkg-deb", "-f", str(deb), "Version"]).strip()
            deb.unlink()
            (place / "complete").write_text(f"{release} {version}\n")
        self.kernel_release, self.kernel_version = (place / "complete").read_text().split()
        self.kernel, self.modules_of = place / "boot" / f"vmlinuz-{self.kernel_release}", place

    def use_oldest_kernel(self) -> list:
        """Takes the kernel of Debian's oldest release that apt reaches. What was not reached is returned."""
        out_of_reach = []
        for url, suite in OLDER:
            try:
                self.use_kernel(f"linux-image-{'2.6-' if suite == 'squeeze' else ''}amd64",
                                self._apt_options(url, suite))
                return out_of_reach
            except (Missing, subprocess.CalledProcessError):
                out_of_reach.append(f"{suite} at {url}")
        raise Missing(f"apt reaches none of {', '.join(out_of_reach)}")

    def _apt_options(self, url: str, suite: str, architecture=OWN.debian) -> list:
        """Options that let apt see this release alone; this machine's own lists stay as they are."""
        folder = self.work / "apt" / f"{suite}-{architecture}"
        (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        keys = ",".join(str(KEYS / name) for name in ("debian-archive-keyring.gpg", "debian-archive-removed-keys.gpg"))
        (folder / "list").write_text(f"deb [check-valid-until=no signed-by={keys}] {url} {suite} main\n")
        (folder / "status").write_text("")
        values = {"Dir::Etc::sourcelist": "list", "Dir::Etc::sourceparts": "parts", "Dir::State": ".",
                  "Dir::State::status": "status", "Dir::State::lists": "lists", "Dir::Cache": "cache"}
        options = [f"-o{name}={folder / value}" for name, value in values.items()]
        options += ["-oAPT::Sandbox::User=root", "-oAPT::Update::Error-Mode=any"]
        options += [f"-oAPT::Architecture={architecture}", f"-oAPT::Architectures={architecture}"]
        if subprocess.run(["apt-get", *options, "update", "-q"], check=False, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode:
            raise Missing(f"apt does not reach {suite} at {url}")
        return options

    def modules(self, names) -> list:
        """Files of these modules and of all they need, each after what it needs, with parameters; the
        names may carry parameters."""
        order = {}
        for name in names:
            shown = _output(as_found("modprobe") + ["-d", str(self.modules_of), "-S", self.kernel_release,
                                                     "--show-depends", *name.split()])
            for line in shown.splitlines():
                words = line.split()
                if words[0] == "insmod":
                    order.setdefault(words[1], " ".join(words[2:]))
        return [(Path(file), parameters) for file, parameters in order.items()]

    def accelerator(self) -> str:
        """For machines of the architecture in use."""
        return self.accel if self.architecture is OWN else "tcg"

    def _accelerator(self) -> str:
        """`kvm` where a machine really boots with it, else `tcg`."""
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            return "tcg"
        boot, known = Path("/proc/sys/kernel/random/boot_id").read_text().strip(), self.work / "accelerator"
        if not (known.exists() and known.read_text().startswith(boot)):
            known.write_text(f"{boot} {'kvm' if self._boots_with_kvm() else 'tcg'}\n")
        accel = known.read_text().split()[1]
        if accel == "tcg":
            print("/dev/kvm is there, but no machine boots with it; using software emulation", flush=True)
        return accel

    def _boots_with_kvm(self) -> bool:
        archive = Archive()
        archive.file("busybox", Path("/bin/busybox"), 0o755)
        archive.file("init", "#!/busybox sh\nexec /busybox poweroff -f\n", 0o755)
        with tempfile.NamedTemporaryFile() as initrd:
            initrd.write(archive.to_bytes())
            initrd.flush()
            command = ["qemu-system-x86_64", "-accel", "kvm", "-m", "256", "-display", "none", "-nodefaults",
                       "-nic", "none", "-no-reboot", "-kernel", str(self.kernel), "-initrd", initrd.name]
            try:
                done = subprocess.run(command, timeout=KVM_PROBE_SECONDS, check=False,
                                      stdin=subprocess.DEVNULL, capture_output=True)
                return done.returncode == 0
            except subprocess.TimeoutExpired:
                return False

    # ---- root ------------------------------------------------------------------------------

    def _debian_root(self):
        """An image with the programs of ROOT_PACKAGES as the distribution has them now."""
        key = hashlib.sha256("\n".join(ROOT_PACKAGES + ROOT_WITHOUT).encode()).hexdigest()[:12]
        self.root_image = self.work / f"root-{key}.squashfs"
        self.root_list = self.root_image.with_suffix(".packages")
        if self.root_image.exists() and self.root_list.exists():
            return
        print("making a root of Debian's packages (some minutes)", flush=True)
        release = re.search(r"VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text())[1]
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            root = Path(folder, "root")
            command = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(ROOT_PACKAGES)}"]
            command += [f"--dpkgopt=path-exclude={pattern}" for pattern in ROOT_WITHOUT]
            # The folder may be closed to apt's own user.
            command += ['--aptopt=APT::Sandbox::User "root"', release, str(root)]
            subprocess.run(_as_root(command), check=True, env={**os.environ, "TMPDIR": folder})
            packages = _output(["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W"])
            image = self.root_image.with_suffix(".new")
            subprocess.run(_as_root(["mksquashfs", str(root), str(image), "-comp", "lz4", "-noappend", "-quiet",
                                     "-no-progress", "-e", "var/cache/apt", "var/lib/apt"]), check=True)
            subprocess.run(_as_root(["rm", "-rf", str(root)]), check=True)
            self.root_list.write_text(packages)
            image.rename(self.root_image)

    def root_version(self, package: str) -> str:
        """The version of a package in the root."""
        for line in self.root_list.read_text().splitlines():
            name, version = line.split("\t")
            if name.split(":")[0] == package:
                return version
        raise Missing(f"the root has no package {package}")

    def deb(self) -> Path:
        """Our package of the binary."""
        made = _output([str(self.repository / "packaging" / "build-deb"), "--binary", str(self.binary), "--output",
                        str(self.work / "packages")])
        return Path(made.strip())

    def compiled(self, source: str) -> Path:
        """The static program of one C file of `guest`."""
        target = self.work / f"{Path(source).stem}-{self.architecture.name}"
        subprocess.run([*self.architecture.compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(target),
                        str(self.here / "guest" / source)], check=True)
        return target


def _output(command) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def _as_root(command) -> list:
    return list(command) if os.geteuid() == 0 else ["sudo", "-n", *command]


def as_found(program: str) -> list:
    """The program's command, also where an ordinary user's PATH leaves out its folder."""
    return [shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or program]
