//! LinuxSCSI: makes a disk known to this host's kernel and takes it away again (agents spec 2.7). With
//! `reserve` the disk is also locked against the other node, by a persistent reservation (SPC-3
//! 5.6): fencing of the resource itself.
//!
//! Start registers this node's key, takes the reservation, if need be from a node that did not let go,
//! and stop gives both back. The type is "write exclusive, registrants only": a node that lost its key can
//! write no more, whatever it still believes.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::command::{self, Program};
use super::script::current_host;
use super::{Action, Agent, Call, Context, ExitCode, Parameter, WrongArguments};

/// The agent.
pub const LINUX_SCSI: Agent = Agent {
    name: "LinuxSCSI",
    summary: "Enables and disables SCSI devices through the kernel SCSI hot-plug subsystem (deprecated)",
    description:
        "Makes the kernel find a SCSI device, and forget it again, so that nobody uses a shared disk \
by accident while the other node owns it. With reserve, a persistent reservation also keeps the other node \
from writing.",
    usage: "usage: $0  <host>:<channel>:<target>[:<lun>] $ACTIONS",
    parameters: PARAMETERS,
    own_actions: &["methods"],
    from_arguments: |arguments| match arguments {
        [scsi] => Ok(Call::new(format!("LinuxSCSI_{scsi}")).with("scsi", scsi)),
        _ => Err(WrongArguments::silent()),
    },
    run,
    ..Agent::BASE
};

#[rustfmt::skip]
const PARAMETERS: &[Parameter] = &[
    Parameter::string("scsi", "SCSI instance", "host:channel:target[:lun] of the device.").required(),
    Parameter::boolean("ignore_deprecation", "No warning", "Do not say that this agent is deprecated.").or("false"),
    Parameter::boolean("reserve", "Persistent reservation",
        "Lock the disk against the other node while it is used here, through sg_persist.").or("false"),
    Parameter::string("key", "Key of this node",
        "1 to 16 hexadecimal digits, not 0, different on each node; by default made from the node's name."),
    Parameter::boolean("abort", "End what the other node has sent",
        "When the disk is taken from the other node, what it has sent and the disk has not done yet is ended \
(PREEMPT AND ABORT). A target that does not stand that, as Linux 6.1's own, wants no.").or("true"),
];

const TABLE: &str = "/proc/scsi/scsi";
/// "Write exclusive, registrants only" (SPC-3, table 106).
const RESERVATION_TYPE: &str = "5";
/// One command to a disk.
const LIMIT: Duration = Duration::from_secs(20);
/// How long the block device may take to appear.
const DEVICE_LIMIT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);
/// Exit code of sg_persist: the disk had something to tell (sg3_utils(8), unit attention).
const UNIT_ATTENTION: u8 = 6;
/// Most things that a disk may have to tell.
const ATTENTIONS_MAX: u32 = 8;

/// Where a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    host: u32,
    channel: u32,
    target: u32,
    lun: u64,
}

impl Place {
    /// `host:channel:target[:lun]`.
    fn parse(text: &str) -> Option<Self> {
        let digits =
            text.split(':').all(|part| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit()));
        let numbers: Vec<&str> = text.split(':').collect();
        let (host, channel, target, lun) = match numbers.as_slice() {
            [host, channel, target] => (host, channel, target, &"0"),
            [host, channel, target, lun] => (host, channel, target, lun),
            _ => return None,
        };
        let place = || {
            Some(Self {
                host: host.parse().ok()?,
                channel: channel.parse().ok()?,
                target: target.parse().ok()?,
                lun: lun.parse().ok()?,
            })
        };
        digits.then(place)?
    }

    /// A line of the kernel's table shows it: `Host: scsi2 Channel: 00 Id: 01 Lun: 00`.
    fn is_in(self, table: &str) -> bool {
        let shows = |line: &str| {
            let mut words = line.split_whitespace();
            let mut after = |name: &str| -> Option<u64> {
                let word = words.next().filter(|word| word.eq_ignore_ascii_case(name)).and(words.next())?;
                word.strip_prefix("scsi").unwrap_or(word).parse().ok()
            };
            after("Host:") == Some(u64::from(self.host))
                && after("Channel:") == Some(u64::from(self.channel))
                && after("Id:") == Some(u64::from(self.target))
                && after("Lun:") == Some(self.lun)
        };
        table.lines().any(shows)
    }

    fn entry(self) -> PathBuf {
        let Self { host, channel, target, lun } = self;
        PathBuf::from(format!("/sys/class/scsi_device/{host}:{channel}:{target}:{lun}"))
    }

    /// What is written where to add or remove it: `/proc/scsi/scsi`.
    fn for_table(self, verb: &str) -> (PathBuf, String) {
        let Self { host, channel, target, lun } = self;
        let line = format!("scsi {verb}-single-device {host} {channel} {target} {lun}\n");
        (PathBuf::from(TABLE), line)
    }

    /// The same for a kernel without CONFIG_SCSI_PROC_FS, as Debian's are.
    fn for_sysfs(self, verb: &str) -> (PathBuf, String) {
        let Self { host, channel, target, lun } = self;
        if verb == "add" {
            let file = format!("/sys/class/scsi_host/host{host}/scan");
            (PathBuf::from(file), format!("{channel} {target} {lun}\n"))
        } else {
            (self.entry().join("device/delete"), "1\n".to_owned())
        }
    }

    /// For a host whose driver allows no number of a LUN at all (a limit of 0, as the loopback host of the
    /// kernel's own target): whatever the target has.
    fn for_whole_target(self) -> (PathBuf, String) {
        let Self { host, channel, target, .. } = self;
        (PathBuf::from(format!("/sys/class/scsi_host/host{host}/scan")), format!("{channel} {target} -\n"))
    }

    /// The disk's device file, once the kernel has one.
    fn device(self) -> Option<PathBuf> {
        let folder = self.entry().join("device");
        // Before Linux 2.6.26 the name was part of the entry's own: `block:sda`.
        let below = fs::read_dir(folder.join("block")).ok();
        let name = match below.and_then(|mut entries| entries.next()) {
            Some(entry) => entry.ok()?.file_name().into_string().ok()?,
            None => fs::read_dir(&folder)
                .ok()?
                .filter_map(Result::ok)
                .find_map(|entry| entry.file_name().to_str()?.strip_prefix("block:").map(str::to_owned))?,
        };
        Some(PathBuf::from("/dev").join(name))
    }
}

fn run(context: &Context, action: Action) -> ExitCode {
    if let Action::Own(_) = action {
        for word in ["start", "stop", "status", "monitor", "validate-all", "methods"] {
            context.say(&format!("\t{word}"));
        }
        return ExitCode::Success;
    }
    let text = context.value("scsi");
    if !context.boolean("ignore_deprecation") {
        context.log.warn("This resource agent is deprecated and may be removed in a future release. See the man page for details. To suppress this warning, set the \"ignore_deprecation\" resource parameter to true.");
    }
    if text.is_empty() {
        context.exit_reason("You have to set a valid scsi id at least!");
        return ExitCode::GenericError;
    }
    let Some(place) = Place::parse(text) else {
        context.exit_reason(&format!("Invalid SCSI instance {text}"));
        return ExitCode::WrongArguments;
    };
    let reservation = match Reservation::from_context(context) {
        Ok(reservation) => reservation,
        // What cannot be reserved is not.
        Err(_) if action == Action::Stop => None,
        Err(code) => return code,
    };
    let scsi = LinuxScsi { context, place, reservation };
    match action {
        Action::Start => scsi.start(),
        Action::Stop => scsi.stop(),
        Action::ValidateAll => ExitCode::Success,
        _ => scsi.monitor(),
    }
}

struct LinuxScsi<'a> {
    context: &'a Context,
    place: Place,
    reservation: Option<Reservation>,
}

impl LinuxScsi<'_> {
    fn start(&self) -> ExitCode {
        self.tell_kernel("add");
        if !self.is_known() {
            let text = format!("SCSI device {} not active!", self.context.value("scsi"));
            self.context.exit_reason(&text);
            return ExitCode::GenericError;
        }
        let Some(reservation) = &self.reservation else { return ExitCode::Success };
        let taken = self.wait_for_device().and_then(|device| reservation.take(&device));
        self.finished(taken)
    }

    fn stop(&self) -> ExitCode {
        if let (Some(reservation), Some(device)) = (&self.reservation, self.place.device()) {
            // Let go before the kernel forgets the disk: afterwards nobody can.
            if let Err(error) = reservation.give(&device) {
                self.context.exit_reason(&error);
                return ExitCode::GenericError;
            }
        }
        self.tell_kernel("remove");
        if self.is_known() {
            let text = format!("SCSI device {} still active!", self.context.value("scsi"));
            self.context.exit_reason(&text);
            return ExitCode::GenericError;
        }
        ExitCode::Success
    }

    fn monitor(&self) -> ExitCode {
        let scsi = self.context.value("scsi");
        let known = self.is_known();
        let held = || match &self.reservation {
            None => Ok(true),
            Some(reservation) => self.wait_for_device().and_then(|device| reservation.is_held(&device)),
        };
        match if known { held() } else { Ok(false) } {
            Ok(true) => {
                self.context.log.info(&format!("SCSI device {scsi} is running"));
                ExitCode::Success
            }
            Ok(false) => {
                self.context.log.info(&format!("SCSI device {scsi} is stopped"));
                ExitCode::NotRunning
            }
            Err(error) => {
                self.context.exit_reason(&error);
                ExitCode::GenericError
            }
        }
    }

    fn finished(&self, result: Result<(), String>) -> ExitCode {
        match result {
            Ok(()) => ExitCode::Success,
            Err(error) => {
                self.context.exit_reason(&error);
                ExitCode::GenericError
            }
        }
    }

    /// By the kernel's table, or by sysfs where the kernel was built without it.
    fn is_known(&self) -> bool {
        match fs::read_to_string(TABLE) {
            Ok(table) => self.place.is_in(&table),
            Err(_) => self.place.entry().is_dir(),
        }
    }

    /// One write, as the kernel wants it; whether it helped shows [`LinuxScsi::is_known`].
    fn tell_kernel(&self, verb: &str) {
        let (file, line) =
            if Path::new(TABLE).exists() { self.place.for_table(verb) } else { self.place.for_sysfs(verb) };
        let write = |file: &Path, line: &str| {
            OpenOptions::new().append(true).open(file).and_then(|mut file| file.write_all(line.as_bytes()))
        };
        let mut written = write(&file, &line);
        if verb == "add" && written.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL)) {
            let (file, line) = self.place.for_whole_target();
            written = write(&file, &line);
        }
        // What is not there cannot be removed, says the kernel.
        let wanted = verb == "add" || self.is_known();
        if let (true, Err(error)) = (wanted, written) {
            self.context.log.warn(&format!("{}: {}: {error}", file.display(), line.trim_end()));
        }
    }

    fn wait_for_device(&self) -> Result<PathBuf, String> {
        let end = Instant::now() + DEVICE_LIMIT;
        loop {
            match self.place.device().filter(|device| device.exists()) {
                Some(device) => return Ok(device),
                None if Instant::now() > end => {
                    return Err(format!("SCSI device {} has no device file", self.context.value("scsi")));
                }
                None => std::thread::sleep(PAUSE),
            }
        }
    }
}

/// A node's right on a disk.
struct Reservation {
    /// Not 0.
    key: u64,
    /// Ends what a holder that is put out has sent.
    aborts: bool,
}

/// What a disk knows of its users.
#[derive(Debug, Default, PartialEq, Eq)]
struct Users {
    /// Registered keys.
    keys: Vec<u64>,
    /// The key that holds the reservation.
    holder: Option<u64>,
}

impl Reservation {
    fn from_context(context: &Context) -> Result<Option<Self>, ExitCode> {
        if !context.boolean("reserve") {
            return Ok(None);
        }
        command::require(context, "sg_persist")?;
        let key = match context.value("key") {
            "" => key_of(&current_host()),
            text => match u64::from_str_radix(text.trim_start_matches("0x"), 16) {
                Ok(key) if key != 0 => key,
                _ => {
                    context.exit_reason(&format!("Invalid key {text}: 1 to 16 hexadecimal digits, not 0"));
                    return Err(ExitCode::NotConfigured);
                }
            },
        };
        Ok(Some(Self { key, aborts: context.boolean("abort") }))
    }

    /// Registers and reserves; a holder that is not us is put out, its key with it.
    fn take(&self, device: &Path) -> Result<(), String> {
        let key = format!("{:#x}", self.key);
        let param = format!("--param-sark={key}");
        // Over whatever this path has registered before: an interrupted start, or another key.
        persist(device, &["--out", "--register-ignore", &param])?;
        let reserve = [&format!("--param-rk={key}"), &format!("--prout-type={RESERVATION_TYPE}")];
        match users(device)?.holder {
            Some(holder) if holder == self.key => Ok(()),
            None => persist(device, &["--out", "--reserve", reserve[0], reserve[1]]).map(drop),
            Some(holder) => {
                let victim = format!("--param-sark={holder:#x}");
                let preempt = if self.aborts { "--preempt-abort" } else { "--preempt" };
                persist(device, &["--out", preempt, reserve[0], &victim, reserve[1]]).map(drop)
            }
        }?;
        match users(device)?.holder {
            Some(holder) if holder == self.key => Ok(()),
            other => {
                Err(format!("{}: the reservation is held by {other:x?}, not by {key}", device.display()))
            }
        }
    }

    /// Gives up the reservation and the key. Not having them is success.
    fn give(&self, device: &Path) -> Result<(), String> {
        let key = format!("--param-rk={:#x}", self.key);
        let known = users(device)?;
        if known.holder == Some(self.key) {
            let kind = format!("--prout-type={RESERVATION_TYPE}");
            persist(device, &["--out", "--release", &key, &kind])?;
        }
        if known.keys.contains(&self.key) {
            persist(device, &["--out", "--register", &key, "--param-sark=0"])?;
        }
        Ok(())
    }

    fn is_held(&self, device: &Path) -> Result<bool, String> {
        users(device).map(|users| users.holder == Some(self.key))
    }
}

/// A key from a node's name (FNV-1a): the same at each start, different for two names.
fn key_of(name: &str) -> u64 {
    let number = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    number.max(1)
}

fn users(device: &Path) -> Result<Users, String> {
    let keys = persist(device, &["--in", "--read-keys"])?;
    let reservation = persist(device, &["--in", "--read-reservation"])?;
    Ok(Users { keys: keys_in(&keys), holder: holder_in(&reservation) })
}

/// The lines with nothing but a key in the answer to `--read-keys`.
fn keys_in(text: &str) -> Vec<u64> {
    let key = |line: &str| u64::from_str_radix(line.trim().strip_prefix("0x")?, 16).ok();
    text.lines().filter_map(key).collect()
}

/// `Key=0x...` in the answer to `--read-reservation`.
fn holder_in(text: &str) -> Option<u64> {
    let word = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Key=0x").or(line.trim().strip_prefix("Key = 0x")))?;
    u64::from_str_radix(word.split_whitespace().next()?, 16).ok()
}

/// A disk tells each of its users once what has happened to it, that it was reset or that a registration
/// was taken away, instead of doing what is asked: then it is asked again.
fn persist(device: &Path, words: &[&str]) -> Result<String, String> {
    let mut attentions = 0;
    loop {
        let program =
            Program::new("sg_persist").args(["--no-inquiry"]).args(words).args([device]).limit(LIMIT);
        let line = program.to_string();
        let finished = program.run().map_err(|error| error.to_string())?;
        match finished.code {
            0 => return Ok(finished.stdout),
            UNIT_ATTENTION if attentions < ATTENTIONS_MAX => attentions += 1,
            code => {
                let said = format!("{} {}", finished.stderr, finished.stdout);
                let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
                return Err(format!("{line}: exit code {code}: {said}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_kernels_with_and_without_the_table() {
        let place = Place { host: 2, channel: 0, target: 1, lun: 3 };
        let (file, line) = place.for_table("remove");
        assert_eq!((file.to_str(), line.as_str()), (Some(TABLE), "scsi remove-single-device 2 0 1 3\n"));
        let (file, line) = place.for_sysfs("add");
        assert_eq!((file.to_str(), line.as_str()), (Some("/sys/class/scsi_host/host2/scan"), "0 1 3\n"));
        assert_eq!(place.for_whole_target(), (file, "0 1 -\n".to_owned()));
        let (file, line) = place.for_sysfs("remove");
        let expected = "/sys/class/scsi_device/2:0:1:3/device/delete";
        assert_eq!((file.to_str(), line.as_str()), (Some(expected), "1\n"));
    }

    #[test]
    fn places() {
        assert_eq!(Place::parse("0:0:11"), Some(Place { host: 0, channel: 0, target: 11, lun: 0 }));
        assert_eq!(Place::parse("2:1:3:4"), Some(Place { host: 2, channel: 1, target: 3, lun: 4 }));
        for text in
            ["", "0:0", "a:0:0", "0:0:0:0:0", "0::0", "-1:0:0", "+1:0:0", "99999999999:0:0", "0:0:0 0"]
        {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_kernels_table() {
        let table = "Attached devices:\nHost: scsi2 Channel: 00 Id: 01 Lun: 00\n  Vendor: Linux    Model: scsi_debug\n\
             Host: scsi12 Channel: 00 Id: 10 Lun: 03\n";
        for (text, there) in
            [("2:0:1", true), ("12:0:10:3", true), ("2:0:1:1", false), ("1:0:1", false), ("12:0:1:3", false)]
        {
            assert_eq!(Place::parse(text).unwrap().is_in(table), there, "{text}");
        }
        for hostile in ["", "Host:", "Host: scsi Channel: x", "Host: scsi2 Channel: 00 Id: 01", "\0"] {
            assert!(!Place::parse("2:0:1").unwrap().is_in(hostile));
        }
    }

    #[test]
    fn answers_of_sg_persist() {
        let keys = "  PR generation=0x3, 2 registered reservation keys follow:\n    0xabc\n    0x1\n";
        assert_eq!(keys_in(keys), [0xabc, 1]);
        assert_eq!(keys_in("  PR generation=0x0, there are NO registered reservation keys\n"), [0u64; 0]);
        let held = "  PR generation=0x3, Reservation follows:\n    Key=0xabc\n    scope: LU_SCOPE,  type: Write Exclusive, registrants only\n";
        assert_eq!(holder_in(held), Some(0xabc));
        assert_eq!(holder_in("  PR generation=0x3, there is NO reservation held\n"), None);
        for hostile in ["Key=0x", "Key=0xfffffffffffffffff", "Key=0xzz", "0x", "\0"] {
            assert_eq!((keys_in(hostile).len(), holder_in(hostile)), (0, None), "{hostile}");
        }
        assert_ne!(key_of("node1"), key_of("node2"));
    }
}
