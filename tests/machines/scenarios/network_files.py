"""NFS: a pair serves a file system, a third machine uses it through our Filesystem agent."""

from cluster import OURS, SERVICE, node
from scenario import Scenario
from supplies import DEBIAN_ROOT

from .storage import FIRST, boot, pair

# Debian's own init script leaves the threads running at a stop, and its unit needs systemd.
SERVER = """#!/bin/sh
# The administrator's script for the NFS server.
case $1 in
start)
    mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
    exportfs -r && rpc.nfsd 2 && { pidof rpc.mountd > /dev/null || rpc.mountd; } ;;
stop)
    rpc.nfsd 0 && exportfs -au && { killall -q -w rpc.mountd; true; } ;;
status)
    [ "$(cat /proc/fs/nfsd/threads 2> /dev/null || echo 0)" -gt 0 ] && echo running || { echo stopped; exit 3; } ;;
esac
"""

FILES = {
    "/etc/ha.d/resource.d/nfs-server": SERVER,
    # The root of what clients see (fsid=0): the machine's own root, in memory, cannot be exported.
    "/etc/exports": "/data 10.9.0.0/24(rw,sync,no_subtree_check,no_root_squash,fsid=0)\n",
    # A new server waits so long for clients of the old one.
    "/etc/nfs.conf.d/machines.conf": "[nfsd]\ngrace-time=15\nlease-time=15\nthreads=2\n",
}
SOURCE = f"{SERVICE}:/"
CALL = f"{SOURCE} /mnt nfs vers=4.2,hard"


def nfs(world):
    """The server's address, disk and program move; the client's file system stays mounted."""
    resources = f"alpha Filesystem::{FIRST}::/data::ext4 nfs-server IPaddr2::{SERVICE}/24/eth0\n"
    alpha, beta = pair(world, resources, 1, ["nfsd"], FILES)
    client = node(world, "client", OURS, {}, debian=True, modules=["nfsv4"])
    world.network_hub([alpha.machine, beta.machine, client.machine])
    boot(alpha.machine, beta.machine, client.machine)
    alpha.machine.ask(f"mkfs.ext4 -q {FIRST}")
    for each in (alpha, beta):
        each.machine.ask("/etc/init.d/rpcbind start && mkdir -p /var/lib/nfs/v4recovery")
        each.start_daemon()
    world.expect("alpha has the address and serves", lambda: serves(alpha) and not serves(beta))
    mount(world, client.machine)
    client.machine.ask("echo one > /mnt/file")
    world.expect("nothing is under way", lambda: alpha.sees(beta) and beta.sees(alpha)
                 and alpha.cl_status("rscstatus") in ("all", "local"))
    alpha.standby()
    world.expect("hb_standby on alpha: beta has the address and serves, alpha does not",
                 lambda: serves(beta) and not serves(alpha))
    goes_on(world, client.machine, "one", "two")
    world.expect("nothing is under way", lambda: beta.holds("all") and alpha.holds("none"))
    world.keep_log(beta.machine)
    beta.machine.kill()
    world.note("beta loses its power")
    world.expect("alpha has the address and serves", lambda: serves(alpha))
    goes_on(world, client.machine, "two", "three")
    world.check("client: our Filesystem stops", client.machine.run(f"ha Filesystem {CALL} stop", 120)[0] == 0)
    world.check("nothing is mounted any more", not is_mounted(client.machine))


def mount(world, client):
    """Debian's agent and ours mount and judge the same."""
    originals = f"/original/Filesystem {CALL}"
    ours = f"ha Filesystem {CALL}"
    for starter, stopper in ((originals, ours), (ours, originals)):
        code, output = client.run(f"{starter} start", 300)
        world.check(f"client: {starter.split()[0]} start: exit code {code}" + (f", {output}" if code else ""),
                    code == 0 and is_mounted(client))
        codes = [client.run(f"{each} status")[0] for each in (ours, originals)]
        world.check(f"status of both: {codes[0]}", codes == [0, 0])
        code, output = client.run(f"{stopper} stop", 300)
        world.check(f"client: {stopper.split()[0]} stop: exit code {code}" + (f", {output}" if code else ""),
                    code == 0 and not is_mounted(client))
        codes = [client.run(f"{each} status")[0] for each in (ours, originals)]
        world.check(f"status of both: {codes[0]}", codes[0] == codes[1] != 0)
    client.ask(f"{ours} start", 300)


def goes_on(world, client, old, new):
    """The client reads what was written before and writes on, through the new server."""
    text = client.run("cat /mnt/file", 300)[1]
    world.check(f"the client reads through the new server: {text.strip()}", text == f"{old}\n")
    client.ask(f"echo {new} > /mnt/file && sync", 300)
    world.check("and writes", client.ask("cat /mnt/file") == f"{new}\n")


def serves(each):
    """Address, file system and NFS threads."""
    threads = each.machine.run("cat /proc/fs/nfsd/threads 2> /dev/null")[1].strip() or "0"
    return each.has() and each.machine.succeeds("grep -q ' /data ext4 ' /proc/mounts") and int(threads) > 0


def is_mounted(client):
    """On the client."""
    return client.succeeds("grep -q ' /mnt nfs4 ' /proc/mounts")


SCENARIOS = [
    Scenario("nfs", "A pair serves NFS with Debian's kernel, a third machine mounts it with our Filesystem", nfs,
             (DEBIAN_ROOT,), ("resource-agents", "nfs-kernel-server")),
]
