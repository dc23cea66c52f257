//! LVM: makes the logical volumes of a volume group available, and unavailable again.
//!
//! The commands of LVM do it (agents spec 2.7); what is available is seen in /dev. With `exclusive` the
//! group carries a tag while it is in use here, or is activated exclusively where it is a clustered one.
//!
//! What differs, on purpose: a group that the commands no longer find while its volumes are still in
//! /dev is not taken for stopped; nothing writes systemd drop-ins.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::config;

use super::command::{self, Program};
use super::{Action, Agent, Call, Context, ExitCode, Parameter, Timeouts, WrongArguments};

/// The agent.
pub const LVM: Agent = Agent {
    name: "LVM",
    summary: "The logical volumes of a volume group",
    description:
        "Activates a volume group of LVM with vgchange, and deactivates it. With exclusive=true it is \
        tagged while it is active, so that no other node activates it; lvm.conf must have a volume_list \
        without the tag and the group then.",
    usage: "usage: $0 <LVM-configuration file> $ACTIONS",
    parameters: PARAMETERS,
    own_actions: &["methods"],
    timeouts_s: Timeouts { start: 30, stop: 30, monitor: 30 },
    from_arguments: |arguments| match arguments {
        [group] => Ok(Call::new("LVM").with("volgrpname", group)),
        _ => Err(WrongArguments::silent()),
    },
    run,
    ..Agent::BASE
};

const PARAMETERS: &[Parameter] = &[
    Parameter::string("volgrpname", "Volume group", "Name of the volume group.").required().unique(),
    Parameter::boolean(
        "exclusive",
        "Exclusive activation",
        "Whether the group is tagged, or activated exclusively where it is a clustered one.",
    )
    .or("false"),
    Parameter::string("tag", "Tag", "The tag of an exclusive activation.").or("pacemaker"),
    Parameter::boolean(
        "partial_activation",
        "Without missing disks",
        "Whether the group is activated though physical volumes are missing.",
    )
    .or("false"),
];

/// Tries of a stop, and the pause between them.
const STOP_TRIES: u32 = 10;
const STOP_PAUSE: Duration = Duration::from_secs(1);
/// How long the names in /dev may take to follow.
const NODES_LIMIT: Duration = Duration::from_secs(5);
const NODES_PAUSE: Duration = Duration::from_millis(50);
/// How long a question may take, and a change, in which thin pools are checked.
const QUERY_LIMIT: Duration = Duration::from_secs(60);
const CHANGE_LIMIT: Duration = Duration::from_secs(600);

fn run(context: &Context, action: Action) -> ExitCode {
    if let Action::Own(_) = action {
        for (word, _) in Action::ALL {
            context.say(&format!("\t{word}"));
        }
        return ExitCode::Success;
    }
    let result = Group::from_context(context).and_then(|group| match action {
        Action::Start => group.start(),
        Action::Stop => group.stop(),
        Action::ValidateAll => group.validate().map(|()| ExitCode::Success),
        _ => Ok(group.status(action)),
    });
    result.unwrap_or_else(|code| code)
}

/// How a group is made available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Here, whatever other nodes do.
    Plain,
    /// With a tag, against lvm.conf's volume_list.
    Tag,
    /// By the locks of a clustered group.
    Clustered,
}

struct Group<'a> {
    context: &'a Context,
    name: &'a str,
    tag: &'a str,
    mode: Mode,
}

impl<'a> Group<'a> {
    fn from_context(context: &'a Context) -> Result<Self, ExitCode> {
        let (name, tag) = (context.value("volgrpname"), context.value("tag"));
        let problem = match name {
            "" => "You must identify the volume group name!",
            _ if !is_name(name) => "This is no name of a volume group",
            _ if !is_name(tag) => "This is no tag",
            _ => "",
        };
        if !problem.is_empty() {
            context.exit_reason(problem);
            return Err(ExitCode::NotConfigured);
        }
        command::require(context, "vgchange")?;
        let mut group = Self { context, name, tag, mode: Mode::Plain };
        // Both forms of the version have one of these words.
        let version = group.ask("vgchange", &["--version"]).unwrap_or_default();
        if !["LVM version:", "Logical Volume Manager"].iter().any(|word| version.contains(word)) {
            context.exit_reason("LVM: could not determine LVM version. Try 'vgchange --version' manually");
            return Err(ExitCode::NotInstalled);
        }
        if context.boolean("exclusive") {
            let attributes = group.ask("vgs", &["-o", "attr", "--noheadings", name]).unwrap_or_default();
            let clustered = attributes.trim().as_bytes().get(5) == Some(&b'c');
            group.mode = if clustered { Mode::Clustered } else { Mode::Tag };
        }
        Ok(group)
    }

    fn start(&self) -> Result<ExitCode, ExitCode> {
        if self.mode == Mode::Plain && self.is_available() {
            return Ok(ExitCode::Success);
        }
        self.validate()?;
        let name = self.name;
        self.context.log.info(&format!("Activating volume group {name}"));
        self.change("vgscan", &[]);
        if self.mode == Mode::Tag {
            self.set_tag()?;
        }
        let list = format!("activation{{volume_list=[\"@{}\"]}}", self.tag);
        let mut options = match self.mode {
            Mode::Plain => vec!["-a", "ly"],
            Mode::Tag => vec!["-a", "ly", "--config", &list],
            Mode::Clustered => vec!["-a", "ey"],
        };
        if self.context.boolean("partial_activation") {
            options.push("--partial");
        }
        options.push(name);
        self.change("vgchange", &options);
        self.wait_for_nodes();
        if self.status(Action::Start) == ExitCode::Success {
            return Ok(ExitCode::Success);
        }
        self.context.exit_reason(&format!("LVM: {name} did not activate correctly"));
        Ok(ExitCode::NotRunning)
    }

    fn stop(&self) -> Result<ExitCode, ExitCode> {
        let name = self.name;
        if self.ask("vgs", &[name]).is_none() && !self.is_available() {
            self.context.log.info(&format!("Volume group {name} not found"));
            return Ok(ExitCode::Success);
        }
        self.context.log.info(&format!("Deactivating volume group {name}"));
        for _ in 0..STOP_TRIES {
            let done = self.change("vgchange", &["-a", "ln", name]);
            let available = self.is_available();
            if !available {
                self.context.log.info(&format!("LVM Volume {name} is not available (stopped)"));
            }
            if !available && done {
                return Ok(match self.mode {
                    Mode::Tag => self.strip_tags().map_or_else(|code| code, |()| ExitCode::Success),
                    _ => ExitCode::Success,
                });
            }
            self.context.exit_reason(&format!("LVM: {name} did not stop correctly"));
            self.context.log.warn(&format!("{name} still Active"));
            self.context.log.info(&format!("Retry deactivating volume group {name}"));
            std::thread::sleep(STOP_PAUSE);
            if command::find("udevadm").is_some() {
                self.ask("udevadm", &["settle", "--timeout=5"]);
            }
        }
        Ok(ExitCode::GenericError)
    }

    /// Whether it is available here; prints it for `status`.
    fn status(&self, action: Action) -> ExitCode {
        let name = self.name;
        let mut code = ExitCode::Success;
        if !self.is_available() {
            let text = format!("LVM Volume {name} is not available (stopped)");
            match action {
                Action::Status => self.context.log.debug(&text),
                Action::Monitor if self.context.is_probe() => self.context.log.warn(&text),
                _ => self.context.log.error(&text),
            }
            code = ExitCode::NotRunning;
        } else if self.mode == Mode::Tag {
            if self.tags() != [self.tag] {
                let text = format!("WARNING: {name} is active without the cluster tag, \"{}\"", self.tag);
                self.context.exit_reason(&text);
                code = ExitCode::GenericError;
            }
            if self.check_volume_list().is_err() {
                code = ExitCode::GenericError;
            }
        }
        if action == Action::Status {
            let state =
                if code == ExitCode::Success { "available (running)" } else { "not available (stopped)" };
            self.context.say(&format!("Volume {name} is {state}"));
        }
        code
    }

    fn validate(&self) -> Result<(), ExitCode> {
        let name = self.name;
        let fail = |text: &str| {
            self.context.exit_reason(text);
            Err(ExitCode::GenericError)
        };
        let (sound, said) = self.run(Program::new("vgck").args([name]), QUERY_LIMIT);
        if !sound {
            let attributes =
                |what: &str| self.ask("vgs", &["-o", what, "--noheadings", name]).unwrap_or_default();
            if !attributes("pv_attr").contains('m') {
                return fail(&format!("Volume group [{name}] does not exist or contains error! {said}"));
            }
            if attributes("attr").trim().as_bytes().get(3) == Some(&b'p') {
                if !self.context.boolean("partial_activation") {
                    let advice = "Consider partial_activation=true to attempt to activate partially";
                    return fail(&format!("Volume group [{name}] has devices missing.  {advice}"));
                }
                let text = "Volume group inconsistency detected with missing device(s) and \
                    partial_activation enabled.  Proceeding with requested action.";
                self.context.log.warn(text);
            }
        }
        let (there, said) = self.run(Program::new("vgdisplay").args(["-v", name]), QUERY_LIMIT);
        if !there {
            return fail(&format!("Volume group [{name}] does not exist or contains error! {said}"));
        }
        if self.mode == Mode::Tag {
            self.check_volume_list()
        } else {
            Ok(())
        }
    }

    /// Without a volume_list every node would activate the group at boot, with our tag in it too.
    fn check_volume_list(&self) -> Result<(), ExitCode> {
        let text = match self.ask("lvm", &["dumpconfig", "activation/volume_list"]) {
            None => {
                "The volume_list filter must be initialized in lvm.conf for exclusive activation without \
                clvmd"
                    .to_owned()
            }
            Some(list) => {
                let named = [format!("\"@{}\"", self.tag), format!("\"{}\"", self.name)];
                if !named.iter().any(|word| list.contains(word)) {
                    return Ok(());
                }
                format!(
                    "The volume_list in lvm.conf must not contain the cluster tag, \"{}\", or volume group, {}",
                    self.tag, self.name
                )
            }
        };
        self.context.log.error("LVM:  Improper setup detected");
        self.context.exit_reason(&text);
        Err(ExitCode::GenericError)
    }

    fn set_tag(&self) -> Result<(), ExitCode> {
        match self.tags().as_slice() {
            [tag] if tag == self.tag => return Ok(()),
            [] => (),
            _ => self.strip_tags()?,
        }
        if !self.change("vgchange", &["--addtag", self.tag, self.name]) {
            self.context.exit_reason(&format!("Failed to add ownership tag to {}", self.name));
            return Err(ExitCode::GenericError);
        }
        self.context.log.info(&format!("New tag \"{}\" added to {}", self.tag, self.name));
        Ok(())
    }

    fn strip_tags(&self) -> Result<(), ExitCode> {
        for tag in self.tags() {
            self.context.log.info(&format!("Stripping tag, {tag}"));
            self.change("vgchange", &["--deltag", &tag, self.name]);
        }
        if self.tags().is_empty() {
            return Ok(());
        }
        self.context.exit_reason(&format!("Failed to remove ownership tags from {}", self.name));
        Err(ExitCode::GenericError)
    }

    fn tags(&self) -> Vec<String> {
        let list = self.ask("vgs", &["-o", "tags", "--noheadings", self.name]).unwrap_or_default();
        list.split(',').map(str::trim).filter(|tag| is_name(tag)).map(str::to_owned).collect()
    }

    /// /dev/VG is a folder with something in it.
    fn is_available(&self) -> bool {
        let folder: PathBuf = config::below_root("/dev").join(self.name);
        let Ok(mut entries) = fs::read_dir(folder) else { return false };
        if entries.next().is_some() {
            return true;
        }
        let text = format!("VG {} with no logical volumes is not supported by this RA!", self.name);
        self.context.exit_reason(&text);
        false
    }

    /// Names in /dev are made by udev, which comes later, or by nobody.
    fn wait_for_nodes(&self) {
        let folder = config::below_root("/dev").join(self.name);
        let there = || fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
        let end = Instant::now() + NODES_LIMIT;
        while !there() && Instant::now() < end {
            std::thread::sleep(NODES_PAUSE);
        }
        if !there() && command::find("vgmknodes").is_some() {
            self.change("vgmknodes", &[self.name]);
        }
    }

    /// Standard output of a command that succeeded.
    fn ask(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let finished = Program::new(program).args(arguments).limit(QUERY_LIMIT).run().ok()?;
        (finished.code == 0).then_some(finished.stdout)
    }

    /// Runs a command and logs what it says; whether it succeeded.
    fn change(&self, program: &str, arguments: &[&str]) -> bool {
        Program::new(program).args(arguments).limit(CHANGE_LIMIT).run_logged(&self.context.log)
    }

    fn run(&self, program: Program, limit: Duration) -> (bool, String) {
        match program.merged().limit(limit).run() {
            Ok(finished) => (finished.code == 0, finished.stdout.trim_end().to_owned()),
            Err(error) => (false, error.to_string()),
        }
    }
}

/// What LVM takes for names of groups and tags, and what is no option (lvm(8), "Valid names").
fn is_name(text: &str) -> bool {
    let taken = |c: char| c.is_ascii_alphanumeric() || "+_.-/=!:#&".contains(c);
    !text.is_empty()
        && text.len() <= 1024
        && !text.starts_with('-')
        && text.chars().all(taken)
        && text.split('/').all(|part| part != ".." && part != "." && !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["vg0", "vg-data_1.x", "pacemaker", "a:b"] {
            assert!(is_name(name), "{name}");
        }
        for text in ["", "-a", "a b", "../x", "a/../b", "/dev/vg", "a\0", "ä", "a;b"] {
            assert!(!is_name(text), "{text}");
        }
    }
}
