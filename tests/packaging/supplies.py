"""What trials are made with: packages of ours, roots of Debian's packages."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

# In every root: what a small server has.
COMMON = ["iproute2", "iputils-ping", "procps", "sysvinit-utils", "sysv-rc", "adduser", "logrotate",
          "init-system-helpers", "kmod", "passwd"]
# THE TABLE of roots.
ROOTS = {
    "plain": [],
    "rpm": ["rpm"],
    "systemd": ["systemd", "systemd-sysv", "dbus"],
    "original": ["heartbeat", "cluster-glue", "resource-agents"],
    "original-systemd": ["heartbeat", "cluster-glue", "resource-agents", "systemd", "systemd-sysv", "dbus"],
}


class Missing(Exception):
    """Something is not here and cannot be had; the text says what, and what to do."""


class Supplies:
    """Packages are built anew each time; roots are made when first asked for, and kept."""

    def __init__(self, here: Path, work: Path, binary):
        self.here, self.work, self.repository = here, work.resolve(), here.parents[1]
        self.roots = self.work / "roots"
        self.roots.mkdir(parents=True, exist_ok=True)
        for program, package in (("dpkg-deb", "dpkg"), ("rpmbuild", "rpm")):
            if not shutil.which(program):
                raise Missing(f"{program} is missing: install {package}")
        self.binary = Path(binary or self._printed(["build-static"])[0]).resolve()
        self.deb = self.build_deb("first", 1)
        self.newer_deb = self.build_deb("newer", 2)
        self.rpms = self.build_rpm("first", 1)
        self.newer_rpms = self.build_rpm("newer", 2)
        self.old_rpm = self._old_rpm()

    def build_deb(self, folder: str, revision: int) -> Path:
        """A package in a folder of the work folder."""
        return self._built("build-deb", folder, revision)[0]

    def build_rpm(self, folder: str, revision: int) -> list:
        """The packages for rpm 4.8 and 4.4."""
        return self._built("build-rpm", folder, revision)

    def _built(self, command, folder, revision):
        options = ["--binary", str(self.binary), "--output", str(self.work / folder), "--revision", str(revision)]
        return [Path(line) for line in self._printed([command, *options])]

    def _printed(self, words):
        done = subprocess.run([str(self.repository / "packaging" / words[0]), *words[1:]], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise Missing(f"packaging/{words[0]} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout.splitlines()

    def _old_rpm(self) -> Path:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {folder}",
                            str(self.here / "old.spec")], check=True, stderr=subprocess.DEVNULL)
            made = next(Path(folder).glob("RPMS/*/*.rpm"))
            return Path(shutil.copy(made, self.work))

    def root(self, name: str) -> Path:
        """The folder of a root. It is written to only here, before anybody mounts it."""
        place = self.roots / name
        if place.exists():
            return place
        if not shutil.which("mmdebstrap"):
            raise Missing("mmdebstrap is missing: install it")
        release = re.search(r"VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text())[1]
        print(f"    making the root {name} of Debian's packages", flush=True)
        new = self.roots / f".{name}.{os.getpid()}"
        packages = ",".join(COMMON + ROOTS[name])
        # The folder may be closed to apt's own user.
        done = subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}",
                               '--aptopt=APT::Sandbox::User "root"', release, str(new)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise Missing(f"mmdebstrap could not make a root:\n{done.stdout}")
        new.rename(place)
        return place
