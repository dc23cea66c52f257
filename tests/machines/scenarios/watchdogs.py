"""The kernel's watchdog: it resets a machine whose daemon hangs, and lets a stopped one go."""

from cluster import OURS, SERVICE, configuration, node
from scenario import Scenario

FILES = configuration("bcast eth0\n", more="watchdog /dev/watchdog\n")

# deadtime 15 is rounded up to whole seconds with a margin.
TIMEOUT_SECONDS = 16
# Longer than that: a watchdog that is not fed would have bitten.
LONGER_SECONDS = 25


def play(module, hardware):
    """The same with each kind of device in alpha."""
    def played(world):
        alpha = node(world, "alpha", OURS, FILES, modules=[module], qemu=hardware)
        beta = node(world, "beta", OURS, configuration("bcast eth0\n"))
        world.network_cable(alpha.machine, beta.machine)
        for each in (alpha, beta):
            each.machine.start()
        for each in (alpha, beta):
            each.machine.wait_ready()
        world.check(f"alpha's /dev/watchdog is {module}'s: {identity(alpha)}", identity(alpha))
        fed(world, alpha, beta)
        begins_anew(world, alpha, beta)
        let_go(world, alpha, beta)
        hangs(world, alpha, beta)
    return played


def identity(alpha):
    """What the driver says of itself."""
    return alpha.machine.run("cat /sys/class/watchdog/watchdog0/identity 2> /dev/null || dmesg | grep -i -m 1 "
                             "'softdog: init\\|i6300ESB.*init'")[1].strip()


def fed(world, alpha, beta):
    """While the daemon is well nothing happens."""
    for each in (alpha, beta):
        each.start_daemon()
    world.expect(f"alpha has {SERVICE}, both nodes are active",
                 lambda: alpha.has() and alpha.sees(beta) and beta.sees(alpha))
    world.check("alpha's log tells the device and its time",
                "Using watchdog device: /dev/watchdog" in alpha.log()
                and f"Set watchdog timer to {TIMEOUT_SECONDS} seconds." in alpha.log())
    world.hold("the daemon is well, alpha runs and has the address",
               lambda: alpha.machine.is_on() and alpha.has(), LONGER_SECONDS)


def begins_anew(world, alpha, beta):
    """Where a guard counts on the device it stays armed on the way to the next life, which feeds it on."""
    for more, words in [("watchdog /dev/watchdog\nwatchdog_wait on\n", "counts on the watchdog"),
                        ("watchdog /dev/watchdog\nwatchdog_wait on\nwarntime 9\n", "goes on with it"),
                        ("", "has none any more"),
                        ("watchdog /dev/watchdog\n", "has one again")]:
        lives = alpha.log().count("Local status now set to: 'active'")
        alpha.machine.write("/etc/ha.d/ha.cf", configuration("bcast eth0\n", more=more)["/etc/ha.d/ha.cf"])
        alpha.machine.ask("ha heartbeat -r")
        world.expect(f"alpha begins anew and {words}",
                     lambda lives=lives: alpha.log().count("Local status now set to: 'active'") > lives)
        world.hold("alpha runs and has the address", lambda: alpha.machine.is_on() and alpha.has(),
                   LONGER_SECONDS)
        world.check("its kernel knows of no watchdog that was left without its word",
                    not any(word in alpha.machine.ask("dmesg") for word in ("did not stop", "Unexpected close")))


def let_go(world, alpha, beta):
    """A proper stop disarms the device."""
    alpha.stop_daemon()
    world.expect("alpha's daemon is stopped, beta has the address", lambda: beta.has() and not alpha.has())
    world.hold("alpha runs on", alpha.machine.is_on, LONGER_SECONDS)
    world.check("its kernel knows of no watchdog that was left armed",
                "did not stop" not in alpha.machine.ask("dmesg"))
    alpha.start_daemon()
    world.expect("alpha's daemon runs again, both nodes are active", lambda: alpha.sees(beta) and beta.sees(alpha))
    world.expect("nothing is under way", lambda: beta.holds("all") and alpha.holds("none"))
    beta.standby()
    world.expect("hb_standby on beta: alpha has the address", lambda: alpha.has() and not beta.has())


def hangs(world, alpha, beta):
    """A daemon that stands still while it holds a resource."""
    world.expect("nothing is under way", lambda: alpha.holds("all") and beta.holds("none"))
    world.keep_log(alpha.machine)
    alpha.machine.ask("killall -STOP heartbeat")
    world.note("alpha's daemon gets SIGSTOP; the address is still there" if alpha.has() else "the address is gone")
    world.expect("alpha is reset", lambda: not alpha.machine.is_on(), 60)
    shutdown = alpha.machine.event("SHUTDOWN")
    world.check("by itself, not by a shutdown of its programs",
                shutdown and shutdown["data"]["reason"] == "guest-reset")
    if bitten := alpha.machine.event("WATCHDOG"):
        world.note(f"QEMU's word: WATCHDOG, action {bitten['data']['action']}")
    else:
        world.check("its kernel's last word: softdog: Initiating system reboot",
                    "softdog: Initiating system reboot" in alpha.machine.console())
    world.expect("beta has the address", beta.has)


SCENARIOS = [
    Scenario("watchdog-i6300esb", "A machine whose daemon hangs is reset by its watchdog device (i6300esb)",
             play("i6300esb", ["-device", "i6300esb"])),
    Scenario("watchdog-softdog", "A machine whose daemon hangs is reset by its kernel (softdog)",
             play("softdog", [])),
]
