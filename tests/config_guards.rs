//! Every directive that fences, guards or watches: values it takes and what becomes of them, values it does
//! not take and where the remark points, what a second line does, hostile values.
//!
//! One row each in [`ROWS`]; a directive of these families without a row fails the test.

use std::path::Path;

use ha_core::config::check::{check, Scripts};
use ha_core::config::directive::DIRECTIVES;
use ha_core::config::ha_cf::{self, HaCfReport};
use ha_core::config::host::HostFacts;
use ha_core::config::settings::{AlarmTarget, HaCf, TakeoverMode};
use ha_core::config::source::Source;

const PLAIN: &str = "logfacility none\nkeepalive 1\ndeadtime 10\ninitdead 30\nbcast lo\nauto_failback off\n\
                     ping 127.0.0.1\nnode node1 node2\n";
/// The line behind it.
const FIRST: usize = 9;

/// The table has these and everything between them.
const FAMILIES: (&str, &str) = ("stonith", "resource_fence");

type Holds = fn(&HaCf) -> bool;

/// One directive.
struct Row {
    name: &'static str,
    /// What follows it, and what must be so then.
    good: &'static [(&'static str, Holds)],
    /// What follows it, the column of the remark (1: at the directive), part of its text.
    bad: &'static [(&'static str, usize, &'static str)],
    /// Two lines, and what is so then; `Err`: part of the remark about the second.
    twice: [&'static str; 2],
    then: Result<Holds, &'static str>,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row {
        name: "stonith",
        good: &[],
        bad: &[("", 1, "type is missing"), ("null", 9, "file is missing"),
               ("nonsense /etc/ha.d/x", 9, "no fencing device of type"),
               ("null /nonexistent/file", 9, "does not have the parameters")],
        twice: ["null /nonexistent/file", "null /nonexistent/file"],
        then: Err("does not have the parameters"),
    },
    Row {
        name: "stonith_host",
        good: &[("* null node1 node2", |set| set.fencing.devices.len() == 1),
                ("node1 null node2", |set| set.fencing.devices.len() == 1),
                ("NODE1 null node2", |set| set.fencing.devices.len() == 1),
                ("node2 nonsense", |set| set.fencing.devices.is_empty())],
        bad: &[("", 1, "host is missing"), ("*", 14, "type is missing"),
               ("* nonsense x", 14, "no fencing device of type `nonsense`"), ("* null", 14, "not the parameters")],
        twice: ["* null node2", "* null node1 node2"],
        then: Ok(|set| set.fencing.devices.len() == 2),
    },
    Row {
        name: "stonith_timeout",
        good: &[("1", |set| set.fencing.limit_ms == 1_000), ("1500ms", |set| set.fencing.limit_ms == 1_500)],
        bad: &[("0", 17, "`0` is not a time"), ("999ms", 17, "`999ms`"), ("86401", 17, "`86401`"),
               ("soon", 17, "`soon`"), ("1.5.2", 17, "`1.5.2`"), ("-1", 17, "`-1`")],
        twice: ["10", "20"],
        then: Ok(|set| set.fencing.limit_ms == 20_000),
    },
    Row {
        name: "stonith_delay",
        good: &[("0", |set| (set.fencing.delay_ms, set.fencing.delay_random_ms) == (0, 0)),
                ("2 500ms", |set| (set.fencing.delay_ms, set.fencing.delay_random_ms) == (2_000, 500))],
        bad: &[("", 1, "`` is not a time"), ("1 2 3", 15, "more than two"), ("x", 15, "`x`"), ("1 x", 15, "`x`")],
        twice: ["5 5", "1"],
        then: Ok(|set| (set.fencing.delay_ms, set.fencing.delay_random_ms) == (1_000, 0)),
    },
    Row {
        name: "stonith_unheard",
        good: &[("wait", |set| set.fencing.waits_for_unheard), ("fence", |set| !set.fencing.waits_for_unheard)],
        bad: &[("perhaps", 17, "`perhaps` is unknown"), ("WAIT", 17, "`WAIT`")],
        twice: ["wait", "fence"],
        then: Ok(|set| !set.fencing.waits_for_unheard),
    },
    Row {
        name: "takeover",
        good: &[("auto", |set| set.takeover == TakeoverMode::Auto), ("manual", |set| set.takeover == TakeoverMode::Manual),
                ("delay 90", |set| set.takeover == TakeoverMode::Delay { ms: 90_000 })],
        bad: &[("", 1, "is no way"), ("never", 10, "`never`"), ("delay", 10, "`delay`"), ("delay 0", 10, "`0`"),
               ("delay 86401", 10, "`86401`"), ("manual 5", 10, "`manual 5`")],
        twice: ["manual", "delay 5"],
        then: Ok(|set| set.takeover == TakeoverMode::Delay { ms: 5_000 }),
    },
    Row {
        name: "watchdog",
        good: &[("/dev/watchdog", |set| set.watchdog_ms() == Some(11_000)),
                ("software", |set| set.watchdog_software && set.watchdog_ms() == Some(11_000))],
        bad: &[("dev/watchdog", 10, "no device"), ("hardware", 10, "no device"), ("software /dev/watchdog", 19, "second time")],
        twice: ["software", "/dev/watchdog"],
        then: Err("second time"),
    },
    Row {
        name: "watchdog_wait",
        good: &[("on", |set| set.watchdog_wait == Some(None)), ("off", |set| set.watchdog_wait.is_none()),
                ("90", |set| set.watchdog_wait == Some(Some(90_000))), ("5s", |set| set.watchdog_wait == Some(Some(5_000))),
                ("2m", |set| set.watchdog_wait == Some(Some(120_000)))],
        bad: &[("perhaps", 15, "`perhaps` is no time"), ("-5", 15, "`-5`"), ("25h", 15, "`25h`"), ("5x", 15, "`5x`"),
               ("1441m", 15, "`1441m`"), ("5msx", 15, "`5msx`"), ("1.5.2", 15, "`1.5.2`")],
        twice: ["5", "off"],
        then: Ok(|set| set.watchdog_wait.is_none()),
    },
    Row {
        name: "monitor",
        good: &[("all", |set| (set.monitors[0].interval_ms, set.monitors[0].timeout_ms, set.monitors[0].failures, set.monitors[0].restarts)
                    == (10_000, 20_000, 3, 2)),
                ("httpd::/etc/httpd.conf interval=1500ms timeout=2m failures=1 restarts=0",
                    |set| (set.monitors[0].interval_ms, set.monitors[0].timeout_ms, set.monitors[0].failures, set.monitors[0].restarts)
                        == (1_500, 120_000, 1, 0))],
        bad: &[("", 1, "resource is missing"), ("all often", 13, "`often` has no value"), ("all colour=red", 13, "`colour` is not known"),
               ("all  interval=0", 14, "`0` is no value of interval"), ("all interval=1 timeout=25h", 24, "`25h`"),
               ("all failures=0", 13, "`0`"), ("all restarts=1001", 13, "`1001`"), ("all restarts=-1", 13, "`-1`"),
               ("all interval=5msx", 13, "`5msx`"), ("all interval=", 13, "`` is no value"),
               ("interval=5s", 9, "resource is missing"), ("all interval=5s restarts=1 interval=6s", 36, "interval is given twice")],
        twice: ["httpd", "httpd interval=5"],
        then: Err("monitored by another line"),
    },
    Row {
        name: "own_addresses",
        good: &[("on", |set| set.own_addresses), ("off", |set| !set.own_addresses)],
        bad: &[("some", 15, "neither true nor false")],
        twice: ["off", "on"],
        then: Ok(|set| set.own_addresses),
    },
    Row {
        name: "alarm",
        good: &[("/usr/bin/pager one two", |set| matches!(&set.alarms[0], AlarmTarget::Program { arguments, .. } if arguments.len() == 2)),
                ("mail a@example.org,b@example.org smtp=127.0.0.1:2525",
                    |set| matches!(&set.alarms[0], AlarmTarget::Mail { server: Some(server), .. } if server == "127.0.0.1:2525"))],
        bad: &[("", 1, "nobody is named"), ("pager", 7, "neither mail nor a full path"), ("mail", 7, "address is missing"),
               ("mail -oQ/tmp", 7, "no list of mail addresses"), ("mail a@b,,c@d", 7, "no list"),
               ("mail a@b 127.0.0.1", 7, "unknown word"), ("mail a@b smtp=x y", 7, "words follow")],
        twice: ["/usr/bin/pager", "mail root"],
        then: Ok(|set| set.alarms.len() == 2),
    },
    Row {
        name: "use_apphbd",
        good: &[("yes", |set| set.use_apphbd), ("no", |set| !set.use_apphbd)],
        bad: &[("2", 12, "neither true nor false")],
        twice: ["yes", "no"],
        then: Ok(|set| !set.use_apphbd),
    },
    Row {
        name: "parallel_groups",
        good: &[("on", |set| set.parameter("parallel_groups") == Some("on"))],
        bad: &[("many", 17, "neither true nor false")],
        twice: ["on", "off"],
        then: Ok(|set| set.parameter("parallel_groups") == Some("off")),
    },
    Row {
        name: "ping_arbitration",
        good: &[("on", |set| set.guards.ping_arbitration), ("off", |set| !set.guards.ping_arbitration)],
        bad: &[("perhaps", 18, "neither true nor false")],
        twice: ["on", "off"],
        then: Ok(|set| !set.guards.ping_arbitration),
    },
    Row {
        name: "ask_before_take",
        good: &[("on", |set| set.guards.ask_before_take.is_some_and(|ask| (ask.wait_ms, ask.most_ms) == (1_000, 60_000))),
                ("on then=stay tcp=80", |set| set.guards.ask_before_take.is_some_and(|ask| !ask.then_take && ask.tcp_port == Some(80)))],
        bad: &[("", 1, "neither on nor off"), ("perhaps", 17, "neither on nor off"), ("on  tcp=0", 21, "`tcp=0`"),
               ("on tcp=65536", 20, "`tcp=65536`"), ("on then=run", 20, "`then=run`"), ("on most", 20, "`most`"),
               ("on wait=1h", 20, "`wait=1h`"), ("on wait=2 most=1", 17, "longer than `most`")],
        twice: ["on tcp=80", "on"],
        then: Ok(|set| set.guards.ask_before_take.is_some_and(|ask| ask.tcp_port.is_none())),
    },
    Row {
        name: "lease",
        good: &[("/dev/sdb1", |set| set.guards.lease.as_ref().is_some_and(|lease| lease.time_ms == 33_000)),
                ("/l time=60 margin=15 interval=2500ms", |set| set.guards.lease.as_ref().is_some_and(|lease| lease.margin_ms == 15_000))],
        bad: &[("", 1, "path is missing"), ("sdb1", 7, "no absolute path"), ("/", 7, "no absolute path"), ("/l time", 10, "`time`"),
               ("/l time=0", 10, "`time=0`"), ("/l time=9  size=5", 18, "`size=5`"), ("/l time=10 interval=2", 1, "at most an eighth")],
        twice: ["/a time=60", "/b"],
        then: Ok(|set| set.guards.lease.as_ref().is_some_and(|lease| lease.path == Path::new("/b") && lease.time_ms == 33_000)),
    },
    Row {
        name: "arbiter",
        good: &[("/bin/arbiter", |set| set.guards.arbiter.as_ref().is_some_and(|one| (one.wait_ms, one.ttl_ms) == (12_000, 48_000))),
                ("/a unreachable=keep", |set| set.guards.arbiter.as_ref().is_some_and(|one| one.keeps_unreachable))],
        bad: &[("", 1, "path is missing"), ("arbiter", 9, "no absolute path"), ("/a unreachable=perhaps", 12, "`unreachable=perhaps`"),
               ("/a ttl=x", 12, "`ttl=x`"), ("/a ttl=10 wait=6", 1, "at least twice the wait")],
        twice: ["/a unreachable=keep", "/b"],
        then: Ok(|set| set.guards.arbiter.as_ref().is_some_and(|one| one.program == Path::new("/b") && !one.keeps_unreachable)),
    },
    Row {
        name: "resource_fence",
        good: &[("/cut", |set| set.guards.resource_fence.as_ref().is_some_and(|one| one.timeout_ms == 60_000)),
                ("/cut timeout=9", |set| set.guards.resource_fence.as_ref().is_some_and(|one| one.timeout_ms == 9_000))],
        bad: &[("", 1, "path is missing"), ("cut", 16, "no absolute path"), ("/cut 9", 21, "`9`"), ("/cut wait=9", 21, "`wait=9`")],
        twice: ["/a timeout=9", "/b"],
        then: Ok(|set| set.guards.resource_fence.as_ref().is_some_and(|one| one.program == Path::new("/b") && one.timeout_ms == 60_000)),
    },
];

fn read(lines: &[u8]) -> HaCfReport {
    let host = HostFacts {
        node_name: "node1".to_owned(),
        is_executable: |_| true,
        resolve: |host| host.parse().ok(),
        fencing_device: ha_core::stonith::probe,
        ..HostFacts::gather()
    };
    let text = [PLAIN.as_bytes(), lines, b"\n"].concat();
    ha_cf::read(&Source::from_bytes(Path::new("/etc/ha.d"), "ha.cf", &text), "node1", &host)
}

/// The lines of the directive with these arguments.
fn lines(name: &str, arguments: &[&str]) -> HaCfReport {
    let lines: Vec<String> = arguments.iter().map(|argument| format!("{name} {argument}")).collect();
    read(lines.join("\n").as_bytes())
}

/// Each line that watches nothing is named at its own place.
#[test]
fn checks_of_monitor() {
    let directory = tempfile::tempdir().expect("directory");
    let folder = directory.path().join("resource.d");
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("write");
    write("haresources", "node1 10.77.0.5 own::a SendArp::10.77.0.5/eth0\n");
    let lines = "monitor nosuch\nmonitor own::a\nmonitor  own::b interval=5s\nmonitor SendArp\nmonitor all\n";
    write("ha.cf", &(PLAIN.to_owned() + lines));
    let host = HostFacts { node_name: "node1".to_owned(), ..HostFacts::gather() };
    let scripts = Scripts { built_in: &["IPaddr"], init_directory: &folder, ocf_directory: &folder };
    let text = check(directory.path(), &host, scripts).to_text();
    for words in [
        "ha.cf:9:9: warning: monitor nosuch: haresources has no such resource",
        "ha.cf:11:10: warning: monitor own::b: haresources has no such resource",
        "ha.cf:12:9: warning: monitor SendArp has no effect: it does not go on running",
    ] {
        assert!(text.contains(words), "no {words}:\n{text}");
    }
    assert_eq!(text.matches("warning: monitor").count(), 3, "{text}");
}

/// One error there, with these words.
fn refused(name: &str, report: &HaCfReport, (line, column): (usize, usize), words: &str) {
    assert!(!report.is_good(), "{name} is taken: {words}");
    let found = |one: &&ha_core::config::diagnostic::Diagnostic| {
        (one.place.line, one.place.column) == (line, column) && one.message.contains(words)
    };
    let one = report.diagnostics.iter().find(found);
    let one =
        one.unwrap_or_else(|| panic!("{name}: no `{words}` at {line}:{column} in {:#?}", report.diagnostics));
    let shown = one.to_string();
    assert!(shown.contains(&format!("ha.cf:{line}:{column}")), "{shown}");
}

#[test]
fn every_directive_of_the_families_has_a_row() {
    let place = |name: &str| DIRECTIVES.iter().position(|one| one.name == name).expect("a directive");
    for directive in &DIRECTIVES[place(FAMILIES.0)..=place(FAMILIES.1)] {
        assert!(ROWS.iter().any(|row| row.name == directive.name), "{} has no row here", directive.name);
    }
}

#[test]
fn good_values_are_taken() {
    for row in ROWS {
        for (argument, holds) in row.good {
            let report = lines(row.name, &[argument]);
            assert!(report.is_good(), "{} {argument}: {:?}", row.name, report.diagnostics);
            assert!(holds(&report.settings), "{} {argument}: {:?}", row.name, report.settings);
        }
    }
}

#[test]
fn bad_values_are_refused_with_their_place() {
    for row in ROWS {
        for (argument, column, words) in row.bad {
            let name = format!("{} {argument}", row.name);
            refused(&name, &lines(row.name, &[argument]), (FIRST, *column), words);
        }
    }
}

#[test]
fn a_second_line_does_what_is_said_of_it() {
    for row in ROWS {
        let report = lines(row.name, &row.twice);
        match row.then {
            Ok(holds) => {
                assert!(report.is_good(), "{}: {:?}", row.name, report.diagnostics);
                assert!(holds(&report.settings), "{}: {:?}", row.name, report.settings);
            }
            Err(words) => {
                let column = row.name.len() + 2;
                refused(row.name, &report, (FIRST + 1, column), words);
            }
        }
    }
}

#[test]
fn a_list_word_without_a_value_changes_nothing() {
    for name in ["watchdog", "watchdog_wait", "own_addresses", "ping_arbitration", "stonith_timeout"] {
        let report = lines(name, &[""]);
        assert!(report.is_good(), "{name}: {:?}", report.diagnostics);
        let remark = report.diagnostics.iter().find(|one| one.place.line == FIRST).expect("a remark");
        assert!(remark.message.contains("without a value"), "{remark:?}");
    }
}

/// Nothing of it makes a panic, an endless or a huge report, a value out of bounds, or a remark about a
/// place that is not there.
#[test]
fn hostile_values_are_refused_in_their_line() {
    let long = "x".repeat(100_000);
    let path = format!("/{}", "a/".repeat(40_000));
    let many = "time=1 ".repeat(5_000);
    let values = [
        "99999999999999999999",
        "18446744073709551615ms",
        "-1",
        "1e9",
        "0x10",
        "inf",
        "NaN",
        "1.5.2",
        "=",
        "==",
        "=1",
        "time=",
        "on on on",
        "%s%n",
        "$(reboot)",
        "`reboot`",
        "'",
        "\"",
        "\\",
        "\u{1b}[2J",
        "\u{7f}",
        "\u{202e}off",
        "ü=ö",
        "/ü time=\u{0663}",
        "/a time=1\u{00a0}",
        "all interval=99999999999999999999",
        "all interval=999999999999m",
        "* * *",
        "delay 99999999999999999999",
        &long,
        &path,
        &many,
    ];
    for row in ROWS {
        for value in values {
            let report = lines(row.name, &[value]);
            let short: String = value.chars().take(40).collect();
            assert!(
                report.diagnostics.len() < 1_000 && report.reading_log.len() < 1_000,
                "{} {short}",
                row.name
            );
            let errors = report.diagnostics.iter().filter(|one| one.place.line != 0);
            for one in errors {
                let line = one.place.text.as_deref().unwrap_or_default();
                assert!((1..=FIRST).contains(&one.place.line), "{} {short}: {one:?}", row.name);
                assert!(one.place.column <= line.chars().count() + 1, "{} {short}: {one:?}", row.name);
            }
            let day_ms = 86_400_000;
            let set = &report.settings;
            assert!(set.fencing.limit_ms <= day_ms && set.fencing.delay_ms <= day_ms, "{} {short}", row.name);
            let monitored = set.monitors.iter().all(|one| (1..=day_ms).contains(&one.interval_ms));
            assert!(monitored && set.watchdog_wait.flatten().unwrap_or(1) <= day_ms, "{} {short}", row.name);
        }
        for bytes in [&b" \xff\xfe"[..], b" a\0b", b" \xc3"] {
            let report = read(&[row.name.as_bytes(), bytes].concat());
            refused(row.name, &report, (FIRST, 1), "no text");
        }
    }
}

#[test]
fn more_lines_than_anybody_needs_are_refused_where_they_begin() {
    let numbered =
        |count: usize, argument: fn(usize) -> String| -> Vec<String> { (0..count).map(argument).collect() };
    let cases = [
        ("monitor", numbered(1_001, |number| format!("httpd{number}")), "more than 1000 monitor lines"),
        ("alarm", numbered(9, |number| format!("/bin/pager{number}")), "more than 8 alarm lines"),
        ("stonith_host", numbered(17, |_| "* null node2".to_owned()), "more than 16 fencing devices"),
    ];
    for (name, arguments, words) in cases {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let last = FIRST + arguments.len() - 1;
        refused(name, &lines(name, &arguments), (last, name.len() + 2), words);
        let fewer = &arguments[..arguments.len() - 1];
        assert!(lines(name, fewer).is_good(), "{name}");
    }
}
