//! `ipmilan`: the service processor of a host, by ipmitool.

use std::process::{Command, Stdio};

use super::answer;
use super::device::{common, Action, Code, Device, DeviceType, Failure, Parameter, Values};

const METHOD: Parameter = Parameter {
    described: None,
    ..Parameter::required("reset_method", "Method", "How a reset is done: power_cycle or hard_reset")
};

/// Row of the table.
pub const TYPE: DeviceType = DeviceType {
    name: "ipmilan",
    parameters: &[
        Parameter::required("hostname", "Host", "Name of the host that is reset").unique(),
        common::IPADDR,
        Parameter::required("port", "Port", "UDP port of the service processor, usually 623"),
        Parameter::required("auth", "Authentication", "none, straight, md2 or md5"),
        Parameter::required("priv", "Privilege", "operator or admin"),
        common::LOGIN,
        common::PASSWORD,
        METHOD,
    ],
    id: "IPMI over LAN",
    description: "The service processor of a host, by ipmitool, which must be installed.",
    url: "",
    configure,
};

/// The variable in which ipmitool takes a password that no process list shows (its option -E).
const PASSWORD_VARIABLE: &str = "IPMI_PASSWORD";

fn configure(values: &Values) -> Result<Box<dyn Device>, Failure> {
    let invalid = |text: String| Failure::report(Code::INVALID, text);
    let auth = values.need("auth")?;
    let auth = match auth {
        "none" => "NONE",
        "md2" => "MD2",
        "md5" => "MD5",
        "straight" | "password" | "key" => "PASSWORD",
        _ => {
            return Err(invalid(format!(
                "ipmilan auth type '{auth}' invalid.  See README.ipmilan for allowed values"
            )))
        }
    };
    let privilege = match values.need("priv")? {
        "operator" => "OPERATOR",
        "admin" => "ADMINISTRATOR",
        other => {
            return Err(invalid(format!(
                "ipmilan priv value '{other}' invalid.  See README.ipmilan for allowed values"
            )));
        }
    };
    // The original sends a hard reset for `power_cycle` and a power cycle for `hard_reset`; what a
    // configuration does must not change with the program.
    let reset = match values.get("reset_method").unwrap_or("power_cycle") {
        "power_cycle" => "reset",
        "hard_reset" => "cycle",
        other => return Err(invalid(format!("ipmilan reset_method '{other}' invalid"))),
    };
    let port: u16 =
        values.need("port")?.trim().parse().map_err(|_| invalid("ipmilan port invalid".into()))?;
    let words = [
        "-I",
        "lan",
        "-H",
        values.need("ipaddr")?,
        "-p",
        &port.to_string(),
        "-A",
        auth,
        "-L",
        privilege,
        "-U",
        values.need("login")?,
        "-E",
    ];
    Ok(Box::new(IpmiLan {
        host: values.need("hostname")?.to_ascii_lowercase(),
        words: words.map(str::to_owned).to_vec(),
        password: values.need("password")?.to_owned(),
        reset,
    }))
}

struct IpmiLan {
    host: String,
    words: Vec<String>,
    password: String,
    reset: &'static str,
}

impl Device for IpmiLan {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        Ok(vec![self.host.clone()])
    }

    fn status(&mut self) -> Result<(), Failure> {
        match self.run(&["mc", "info"]) {
            Ok(()) => Ok(()),
            Err(reason) => {
                log::debug!("{reason}");
                Err(Failure::report(Code::ACCESS, format!("Host {} ipmilan status failure.", self.host)))
            }
        }
    }

    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure> {
        if self.host != host {
            let text = format!(
                "Host {host} is not configured in this STONITH  module. Please check your configuration file."
            );
            return Err(Failure::report(Code::OTHER, text));
        }
        let word = match action {
            Action::Reset => self.reset,
            Action::On => "on",
            Action::Off => "off",
        };
        answer::begun();
        self.run(&["chassis", "power", word]).map_err(|reason| {
            // ipmitool says that it did not work.
            answer::not_done();
            Failure::report(Code::RESET_FAILED, format!("Host {host} ipmilan-reset error. {reason}"))
        })?;
        log::info!("Host {host} ipmilan-reset.");
        Ok(())
    }
}

impl IpmiLan {
    fn run(&self, words: &[&str]) -> Result<(), String> {
        let mut command = Command::new("ipmitool");
        command.args(&self.words).args(words).env(PASSWORD_VARIABLE, &self.password);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("ipmitool: {status}")),
            Err(error) => Err(format!("cannot run ipmitool: {error}; install it or use external/ipmi")),
        }
    }
}
