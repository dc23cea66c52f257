//! ha.cf, authkeys and haresources from files: what the original says, what we say, hostile input.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ha_core::config::check::{check, Scripts};
use ha_core::config::diagnostic::Diagnostic;
use ha_core::config::directive::{self, DIRECTIVES};
use ha_core::config::host::{Device, HostFacts, Interface};
use ha_core::config::settings::{Account, ApiAuth, AutoFailback, Compression, MediumConfig, MessageFormat};
use ha_core::config::source::{Source, FILE_MAX_BYTES};
use ha_core::config::{
    authkeys, ha_cf, haresources, load, load_without_resources, LogLine, MEDIA_MAX, NODES_MAX,
};
use ha_core::types::NodeName;
use proptest::prelude::*;

#[path = "support/skip.rs"]
mod skip;

/// A host called node1 with two interfaces that resolves nothing but addresses.
fn host() -> HostFacts {
    let interface = |last| Interface { address: Some(Ipv4Addr::new(10, 77, last, 1)) };
    HostFacts {
        node_name: "Node1".into(),
        effective_uid: nix::unistd::geteuid().as_raw(),
        interfaces: BTreeMap::from([
            ("eth0".into(), interface(0)),
            ("eth1".into(), interface(1)),
            ("lo".into(), interface(2)),
        ]),
        resolve: |host| host.parse().ok(),
        resolve6: |host| Some(std::net::SocketAddrV6::new(host.parse().ok()?, 0, 0, 0)),
        device: |path| match path {
            "/dev/ttyS0" | "/dev/ttyS1" => Device::Character,
            "/etc/passwd" => Device::Other,
            _ => Device::Missing,
        },
        udp_services: vec![(53, "domain".into()), (694, "ha-cluster".into())],
        user: |name| {
            let known = [("root", 0), ("hacluster", 102)].into_iter().find(|(known, _)| *known == name);
            known.map(|(_, id)| Account { uid: id, gid: id + 3 })
        },
        group: |name| {
            [("root", 0), ("haclient", 105)].iter().find(|(known, _)| *known == name).map(|(_, id)| *id)
        },
        is_executable: |path| path == "/bin/true",
        fencing_device: ha_core::stonith::probe,
        applets: vec!["ipfail", "pingd"],
    }
}

/// A file under `tests/data/config`: sections that start with `== name [mode]`, one for each file
/// that exists, then `== expect` with lines `exit N`, `log LEVEL: text` (all of them) and
/// `say text` (part of a diagnostic).
struct Case {
    name: String,
    directory: tempfile::TempDir,
    exit: u8,
    log: Vec<String>,
    say: Vec<String>,
}

fn cases(kind: &str) -> Vec<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config").join(kind);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|path| read_case(path)).collect()
}

fn read_case(path: &Path) -> Case {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let directory = tempfile::tempdir().unwrap();
    let mut case = Case { name, directory, exit: 0, log: Vec::new(), say: Vec::new() };
    for section in text.split("\n== ").skip(1) {
        let (head, body) = section.split_once('\n').unwrap_or((section, ""));
        // the line end before the next head belongs to the last line
        let body = if body.is_empty() { String::new() } else { format!("{}\n", body.trim_end_matches('\n')) };
        if head == "expect" {
            expectations(&mut case, &body);
        } else {
            let (file, mode) = head.split_once(' ').unwrap_or((head, "644"));
            write(&case.directory.path().join(file), &body, mode);
        }
    }
    case
}

fn expectations(case: &mut Case, body: &str) {
    for line in body.lines() {
        match line.split_once(' ') {
            Some(("exit", code)) => case.exit = code.parse().unwrap(),
            Some(("log", text)) => case.log.push(text.into()),
            Some(("say", text)) => case.say.push(text.into()),
            _ => panic!("{}: {line}", case.name),
        }
    }
}

fn write(path: &Path, text: &str, mode: &str) {
    std::fs::write(path, text).unwrap();
    let mode = u32::from_str_radix(mode, 8).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Log lines as `LEVEL: text`, with the directory called what it usually is.
fn shown(lines: &[LogLine], directory: &Path) -> Vec<String> {
    let directory = directory.display().to_string();
    lines
        .iter()
        .map(|(level, text)| format!("{}: {}", level.as_str(), text.replace(&directory, "/etc/ha.d")))
        .collect()
}

fn said(diagnostics: &[Diagnostic], case: &Case) {
    let text: String = diagnostics.iter().map(Diagnostic::to_string).collect();
    for part in &case.say {
        assert!(text.contains(part), "{}: `{part}` is not in\n{text}", case.name);
    }
    assert!(!text.contains("SomeSecretWord"), "{}: a key is shown\n{text}", case.name);
}

#[test]
fn bad_configurations_are_refused_as_the_original_does() {
    for case in cases("bad") {
        let directory = case.directory.path();
        let failure = load(directory, &host()).expect_err(&case.name);
        assert_eq!(shown(&failure.log_lines, directory), case.log, "{}", case.name);
        assert_eq!(failure.exit_code, case.exit, "{}", case.name);
        assert!(!failure.diagnostics.is_empty(), "{}", case.name);
        said(&failure.diagnostics, &case);
        let logged = format!("{:?}", failure.log_lines);
        assert!(!logged.contains("SomeSecretWord"), "{}: a key is logged\n{logged}", case.name);
    }
}

#[test]
fn good_configurations_log_what_the_original_does() {
    for case in cases("good") {
        let directory = case.directory.path();
        let loaded = load(directory, &host())
            .unwrap_or_else(|failure| panic!("{}: {:#?}", case.name, failure.diagnostics));
        assert_eq!(shown(&loaded.log_lines, directory), case.log, "{}", case.name);
        assert_eq!(case.exit, 0);
        said(&loaded.diagnostics, &case);
    }
}

fn good(name: &str) -> ha_core::config::Loaded {
    let case = cases("good").into_iter().find(|case| case.name == name).unwrap();
    load(case.directory.path(), &host()).unwrap()
}

#[test]
fn programs_beside_the_daemon_and_who_may_use_the_interface() {
    let ha_cf = good("clients").configuration.ha_cf;
    let shown: Vec<_> = ha_cf
        .clients
        .iter()
        .map(|client| (client.command.as_str(), client.account.uid, client.fail_fast, client.built_in))
        .collect();
    let expected = [
        ("/usr/lib/heartbeat/ipfail", 102, false, Some("ipfail")),
        ("/bin/true  a 'b c'", 0, false, None),
        ("/usr/local/lib/heartbeat/pingd -m 100", 0, true, Some("pingd")),
    ];
    assert_eq!(shown, expected);
    let rule = |client: &str, uids: &[u32], gids: &[u32]| ApiAuth {
        client: client.into(),
        uids: uids.to_vec(),
        gids: gids.to_vec(),
    };
    let expected = [
        rule("ipfail", &[0, 12], &[105]),
        rule("default", &[], &[]),
        rule("ccm", &[102], &[]),
        rule("ping", &[], &[105]),
        rule("pingd", &[0], &[]),
        rule("lha-snmpagent", &[0], &[]),
        rule("anon", &[0], &[105]),
    ];
    assert_eq!(ha_cf.api_auth, expected);
}

#[test]
fn values_of_a_how_to_configuration() {
    let loaded = good("how-to");
    let ha_cf = &loaded.configuration.ha_cf;
    assert_eq!(loaded.node, NodeName::new("node1").unwrap());
    assert_eq!(ha_cf.nodes, [NodeName::new("node1").unwrap(), NodeName::new("node2").unwrap()]);
    assert_eq!((ha_cf.keepalive_ms, ha_cf.dead_time_ms), (1500, 10_000));
    assert_eq!((ha_cf.warn_time_ms, ha_cf.init_dead_ms), (5000, 60_000));
    assert_eq!(ha_cf.auto_failback, AutoFailback::On);
    assert_eq!(ha_cf.log.facility, Some(16));
    let peer = Ipv4Addr::new(10, 77, 0, 2);
    assert_eq!(
        ha_cf.media,
        [
            MediumConfig::Broadcast { device: "eth0".into() },
            MediumConfig::Broadcast { device: "eth1".into() },
            MediumConfig::Unicast { device: "eth1".into(), peer: Some(peer), peer_text: "10.77.0.2".into() },
            MediumConfig::Multicast {
                device: "eth0".into(),
                group: Ipv4Addr::new(239, 0, 0, 42),
                port: 694,
                ttl: 1,
                loop_back: false
            },
        ]
    );
    assert_eq!(loaded.configuration.auth_keys.active, 3);
    assert_eq!(loaded.configuration.auth_keys.keys[&3].secret, b"SomeSecretWord");
    let text = loaded.configuration.resources.normal_form();
    assert_eq!(text, "node1 10.77.0.100 IPaddr2::10.77.0.101/24/eth0 \nnode2 apache \n");
}

#[test]
fn values_of_all_spellings() {
    let loaded = good("spellings");
    let ha_cf = &loaded.configuration.ha_cf;
    assert!(!ha_cf.realtime && !ha_cf.core_dumps && !ha_cf.log_bad_packets && !ha_cf.log.syslog_format);
    assert!(ha_cf.traditional_compression && ha_cf.generation_from_time && ha_cf.uuid_from_name);
    assert_eq!((ha_cf.compression, ha_cf.compression_threshold_kib), (Compression::Bzip2, 30));
    assert_eq!((ha_cf.message_format, ha_cf.max_rexmit_delay_ms), (MessageFormat::Netstring, 500));
    assert_eq!(ha_cf.realtime_priority, 50);
    assert_eq!((ha_cf.keepalive_ms, ha_cf.hop_fudge, ha_cf.log.debug_level), (200, 2, 1));
    let environment = [("A", "1"), ("B", "x=y"), ("C", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(ha_cf.environment, environment);
}

/// `cl_status hbparameter` of the original with this configuration.
#[test]
fn recorded_values_are_those_of_the_original() {
    let ha_cf = good("plain").configuration.ha_cf;
    assert_eq!(ha_cf.realtime_priority, 1, "rtprio has a default that is not recorded");
    let expected = [
        ("keepalive", Some("100ms")),
        ("deadtime", Some("1")),
        ("deadping", Some("1000ms")),
        ("warntime", Some("500ms")),
        ("initdead", Some("2")),
        ("hbgenmethod", Some("file")),
        ("auto_failback", Some("off")),
        ("logfacility", Some("none")),
        ("logfile", Some("/var/log/ha-log")),
        ("debugfile", Some("/var/log/ha-debug")),
        ("debug", Some("0")),
        ("udpport", Some("694")),
        ("baud", Some("19200")),
        ("hopfudge", Some("1")),
        ("nice_failback", None),
        ("watchdog", None),
        ("stonith", None),
        ("msgfmt", Some("classic")),
        ("use_logd", None),
        ("cluster", Some("linux-ha")),
        ("autojoin", Some("none")),
        ("apiauth", None),
        ("crm", Some("false")),
        ("realtime", Some("true")),
        ("respawn", None),
        ("node", None),
        ("bcast", None),
        ("compression", Some("zlib")),
        ("compression_threshold", Some("2")),
        ("conn_logd_time", Some("60")),
        ("uuidfrom", Some("file")),
        ("DEADTIME", None),
        ("ping", None),
        ("traditional_compression", Some("no")),
        ("max_rexmit_delay", Some("250")),
        ("rtprio", None),
        ("coredumps", Some("true")),
        ("normalpoll", None),
    ];
    for (name, value) in expected {
        assert_eq!(ha_cf.parameter(name), value, "{name}");
    }
}

#[test]
fn the_table_of_defaults_is_the_original_one() {
    assert_eq!(directive::defaults_text(), include_str!("data/config/defaults.txt"));
    assert_eq!(directive::defaults_wiki_text("3.0.6"), include_str!("data/config/defaults-wiki.txt"));
}

#[test]
fn every_directive_is_in_the_manual() {
    let page = include_str!("../man/ha.cf.5");
    for directive in DIRECTIVES {
        let name = directive.name;
        let there = page.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(".It") && words.next() == Some("Ic") && words.any(|word| word == name)
        });
        assert!(there, "{name} is not in ha.cf(5)");
    }
}

#[test]
fn a_file_that_may_not_be_read_exits_with_4() {
    if nix::unistd::geteuid().is_root() {
        return skip::skip_without_privilege("root may read everything");
    }
    for file in ["ha.cf", "authkeys", "haresources"] {
        let case = cases("good").into_iter().find(|case| case.name == "plain").unwrap();
        write(&case.directory.path().join(file), "", "000");
        let failure = load(case.directory.path(), &host()).expect_err(file);
        assert_eq!(failure.exit_code, 4, "{file}");
    }
}

#[test]
fn nodeinfo_overrides_the_host_name() {
    let case = cases("good").into_iter().find(|case| case.name == "plain").unwrap();
    let directory = case.directory.path();
    write(&directory.join("nodeinfo"), "Node2\nignored\n", "644");
    assert_eq!(load(directory, &host()).unwrap().node.as_str(), "node2");
    write(&directory.join("nodeinfo"), "\n", "644");
    let failure = load(directory, &host()).unwrap_err();
    assert!(failure.log_lines.iter().any(|line| line.1 == "Current node [] not in configuration!"));
}

#[test]
fn without_resource_management_haresources_is_not_read() {
    let case = cases("bad").into_iter().find(|case| case.name == "haresources-missing").unwrap();
    let loaded = load_without_resources(case.directory.path(), &host()).unwrap();
    assert!(loaded.configuration.resources.groups.is_empty());
}

#[test]
fn other_kinds_of_files_are_refused_without_waiting() {
    let case = cases("good").into_iter().find(|case| case.name == "plain").unwrap();
    let directory = case.directory.path();
    for file in ["ha.cf", "authkeys", "haresources"] {
        let path = directory.join(file);
        let saved = directory.join("saved");
        std::fs::rename(&path, &saved).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert_eq!(load(directory, &host()).unwrap_err().exit_code, 6, "{file}");
        std::fs::remove_file(&path).unwrap();
        let large = vec![b'#'; FILE_MAX_BYTES as usize + 1];
        std::fs::write(&path, large).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(load(directory, &host()).unwrap_err().exit_code, 6, "{file}");
        std::fs::rename(&saved, &path).unwrap();
    }
}

/// Checks the directory of a case with this many errors, warnings and hints, and these words.
fn checked(case: &Case, counts: (usize, usize, usize), words: &[&str]) {
    let init = case.directory.path().join("init.d");
    let scripts = Scripts { built_in: &["IPaddr", "IPaddr2"], init_directory: &init, ocf_directory: &init };
    let report = check(case.directory.path(), &host(), scripts);
    let text = report.to_text();
    assert_eq!((report.errors, report.warnings, report.hints), counts, "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["errors"], counts.0);
    assert_eq!(json["diagnostics"].as_array().unwrap().len(), counts.0 + counts.1 + counts.2);
    let code = if counts.0 > 0 { 2 } else { u8::from(counts.1 > 0) };
    assert_eq!(report.exit_code(), code);
}

/// Two links, a key, everything usual.
fn clean_case() -> Case {
    let case = cases("good").into_iter().find(|case| case.name == "plain").unwrap();
    let directory = case.directory.path();
    let ha_cf = "logfacility daemon\nkeepalive 1\ndeadtime 10\ninitdead 30\nbcast eth0 eth1\n\
                 auto_failback on\nnode node1 node2\n";
    write(&directory.join("ha.cf"), ha_cf, "644");
    write(&directory.join("authkeys"), "auth 1\n1 sha1 aLongRandomWord0123\n", "600");
    case
}

#[test]
fn a_clean_configuration_has_nothing_to_remark() {
    let case = clean_case();
    let hint = "hint: nothing but its links stands between this pair and a split brain";
    checked(&case, (0, 0, 1), &[hint, "as node node1: 1 hint", "haresources "]);
}

#[test]
fn checks_of_ha_cf_and_authkeys() {
    let case = clean_case();
    let directory = case.directory.path();
    let ha_cf = "logfacility daemon\nkeepalive 1\nwarntime 10\ndeadtime 10\ninitdead 15\nbcast eth0\n\
                 mcast eth0 225.0.0.1 694 1 0\nnode node1 node2 node3\nucast eth0 10.77.0.2\n";
    write(&directory.join("ha.cf"), ha_cf, "644");
    write(&directory.join("authkeys"), "auth 1\n1 crc\n", "610");
    checked(
        &case,
        (1, 6, 3),
        &[
            "ha.cf:3:1: warning: warntime (10000 ms) is not below deadtime (10000 ms)",
            "ha.cf:5:1: warning: initdead (15000 ms) is less than twice deadtime",
            "ha.cf:6:7: warning: this is the only link: a split brain is one cable away",
            "ha.cf:7:7: hint: `eth0` carries heartbeats already",
            "ha.cf:8:1: error: there are 3 nodes, but haresources works for exactly two",
            "ha.cf: warning: auto_failback is missing",
            "authkeys: warning: packets are signed with crc",
            "authkeys: warning: the mode is 610",
            "1 error, 6 warnings, 3 hints",
        ],
    );
    write(&directory.join("authkeys"), "auth 1\n1 sha1 short\n", "600");
    write(
        &directory.join("ha.cf"),
        "logfile /x\nwarntime 1\ndeadtime 9\nbcast eth0 eth1\nauto_failback off\nnode node1\n",
        "644",
    );
    checked(
        &case,
        (0, 2, 1),
        &["warntime (1000 ms) is not above keepalive (1000 ms)", "only one node", "fewer than 16"],
    );
}

#[test]
fn checks_of_haresources() {
    let case = clean_case();
    let directory = case.directory.path();
    std::fs::create_dir_all(directory.join("resource.d/adir")).unwrap();
    std::fs::create_dir_all(directory.join("init.d")).unwrap();
    write(&directory.join("resource.d/own"), "", "755");
    write(&directory.join("init.d/web"), "", "755");
    write(&directory.join("init.d/plain"), "", "644");
    let haresources = "node1 10.77.0.5 own::a::b web # fine\n\
                       node2 IPaddr2::10.77.0.5/24/eth0 \\\n  nosuch plain adir ../own\n\
                       node2 own::a::b\n\
                       node1 own::a::b\n\
                       node1 IPaddr::10.77.0.999 IPaddr2 10.77.0.6/33 IPaddr::10.77.0.7/24/eth7:0\n\
                       node1\n\
                       node7 web\n";
    write(&directory.join("haresources"), haresources, "644");
    checked(
        &case,
        (10, 4, 1),
        &[
            "haresources:2:7: error: the address 10.77.0.5 is in line 1 too",
            "haresources:3:3: error: there is no resource script `nosuch`",
            "haresources:3:10: error: the resource script `plain` is not executable",
            "haresources:3:16: error: there is no resource script `adir`",
            "haresources:3:21: error: there is no resource script `../own`",
            "haresources:4:7: warning: `own::a::b` is in line 1 too",
            "haresources:5:7: error: `own::a::b` is the first resource of line 4 too",
            "haresources:6:7: error: `10.77.0.999` is not an address",
            "haresources:6:27: error: `IPaddr2` without an address",
            "haresources:6:35: error: `33` is no length of a netmask",
            "haresources:6:48: warning: there is no interface `eth7` at the moment",
            "haresources:7:1: warning: node node1 has no resources in this line",
            "haresources:8:1: error: `node7` is not a node of ha.cf",
            "haresources:8:7: warning: `web` is in line 1 too",
            "10 errors, 4 warnings, 1 hint",
        ],
    );
}

fn source(bytes: &[u8]) -> Source {
    Source::from_bytes(Path::new("/etc/ha.d"), "file", bytes)
}

/// All three parsers on the same bytes; nothing may panic, and every remark can be printed.
fn parse_all(bytes: &[u8]) {
    let source = source(bytes);
    let ha_cf = ha_cf::read(&source, "node1", &host());
    let keys = authkeys::parse(bytes, "/etc/ha.d/authkeys", "/etc/ha.d//authkeys");
    let resources = haresources::read(&source);
    assert!(ha_cf.settings.nodes.len() <= NODES_MAX && ha_cf.settings.media.len() <= MEDIA_MAX);
    assert_eq!(ha_cf.settings.media.len(), ha_cf.media_places.len());
    assert_eq!(resources.places.len(), resources.resources.groups.len());
    for diagnostic in ha_cf.diagnostics.iter().chain(&keys.diagnostics).chain(&resources.diagnostics) {
        assert!(diagnostic.to_string().lines().all(|line| line.len() < 7000));
    }
    let _ = resources.resources.digest();
}

#[test]
fn large_files_of_junk_stay_cheap() {
    let line = |text: &str| format!("{}\n", text.repeat(5000 / text.len())).repeat(200);
    for text in
        ["keepalive x ", "env a=1 ", "x ", "a\u{1} b ", "node 1 2 3 ", "bcast q ", "1 sha9 x\n", "\\\n"]
    {
        parse_all(line(text).as_bytes());
    }
    let many: String = (0..100_000).map(|number| format!("env v{number}\n")).collect();
    parse_all(many.as_bytes());
}

/// Words that reach deep into the parsers.
fn words() -> impl Strategy<Value = String> {
    let names: Vec<&'static str> = DIRECTIVES.iter().map(|directive| directive.name).collect();
    let values = [
        "1500ms",
        "2",
        "0.5",
        "-1",
        "99999999999",
        "on",
        "off",
        "legacy",
        "eth0",
        "eth9",
        "10.0.0.1",
        "225.0.0.1",
        "694",
        "node1",
        "NODE2",
        "auth",
        "1",
        "16",
        "sha1",
        "crc",
        "IPaddr::10.0.0.1/24",
        "fe80::1",
        "::",
        "a::b",
        ",",
        "\\",
        "\\\n",
        "\n",
        "\r\n",
        "#",
        "\t",
        " ",
        "=",
        "\u{fffd}",
        "ü",
        "\0",
    ];
    prop_oneof![
        proptest::sample::select(names).prop_map(str::to_owned),
        proptest::sample::select(values.to_vec()).prop_map(str::to_owned),
        "[ -~]{0,12}",
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        parse_all(&bytes);
    }

    #[test]
    fn arbitrary_words_never_panic(words in proptest::collection::vec(words(), 0..60), gap in "[ \t\n,]") {
        parse_all(words.join(&gap).as_bytes());
    }

    /// The normal form is a fixed point, whatever the file looked like, and so is the digest.
    #[test]
    fn haresources_normal_form_is_stable(words in proptest::collection::vec(words(), 0..60), gap in "[ \t\n]") {
        let first = haresources::read(&source(words.join(&gap).as_bytes())).resources;
        let again = haresources::read(&source(first.normal_form().as_bytes())).resources;
        prop_assert_eq!(first.normal_form(), again.normal_form());
        prop_assert_eq!(first.digest(), again.digest());
    }

    /// Comments, blanks, empty lines, continuation and case of the node change nothing.
    #[test]
    fn haresources_layout_does_not_matter(
        words in proptest::collection::vec("[a-z][a-zA-Z0-9:./]{0,10}", 1..6),
        blank in "[ \t]{1,4}",
        comment in "[ -~]{0,20}",
    ) {
        let plain = format!("node1 {}\n", words.join(" "));
        let joined = words.join(&format!("{blank}\\\n{blank}"));
        let other = format!("#{comment}\n\n{blank}NODE1{blank}{joined}{blank}#{comment}\n{blank}\n");
        let plain = haresources::read(&source(plain.as_bytes())).resources;
        let other = haresources::read(&source(other.as_bytes())).resources;
        prop_assert_eq!(plain.digest(), other.digest());
        prop_assert_eq!(plain.groups[0].resources.clone(), other.groups[0].resources.clone());
    }

    /// Any time written in milliseconds or seconds is read back.
    #[test]
    fn times_are_read_back(ms in 1_u64..100_000_000) {
        let seconds = format!("{}.{:03}", ms / 1000, ms % 1000);
        for text in [format!("{ms}ms"), format!("{ms}MSEC"), seconds] {
            let report = ha_cf::read(&source(format!("keepalive {text}\n").as_bytes()), "node1", &host());
            prop_assert_eq!(report.settings.keepalive_ms, ms);
        }
    }

    /// Keys come through byte for byte.
    #[test]
    fn keys_are_read_back(number in 0_u8..16, secret in proptest::collection::vec(0x21_u8..=0xff, 1..200)) {
        let mut text = format!("auth {number}\n{number} sha1 ").into_bytes();
        text.extend(&secret);
        text.push(b'\n');
        let keys = authkeys::parse(&text, "a", "a").keys.unwrap();
        prop_assert_eq!(keys.active, number);
        prop_assert_eq!(&keys.keys[&number].secret, &secret);
    }
}
