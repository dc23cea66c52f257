//! A way through the states as a table a person reads: one row per action and per word or deed.
//!
//! ```text
//!       ms  node1              node2              event
//!   +12000  up  1* 2. local    up  1. 2* local    node2 receives ask_resources all me
//! ```
//!
//! State of a host: `off` no power, `---` no daemon, `zzz` paused, `up` running. Each group:
//! `.` idle, `+` starting, `*` active, `-` stopping. Then what `rscstatus` would answer.

use std::fmt::Write;

use ha_core::cluster::event::Output;
use ha_core::types::LogLevel;
use ha_core::wire::message::Message;

use crate::group_state;
use crate::settle;
use crate::world::{Action, World};

/// Rows of the plain course of things shown behind the way.
const AFTERWARDS: usize = 120;

/// What a daemon wants, in short; `None` for what says nothing.
pub fn note(output: &Output) -> Option<String> {
    match output {
        Output::Send { message, .. } if message.kind() == "status" => None,
        Output::Send { message, .. } => Some(format!("> {}", words(message))),
        Output::RunJob { work, .. } => Some(format!("begins {work:?}")),
        Output::Log { level, text } if *level <= LogLevel::Info => {
            Some(format!("{}: {text}", level.as_str()))
        }
        Output::Reply { answer, .. } => Some(format!("answers {answer:?}")),
        Output::Exit(reason) => Some(format!("ends: {reason:?}")),
        _ => None,
    }
}

/// A message in short.
pub fn words(message: &Message) -> String {
    let mut text = message.kind().to_owned();
    let shown = ["rsc_hold", "isstable", "info", "st", "node", "result", "firstseq", "dest"];
    let extra = ["hahold", "hastable", "hahear", "halost", "haleft", "halate", "haask", "haanswer", "hafail"];
    for name in shown.iter().chain(&extra) {
        if let Some(value) = message.text(name) {
            let _ = match *name {
                "rsc_hold" | "info" => write!(text, " {value}"),
                _ => write!(text, " {name}={value}"),
            };
        }
    }
    text
}

fn cell(world: &World, host: usize) -> String {
    let this = &world.hosts[host];
    let says = this.daemon.as_ref().map(|daemon| daemon.view(world.now_ms).status);
    group_state::cell(this.powered, this.paused_since_ms.is_some(), &this.groups, says.as_deref())
}

fn told(world: &World, action: Action) -> String {
    let packet = |host: usize| {
        world.wires[1 - host].front().map_or("nothing".to_owned(), |packet| words(&packet.message))
    };
    match action {
        Action::Deliver(host) => format!("node{} receives {}", host + 1, packet(host)),
        Action::Lose(host) => format!("** lost on the way to node{}: {}", host + 1, packet(host)),
        Action::Tick(host) => format!("node{} timer", host + 1),
        Action::Finish(host, job, end) => {
            let work = world.hosts[host].jobs.get(job).map(|job| job.work);
            format!("node{} job ends {end:?}: {work:?}", host + 1)
        }
        Action::Start(host) => format!("** node{} starts", host + 1),
        Action::Restart(host) => format!("node{} starts again", host + 1),
        Action::Crash(host) => format!("** node{} loses power", host + 1),
        Action::Kill(host) => format!("** node{}: daemon killed", host + 1),
        Action::Pause(host) => format!("** node{} stands still", host + 1),
        Action::Thaw(host) => format!("node{} goes on", host + 1),
        Action::Cut(host) => format!("** cut: nothing of node{} arrives", host + 1),
        Action::Mend(host) => format!("mended: node{} is heard again", host + 1),
        Action::Ask(at) => format!("** command {:?}", world.config.commands[at]),
    }
}

/// The way from `start`, and the plain course of things after it.
pub fn table(start: &World, path: &[Action]) -> String {
    let mut world = start.clone();
    world.notes = Some(Vec::new());
    let begin_ms = world.now_ms;
    let mut text = format!("{:>8}  {:<22}{:<22}event\n", "ms", "node1", "node2");
    let mut row = |world: &World, event: &str| {
        let (first, second) = (cell(world, 0), cell(world, 1));
        let _ = writeln!(text, "{:>+8}  {first:<22}{second:<22}{event}", world.now_ms - begin_ms);
    };
    let mut step = |world: &mut World, action: Action| {
        let event = told(world, action);
        let result = world.apply(action);
        row(world, &event);
        for (host, words) in world.notes.replace(Vec::new()).unwrap_or_default() {
            row(world, &format!("  node{} {words}", host + 1));
        }
        if let Err(why) = &result {
            row(world, &format!("!! {why}"));
        }
        result.is_ok()
    };
    for action in path {
        if !step(&mut world, *action) {
            return text;
        }
    }
    for _ in 0..AFTERWARDS {
        let Some(action) = settle::plain_course(&world) else { break };
        if !step(&mut world, action) {
            break;
        }
    }
    text
}
