//! Questions of the cluster to the world outside ([`Output::Ask`]): each a child of its own.
//!
//! A child is this program under an applet's name or an administrator's program, in a process group of
//! its own, with ordinary scheduling, bounded time and bounded output. The loop never waits for it. What
//! runs for which question is in a file of its own for each kind.
//!
//! [`Output::Ask`]: crate::cluster::event::Output::Ask

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{killpg, Signal};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use crate::cluster::event::{Finding, Question, QuestionId};
use crate::config::settings::FencingDevice;
use crate::stonith::answer;
use crate::sys::process::hang_up_with_parent;
use crate::types::LogLevel;

use super::children::applet_command;
use super::services::Watched;
use guards::{first_line, DiskChild};

mod fence;
mod guards;
mod monitor;

pub use guards::GuardPlans;

/// Bytes of a child's output that are kept; the rest is read and dropped.
const OUTPUT_MAX_BYTES: usize = 16 * 1024;
/// Lines of it that are logged.
const LINES_MAX: usize = 50;
/// Children at once; more questions are answered as failed.
const CHILDREN_MAX: usize = 16;
/// How long a child may take to end after SIGTERM before it is killed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Everything the children need to know of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Plans {
    /// The devices in the order of `FencingSettings::devices`.
    pub devices: Vec<FencingDevice>,
    /// The resources in the order of `ClusterSettings::services`.
    pub services: Vec<Watched>,
    /// How long a device may take for one reset.
    pub fencing_limit: Duration,
    /// What the guards need.
    pub guards: GuardPlans,
}

/// A child to be: what runs for a question.
pub struct Inquiry {
    /// What is run.
    pub program: Program,
    /// Its arguments: no secrets, process lists show them.
    pub arguments: Vec<String>,
    /// Variables added to those of all children.
    pub variables: Vec<(String, String)>,
    /// Its standard input; at most what a pipe holds (64 KiB, 4 KiB on old kernels).
    pub input: Vec<u8>,
    /// It is ended after this, and the answer is [`Finding::Failed`].
    pub limit: Duration,
    /// What its lines in the log begin with.
    pub title: String,
    /// Its end is logged as that of a child of the original: under this name, with this exit code.
    pub said_as: Option<SaidAs>,
    /// What its end means.
    pub judge: Judge,
}

impl Inquiry {
    /// A child without arguments, variables and input.
    fn new(program: Program, limit: Duration, title: &str, judge: Judge) -> Self {
        Self {
            program,
            arguments: Vec::new(),
            variables: Vec::new(),
            input: Vec::new(),
            limit,
            title: title.to_owned(),
            said_as: None,
            judge,
        }
    }
}

/// A name and what turns the exit code into that of the original.
pub type SaidAs = (String, fn(i32) -> i32);

/// How a child's end becomes an answer.
#[derive(Debug, Clone, Copy)]
pub enum Judge {
    /// By its exit code; what it says is logged.
    Code(fn(i32) -> Finding),
    /// As [`Judge::Code`], for `stonith` with what it tells the daemon alone.
    Device,
    /// By the first line it says, `yes`, `no` or `failed` and words; nothing is logged.
    FirstLine,
}

/// A program to run.
pub enum Program {
    /// This one, under an applet's name.
    Applet(&'static str),
    /// An administrator's.
    File(PathBuf),
}

/// An answer.
#[derive(Debug)]
pub struct Answered {
    /// To which question.
    pub question: QuestionId,
    /// The answer.
    pub answer: Finding,
    /// What is to be logged first.
    pub lines: Vec<(LogLevel, String)>,
}

struct Running {
    /// The child's process group.
    group: Option<Pid>,
    /// Dropped: nobody wants to know any more.
    _wanted: oneshot::Sender<()>,
}

/// Starts the children and hears from them.
pub struct Questions {
    environment: Vec<(String, String)>,
    plans: Plans,
    sender: mpsc::UnboundedSender<Answered>,
    receiver: mpsc::UnboundedReceiver<Answered>,
    running: BTreeMap<QuestionId, Running>,
    disk_child: DiskChild,
}

impl Questions {
    /// With the environment of all children.
    pub fn new(environment: Vec<(String, String)>, plans: Plans) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            environment,
            plans,
            sender,
            receiver,
            running: BTreeMap::new(),
            disk_child: DiskChild::default(),
        }
    }

    /// Starts what answers the question.
    pub fn ask(&mut self, question: QuestionId, what: &Question) {
        let inquiry = match what {
            Question::Monitor { resource } => monitor::inquiry(&self.plans, *resource),
            Question::Fence { node, device } => fence::reset(&self.plans, node, *device),
            Question::FenceDevice { device } => fence::check(&self.plans, *device),
            Question::Lease { .. } if self.disk_child.hangs() => Err("the disk hangs".to_owned()),
            Question::Lease { word } => self.plans.guards.lease(*word),
            Question::Arbiter { verb } => self.plans.guards.arbiter(*verb),
            Question::Resource { node } => self.plans.guards.resource(node),
            Question::Address { set } => self.plans.guards.address(*set),
        };
        let inquiry = match inquiry {
            Ok(inquiry) if self.running.len() < CHILDREN_MAX => inquiry,
            Ok(_) => return self.fail(question, "too many questions at once"),
            Err(why) => return self.fail(question, &why),
        };
        let child = match Command::from(command(&inquiry, &self.environment)).spawn() {
            Ok(child) => child,
            Err(error) => return self.fail(question, &format!("{} cannot be run: {error}", inquiry.title)),
        };
        let (wanted, unwanted) = oneshot::channel();
        if matches!(what, Question::Lease { .. }) {
            self.disk_child.is(group_of(&child));
        }
        self.running.insert(question, Running { group: group_of(&child), _wanted: wanted });
        let sender = self.sender.clone();
        tokio::spawn(async move {
            if let Some((answer, lines)) = follow(inquiry, child, unwanted).await {
                let _ = sender.send(Answered { question, answer, lines });
            }
        });
    }

    fn fail(&self, question: QuestionId, why: &str) {
        let answer = Finding::Failed(why.to_owned());
        let _ = self.sender.send(Answered { question, answer, lines: Vec::new() });
    }

    /// Ends what runs for the question; no answer comes. Unknown ones have no effect.
    pub fn withdraw(&mut self, question: QuestionId) {
        self.running.remove(&question);
    }

    /// Ends everything, at once: this program's run is over.
    pub fn withdraw_all(&mut self) {
        for running in std::mem::take(&mut self.running).into_values() {
            if let Some(group) = running.group {
                let _ = killpg(group, Signal::SIGKILL);
            }
        }
    }

    /// The next answer. Cancel-safe.
    pub async fn next(&mut self) -> Answered {
        loop {
            match self.receiver.recv().await {
                Some(answered) => {
                    // One that was withdrawn meanwhile is none.
                    if self.running.remove(&answered.question).is_some()
                        || matches!(answered.answer, Finding::Failed(_))
                    {
                        return answered;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }
}

/// How waiting for a child ended.
enum Ending {
    Code(i32),
    Signal,
    Overdue,
    Withdrawn,
    Lost(std::io::Error),
}

/// `None`: withdrawn.
async fn follow(
    inquiry: Inquiry,
    mut child: Child,
    unwanted: oneshot::Receiver<()>,
) -> Option<(Finding, Vec<(LogLevel, String)>)> {
    let Inquiry { input, limit, title, judge, said_as, .. } = &inquiry;
    let pid = child.id().unwrap_or(0);
    if let Some(mut pipe) = child.stdin.take() {
        // Whoever does not read it keeps nobody waiting: it fits.
        let _ = tokio::time::timeout(*limit, pipe.write_all(input)).await;
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let reading = tokio::spawn(async move {
        let (out, err) = tokio::join!(read(stdout), read(stderr));
        [out, err].concat()
    });
    let ending = wait(&mut child, *limit, unwanted).await;
    // A grandchild that keeps the pipe open is none of ours.
    let text = tokio::time::timeout(LAST_WORDS, reading).await;
    let text = text.ok().and_then(Result::ok).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let heard = answer::hear(&text);
    let mut lines = match judge {
        Judge::Code(_) => lines(title, &text),
        Judge::Device => lines(title, &heard.rest),
        Judge::FirstLine => Vec::new(),
    };
    if let (Some((name, shown)), Ending::Code(code)) = (said_as, &ending) {
        let code = shown(*code);
        let level = if code == 0 { LogLevel::Info } else { LogLevel::Warning };
        lines.push((level, format!("Managed {name} process {pid} exited with return code {code}.")));
    }
    let finding = match (ending, judge) {
        (Ending::Code(_), Judge::FirstLine) => first_line(&text),
        (Ending::Code(code), Judge::Code(judge)) => judge(code),
        (Ending::Code(code), Judge::Device) => fence::judge(Some(code), "", &heard),
        (ending, judge) => match (without_code(ending, title, *limit)?, judge) {
            (Finding::Failed(why), Judge::Device) => fence::judge(None, &why, &heard),
            (finding, _) => finding,
        },
    };
    Some((finding, lines))
}

/// What another end means; `None`: it was withdrawn.
fn without_code(ending: Ending, title: &str, limit: Duration) -> Option<Finding> {
    Some(Finding::Failed(match ending {
        Ending::Code(code) => format!("{title} ended with code {code}"),
        Ending::Signal => format!("{title} was killed"),
        Ending::Overdue => format!("{title} took longer than {} s", limit.as_secs()),
        Ending::Lost(error) => format!("{title}: {error}"),
        Ending::Withdrawn => return None,
    }))
}

fn command(inquiry: &Inquiry, environment: &[(String, String)]) -> std::process::Command {
    let arguments: Vec<&str> = inquiry.arguments.iter().map(String::as_str).collect();
    let mut command = match &inquiry.program {
        Program::Applet(name) => applet_command(name, &arguments, environment),
        Program::File(path) => {
            let mut command = std::process::Command::new(path);
            command.args(arguments).env_clear();
            command.envs(environment.iter().map(|(name, value)| (name, value))).process_group(0);
            command
        }
    };
    if matches!(inquiry.judge, Judge::Device) {
        // What it began must not go on behind the back of the daemon that comes after this one.
        hang_up_with_parent(&mut command);
    }
    command.envs(inquiry.variables.iter().map(|(name, value)| (name, value)));
    command.stdin(if inquiry.input.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for its end; when that takes too long, or nobody wants to know any more, its group is ended.
async fn wait(child: &mut Child, limit: Duration, unwanted: oneshot::Receiver<()>) -> Ending {
    let group = group_of(child);
    let ending = tokio::select! {
        status = child.wait() => match status {
            Ok(status) => return status.code().map_or(Ending::Signal, Ending::Code),
            Err(error) => return Ending::Lost(error),
        },
        () = tokio::time::sleep(limit) => Ending::Overdue,
        _ = unwanted => Ending::Withdrawn,
    };
    if let Some(group) = group {
        let _ = killpg(group, Signal::SIGTERM);
        let _ = tokio::time::timeout(LAST_WORDS, child.wait()).await;
        let _ = killpg(group, Signal::SIGKILL);
        let _ = tokio::time::timeout(LAST_WORDS, child.wait()).await;
    }
    ending
}

/// Its process group, as long as it has not been waited for.
fn group_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
}

async fn read(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> Vec<u8> {
    let Some(mut pipe) = pipe else { return Vec::new() };
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let room = OUTPUT_MAX_BYTES.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
    kept
}

/// Output as log lines.
fn lines(title: &str, text: &str) -> Vec<(LogLevel, String)> {
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    let lines = text.lines().map(clean).filter(|line| !line.trim().is_empty()).take(LINES_MAX);
    lines.map(|line| (LogLevel::Info, format!("{title}: {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inquiry(script: &str, limit: Duration) -> Inquiry {
        let judge = |code| if code == 0 { Finding::Yes } else { Finding::No(format!("code {code}")) };
        Inquiry {
            program: Program::File("/bin/sh".into()),
            arguments: vec!["-c".into(), script.into()],
            variables: vec![("WHAT".into(), "that".into())],
            input: b"secret\n".to_vec(),
            limit,
            title: "test".into(),
            said_as: None,
            judge: Judge::Code(judge),
        }
    }

    fn answer(script: &str, limit: Duration) -> Option<(Finding, Vec<(LogLevel, String)>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (_wanted, unwanted) = oneshot::channel();
        runtime.block_on(async move {
            let inquiry = inquiry(script, limit);
            let child = Command::from(command(&inquiry, &[])).spawn().unwrap();
            follow(inquiry, child, unwanted).await
        })
    }

    #[test]
    fn codes_input_variables_and_output() {
        let patience = Duration::from_secs(60);
        let (finding, lines) = answer("read word; echo $word $WHAT; echo; exit 3", patience).unwrap();
        assert_eq!(finding, Finding::No("code 3".into()));
        assert_eq!(lines, [(LogLevel::Info, "test: secret that".to_owned())]);
        assert_eq!(answer("exit 0", patience).unwrap().0, Finding::Yes);
        assert_eq!(answer("kill -9 $$", patience).unwrap().0, Finding::Failed("test was killed".into()));
        let (_, lines) = answer("yes | head -n 100000", patience).unwrap();
        assert_eq!(lines.len(), LINES_MAX);
    }

    #[test]
    fn one_that_hangs_is_ended_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let script = format!("trap '' TERM; (sleep 3; touch {}) & sleep 1000", mark.display());
        let (finding, _) = answer(&script, Duration::from_millis(200)).unwrap();
        assert_eq!(finding, Finding::Failed("test took longer than 0 s".into()));
        std::thread::sleep(Duration::from_secs(3));
        assert!(!mark.exists(), "its child outlived it");
    }

    #[test]
    fn one_that_is_withdrawn_answers_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut questions = Questions::new(Vec::new(), Plans::default());
        let found = runtime.block_on(async {
            let inquiry = inquiry("sleep 1000", Duration::from_secs(100));
            let child = Command::from(command(&inquiry, &[])).spawn().unwrap();
            let (wanted, unwanted) = oneshot::channel();
            let group = group_of(&child);
            questions.running.insert(QuestionId(1), Running { group, _wanted: wanted });
            questions.withdraw(QuestionId(1));
            follow(inquiry, child, unwanted).await
        });
        assert!(found.is_none());
    }
}
