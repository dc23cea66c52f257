"""Two machines whose daemons hear each other by a serial line and by nothing else."""

from cluster import ORIGINAL, OURS, SERVICE, configuration, node
from scenario import Scenario
from supplies import DEBIAN_ROOT

FILES = configuration("baud 19200\nserial /dev/ttyS1\n")


def play(alpha_kind, beta_kind):
    """The life of a pair: start, crash of the owner, its return, two planned switches, stop."""
    def played(world):
        alpha = node(world, "alpha", alpha_kind, FILES)
        beta = node(world, "beta", beta_kind, FILES)
        world.serial_cable(alpha.machine, beta.machine)
        # The service network, which no heartbeat uses.
        world.network_cable(alpha.machine, beta.machine)
        for each in (alpha, beta):
            each.machine.start()
        for each in (alpha, beta):
            each.machine.wait_ready()
        start(world, alpha, beta)
        crash(world, alpha, beta)
        come_back(world, alpha, beta)
        switch(world, beta, alpha)
        switch(world, alpha, beta)
        no_complaints(world, alpha, beta)
        stop(world, beta, alpha)
    return played


def start(world, alpha, beta):
    """Cold start of both."""
    for each in (alpha, beta):
        each.start_daemon()
    world.expect("each node sees the other active", lambda: alpha.sees(beta) and beta.sees(alpha))
    world.expect(f"alpha has {SERVICE}", alpha.has)
    world.expect("the transition is over", lambda: settled(alpha) and settled(beta))
    world.check("beta does not have the address", not beta.has())
    links = {each.cl_status(f"listhblinks {other.name}") for each, other in ((alpha, beta), (beta, alpha))}
    world.check("the only heartbeat link is /dev/ttyS1", links == {"/dev/ttyS1"})
    world.check("it is up on both sides", alpha.cl_status("hblinkstatus beta /dev/ttyS1") == "up"
                and beta.cl_status("hblinkstatus alpha /dev/ttyS1") == "up")
    world.expect("beta reaches the address over the service network", lambda: pings(beta))


def crash(world, alpha, beta):
    """The owner loses its power."""
    world.keep_log(alpha.machine)
    no_complaints(world, alpha)
    alpha.machine.kill()
    world.note("alpha loses its power")
    world.expect("beta takes alpha for dead", lambda: beta.sees(alpha, "dead"))
    world.expect(f"beta has {SERVICE}", beta.has)
    world.expect("beta holds all resources", lambda: beta.holds("all"))


def come_back(world, alpha, beta):
    """With auto_failback off the returned node gets nothing."""
    alpha.machine.boot()
    alpha.start_daemon()
    world.expect("alpha is back, each node sees the other active", lambda: alpha.sees(beta) and beta.sees(alpha))
    world.expect("the transition is over, beta holds all, alpha none",
                 lambda: alpha.holds("none") and beta.holds("all"))
    world.check("the address is still on beta alone", beta.has() and not alpha.has())


def switch(world, giver, taker):
    """A planned switch."""
    giver.standby()
    world.expect(f"hb_standby on {giver.name}: {taker.name} has the address and holds all, {giver.name} none",
                 lambda: taker.has() and not giver.has() and taker.holds("all") and giver.holds("none"))
    world.expect(f"{giver.name} reaches the address over the service network", lambda: pings(giver))


def stop(world, owner, other):
    """The owner's daemon is stopped."""
    owner.stop_daemon()
    world.expect(f"{owner.name}'s daemon is stopped: {other.name} has the address, {owner.name} has not",
                 lambda: other.has() and not owner.has())


def no_complaints(world, *nodes):
    """Neither side met anything that its kind calls an error."""
    for node in nodes:
        bad = [line for line in node.log().splitlines() if " ERROR: " in line or " CRIT: " in line]
        world.check(f"no ERROR or CRIT in {node.name}'s log" + "".join(f"; {line}" for line in bad), not bad)


def settled(node):
    """Is no transition under way?"""
    return node.cl_status("rscstatus") in ("all", "local", "foreign", "none")


def pings(node):
    """Does the address answer this node?"""
    return node.machine.succeeds(f"ping -c 1 -W 2 {SERVICE}")


NAMES = {(OURS, OURS): "serial-ours-ours", (OURS, ORIGINAL): "serial-ours-original",
         (ORIGINAL, OURS): "serial-original-ours"}

SCENARIOS = [
    Scenario(
        name,
        f"Two machines joined by a serial line for heartbeats: alpha runs {alpha}, beta runs {beta}",
        play(alpha, beta),
        (DEBIAN_ROOT,) if ORIGINAL in (alpha, beta) else (),
        ("heartbeat",) if ORIGINAL in (alpha, beta) else (),
    )
    for (alpha, beta), name in NAMES.items()
]
