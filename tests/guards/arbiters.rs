//! Goal: both arbiters of packaging/examples give the token to one node at a time, for its time.
//! Method: each against a small server of the test's own, or a stand-in for ssh that runs the command
//! here; two nodes take turns, then many at once.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::skip;

/// One document with its tag and time, and how the server misbehaves.
#[derive(Default)]
struct Document {
    content: Option<(String, u64, u64)>,
    last_tag: u64,
    /// Status of every answer instead of the right one.
    always: Option<u16>,
    /// Seconds that the document is made to look older.
    aged_s: u64,
}

struct Server {
    url: String,
    document: Arc<Mutex<Document>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let url = format!("http://{}/pair1", listener.local_addr().expect("address"));
        let document = Arc::new(Mutex::new(Document::default()));
        let shared = Arc::clone(&document);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let _ = serve(&stream, &shared);
                });
            }
        });
        Self { url, document }
    }
}

fn serve(stream: &TcpStream, document: &Mutex<Document>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let method = first.split(' ').next().unwrap_or("").to_owned();
    let mut head = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        head.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = head.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut document = document.lock().expect("document");
    let (status, more, text) = answer(&mut document, &method, &head, &String::from_utf8_lossy(&body));
    let now = date(now_s());
    let length = text.len();
    write!(
        &mut &*stream,
        "HTTP/1.1 {status} x\r\nDate: {now}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
}

fn answer(
    document: &mut Document,
    method: &str,
    head: &HashMap<String, String>,
    body: &str,
) -> (u16, String, String) {
    if let Some(status) = document.always {
        return (status, String::new(), String::new());
    }
    let tag = document.content.as_ref().map(|(_, tag, _)| format!("\"{tag}\""));
    let matches = head.get("if-match").is_none_or(|wanted| tag.as_ref() == Some(wanted));
    let fresh = head.get("if-none-match").is_none_or(|wanted| wanted != "*" || tag.is_none());
    match method {
        "GET" => match &document.content {
            None => (404, String::new(), String::new()),
            Some((text, tag, at_s)) => {
                let at = date(at_s - document.aged_s);
                (200, format!("ETag: \"{tag}\"\r\nLast-Modified: {at}\r\n"), text.clone())
            }
        },
        _ if !matches || !fresh => (412, String::new(), String::new()),
        "PUT" => {
            document.last_tag += 1;
            document.content = Some((body.to_owned(), document.last_tag, now_s()));
            document.aged_s = 0;
            (201, String::new(), String::new())
        }
        _ => {
            document.content = None;
            (204, String::new(), String::new())
        }
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn date(at_s: u64) -> String {
    let format = "+%a, %d %b %Y %H:%M:%S GMT";
    let mut command = Command::new("date");
    command.env("LC_ALL", "C").args(["-u", "-d", &format!("@{at_s}"), format]);
    String::from_utf8(command.output().expect("date").stdout).expect("text").trim().to_owned()
}

/// One of the examples, with its settings in a folder.
struct Example {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Example {
    fn new(name: &str, settings: &str) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples").join(name);
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("conf"), settings).expect("settings");
        Self { program, folder }
    }

    fn command(&self, node: &str, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .arg(verb)
            .env("HA_NODE", node)
            .env("HA_PEER", "other")
            .env("HA_ARBITER_TTL", "30")
            .env("HA_ARBITER_CONF", self.folder.path().join("conf"))
            .env("PATH", format!("{}:{path}", self.folder.path().display()));
        command
    }

    /// Exit code and what it said.
    fn call(&self, node: &str, verb: &str) -> (i32, String) {
        let output = self.command(node, verb).output().expect("run");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.code().expect("code"), text)
    }

    fn code(&self, node: &str, verb: &str) -> i32 {
        self.call(node, verb).0
    }

    /// What every arbiter has to do.
    fn keeps_the_contract(&self, age: impl Fn(u64)) {
        assert_eq!(self.code("node1", "status"), 1, "nobody has it");
        assert_eq!(self.code("node1", "renew"), 1, "nothing to renew");
        assert_eq!(self.call("node1", "acquire"), (0, self.call("node1", "acquire").1));
        assert_eq!(self.code("node1", "renew"), 0);
        assert_eq!(self.code("node1", "status"), 0);
        let (code, text) = self.call("node2", "acquire");
        assert!(code == 1 && text.contains("node1"), "{code} {text}");
        assert_eq!(self.code("node2", "renew"), 1);
        assert_eq!(self.code("node2", "status"), 1);
        assert_eq!(self.code("node2", "release"), 0, "of somebody else's: nothing");
        assert_eq!(self.code("node1", "renew"), 0, "and it is still there");
        // Real time goes on besides, on a busy machine for seconds.
        age(20);
        assert_eq!(self.code("node2", "acquire"), 1, "not old enough");
        age(31);
        assert_eq!(self.code("node1", "status"), 1, "it has run out");
        assert_eq!(self.code("node2", "acquire"), 0, "too old");
        assert_eq!(self.code("node1", "renew"), 1, "it is gone");
        assert_eq!(self.code("node2", "release"), 0);
        assert_eq!(self.code("node1", "acquire"), 0);
        assert_eq!(self.code("node1", "release"), 0);
        assert_eq!(self.code("node1", "nonsense"), 2);
        for _ in 0..3 {
            let nodes: Vec<String> = (0..6).map(|number| format!("node{number}")).collect();
            let children: Vec<_> =
                nodes.iter().map(|node| self.command(node, "acquire").spawn().expect("spawn")).collect();
            let codes: Vec<i32> = children
                .into_iter()
                .map(|mut child| child.wait().expect("wait").code().unwrap_or(9))
                .collect();
            assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
            let winner = codes.iter().position(|code| *code == 0).expect("one");
            assert_eq!(self.code(&nodes[winner], "release"), 0);
        }
    }
}

#[test]
fn over_http_one_node_has_the_token() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip::skip("there is no curl");
    }
    let server = Server::start();
    let example = Example::new("arbiter-http", &format!("ARBITER_URL={}\n", server.url));
    example.keeps_the_contract(|seconds| server.document.lock().expect("document").aged_s = seconds);
    for status in [403, 500, 503] {
        server.document.lock().expect("document").always = Some(status);
        for verb in ["acquire", "renew", "release", "status"] {
            assert_eq!(example.code("node1", verb), 2, "{verb} with {status}");
        }
    }
}

#[test]
fn over_http_what_cannot_be_asked_is_not_known() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip::skip("there is no curl");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").expect("listen");
    let url = format!("http://{}/x", nobody.local_addr().expect("address"));
    drop(nobody);
    let example = Example::new("arbiter-http", &format!("ARBITER_URL={url}\n"));
    assert_eq!(example.code("node1", "acquire"), 2);
    assert_eq!(Example::new("arbiter-http", "").code("node1", "acquire"), 2, "no settings");
}

/// Drops options and host, and runs the command as another host's shell would.
const SSH: &str = "#!/bin/sh
while [ $# -gt 0 ]; do
	case $1 in
	-o | -i) shift 2 ;;
	*) break ;;
	esac
done
shift
[ -e \"$0.broken\" ] && exit 255
exec sh -c \"$*\"
";

#[test]
fn over_ssh_one_node_has_the_token() {
    let token = tempfile::tempdir().expect("folder");
    let file = token.path().join("pair1");
    let settings = format!("ARBITER_HOST=third\nARBITER_FILE={}\n", file.display());
    let example = Example::new("arbiter-ssh", &settings);
    let ssh = example.folder.path().join("ssh");
    std::fs::write(&ssh, SSH).expect("stand-in");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&ssh, mode).expect("mode");
    example.keeps_the_contract(|seconds| {
        let text = std::fs::read_to_string(&file).expect("token");
        let node = text.split(' ').next().expect("node");
        std::fs::write(&file, format!("{node} {}\n", now_s() - seconds)).expect("age");
    });
    std::fs::write(&file, "\0garbage;$(reboot)\n").expect("garbage");
    assert_eq!(example.code("node1", "renew"), 1);
    let (code, _) = example.call("node1; reboot", "acquire");
    assert_eq!(code, 2, "a name that a shell would understand");
    std::fs::write(example.folder.path().join("ssh.broken"), "").expect("break");
    assert_eq!(example.code("node1", "acquire"), 2);
}
