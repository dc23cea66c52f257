//! Resetting a node: `stonith` of this program with a device's parameters on its standard input, so that
//! no process list shows them.

use crate::cluster::event::Finding;
use crate::config::settings::FencingDevice;
use crate::stonith::answer;
use crate::stonith::device::Code;
use crate::types::NodeName;

use super::{Inquiry, Judge, Plans, Program};

/// The child that resets a node.
pub(super) fn reset(plans: &Plans, node: &NodeName, device: usize) -> Result<Inquiry, String> {
    let words = ["-T", "reset", node.as_str()];
    Ok(Inquiry { said_as: Some((format!("STONITH {node}"), exit_code)), ..child(plans, device, &words)? })
}

/// The child that asks a device whether it can be reached.
pub(super) fn check(plans: &Plans, device: usize) -> Result<Inquiry, String> {
    Ok(Inquiry { said_as: Some(("STONITH-stat".to_owned(), exit_code)), ..child(plans, device, &["-S"])? })
}

fn child(plans: &Plans, device: usize, words: &[&str]) -> Result<Inquiry, String> {
    let Some(FencingDevice { kind, values, .. }) = plans.devices.get(device) else {
        return Err(format!("there is no device number {}", device + 1));
    };
    // Not /dev/stdin: a root with little more than /proc may not have it.
    let arguments = ["-t", kind, "-F", "/proc/self/fd/0"].into_iter().chain(words.iter().copied());
    let title = format!("stonith {kind}");
    Ok(Inquiry {
        arguments: arguments.map(str::to_owned).collect(),
        input: format!("{values}\n").into_bytes(),
        variables: vec![(answer::VARIABLE.to_owned(), "1".to_owned())],
        ..Inquiry::new(Program::Applet("stonith"), plans.fencing_limit, &title, Judge::Device)
    })
}

/// What a child's end means: exit codes of `stonith` (agents spec 3.1), and what it said of the reason.
/// `None`: it did not come to its end by itself, for the reason `ending`.
pub(super) fn judge(code: Option<i32>, ending: &str, heard: &answer::Heard) -> Finding {
    let why = |default: &str| heard.reason.clone().unwrap_or_else(|| default.to_owned());
    match code {
        Some(0) => Finding::Yes,
        Some(code) if code == i32::from(Code::BAD_HOST.0) => {
            Finding::No(why("it does not control that host"))
        }
        Some(code) if !heard.may_be_done => Finding::Failed(why(&format!("stonith ended with code {code}"))),
        Some(code) => Finding::Unclear(why(&format!("stonith ended with code {code}"))),
        None if !heard.may_be_done => Finding::Failed(ending.to_owned()),
        None => Finding::Unclear(ending.to_owned()),
    }
}

/// What the original's child ends with (resources spec 3.2).
fn exit_code(code: i32) -> i32 {
    match code {
        0 => 0,
        code if code == i32::from(Code::BAD_HOST.0) => 100,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_only_what_ends_well() {
        let hear = |text| answer::hear(text);
        let judged = |code, text| judge(code, "it was killed", &hear(text));
        assert_eq!(judged(Some(0), ""), Finding::Yes);
        assert_eq!(judged(Some(4), "answer: failed no such host"), Finding::No("no such host".into()));
        assert_eq!(judged(Some(2), "answer: failed no way in"), Finding::Failed("no way in".into()));
        assert_eq!(judged(Some(2), ""), Finding::Failed("stonith ended with code 2".into()));
        let text = "answer: begun\nanswer: failed it hung up";
        assert_eq!(judged(Some(8), text), Finding::Unclear("it hung up".into()));
        assert_eq!(judged(None, "answer: begun"), Finding::Unclear("it was killed".into()));
        assert_eq!(judged(None, ""), Finding::Failed("it was killed".into()));
    }
}
