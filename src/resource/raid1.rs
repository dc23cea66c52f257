//! Raid1: assembles a software RAID (md), and stops it (agents spec 2.7).
//!
//! mdadm does it; what runs is seen in /proc/mdstat and /sys/block/mdN/md, and mdadm is asked only about
//! an array that is not whole. Without mdadm the raidtools of old systems are used.
//!
//! What differs, on purpose: who holds an array is found in /proc, not by lsof(8), and told; a healthy
//! array is not asked after by mdadm.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::config;
use crate::sys::{block, bounded, process};

use super::command::{self, Program};
use super::filesystem::device::is_block;
use super::filesystem::{mount_table::MountTable, process_line, users};
use super::{Action, Agent, Call, Context, ExitCode, Parameter, Timeouts, WrongArguments};

/// The agent.
pub const RAID1: Agent = Agent {
    name: "Raid1",
    summary: "A software RAID on shared disks",
    description:
        "Assembles arrays of the md driver with mdadm, and stops them. The raiddev auto stands for all \
        ARRAY lines of the configuration file.",
    usage: "usage: $0 <raidtab_config_file> <md_dev_name> $ACTIONS",
    usage_code: 0,
    parameters: PARAMETERS,
    timeouts_s: Timeouts { start: 20, stop: 20, monitor: 20 },
    from_arguments: |arguments| match arguments {
        [configuration, device] => Ok(Call::new(format!("Raid1_{configuration}"))
            .with("raidconf", configuration)
            .with("raiddev", device)),
        _ => Err(WrongArguments::silent()),
    },
    run,
    ..Agent::BASE
};

const PARAMETERS: &[Parameter] = &[
    Parameter::string("raidconf", "Configuration file", "mdadm.conf, or raidtab for the raidtools.")
        .required(),
    Parameter::string(
        "raiddev",
        "Device",
        "The array's device, /dev/md0 for instance; several with blanks between; auto for all of the file.",
    )
    .required(),
    Parameter::string("homehost", "Home host", "Given to mdadm as --homehost."),
    Parameter::boolean(
        "force_stop",
        "End processes",
        "Whether a stop ends the processes that hold the device.",
    )
    .or("true"),
    Parameter::boolean("udev", "Wait for udev", "Whether a start waits until udev made the names in /dev.")
        .or("true"),
    Parameter::boolean("force_clones", "Not supported", "Must be false: there are no clones.").or("false"),
];

/// How long a question may take, and a change.
const QUERY_LIMIT: Duration = Duration::from_secs(30);
const CHANGE_LIMIT: Duration = Duration::from_secs(300);
/// How long the array may take to show its first block.
const READ_LIMIT: Duration = Duration::from_secs(15);
/// Between SIGTERM and SIGKILL for those that hold an array.
const CLEANUP: Duration = Duration::from_secs(3);
const CLEANUP_PAUSE: Duration = Duration::from_millis(50);

fn run(context: &Context, action: Action) -> ExitCode {
    let result = Arrays::from_context(context, action).map(|arrays| match action {
        Action::Start => arrays.start(),
        Action::Stop => arrays.stop(),
        Action::ValidateAll => ExitCode::Success,
        _ => {
            let code = arrays.monitor(action);
            if action == Action::Status {
                context.say(if code == ExitCode::Success { "running" } else { "stopped" });
            }
            code
        }
    });
    result.unwrap_or_else(|code| code)
}

struct Arrays<'a> {
    context: &'a Context,
    configuration: &'a str,
    devices: Vec<String>,
    /// mdadm is there; else the raidtools are.
    mdadm: bool,
}

impl<'a> Arrays<'a> {
    fn from_context(context: &'a Context, action: Action) -> Result<Self, ExitCode> {
        let refuse = |text: &str, code| {
            context.exit_reason(text);
            Err(code)
        };
        let (configuration, device) = (context.value("raidconf"), context.value("raiddev"));
        if configuration.is_empty() {
            return refuse("Please set OCF_RESKEY_raidconf!", ExitCode::NotConfigured);
        }
        let Ok(text) = fs::read(configuration) else {
            let text = format!("Configuration file [{configuration}] does not exist, or can not be opened!");
            return refuse(&text, ExitCode::NotInstalled);
        };
        if device.is_empty() {
            let text = "Please set OCF_RESKEY_raiddev to the Raid device you want to control!";
            return refuse(text, ExitCode::NotConfigured);
        }
        if context.boolean("force_clones") || std::env::var_os("OCF_RESKEY_CRM_meta_clone").is_some() {
            return refuse("md RAID arrays are NOT safe to run as a clone!", ExitCode::NotConfigured);
        }
        let mdadm = command::find("mdadm").is_some();
        if !mdadm {
            command::require(context, "raidstart")?;
        }
        let devices = match device {
            "auto" if mdadm => arrays_of(&String::from_utf8_lossy(&text)),
            "auto" => return refuse("autoconf supported only with mdadm!", ExitCode::NotInstalled),
            _ => device.split_whitespace().map(str::to_owned).collect(),
        };
        if devices.len() > 1 && !mdadm {
            return refuse("multiple devices supported only with mdadm!", ExitCode::NotInstalled);
        }
        if devices.is_empty() || devices.iter().any(|device| !is_device_name(device)) {
            let text = format!("[{device}] in [{configuration}] names no array");
            return refuse(&text, ExitCode::NotConfigured);
        }
        if action == Action::Start && context.boolean("udev") && command::find("udevadm").is_none() {
            context.log.warn("either install udevadm or set udev to false");
            context.log.info("setting udev to false!");
        }
        Ok(Self { context, configuration, devices, mdadm })
    }

    fn shown(&self) -> String {
        self.devices.join(" ")
    }

    fn start(&self) -> ExitCode {
        let shown = self.shown();
        match self.monitor(Action::Start) {
            ExitCode::Success => return ExitCode::Success,
            ExitCode::NotRunning => (),
            code => {
                let text = format!("{shown} in a broken state; cannot start (rc={})", code.number());
                self.context.exit_reason(&text);
                return ExitCode::GenericError;
            }
        }
        if self.mdadm {
            let configuration = format!("--config={}", self.configuration);
            let home = self.context.value("homehost");
            let home = (!home.is_empty()).then(|| format!("--homehost={home}"));
            for device in &self.devices {
                if self.monitor_one(device, Action::Monitor) == ExitCode::Success {
                    continue;
                }
                let program = self.mdadm_program().args(["--assemble", device, &configuration]).args(&home);
                program.limit(CHANGE_LIMIT).run_logged(&self.context.log);
                if self.waits_for_udev() {
                    let wait = format!("--exit-if-exists={device}");
                    // Whether the device is there is looked at below.
                    let _ = Program::new("udevadm").args(["settle", &wait]).limit(QUERY_LIMIT).run();
                }
            }
        } else {
            let arguments = ["--configfile", self.configuration, &shown];
            Program::new("raidstart").args(arguments).limit(CHANGE_LIMIT).run_logged(&self.context.log);
        }
        if self.monitor(Action::Start) == ExitCode::Success {
            return ExitCode::Success;
        }
        self.context.exit_reason(&format!("Couldn't start RAID for {shown}"));
        ExitCode::GenericError
    }

    fn stop(&self) -> ExitCode {
        let log = &self.context.log;
        if self.are_stopped() {
            return ExitCode::Success;
        }
        let mut stopped = self.stop_all();
        if !stopped && self.context.boolean("force_stop") && self.end_users() {
            stopped = self.stop_all();
        }
        let shown = self.shown();
        if !stopped {
            log.warn(&format!("Couldn't stop RAID for {shown} (rc=1)"));
            for device in &self.devices {
                self.tell_holders(device);
                if self.mdadm {
                    log.info(&format!("Attempting to mark array {device} readonly"));
                    let program = self.mdadm_program().args(["--readonly", device]).limit(CHANGE_LIMIT);
                    if !program.run_logged(log) {
                        self.context.exit_reason(&format!("Failed to set {device} readonly"));
                    }
                }
            }
            return ExitCode::GenericError;
        }
        if self.are_stopped() {
            return ExitCode::Success;
        }
        self.context.exit_reason(&format!("RAID {shown} still active after stop command!"));
        ExitCode::GenericError
    }

    fn are_stopped(&self) -> bool {
        self.devices.iter().all(|device| array_name(device).is_none_or(|name| !in_mdstat(&name)))
    }

    fn stop_all(&self) -> bool {
        if !self.mdadm {
            let arguments = ["--configfile", self.configuration, &self.shown()];
            let program = Program::new("raidstop").args(arguments).limit(CHANGE_LIMIT);
            return program.run_logged(&self.context.log);
        }
        let configuration = format!("--config={}", self.configuration);
        let mut all = true;
        for device in self.devices.iter().rev() {
            let Some(name) = array_name(device).filter(|name| in_mdstat(name)) else { continue };
            self.context.log.info(&format!("Stopping array {device}"));
            // mdadm takes the kernel's name too, where the node is gone.
            let target = if Path::new(device).exists() { device.as_str() } else { &name };
            let program = self.mdadm_program().args(["--stop", target, &configuration]);
            all &= program.limit(CHANGE_LIMIT).run_logged(&self.context.log);
        }
        all
    }

    /// TERM, three seconds, KILL; whether there was anybody.
    fn end_users(&self) -> bool {
        let log = &self.context.log;
        let find = || -> BTreeSet<i32> {
            let places = self.devices.iter().map(|device| real_path(device));
            places.flat_map(|device| users::of_file(&device)).collect()
        };
        let found = find();
        if found.is_empty() {
            log.warn("no process holds the arrays");
            return false;
        }
        for pid in &found {
            if let Some(line) = process_line::line(*pid) {
                log.warn(&line);
            }
        }
        let signal = |signal| {
            for pid in &found {
                // One that has gone meanwhile holds nothing.
                let _ = kill(Pid::from_raw(*pid), signal);
            }
        };
        let gone = || found.iter().all(|pid| !u32::try_from(*pid).is_ok_and(process::is_alive));
        signal(Signal::SIGTERM);
        let end = Instant::now() + CLEANUP;
        while !gone() && Instant::now() < end {
            std::thread::sleep(CLEANUP_PAUSE);
        }
        if !gone() {
            signal(Signal::SIGKILL);
            let end = Instant::now() + CLEANUP;
            while !gone() && Instant::now() < end {
                std::thread::sleep(CLEANUP_PAUSE);
            }
        }
        true
    }

    /// Mounts and devices on top of it.
    fn tell_holders(&self, device: &str) {
        let real = real_path(device);
        if let Ok(table) = MountTable::read() {
            for mount in table.iter().filter(|mount| real_path_of(&mount.source) == real) {
                self.context.log.warn(&format!("{device} is mounted on {}", mount.point.display()));
            }
        }
        let Some(name) = array_name(device) else { return };
        let holders = config::below_root("/sys/block").join(name).join("holders");
        for entry in fs::read_dir(holders).into_iter().flatten().filter_map(Result::ok) {
            self.context.log.warn(&format!("{device} is held by {}", entry.file_name().to_string_lossy()));
        }
    }

    fn monitor(&self, action: Action) -> ExitCode {
        let codes = self.devices.iter().map(|device| self.monitor_one(device, action));
        codes.into_iter().find(|code| *code != ExitCode::Success).unwrap_or(ExitCode::Success)
    }

    fn monitor_one(&self, device: &str, action: Action) -> ExitCode {
        let log = &self.context.log;
        let Some(name) = array_name(device).filter(|_| is_block(Path::new(device))) else {
            log.info(&format!("{device} is not a block device"));
            return ExitCode::NotRunning;
        };
        if !in_mdstat(&name) {
            log.info(&format!("{name} not found in /proc/mdstat"));
            return ExitCode::NotRunning;
        }
        let mut degraded = false;
        if self.mdadm && !is_whole(&name) {
            let asked = self.mdadm_program().args(["--detail", "--test", device]).limit(QUERY_LIMIT).run();
            let problem = match asked.map(|finished| finished.code) {
                Ok(0) => None,
                Ok(1) => {
                    log.warn(&format!("{device} has at least one failed device."));
                    degraded = true;
                    None
                }
                Ok(2) => Some(format!("{device} has failed.")),
                Ok(4) => Some(format!("mdadm failed on {device}.")),
                Ok(code) => Some(format!("mdadm returned an unknown result ({code}).")),
                Err(error) => Some(error.to_string()),
            };
            if let Some(problem) = problem {
                self.context.exit_reason(&problem);
                return ExitCode::GenericError;
            }
        }
        if degraded && action == Action::Monitor && !self.context.is_probe() && self.context.check_level() > 0
        {
            log.info(&format!("Attempting recovery sequence to re-add devices on {device}:"));
            for step in [["--fail", "detached"], ["--remove", "failed"], ["--re-add", "missing"]] {
                self.mdadm_program().args([device]).args(step).limit(CHANGE_LIMIT).run_logged(log);
            }
        }
        let path = PathBuf::from(device);
        let read = bounded::within(READ_LIMIT, move || block::read_direct(&path).map(|()| Vec::new()));
        if let Err(failure) = read {
            log.error(&format!("{device}: {failure}"));
            self.context.exit_reason(&format!("{device}: I/O error on read"));
            return ExitCode::GenericError;
        }
        ExitCode::Success
    }

    fn waits_for_udev(&self) -> bool {
        self.context.boolean("udev") && command::find("udevadm").is_some()
    }

    fn mdadm_program(&self) -> Program {
        let program = Program::new("mdadm");
        if self.waits_for_udev() {
            program
        } else {
            program.env("MDADM_NO_UDEV", "1")
        }
    }
}

/// Second words of the ARRAY lines.
fn arrays_of(configuration: &str) -> Vec<String> {
    let lines = configuration.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (line.starts_with("ARRAY") && words.next() == Some("ARRAY")).then(|| words.next()).flatten()
    });
    lines.map(str::to_owned).collect()
}

/// No option, and nothing that leads elsewhere than to a device.
fn is_device_name(device: &str) -> bool {
    device.starts_with('/') && !device.contains('\0') && !device.split('/').any(|part| part == "..")
}

fn real_path(device: &str) -> PathBuf {
    real_path_of(Path::new(device))
}

fn real_path_of(device: &Path) -> PathBuf {
    fs::canonicalize(device).unwrap_or_else(|_| device.to_owned())
}

/// The kernel's name of the array: that of the node, where a link leads to one; for a node that is
/// missing that of the path, if it is such a name.
fn array_name(device: &str) -> Option<String> {
    let real = real_path(device);
    let name = real.strip_prefix("/dev").ok()?.to_str()?.replace('/', "!");
    let is_md = name
        .strip_prefix("md")
        .is_some_and(|rest| rest.starts_with(|c: char| "_d".contains(c) || c.is_ascii_digit()));
    is_md.then_some(name)
}

/// Its line begins with the name.
fn in_mdstat(name: &str) -> bool {
    let text = fs::read_to_string(config::below_root("/proc/mdstat")).unwrap_or_default();
    text.lines().any(|line| line.split([' ', '\t', ':']).next() == Some(name))
}

/// By the md interface of the kernel (Documentation/admin-guide/md.rst): it runs and lacks no disk. False
/// when that is not told there.
fn is_whole(name: &str) -> bool {
    let folder = config::below_root("/sys/block").join(name).join("md");
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok().map(|text| text.trim().to_owned());
    let runs = matches!(
        read("array_state").as_deref(),
        Some("clean" | "active" | "active-idle" | "write-pending" | "readonly" | "read-auto")
    );
    // Levels that have no spare disks have no such file, and cannot run without one.
    let lacks_none = match read("degraded") {
        Some(number) => number == "0",
        None => matches!(read("level").as_deref(), Some("raid0" | "linear")),
    };
    runs && lacks_none
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_a_configuration_file() {
        let text = "# ARRAY /dev/md9\nDEVICE partitions\nARRAY /dev/md0 UUID=1\n ARRAY /dev/md7\nARRAYS x\n\
            ARRAY\t/dev/md/data level=raid1\nARRAY\n";
        assert_eq!(arrays_of(text), ["/dev/md0", "/dev/md/data"]);
    }

    #[test]
    fn names_of_arrays() {
        assert_eq!(array_name("/dev/md0").as_deref(), Some("md0"));
        assert_eq!(array_name("/dev/md_d1p2").as_deref(), Some("md_d1p2"));
        for other in ["/dev/null", "/dev/mdx", "md0", "/tmp/md0", ""] {
            assert_eq!(array_name(other), None, "{other}");
        }
        assert!(is_device_name("/dev/md0") && !is_device_name("--stop") && !is_device_name("/dev/../x"));
        assert!(!in_mdstat("Personalities") || !in_mdstat(""));
        assert!(!is_whole("no such array"));
    }
}
