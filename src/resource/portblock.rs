//! portblock: drops the packets of some ports while a service moves, so that no client gets a refusal
//! between the address and the service, and makes the clients of a moved address come back at once.
//!
//! `block` at the start of a group and `unblock` at its end (agents spec 2.7). Whether `block` runs
//! cannot be read from the packet filter, because `unblock` takes the rule away; a note says it.
//!
//! What differs from Debian's 4.12, on purpose: rules are found whatever iptables calls the protocol (its
//! own search fails with Debian 12's iptables, so it adds a rule with each start and never removes one);
//! bad parameters are refused by every operation; `tcp_tw_recycle`, which breaks clients behind one
//! address, is not switched on; no `active: 0 want_active: 1` on standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::net::tcp_table::{self, Connection};
use crate::net::{state, tickle};

use super::packet_filter::{Filter, FilterError, Network, Ports, Rule, Verdict, Way};
use super::{pseudo, Action, Agent, Call, Context, ExitCode, Parameter, Timeouts, WrongArguments};

/// The agent.
pub const PORTBLOCK: Agent = Agent {
    name: "portblock",
    summary: "Block and unblocks access to TCP and UDP ports",
    description: "Drops the packets of some TCP or UDP ports, so that no client is refused while a service \
moves, and lets them through again. With tickle_dir, connections are noted while they last, and after a \
move their clients are made to connect again at once.",
    usage: "usage: $0 {udp|tcp} portno,portno {block|unblock} $ACTIONS",
    parameters: PARAMETERS,
    timeouts_s: Timeouts { start: 20, stop: 20, monitor: 10 },
    from_arguments: |arguments| match arguments {
        [protocol, ports, action] => Ok(Call::new(format!("portblock_{protocol}_{ports}_{action}"))
            .with("protocol", protocol)
            .with("portno", ports)
            .with("action", action)),
        _ => Err(WrongArguments::silent()),
    },
    run,
    ..Agent::BASE
};

#[rustfmt::skip]
const PARAMETERS: &[Parameter] = &[
    Parameter::string("protocol", "Protocol", "tcp or udp.").required(),
    Parameter::string("portno", "Ports",
        "Port numbers and ranges (1000:1010), separated by commas, 15 at most; a range counts twice.").required(),
    Parameter::string("action", "block or unblock",
        "block drops packets when it starts and lets them through when it stops; unblock the other way round.").required(),
    Parameter::string("ip", "Address",
        "Local address or network whose ports are meant: the default is every IPv4 address, ::/0 every IPv6 \
address.").or("0.0.0.0/0"),
    Parameter::string("direction", "in, out or both",
        "Drop packets that come in to the ports, that go out from them, or both.").or("in"),
    Parameter::boolean("reset_local_on_unblock_stop", "Reset our ends when unblock stops",
        "Connections that the service leaves behind are reset on this host before packets are dropped, so \
that they do not stand in the way when the address comes back.").or("false"),
    Parameter::string("tickle_dir", "Directory for connections",
        "An absolute path, the same on both nodes or copied by sync_script. While unblock runs, each monitor \
notes the established connections of ip there; its start makes the clients in the note connect again."),
    Parameter::string("sync_script", "Program that copies the note to the other node",
        "Gets the path of the file as its last argument, and is not waited for."),
];

/// Packets for each connection: one may get lost.
const TICKLE_ROUNDS: u32 = 3;
/// Looks for connections that are still there after a reset, with these pauses.
const RESET_PAUSES_MS: [u64; 5] = [100, 500, 1000, 2000, 4000];

fn run(context: &Context, action: Action) -> ExitCode {
    let checked = PortBlock::from_context(context);
    let block = match (checked, action) {
        (Ok(block), _) => block,
        (Err(Refusal::Missing(name)), _) => {
            context.log.error(&format!("Please set OCF_RESKEY_{name}"));
            return ExitCode::NotConfigured;
        }
        (Err(Refusal::Wrong(text, code)), Action::Start | Action::ValidateAll) => {
            context.exit_reason(&text);
            return code;
        }
        // Such a rule cannot be here.
        (Err(Refusal::Wrong(text, _)), Action::Stop) => {
            context.log.warn(&text);
            return ExitCode::Success;
        }
        (Err(Refusal::Wrong(text, _)), _) => {
            context.log.info(&text);
            return ExitCode::NotRunning;
        }
    };
    let filter = match Filter::find(block.network.address) {
        Ok(filter) => filter,
        Err(error) => {
            context.exit_reason(&error.to_string());
            return ExitCode::NotInstalled;
        }
    };
    let result = match action {
        Action::Start => block.start(&filter),
        Action::Stop => block.stop(&filter),
        Action::ValidateAll => Ok(ExitCode::Success),
        _ => block.monitor(&filter),
    };
    result.unwrap_or_else(|error| {
        context.exit_reason(&error.to_string());
        ExitCode::GenericError
    })
}

/// Why parameters are not taken.
enum Refusal {
    /// One that must be there is not.
    Missing(&'static str),
    /// One has no meaning; the code is that of start.
    Wrong(String, ExitCode),
}

/// One resource with its checked parameters.
struct PortBlock<'a> {
    context: &'a Context,
    /// block, not unblock.
    blocks: bool,
    /// Whose ports.
    network: Network,
    /// To drop: one rule, or one for each way.
    rules: Vec<Rule>,
    /// Resets our own ends.
    reset: Option<Rule>,
    /// Where connections are noted, and whose.
    note: Option<(PathBuf, IpAddr)>,
}

impl<'a> PortBlock<'a> {
    fn from_context(context: &'a Context) -> Result<Self, Refusal> {
        for name in ["protocol", "portno", "action"] {
            if context.value(name).is_empty() {
                return Err(Refusal::Missing(name));
            }
        }
        let wrong = |text: String| Err(Refusal::Wrong(text, ExitCode::NotConfigured));
        let protocol = match context.value("protocol") {
            "tcp" => "tcp",
            "udp" => "udp",
            other => return wrong(format!("Invalid protocol {other}!")),
        };
        let Some(ports) = Ports::parse(context.value("portno")) else {
            return wrong(format!("Invalid port number {}!", context.value("portno")));
        };
        let blocks = match context.value("action") {
            "block" => true,
            "unblock" => false,
            other => return wrong(format!("Invalid action {other}!")),
        };
        let Some(network) = Network::parse(context.value("ip")) else {
            return wrong(format!("Invalid ip {}: an address or network", context.value("ip")));
        };
        let ways: &[Way] = match context.value("direction") {
            "in" => &[Way::In],
            "out" => &[Way::Out],
            "both" => &[Way::In, Way::Out],
            other => return wrong(format!("Invalid direction {other}: in, out or both")),
        };
        let rule = |way, verdict| Rule { protocol, ports: ports.clone(), network, way, verdict };
        let rules: Vec<Rule> = ways.iter().map(|way| rule(*way, Verdict::Drop)).collect();
        let resets = context.boolean("reset_local_on_unblock_stop");
        if resets && blocks {
            return wrong("reset_local_on_unblock_stop is only relevant with action=unblock".to_owned());
        }
        let reset =
            (resets && protocol == "tcp" && ways.contains(&Way::In)).then(|| rule(Way::Out, Verdict::Reset));
        let note = note_file(context, blocks, network)?;
        Ok(Self { context, blocks, network, rules, reset, note })
    }

    fn start(&self, filter: &Filter) -> Result<ExitCode, FilterError> {
        if let Err(error) = pseudo::start(&self.context.instance) {
            self.context.log.warn(&format!("Cannot note that this runs: {error}"));
        }
        if self.blocks {
            self.drop_packets(filter)?;
        } else {
            self.pass_packets(filter)?;
            self.tickle_peers();
        }
        Ok(ExitCode::Success)
    }

    fn stop(&self, filter: &Filter) -> Result<ExitCode, FilterError> {
        if let Err(error) = pseudo::stop(&self.context.instance) {
            self.context.log.warn(&format!("Cannot remove the note that this runs: {error}"));
        }
        if self.blocks {
            self.pass_packets(filter)?;
        } else {
            self.note_connections();
            self.reset_own_ends(filter)?;
            self.drop_packets(filter)?;
            if let Some(reset) = &self.reset {
                filter.remove(reset)?;
            }
        }
        Ok(ExitCode::Success)
    }

    fn monitor(&self, filter: &Filter) -> Result<ExitCode, FilterError> {
        let mut dropping = true;
        for rule in &self.rules {
            dropping &= filter.is_set(rule)?;
        }
        let noted = pseudo::is_active(&self.context.instance);
        let state = match (self.blocks, dropping) {
            (true, true) => " is running (OK)",
            (true, false) if noted => "considered to be running (OK)",
            (false, false) if noted => " is running (OK)",
            _ => "is inactive",
        };
        self.context.say(&format!("portblock DROP rule {} {state}", self.words()));
        if state == "is inactive" {
            return Ok(ExitCode::NotRunning);
        }
        if !self.blocks {
            self.note_connections();
        }
        Ok(ExitCode::Success)
    }

    /// As the scripts show it: with the chain in the old generation, with the direction since there is
    /// one.
    fn words(&self) -> String {
        let value = |name| self.context.value(name);
        let (protocol, ports, ip) = (value("protocol"), value("portno"), value("ip"));
        match value("direction") {
            "in" => format!("for INPUT chain [{protocol} {ports} {ip} {}]", value("action")),
            direction => format!("[{protocol} {ports} {ip} {direction} {}]", value("action")),
        }
    }

    fn drop_packets(&self, filter: &Filter) -> Result<(), FilterError> {
        self.rules.iter().try_for_each(|rule| filter.set(rule))
    }

    /// Also takes away what a stop that was killed may have left.
    fn pass_packets(&self, filter: &Filter) -> Result<(), FilterError> {
        self.rules.iter().chain(&self.reset).try_for_each(|rule| filter.remove(rule))
    }

    /// Makes this host's ends of the connections go: our own packets are answered with a reset, and
    /// each end is made to send one.
    fn reset_own_ends(&self, filter: &Filter) -> Result<(), FilterError> {
        let (Some(reset), Some(address)) = (&self.reset, self.network.single()) else { return Ok(()) };
        filter.set(reset)?;
        for pause_ms in std::iter::once(0).chain(RESET_PAUSES_MS) {
            std::thread::sleep(Duration::from_millis(pause_ms));
            let ours = |connection: &Connection| reset.ports.contain(connection.local.port());
            let left: Vec<Connection> = self.connections(address).into_iter().filter(ours).collect();
            if left.is_empty() {
                break;
            }
            self.send(&left.into_iter().map(Connection::swapped).collect::<Vec<_>>(), 1);
        }
        Ok(())
    }

    fn connections(&self, address: IpAddr) -> Vec<Connection> {
        tcp_table::established(address).unwrap_or_else(|error| {
            self.context.log.warn(&format!("Cannot read the TCP connections: {error}"));
            Vec::new()
        })
    }

    fn send(&self, connections: &[Connection], rounds: u32) {
        if let Err(error) = tickle::tickle(connections, rounds) {
            self.context.log.warn(&format!("Cannot tickle connections: {error}"));
        }
    }

    /// The other node reads the note when the address has moved there; until then the old one must not
    /// be torn.
    fn note_connections(&self) {
        let Some((file, address)) = &self.note else { return };
        let text = tickle::state_text(&self.connections(*address));
        if let Err(error) = replace_on_disk(file, text.as_bytes()) {
            self.context.log.warn(&format!("Cannot note the connections in {}: {error}", file.display()));
            return;
        }
        let mut words = self.context.value("sync_script").split_whitespace();
        if let Some(program) = words.next() {
            let mut command = Command::new(program);
            command.args(words).arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            if let Err(error) = command.spawn() {
                self.context.log.warn(&format!("Cannot run {program}: {error}"));
            }
        }
    }

    fn tickle_peers(&self) {
        let Some((file, address)) = &self.note else { return };
        match read_note(file) {
            Ok(text) => {
                let mut connections = tickle::connections_in(&text);
                // Others' addresses in a note are none of our business.
                connections.retain(|connection| connection.local.ip() == *address);
                self.send(&connections, TICKLE_ROUNDS);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => {
                self.context.log.warn(&format!("Cannot read connections from {}: {error}", file.display()));
            }
        }
    }
}

/// The file for connections, when there is to be one.
fn note_file(
    context: &Context,
    blocks: bool,
    network: Network,
) -> Result<Option<(PathBuf, IpAddr)>, Refusal> {
    let directory = Path::new(context.value("tickle_dir"));
    if directory.as_os_str().is_empty() {
        return Ok(None);
    }
    if blocks {
        let text = "Tickles are only useful with action=unblock!".to_owned();
        return Err(Refusal::Wrong(text, ExitCode::NotConfigured));
    }
    if !directory.is_absolute() || !directory.is_dir() {
        return Err(Refusal::Wrong("The tickle dir doesn't exist!".to_owned(), ExitCode::NotInstalled));
    }
    let Some(address) = network.single() else {
        context.log.warn("tickle_dir needs a single address in ip: no connections are noted");
        return Ok(None);
    };
    Ok(Some((directory.join(address.to_string()), address)))
}

/// The whole new content or the whole old one, also after a crash.
fn replace_on_disk(file: &Path, content: &[u8]) -> io::Result<()> {
    let new = PathBuf::from(format!("{}.new", file.display()));
    state::replace(&new, content)?;
    File::open(&new)?.sync_all()?;
    fs::rename(&new, file)
}

/// The directory may be anybody's: no links, nothing that blocks, nothing endless.
fn read_note(path: &Path) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(tickle::STATE_MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(parameters: &[(&str, &str)]) -> Context {
        let call = parameters.iter().fold(Call::new("x"), |call, (name, value)| call.with(name, value));
        Context { print: false, ..Context::new(&PORTBLOCK, call) }
    }

    #[test]
    fn bad_parameters_are_refused_and_stop_has_nothing_to_do() {
        let good = [("protocol", "tcp"), ("portno", "80"), ("action", "unblock")];
        for bad in [
            ("protocol", "sctp"),
            ("portno", "80;reboot"),
            ("portno", "-j"),
            ("action", "-j"),
            ("ip", "::1 -j ACCEPT"),
            ("ip", "1.2.3.4 -j ACCEPT"),
            ("direction", "up"),
        ] {
            let parameters: Vec<_> =
                good.into_iter().filter(|(name, _)| *name != bad.0).chain([bad]).collect();
            let context = context(&parameters);
            assert_eq!(run(&context, Action::Start), ExitCode::NotConfigured, "{bad:?}");
            assert_eq!(run(&context, Action::Monitor), ExitCode::NotRunning, "{bad:?}");
            assert_eq!(run(&context, Action::Stop), ExitCode::Success, "{bad:?}");
        }
        for missing in ["protocol", "portno", "action"] {
            let parameters: Vec<_> = good.into_iter().filter(|(name, _)| *name != missing).collect();
            assert_eq!(run(&context(&parameters), Action::Stop), ExitCode::NotConfigured);
        }
        let nowhere = [&good[..], &[("tickle_dir", "/nonexistent")]].concat();
        assert_eq!(run(&context(&nowhere), Action::Start), ExitCode::NotInstalled);
    }

    #[test]
    fn a_note_is_whole_and_strange_files_are_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("10.0.0.1");
        replace_on_disk(&file, b"one").unwrap();
        replace_on_disk(&file, b"two").unwrap();
        assert_eq!(read_note(&file).unwrap(), "two");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(read_note(&link).is_err());
        assert!(read_note(directory.path()).is_err());
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read_note(&pipe).is_err());
    }
}
