//! `suicide`: the host that runs it resets itself.

use std::process::{Command, Stdio};

use super::device::{Action, Code, Device, DeviceType, Failure, Values};

/// Row of the table.
pub const TYPE: DeviceType = DeviceType {
    name: "suicide",
    parameters: &[],
    id: "The host resets itself",
    description:
        "The host that runs it reboots or powers off itself, two seconds later and without shutting down.",
    url: "",
    configure,
};

fn configure(_: &Values) -> Result<Box<dyn Device>, Failure> {
    let name = nix::unistd::gethostname()
        .map_err(|error| Failure::report(Code::OTHER, format!("uname error {}", error as i32)))?;
    Ok(Box::new(Suicide { own: name.to_string_lossy().into_owned() }))
}

struct Suicide {
    own: String,
}

impl Device for Suicide {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        Ok(vec![self.own.clone()])
    }

    fn status(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure> {
        if action == Action::On {
            return Err(Failure::report(
                Code::INVALID,
                "Suicide STONITH device not capable of power-on operation",
            ));
        }
        if !self.own.eq_ignore_ascii_case(host) {
            let text = format!("{} doesn't control host [{host}]", self.own);
            return Err(Failure::report(Code::RESET_FAILED, text));
        }
        log::info!("Initiating suicide on host {host}");
        let program = if action == Action::Off { "/sbin/poweroff" } else { "/sbin/reboot" };
        // Two seconds, so that the caller can still say what it did; nohup, because it outlives it.
        let line = format!("nohup sh -c 'sleep 2; {program} -nf' </dev/null >/dev/null 2>&1 &");
        let status = Command::new("/bin/sh").args(["-c", &line]).stdin(Stdio::null()).status();
        if status.is_ok_and(|status| status.success()) {
            log::info!("Suicide stonith succeeded.");
            return Ok(());
        }
        Err(Failure::report(Code::RESET_FAILED, "Suicide stonith failed."))
    }
}
