"""What the package files are like, without installing them."""

import shutil
import struct
import subprocess

from host import Failure, run
from scenarios import check

# Header types that rpm 4.4 and 4.8 know: 0 to 9, without 5 (64 bits).
KNOWN_TYPES = {0, 1, 2, 3, 4, 6, 7, 8, 9}
# What a package may ask of rpm itself.
FEATURES = {"rpmlib(CompressedFileNames) <= 3.0.4-1", "rpmlib(PayloadFilesHavePrefix) <= 4.0-1"}
FEATURE_48 = "rpmlib(FileDigests) <= 4.6.0-1"
PAYLOAD_FORMAT, PAYLOAD_COMPRESSOR, FILE_DIGEST_ALGORITHM = 1124, 1125, 5011


def lint(supplies):
    """lintian and rpmlint have nothing to say but what is overridden with a reason."""
    said = run(["lintian", "--no-cfg", "--allow-root", "--fail-on", "error,warning", str(supplies.deb)])
    check("lintian is content", not said.strip(), said)
    rules = supplies.repository / "packaging" / "rpm" / "rpmlintrc"
    said = run(["rpmlint", "-r", str(rules), *map(str, supplies.rpms)])
    check("rpmlint is content", "0 errors, 0 warnings" in said, said)
    for script in (supplies.repository / "packaging" / "rpm").glob("p*"):
        text = supplies.repository / "packaging" / "scripts" / "maintain.sh"
        run(["sh", "-n", str(text)])
        run(["sh", "-n", str(script)])


def headers(supplies):
    """Nothing in the packages needs an rpm or dpkg newer than those of CentOS 6, SLES 11 and Debian 8."""
    for number, package in enumerate(supplies.rpms):
        check(f"rpm -K {package.name}", "digests OK" in run(["rpm", "-K", str(package)]))
        asked = {line for line in run(["rpm", "-qp", "--requires", str(package)]).splitlines()
                 if line.startswith("rpmlib")}
        wanted = FEATURES | ({FEATURE_48} if number == 0 else set())
        check(f"{package.name} asks rpm for {len(asked)} features", asked <= wanted, asked)
        data = package.read_bytes()
        start = 96
        for name in ("signature", "main"):
            tags, start = header(data, start, name == "signature")
            unknown = {tag: kind for tag, (kind, _) in tags.items() if kind not in KNOWN_TYPES}
            check(f"{name} header: {len(tags)} tags, all of old types", not unknown, unknown)
        check("payload: cpio in gzip", tags[PAYLOAD_FORMAT][1] == b"cpio" and tags[PAYLOAD_COMPRESSOR][1] == b"gzip"
              and data[start:start + 2] == b"\x1f\x8b")
        algorithm = tags.get(FILE_DIGEST_ALGORITHM)
        # Absent stands for MD5, which is all that rpm 4.4 knows.
        check("digests as that rpm reads them", (algorithm is None) == (number == 1), algorithm)
        scripts = run(["rpm", "-qp", "--scripts", str(package)])
        check("scripts run by /bin/sh", "<lua>" not in scripts and "using /bin/sh" in scripts)
    members = run(["ar", "t", str(supplies.deb)]).split()
    check("the DEB's members are packed by gzip", members == ["debian-binary", "control.tar.gz", "data.tar.gz"], members)


def header(data, start, padded):
    """Tags of a header structure with type and first bytes; and where it ends."""
    magic, count, size = struct.unpack(">8sII", data[start:start + 16])
    if magic[:4] != b"\x8e\xad\xe8\x01":
        raise Failure(f"no header at {start}")
    store = start + 16 + 16 * count
    tags = {}
    for index in range(count):
        tag, kind, offset, _ = struct.unpack(">IIII", data[start + 16 + 16 * index:start + 32 + 16 * index])
        value = data[store + offset:store + offset + 256]
        tags[tag] = (kind, value.split(b"\0")[0] if kind == 6 else value)
    end = store + size
    return tags, end + (-end % 8 if padded else 0)


def same_bytes(supplies):
    """The same binary and commit give the same packages, whatever the folder and the umask."""
    again = [supplies.build_deb("again", 1), *supplies.build_rpm("again", 1)]
    for one, other in zip([supplies.deb, *supplies.rpms], again):
        check(f"{one.name} again: the same bytes", one.read_bytes() == other.read_bytes(),
              subprocess.run(["cmp", one, other], capture_output=True, text=True, check=False).stdout)
    shutil.rmtree(supplies.work / "again")
