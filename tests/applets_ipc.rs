//! cl_status, hb_standby, hb_takeover and `ha status` against a server in the same process, word for
//! word as the original's tools were recorded.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ha_core::cluster::view::{ClusterView, LinkView, NodeView};
use ha_core::ipc::command::{self, Verb};
use ha_core::ipc::requests::{ApiAuth, CommandRequest, Parameters};
use ha_core::ipc::server::{ClientEvent, Demand, Server};
use ha_core::ipc::{cl_status, status, terminal::Terminal};
use ha_core::types::ResourceSet;

/// What a tool wrote, and its exit code.
#[derive(Debug, PartialEq)]
struct Ran {
    code: u8,
    out: String,
    err: String,
}

fn ran(tool: impl FnOnce(&mut Terminal<'_>) -> u8) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = tool(&mut Terminal { out: &mut out, err: &mut err });
    Ran { code, out: String::from_utf8(out).unwrap(), err: without_head(&String::from_utf8(err).unwrap()) }
}

/// Cuts `Nov 22 00:03:06 host cl_status: [313]: ` down to nothing, after a look at its form.
fn without_head(text: &str) -> String {
    let cut = |line: &str| match line.split_once(" cl_status: [") {
        Some((head, rest)) => {
            assert_eq!(head.split(' ').count(), 4, "{line}");
            let (pid, rest) = rest.split_once("]: ").unwrap();
            assert!(pid.parse::<u32>().is_ok(), "{line}");
            rest.to_owned()
        }
        None => line.to_owned(),
    };
    text.lines().map(|line| cut(line) + "\n").collect()
}

fn node(name: &str, kind: &str, status: &str, link: (&str, &str)) -> NodeView {
    let links = vec![LinkView { name: link.0.into(), status: link.1.into(), last_packet_age_ms: Some(40) }];
    let (name, kind, status) = (name.into(), kind.into(), status.into());
    NodeView { name, kind, status, weight: 100, links, ..NodeView::default() }
}

/// The cluster of the recorded transcripts.
fn recorded_view() -> ClusterView {
    ClusterView {
        local: "node1".into(),
        resource_status: "all".into(),
        holding: "all".into(),
        communication_up: true,
        nodes: vec![
            node("node1", "normal", "active", ("eth1", "up")),
            node("node2", "normal", "active", ("eth1", "up")),
            node("10.77.0.254", "ping", "ping", ("10.77.0.254", "up")),
            node("x", "normal", "dead", ("eth1", "dead")),
        ],
        ..ClusterView::default()
    }
}

const VERSION: &str = "3.0.6 (node: 958e11be8686759f1b99204c17812f2c2633b169)";

fn parameters() -> Parameters {
    let uids = vec![nix::unistd::geteuid().as_raw()];
    let recorded = [("keepalive", "100ms"), ("deadtime", "1")];
    Parameters {
        recorded: recorded.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        dead_time_ms: 1000,
        keepalive_ms: 100,
        version_text: VERSION.into(),
        pid: 535,
        api_auth: vec![ApiAuth { client: "anon".into(), uids, gids: Vec::new() }],
        command_gid: Some(nix::unistd::getegid().as_raw()),
        ..Parameters::default()
    }
}

/// A daemon that answers from a fixed view and accepts every command but takeover of everything.
struct Daemon {
    directory: tempfile::TempDir,
}

impl Daemon {
    fn start(view: ClusterView) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("register");
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut server = Server::bind(&path).unwrap();
                ready.send(()).unwrap();
                serve(&mut server, &view).await;
            });
        });
        is_ready.recv_timeout(Duration::from_secs(10)).unwrap();
        Self { directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("register")
    }

    fn cl_status(&self, words: &str) -> Ran {
        cl_status(words, &self.socket())
    }
}

async fn serve(server: &mut Server, view: &ClusterView) {
    loop {
        let ClientEvent::Request { client, message } = server.next().await else { continue };
        match server.handle(client, &message, view, &parameters()) {
            Some(Demand::Command(CommandRequest::Takeover(ResourceSet::ALL))) => {
                server.finish_command(client, Err("the peer is not stable"));
            }
            Some(Demand::Command(_)) => server.finish_command(client, Ok(())),
            _ => {}
        }
    }
}

fn cl_status(words: &str, socket: &Path) -> Ran {
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    ran(|terminal| cl_status::run(&words, socket, terminal))
}

const NODE_LIST: &str = "x\n10.77.0.254\nnode2\nnode1\n";
const VERBOSE_LIST: &str = "
x\tdead\t(nodetype: normal)
\teth1\tdead

10.77.0.254\tping\t(nodetype: ping)
\t10.77.0.254\tup

node2\tactive\t(nodetype: normal)
\teth1\tup

node1\tactive\t(nodetype: normal)
\teth1\tup
";
const NO_LINK: &str = "ERROR: Cannot get heartbeat link status\nERROR: REASON: \n";
const NO_CLIENT: &str =
    "ERROR: Cannot get heartbeat client ipfail's status\nERROR: REASON: No timely response.\n";
const BAD_NAME: &str = "Error. May be due to incorrect node name\n";
const FEW: &str = "No enough parameter.\n";
const NOT_ENOUGH: &str = "Not enough parameters.\n";

/// Words, exit code, standard output, standard error.
const WITH_DAEMON: &[(&str, u8, &str, &str)] = &[
    ("hbstatus", 0, "Heartbeat is running on this machine.\n", ""),
    ("hbstatus -x", 0, "Heartbeat is running on this machine.\n", "hbstatus: invalid option -- 'x'\n"),
    ("hbstatus extra", 0, "Heartbeat is running on this machine.\n", ""),
    ("listnodes", 0, NODE_LIST, ""),
    ("listnodes -n", 0, "x\nnode2\nnode1\n", ""),
    ("listnodes -p", 0, "10.77.0.254\n", ""),
    ("listnodes -v", 0, VERBOSE_LIST, ""),
    ("listnodes -n -p", 0, NODE_LIST, ""),
    (
        "listnodes -z",
        11,
        "",
        "listnodes: invalid option -- 'z'\nERROR: Error: getopt returnedcharacter code ?.\n",
    ),
    ("listnodes extra", 0, NODE_LIST, ""),
    ("listnodes -m", 0, "The nodes are as follow:\nx\n10.77.0.254\nnode2\nnode1\n", ""),
    ("nodestatus node1", 0, "active\n", ""),
    ("nodestatus NODE1", 0, "active\n", ""),
    ("nodestatus x", 1, "dead\n", ""),
    ("nodestatus -m x", 1, "The cluster node x is dead\n", ""),
    ("nodestatus nosuch", 11, "", BAD_NAME),
    ("nodestatus", 11, "", NOT_ENOUGH),
    ("nodestatus 10.77.0.254", 0, "ping\n", ""),
    ("nodestatus node1 extra", 0, "active\n", ""),
    (
        "nodestatus -z",
        11,
        "",
        "nodestatus: invalid option -- 'z'\nERROR: Error: getopt returnedcharacter ?.\n",
    ),
    ("nodetype node1", 0, "normal\n", ""),
    ("nodetype 10.77.0.254", 0, "ping\n", ""),
    ("nodetype -m node1", 0, "The node node1's type: normal\n", ""),
    ("nodetype nosuch", 11, "", BAD_NAME),
    ("nodetype", 11, "", FEW),
    ("nodeweight node1", 0, "100\n", ""),
    ("nodeweight -m node1", 0, "The weight of the cluster node node1 is 100\n", ""),
    ("nodeweight nosuch", 11, "", "Error. Maybe due to incorrect node name.\n"),
    ("nodeweight", 11, "", NOT_ENOUGH),
    ("nodesite node1", 0, "\n", ""),
    ("nodesite -m node1", 0, "The site of the cluster node node1 is \n", ""),
    ("nodesite nosuch", 11, "", BAD_NAME),
    ("nodesite", 11, "", NOT_ENOUGH),
    ("listhblinks node1", 0, "\teth1\n", ""),
    ("listhblinks -v node2", 0, "\teth1\tup\n", ""),
    ("listhblinks -m node2", 0, "\tthis node has the following heartbeat links:\n\teth1\n", ""),
    ("listhblinks 10.77.0.254", 0, "\t10.77.0.254\n", ""),
    (
        "listhblinks nosuch",
        13,
        "",
        "ERROR: Cannot start heartbeat link interface walk.\nERROR: REASON: EINVAL\n",
    ),
    ("listhblinks", 11, "", FEW),
    ("hblinkstatus node1 eth1", 0, "up\n", ""),
    ("hblinkstatus x eth1", 1, "dead\n", ""),
    ("hblinkstatus -m node2 eth1", 0, "The node node2's heartbeat link eth1 is up\n", ""),
    ("hblinkstatus node2 eth9", 13, "", NO_LINK),
    ("hblinkstatus nosuch eth1", 13, "", NO_LINK),
    ("hblinkstatus 10.77.0.254 10.77.0.254", 0, "up\n", ""),
    ("hblinkstatus node1", 11, "", FEW),
    ("hblinkstatus", 11, "", FEW),
    ("clientstatus node1 nosuch", 1, "offline\n", ""),
    ("clientstatus node2 ipfail", 1, "offline\n", ""),
    ("clientstatus nosuch ipfail", 13, "", NO_CLIENT),
    ("clientstatus node1 ipfail junk", 13, "", NO_CLIENT),
    ("clientstatus node1", 11, "", FEW),
    ("clientstatus", 11, "", FEW),
    ("rscstatus", 0, "all\n", ""),
    ("rscstatus -m", 0, "This node is holding all resources.\n", ""),
    ("rscstatus extra", 0, "all\n", ""),
    ("hbparameter", 11, "", "ERROR: parameter name required\n"),
    (
        "hbparameter -p",
        11,
        "",
        "hbparameter: option requires an argument -- 'p'\nERROR: Error: getopt returnedcharacter code ?.\n",
    ),
    ("hbparameter deadtime", 11, "", "ERROR: parameter name required\n"),
    ("hbparameter -p nosuch", 1, "", "ERROR: Cannot get parameter nosuch's value\nERROR: REASON: \n"),
    ("hbparameter -p keepalive", 0, "100ms\n", ""),
    ("hbparameter -p crm", 0, "false\n", ""),
    ("hbparameter -m -p deadtime", 0, "Heartbeat parameter deadtime's value: 1\n", ""),
    ("test", 0, "Dead time: 1000\n keeplive time: 100\n mynodeid: node1\n rsc: all\n", ""),
];

#[test]
fn every_sub_command_with_the_daemon_up() {
    let daemon = Daemon::start(recorded_view());
    let verbose = format!("version:\t{VERSION}\nmanaged by:\t\"haresources\"\n{VERBOSE_LIST}");
    for (words, code, out, err) in WITH_DAEMON.iter().chain([&("hbstatus -v", 0, verbose.as_str(), "")]) {
        let expected = Ran { code: *code, out: (*out).to_owned(), err: (*err).to_owned() };
        assert_eq!(daemon.cl_status(words), expected, "cl_status {words}");
    }
    let me = daemon.cl_status(&format!("clientstatus node1 {}", std::process::id()));
    assert_eq!((me.code, me.out.as_str()), (0, "online\n"));
}

#[test]
fn every_sub_command_with_the_daemon_down() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("register");
    let stopped = "Heartbeat is stopped on this machine.\n";
    let verbose = format!("{stopped}(hb_api_signon: Can't initiate connection to heartbeat)\n");
    let cannot = "ERROR: Cannot signon with heartbeat\n\
        ERROR: REASON: hb_api_signon: Can't initiate connection to heartbeat\n";
    let expect = |words: &str, code: u8, out: &str, err: &str| {
        let expected = Ran { code, out: out.to_owned(), err: err.to_owned() };
        assert_eq!(cl_status(words, &nowhere), expected, "cl_status {words}");
    };
    expect("hbstatus", 1, stopped, "");
    expect("hbstatus -v", 1, &verbose, "");
    expect("hbstatus -x", 1, stopped, "hbstatus: invalid option -- 'x'\n");
    for words in ["listnodes -z", "nodestatus", "hbparameter -p", "rscstatus -m", "clientstatus", "test"] {
        expect(words, 1, "", cannot);
    }
    for word in ["--help", "nonsense", "hbmembership", "NODESTATUS"] {
        expect(word, 11, "", &format!("ERROR: {word}: invalid sub-command.\n"));
    }
    for words in ["", "-h"] {
        let usage = cl_status(words, &nowhere);
        assert!(usage.code == 0 && usage.err.is_empty());
        assert!(usage.out.starts_with("Usage: cl_status <sub-command> [<options>] [<parameters>]\n\nSub-"));
        assert!(usage.out.ends_with("please refer to the man page.\n"));
    }
}

#[test]
fn a_daemon_that_never_answers_ends_in_a_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("register");
    let _mute = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let before = Instant::now();
    assert_eq!(cl_status("rscstatus", &path).code, 12);
    assert!(before.elapsed() < Duration::from_secs(9));
}

fn tool(verb: Verb, words: &[&str], socket: &Path, fifo: &Path) -> Ran {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    ran(|terminal| command::run(verb, "/usr/share/heartbeat/hb_x", &words, socket, fifo, terminal))
}

#[test]
fn standby_and_takeover_usage() {
    let nowhere = Path::new("/nonexistent/socket");
    let usage = "/usr/share/heartbeat/hb_x [all|foreign|local|failback]\n";
    for verb in [Verb::Standby, Verb::Takeover] {
        for (words, first) in [
            (&["junk"][..], "/usr/share/heartbeat/hb_x: wrong resources(junk).\n"),
            (&["-h"], "/usr/share/heartbeat/hb_x: wrong resources(-h).\n"),
            (&["--help"], ""),
            (&["local", "extra"], "/usr/share/heartbeat/hb_x: too many arguments\n"),
        ] {
            let expected = Ran { code: 1, out: format!("{first}usage:\n"), err: usage.to_owned() };
            assert_eq!(tool(verb, words, nowhere, nowhere), expected);
        }
    }
}

#[test]
fn standby_and_takeover_tell_what_the_daemon_said() {
    let daemon = Daemon::start(recorded_view());
    let (socket, fifo) = (daemon.socket(), Path::new("/nonexistent/fifo"));
    for (words, set) in [(&[][..], "all"), (&["local"], "local"), (&["failback"], "foreign")] {
        let standby = tool(Verb::Standby, words, &socket, fifo);
        assert_eq!((standby.code, standby.out.as_str()), (0, ""));
        assert!(standby.err.ends_with(&format!(" Going standby [{set}].\n")), "{}", standby.err);
        assert_eq!(standby.err.split(' ').count(), 6, "{}", standby.err);
    }
    let taken = tool(Verb::Takeover, &["local"], &socket, fifo);
    assert_eq!(taken, Ran { code: 0, out: String::new(), err: String::new() });
    let refused = tool(Verb::Takeover, &["all"], &socket, fifo);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains("heartbeat refuses takeover [all]: the peer is not stable"));
    let before = Instant::now();
    let down = tool(Verb::Standby, &[], Path::new("/nonexistent/socket"), fifo);
    assert!(down.code == 1 && down.err.contains("not running"), "{}", down.err);
    assert!(before.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_confirmation_needs_a_daemon_of_ours() {
    use ha_core::ipc::command::confirm_takeover;
    let down = ran(|terminal| confirm_takeover(Path::new("/nonexistent/socket"), terminal));
    assert!(down.code == 1 && down.err.contains("not running"), "{}", down.err);
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("register");
    original_daemon(&socket);
    let original = ran(|terminal| confirm_takeover(&socket, terminal));
    assert!(original.code == 1 && original.err.contains("is it an original"), "{}", original.err);
}

/// Answers like an original daemon: signon is fine, everything else unknown.
fn original_daemon(path: &Path) {
    use std::io::{Read, Write};
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let reply = match text.contains("reqtype=signon\n") {
                    true => "reqtype=signon\nresult=OK\ndeadtime=3e8\nkeepalive=64\nnode=node1",
                    false => "reqtype=ha-command\nresult=badreq",
                };
                let body = format!(">>>\nt=hbapi-resp\n{reply}\n<<<\n\0");
                let length = i32::try_from(body.len()).unwrap();
                let frame = [&length.to_ne_bytes()[..], &0xabcd_u32.to_ne_bytes(), body.as_bytes()].concat();
                if stream.write_all(&frame).is_err() {
                    break;
                }
            }
        }
    });
}

#[test]
fn with_an_original_daemon_the_fifo_is_written_and_never_waited_for() {
    use std::io::Read;
    let directory = tempfile::tempdir().unwrap();
    let (socket, fifo) = (directory.path().join("register"), directory.path().join("fifo"));
    original_daemon(&socket);
    let missing = tool(Verb::Standby, &[], &socket, &fifo);
    assert!(missing.code == 1 && !fifo.exists(), "{}", missing.err);
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let unread = tool(Verb::Standby, &[], &socket, &fifo);
    assert!(unread.code == 1 && unread.err.contains("no daemon reads it"), "{}", unread.err);
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let mut reader = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&fifo).unwrap();
    for (verb, word, text) in [
        (Verb::Standby, "failback", "t=ask_resources\nrsc_hold=foreign\ninfo=me\n"),
        (Verb::Standby, "all", "t=ask_resources\nrsc_hold=all\ninfo=me\n"),
        (Verb::Takeover, "foreign", "t=hb_takeover\nrsc_hold=foreign\n"),
        (Verb::Takeover, "failback", "t=hb_takeover\nrsc_hold=local\n"),
    ] {
        let done = tool(verb, &[word], &socket, &fifo);
        assert_eq!(done.code, 0, "{}", done.err);
        let mut buffer = [0; 4096];
        let count = reader.read(&mut buffer).unwrap();
        assert_eq!(String::from_utf8_lossy(&buffer[..count]), format!(">>>\n{text}<<<\n"));
    }
}

#[test]
fn status_says_well_attention_and_not_running() {
    let daemon = Daemon::start(recorded_view());
    let page = ran(|terminal| status::run(false, &daemon.socket(), terminal));
    assert_eq!(page.code, status::ATTENTION);
    assert!(page.out.starts_with("node1 holds: all (its own and the other node's groups)\n"), "{}", page.out);
    assert!(page.out.contains("  * x is dead\n"), "{}", page.out);
    let mut well = recorded_view();
    well.nodes.pop();
    let daemon = Daemon::start(well);
    let page = ran(|terminal| status::run(false, &daemon.socket(), terminal));
    assert_eq!((page.code, page.err.as_str()), (status::WELL, ""));
    let json = ran(|terminal| status::run(true, &daemon.socket(), terminal));
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(value["report"]["view"]["nodes"][1]["links"][0]["name"], "eth1");
    assert_eq!(value["report"]["pid"], 535);
    let down = ran(|terminal| status::run(false, Path::new("/nonexistent"), terminal));
    assert!(down.code == status::NOT_RUNNING && down.err.contains("not running"));
}

#[test]
fn the_binary_knows_the_applets_by_link_and_by_word() {
    let ha = env!("CARGO_BIN_EXE_ha");
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("hb_standby");
    std::os::unix::fs::symlink(ha, &link).unwrap();
    let output = Command::new(&link).arg("junk").output().unwrap();
    let name = link.display();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{name}: wrong resources(junk).\nusage:\n"));
    assert_eq!(String::from_utf8_lossy(&output.stderr), format!("{name} [all|foreign|local|failback]\n"));
    let output = Command::new(ha).args(["cl_status", "nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(11));
    assert_eq!(Command::new(ha).args(["status", "--bogus"]).output().unwrap().status.code(), Some(2));
}
