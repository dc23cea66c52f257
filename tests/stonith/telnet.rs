//! Power switches with a telnet server: `apcmaster`, `wti_nps`, `baytech`.

use std::net::TcpListener;

use ha_core::stonith::device::{Action, Code};

use crate::power_switch::{handler, serve, HOSTS, PASSWORD};
use crate::{programs, request, skip, stonith, Deeds, Fault};

/// Time limits run at this percentage in this process.
const PACE_PERCENT: u32 = 4;

/// A server for one kind of switch at an address of its own.
struct Switch {
    address: String,
    deeds: Deeds,
}

impl Switch {
    /// `None` where this user may not have the port.
    fn start(number: u8, name: &str, fault: Fault) -> Option<Self> {
        // The loopback network is large: tests that run beside each other have addresses of their own.
        let pid = std::process::id();
        let address = format!("127.{}.{}.{number}", 1 + (pid >> 8) % 250, 1 + pid % 250);
        let listener = match TcpListener::bind((address.as_str(), 23)) {
            Ok(listener) => listener,
            Err(error) => {
                skip::skip(&format!("no telnet port: {error}"));
                return None;
            }
        };
        let (deeds, handler) = (Deeds::default(), handler(name).expect("a known switch"));
        let noted = deeds.clone();
        // Ends with the test's process.
        std::thread::spawn(move || serve(&listener, handler, &noted, || fault));
        Some(Self { address, deeds })
    }
}

/// Name of the type, number of its address, the user's parameter.
type Kind = (&'static str, u8, &'static [(&'static str, &'static str)]);
const KINDS: [Kind; 3] =
    [("apcmaster", 1, &[("login", "apc")]), ("wti_nps", 2, &[]), ("baytech", 3, &[("login", "admin")])];

#[test]
fn each_switch_resets_for_both_programs() {
    for (name, number, user) in KINDS {
        let Some(switch) = Switch::start(number, name, Fault::None) else { return };
        let pairs = [&[("ipaddr", switch.address.as_str())], user, &[("password", PASSWORD)]].concat();
        for program in programs() {
            let run = |words: &[&str]| stonith(&program, name, &pairs, words);
            let (code, text) = run(&["-l"]);
            let listed: Vec<&str> = text.lines().filter(|line| HOSTS.contains(line)).collect();
            assert_eq!((code, listed.as_slice()), (0, HOSTS.as_slice()), "{name} {}: {text}", program.0);
            assert_eq!(run(&["-S"]).0, 0, "{name} {}", program.0);
            assert_eq!(switch.deeds.take(), Vec::<String>::new(), "{name} {}", program.0);
            for (words, deed) in [(["-T", "reset", "NODE2"], "reset 2"), (["-T", "off", "node1"], "off 1")] {
                let (code, text) = run(&words);
                assert_eq!(code, 0, "{name} {}: {text}", program.0);
                assert_eq!(switch.deeds.take(), [deed], "{name} {}", program.0);
                assert!(program.0 == crate::ORIGINAL || !text.contains(PASSWORD), "{text}");
            }
            let (code, text) = run(&["-T", "reset", "node9"]);
            assert_eq!((code, switch.deeds.take()), (4, Vec::new()), "{name} {}: {text}", program.0);
        }
    }
}

#[test]
fn a_switch_that_misbehaves_never_reports_success() {
    let faults = [
        Fault::Silent,
        Fault::Junk,
        Fault::Refuses,
        Fault::NotListed,
        Fault::OtherAsked,
        Fault::HangsUp,
        Fault::HangsUpDone,
        Fault::NeverDone,
    ];
    for (name, number, user) in KINDS {
        for (index, fault) in faults.into_iter().enumerate() {
            let number = number * 20 + u8::try_from(index).unwrap();
            let Some(switch) = Switch::start(number, name, fault) else { return };
            let pairs = [&[("ipaddr", switch.address.as_str())], user, &[("password", PASSWORD)]].concat();
            let failure = request(name, &pairs, PACE_PERCENT, Action::Reset, "node2").expect_err(name);
            let expected: &[Code] = match fault {
                Fault::Silent | Fault::Refuses => &[Code::ACCESS],
                Fault::NotListed | Fault::OtherAsked => &[Code::BAD_HOST],
                Fault::Junk => &[Code::TIMEOUT, Code::BAD_HOST],
                Fault::HangsUp | Fault::HangsUpDone => &[Code::OTHER],
                _ => &[Code::RESET_FAILED],
            };
            assert!(expected.contains(&failure.code), "{name} {fault:?}: {failure:?}");
            assert!(!failure.text.contains(PASSWORD), "{failure:?}");
            let times = usize::from([Fault::NeverDone, Fault::HangsUpDone].contains(&fault));
            assert_eq!(switch.deeds.take().len(), times, "{name} {fault:?}: nothing is tried twice");
        }
    }
}

#[test]
fn a_slow_switch_resets_and_a_wrong_password_is_tried_once() {
    for (name, number, user) in KINDS {
        let Some(switch) = Switch::start(number * 20 + 10, name, Fault::Slow) else { return };
        let address = ("ipaddr", switch.address.as_str());
        let pairs = [&[address], user, &[("password", PASSWORD)]].concat();
        request(name, &pairs, 100, Action::Reset, "node3").expect(name);
        assert_eq!(switch.deeds.take(), ["reset 3"]);
        let pairs = [&[address], user, &[("password", "wrong")]].concat();
        let failure = request(name, &pairs, 100, Action::Reset, "node3").expect_err(name);
        assert_eq!((failure.code, switch.deeds.take()), (Code::ACCESS, Vec::new()), "{failure}");
    }
}

/// Whoever speaks of another outlet, or asks without end, is left, and nothing is switched.
#[test]
fn what_is_no_answer_for_this_outlet_switches_nothing() {
    for (number, name, login, fault, action, code) in [
        (200, "apcmaster", "apc", Fault::OtherOutlet, Action::Reset, Code::BAD_HOST),
        (201, "apcmaster", "apc", Fault::AsksForEver, Action::Reset, Code::RESET_FAILED),
        (202, "baytech", "admin", Fault::OtherAsked, Action::Off, Code::BAD_HOST),
    ] {
        let Some(switch) = Switch::start(number, name, fault) else { return };
        let pairs = [("ipaddr", switch.address.as_str()), ("login", login), ("password", PASSWORD)];
        let failure = request(name, &pairs, 100, action, "node2").expect_err(name);
        assert_eq!((failure.code, switch.deeds.take()), (code, Vec::new()), "{name} {fault:?}: {failure}");
    }
}
