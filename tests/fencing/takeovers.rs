//! Goal: built-in devices inside a real takeover. Whatever the switch does, nothing is taken before it has
//! reset the victim, log and alarm say why it is not taken, no outlet is switched twice for one death, and
//! as soon as the switch works the takeover goes through. Nobody sees its password meanwhile.
//! Method: played power switches on the client's host, reached by telnet over the hosts' network; what
//! they did is counted there. With `HA_LONG=1` every fault is played.

use std::time::{Duration, Instant};

use ha_core::demo::host::LOG;
use ha_core::demo::world::{HostKind, World, SERVICE_ADDRESS};
use serde_json::Value;

use crate::power_switch::{Fault, PASSWORD};
use crate::switches::{self, ADDRESSES};
use crate::{common, long, secrets, PATIENCE};

const ALARMS: &str = "/var/log/alarms";
const PARAMETERS: &str = "/etc/ha.d/switch.conf";
/// A switch that says nothing is given up after this, seconds.
const TIMEOUT_S: u32 = 3;

/// A pair that runs, and its switches.
struct Rig {
    world: World,
}

/// Who dies in a round and who is left, and where their files stood before.
struct Round {
    victim: String,
    survivor: String,
    log_start: usize,
    alarms_start: usize,
    deeds_start: [usize; 2],
}

impl Rig {
    /// `kinds` of the switches in the order of ha.cf; the first has its parameters in a file.
    fn running(kinds: &[&str]) -> Option<Self> {
        let world = common::pair(HostKind::Ours, HostKind::Ours)?;
        let this = Self { world };
        for (place, kind) in kinds.iter().enumerate() {
            switches::start(&this.world, place, kind);
        }
        let user = |kind: &str| if kind == "apcmaster" { "apc " } else { "" };
        let parameters = |place: usize| format!("{} {}{PASSWORD}", ADDRESSES[place], user(kinds[place]));
        let mut lines = vec![format!("stonith {} {PARAMETERS}", kinds[0])];
        let others = (1..kinds.len()).map(|place| (kinds[place], parameters(place)));
        lines.extend(others.map(|(kind, values)| format!("stonith_host * {kind} {values}")));
        lines.extend([format!("stonith_timeout {TIMEOUT_S}"), "stonith_delay 0".into()]);
        lines.extend(["auto_failback off".into(), "debug 4".into(), "alarm /alarm-program".into()]);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let ha_cf = this.world.ha_cf(100, 1000, &lines).replace("initdead 2000ms", "initdead 5");
        let groups = format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0\n");
        this.world.configure(&ha_cf, &groups).expect("configure");
        for host in this.world.hosts() {
            let values = format!("# of the switch\n{}\n", parameters(0));
            host.write_file_with_mode(PARAMETERS, &values, 0o600).expect("parameters");
            let program = format!("#!/bin/sh\ncat >> {ALARMS}\nenv >> {ALARMS}.environment\n");
            host.write_file_with_mode("/alarm-program", &program, 0o755).expect("program");
            host.start_daemon().expect("daemon");
        }
        this.world.wait_owner(SERVICE_ADDRESS, "node1", PATIENCE).expect("the first owner");
        this.settles();
        Some(this)
    }

    /// From the next connection on.
    fn set_fault(&self, place: usize, fault: Fault) {
        switches::set_fault(&self.world, place, fault);
    }

    /// What a switch has done so far.
    fn deeds(&self, place: usize) -> Vec<String> {
        switches::deeds(&self.world, place)
    }

    fn settles(&self) {
        common::wait_for(&self.world, "the pair is whole", PATIENCE, || common::is_settled(&self.world));
    }

    fn read(&self, name: &str, path: &str, start: usize) -> String {
        let text = self.world.host(name).expect("host").read_file(path).unwrap_or_default();
        text.get(start..).unwrap_or_default().to_owned()
    }

    /// The one with the address loses its power.
    fn owner_dies(&self) -> Round {
        let owners = self.world.owners(SERVICE_ADDRESS).expect("owners");
        let [victim] = owners[..] else { panic!("owners {owners:?}") };
        let survivor = if victim == "node1" { "node2" } else { "node1" };
        let length = |path: &str| self.read(survivor, path, 0).len();
        let round = Round {
            victim: victim.to_owned(),
            survivor: survivor.to_owned(),
            log_start: length(LOG),
            alarms_start: length(ALARMS),
            deeds_start: [self.deeds(0).len(), self.deeds(1).len()],
        };
        self.world.crash(victim).expect("crash");
        round
    }

    /// Deeds of a switch since the round began.
    fn deeds_of(&self, round: &Round, place: usize) -> Vec<String> {
        self.deeds(place).split_off(round.deeds_start[place])
    }

    fn log_of(&self, round: &Round) -> String {
        self.read(&round.survivor, LOG, round.log_start)
    }

    /// Alarms that the survivor's program was told: kind, state, text.
    fn alarms_of(&self, round: &Round) -> Vec<[String; 3]> {
        let text = self.read(&round.survivor, ALARMS, round.alarms_start);
        let told = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let word = |alarm: &Value, name: &str| alarm[name].as_str().unwrap_or_default().to_owned();
        told.map(|alarm| ["kind", "state", "text"].map(|name| word(&alarm, name))).collect()
    }

    /// Waits for a line in the survivor's log; nothing is taken meanwhile.
    #[track_caller]
    fn logs_untaken(&self, round: &Round, line: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let owners = self.world.owners(SERVICE_ADDRESS).expect("owners");
            assert!(owners.is_empty(), "taken by {owners:?}\n{}", common::logs(&self.world));
            if self.log_of(round).contains(line) {
                return;
            }
            assert!(Instant::now() < end, "no '{line}'\n{}", common::logs(&self.world));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the takeover; nothing is taken before a switch has done something.
    #[track_caller]
    fn is_taken(&self, round: &Round) {
        let end = Instant::now() + PATIENCE;
        loop {
            let owners = self.world.owners(SERVICE_ADDRESS).expect("owners");
            let done = !self.deeds_of(round, 0).is_empty() || !self.deeds_of(round, 1).is_empty();
            assert!(done || owners.is_empty(), "taken unfenced\n{}", common::logs(&self.world));
            if owners == [round.survivor.as_str()] {
                return;
            }
            assert!(Instant::now() < end, "not taken\n{}", common::logs(&self.world));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The outlet of the victim.
    fn reset(round: &Round) -> String {
        format!("reset {}", &round.victim["node".len()..])
    }

    fn comes_back(&self, round: &Round) {
        self.world.boot(&round.victim).expect("boot");
        self.world.host(&round.victim).expect("host").start_daemon().expect("daemon");
        self.settles();
    }

    /// The alarm that no device could do it, with the reason.
    #[track_caller]
    fn alarm_says(&self, round: &Round, reason: &str) {
        let told = || {
            let alarms = self.alarms_of(round);
            alarms.into_iter().find(|[kind, state, _]| kind == "fencing-failed" && state == "begin")
        };
        common::wait_for(&self.world, "the alarm", PATIENCE, || told().is_some());
        let text = told().map(|[_, _, text]| text).unwrap_or_default();
        assert!(
            text.contains(reason) && text.contains("nothing of it is taken over"),
            "'{reason}' in '{text}'"
        );
    }

    /// A switch with this fault is waited for, said to be in the way for this reason, and when it works
    /// the takeover goes through by one reset.
    fn waits_for_the_switch(&self, fault: Fault, reason: &str) {
        self.set_fault(0, fault);
        let round = self.owner_dies();
        if fault == Fault::Silent {
            // The child that talks with the switch is there to be looked at.
            self.logs_untaken(&round, "Resetting node");
            common::wait_for(&self.world, "a child that resets", PATIENCE, || {
                self.secret_is_nowhere(&round.survivor).contains("-T reset")
            });
        }
        self.logs_untaken(&round, &format!("STONITH of {} failed.  Retrying...", round.victim));
        let log = self.log_of(&round);
        assert!(log.contains(&format!("ERROR: {reason}")), "{fault:?}: '{reason}'\n{log}");
        self.alarm_says(&round, reason);
        assert_eq!(self.deeds_of(&round, 0), Vec::<String>::new(), "{fault:?}");
        let page = self.world.host(&round.survivor).expect("host").run(&["/ha", "status"]).expect("status");
        assert!(page.stdout.contains(reason), "{fault:?}: '{reason}'\n{}", page.stdout);
        self.set_fault(0, Fault::None);
        self.is_taken(&round);
        self.is_over(&round, [1, 0], fault);
    }

    /// So many resets by each switch, all of the victim, and none comes after it is back.
    fn is_over(&self, round: &Round, resets: [usize; 2], fault: Fault) {
        let wanted = resets.map(|count| vec![Self::reset(round); count]);
        let done = || [self.deeds_of(round, 0), self.deeds_of(round, 1)];
        assert_eq!(done(), wanted, "{fault:?}");
        self.comes_back(round);
        assert_eq!(done(), wanted, "{fault:?}: and no more\n{}", common::logs(&self.world));
        self.secret_is_nowhere(&round.survivor);
    }

    fn secret_is_nowhere(&self, name: &str) -> String {
        secrets::is_nowhere(self.world.host(name).expect("host"), PASSWORD)
    }
}

#[test]
fn a_switch_that_does_nothing_is_waited_for() {
    let Some(rig) = Rig::running(&["wti_nps"]) else { return };
    let name = "WTI Network Power Switch";
    let late = format!("{name}: stonith wti_nps took longer than {TIMEOUT_S} s");
    let refused = format!("{name}: Invalid password for {name}.");
    rig.waits_for_the_switch(Fault::Silent, &late);
    rig.waits_for_the_switch(Fault::Refuses, &refused);
    if long() {
        rig.waits_for_the_switch(Fault::NotListed, &format!("{name}: {name} doesn't control host [node"));
        rig.waits_for_the_switch(Fault::Junk, &late);
    }
}

/// It hangs up before it switched, and after.
#[test]
fn a_switch_that_hangs_up_half_way() {
    let Some(rig) = Rig::running(&["wti_nps"]) else { return };
    let name = "WTI Network Power Switch";
    // Whether it switched is not known here: what was reset is given time to come back.
    rig.set_fault(0, Fault::HangsUpDone);
    let round = rig.owner_dies();
    rig.logs_untaken(&round, &format!("node {} may have been reset all the same: it has 30 s", round.victim));
    let reason = format!("{name}: {name}: connection lost; whether it was reset is not known");
    assert!(rig.log_of(&round).contains(&reason), "{}", rig.log_of(&round));
    rig.alarm_says(&round, &reason);
    rig.comes_back(&round);
    let cancelled = format!("Resource takeover cancelled - node {} is heard again.", round.victim);
    assert!(rig.log_of(&round).contains(&cancelled), "{}", rig.log_of(&round));
    assert_eq!(rig.deeds_of(&round, 0), [Rig::reset(&round)], "nothing is reset twice");
    if !long() {
        return;
    }
    for fault in [Fault::HangsUp, Fault::NeverDone] {
        rig.set_fault(0, fault);
        let round = rig.owner_dies();
        rig.logs_untaken(&round, "it has 30 s to come back before it is reset again");
        let before = usize::from(fault == Fault::NeverDone);
        assert_eq!(rig.deeds_of(&round, 0).len(), before);
        rig.set_fault(0, Fault::None);
        rig.is_taken(&round);
        rig.is_over(&round, [before + 1, 0], fault);
    }
}

/// The first switch is in the way, the second one does it at once.
#[test]
fn the_second_switch_does_it() {
    let Some(rig) = Rig::running(&["apcmaster", "wti_nps"]) else { return };
    let name = "APC MasterSwitch";
    let wrong = |victim: &str| format!("shows node3 for outlet {} of {victim}", &victim["node".len()..]);
    let faults = [Fault::OtherOutlet, Fault::OtherAsked, Fault::NotListed, Fault::Refuses, Fault::Silent];
    for fault in &faults[..if long() { 5 } else { 1 }] {
        rig.set_fault(0, *fault);
        let round = rig.owner_dies();
        rig.is_taken(&round);
        let reason = match fault {
            Fault::OtherOutlet => wrong(&round.victim),
            Fault::OtherAsked => "would switch outlet 3 for".to_owned(),
            Fault::NotListed => format!("doesn't control host [{}]", round.victim),
            Fault::Refuses => "Invalid password".to_owned(),
            _ => format!("took longer than {TIMEOUT_S} s"),
        };
        let log = rig.log_of(&round);
        let said = log.lines().any(|line| line.contains(&format!("ERROR: {name}")) && line.contains(&reason));
        assert!(said && !log.contains("Retrying"), "{fault:?}: '{reason}'\n{log}");
        let over = || {
            let alarms = rig.alarms_of(&round);
            alarms.into_iter().find(|[kind, state, _]| kind == "fencing" && state == "over")
        };
        common::wait_for(&rig.world, "the alarm", PATIENCE, || over().is_some());
        let text = over().map(|[_, _, text]| text).unwrap_or_default();
        // Or the check of the device at the next start fails, which is an alarm as well.
        rig.set_fault(0, Fault::None);
        assert!(text.contains("now reset.") && text.contains(&reason), "{fault:?}: {text}");
        rig.is_over(&round, [0, 1], *fault);
    }
}
