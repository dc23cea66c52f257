//! Resetting a node: `stonith` of this program with a device's parameters on its standard input, so that
//! no process list shows them.

use std::fmt;

use crate::cluster::event::Finding;
use crate::stonith::device::Code;
use crate::types::NodeName;

use super::{Inquiry, Judge, Plans, Program};

/// A device as `stonith` takes it.
#[derive(Clone)]
pub struct Device {
    /// Its type, behind `-t`.
    pub kind: String,
    /// The values of its parameters in one line.
    pub values: String,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The child that resets a node.
pub(super) fn inquiry(plans: &Plans, node: &NodeName, device: usize) -> Result<Inquiry, String> {
    let Some(Device { kind, values }) = plans.devices.get(device) else {
        return Err(format!("there is no device number {}", device + 1));
    };
    let arguments = ["-t", kind, "-F", "/dev/stdin", "-T", "reset", node.as_str()];
    Ok(Inquiry {
        program: Program::Applet("stonith"),
        arguments: arguments.map(str::to_owned).to_vec(),
        variables: Vec::new(),
        input: format!("{values}\n").into_bytes(),
        limit: plans.fencing_limit,
        title: format!("stonith {kind}"),
        judge: Judge::Code(judge),
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
