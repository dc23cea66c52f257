//! Resetting a node: `stonith` of this program with a device's parameters on its standard input, so that
//! no process list shows them.

use crate::cluster::event::Finding;
use crate::config::settings::FencingDevice;
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
        ..Inquiry::new(Program::Applet("stonith"), plans.fencing_limit, &title, Judge::Code(judge))
    })
}

/// Exit codes of `stonith` (agents spec 3.1).
fn judge(code: i32) -> Finding {
    match code {
        0 => Finding::Yes,
        code if code == i32::from(Code::BAD_HOST.0) => {
            Finding::No("it does not control that host".to_owned())
        }
        code => Finding::Failed(format!("stonith ended with code {code}")),
    }
}

/// What the original's child ends with (resources spec 3.2).
fn exit_code(code: i32) -> i32 {
    match judge(code) {
        Finding::Yes | Finding::Found(_) => 0,
        Finding::No(_) => 100,
        Finding::Failed(_) => 1,
    }
}
