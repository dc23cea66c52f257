//! `null`: says that it did it.

use super::device::{common, Action, Code, Device, DeviceType, Failure, Values};

/// Row of the table.
pub const TYPE: DeviceType = DeviceType {
    name: "null",
    parameters: &[common::HOSTLIST],
    id: "Device that does nothing",
    description: "Device that does nothing and reports success. For tests: it protects no data.",
    url: "",
    configure,
};

fn configure(values: &Values) -> Result<Box<dyn Device>, Failure> {
    let hosts = values.host_list("hostlist")?;
    if hosts.is_empty() {
        return Err(Failure::silent(Code::BAD_CONFIG, "the list of hosts is empty"));
    }
    Ok(Box::new(Null { hosts }))
}

struct Null {
    hosts: Vec<String>,
}

impl Device for Null {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        Ok(self.hosts.clone())
    }

    fn status(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Whatever the host: the original asks no list either.
    fn request(&mut self, _: Action, host: &str) -> Result<(), Failure> {
        log::info!("Host null-reset: {host}");
        Ok(())
    }
}
