//! Resource agents and the runner of groups.
//!
//! ```text
//! config::haresources ─▶ runner ─┬─▶ script ─▶ the administrator's file (heartbeat class, LSB)
//!                                └─▶ heartbeat_class ─▶ THE TABLE of built-in agents ─▶ net
//! ```
//!
//! A new agent is one file with a constant of type [`Agent`], which tells how, and one line in [`AGENTS`].

pub mod agent;
pub mod apache;
mod apache_check;
pub mod apache_config;
mod apache_process;
pub mod audible_alarm;
pub mod by_hand;
pub mod command;
pub mod delay;
pub mod drbd;
pub mod filesystem;
pub mod harc;
pub mod heartbeat_class;
pub mod ip_addr;
mod ip_batch;
mod ip_loopback;
mod ip_parameters;
mod ip_run;
pub mod ip_src_addr;
pub mod ipv6_addr;
pub mod linux_scsi;
pub mod lvm;
pub mod mail_to;
pub mod manager;
pub mod meta_data;
pub mod ocf;
pub mod packet_filter;
pub mod portblock;
pub mod pseudo;
pub mod raid1;
pub mod runner;
pub mod script;
pub mod script_log;
pub mod send_arp;
pub mod systemd;
pub mod takeover;
pub mod vendor;
pub mod win_popup;
pub mod xinetd;

pub use agent::{
    is_true, Action, Agent, Call, Context, ExitCode, Parameter, Parameters, Timeouts, WrongArguments,
};

use std::net::IpAddr;

use crate::config::haresources::Resource;

/// The shell functions that scripts read, for hosts that have none (resources spec 5.4).
pub const SHELL_FUNCTIONS: &str = include_str!("shellfuncs.sh");

/// The functions that scripts of resource.d read which run OCF agents, for hosts that have none.
pub const MAPPING_FUNCTIONS: &str = include_str!("hto_mapfuncs.sh");

/// The functions that OCF agents read, for hosts without resource-agents.
pub const OCF_FUNCTIONS: &str = include_str!("ocf_shellfuncs.sh");

/// THE TABLE of built-in agents.
#[rustfmt::skip]
pub const AGENTS: &[&Agent] = &[
    &ip_addr::IPADDR,
    &ip_addr::IPADDR2,
    &audible_alarm::AUDIBLE_ALARM,
    &delay::DELAY,
    &mail_to::MAIL_TO,
    &apache::APACHE,
    &drbd::DRBDDISK,
    &drbd::DRBDUPPER,
    &linux_scsi::LINUX_SCSI,
    &portblock::PORTBLOCK,
    &ocf::OCF,
    &vendor::DB2,
    &vendor::ICP,
    &vendor::IDS,
    &vendor::SERVE_RAID,
    &vendor::WAS,
    &win_popup::WIN_POPUP,
    &xinetd::XINETD,
    &filesystem::FILESYSTEM,
    &lvm::LVM,
    &raid1::RAID1,
    &ip_src_addr::IPSRCADDR,
    &ipv6_addr::IPV6ADDR,
    &send_arp::SENDARP,
];

/// Their names, in the same order.
pub const AGENT_NAMES: [&str; AGENTS.len()] = {
    let mut names = [""; AGENTS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = AGENTS[index].name;
        index += 1;
    }
    names
};

/// Where agents note what they left running: `HA_VARRUN`, else `/var/run`.
fn run_directory() -> std::path::PathBuf {
    let given = std::env::var_os("HA_VARRUN").filter(|directory| !directory.is_empty());
    given.map_or_else(|| "/var/run".into(), std::path::PathBuf::from)
}

/// The built-in agent of that name.
pub fn agent(name: &str) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| agent.name == name).copied()
}

/// The address that a word of haresources stands for, where a built-in agent has its name.
pub fn address_of(resource: &Resource) -> Option<IpAddr> {
    let agent = agent(&resource.script).filter(|agent| agent.address.is_some())?;
    let arguments: Vec<&str> = resource.arguments.iter().map(String::as_str).collect();
    let parameters = (agent.from_arguments)(&arguments).ok()?.parameters;
    parameters.get("ip").or_else(|| parameters.get("ipv6addr"))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_haresources_stand_for_addresses() {
        let address = |word: &str| address_of(&Resource::new(word)).map(|address| address.to_string());
        assert_eq!(address("10.0.0.1/24/eth0"), Some("10.0.0.1".to_owned()));
        assert_eq!(address("IPaddr2::10.0.0.2"), Some("10.0.0.2".to_owned()));
        assert_eq!(address("IPv6addr::2001:db8::5/64"), Some("2001:db8::5".to_owned()));
        assert_eq!(
            (address("SendArp::10.0.0.1/eth0"), address("httpd"), address("IPaddr::x")),
            (None, None, None)
        );
    }

    #[test]
    fn the_table_has_each_name_once_and_every_parameter_is_described() {
        for (index, entry) in AGENTS.iter().enumerate() {
            assert!(AGENTS[..index].iter().all(|other| other.name != entry.name));
            for parameter in entry.parameters {
                assert!(!parameter.summary.is_empty() && !parameter.description.is_empty());
            }
        }
    }
}
