//! Announce an address by ARP

use clap::{Arg, ArgAction, Command};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["send_arp"], summary: "Announce an address by ARP", definition, run };

fn definition() -> Command {
    Command::new("send_arp")
        .about(APPLET.summary)
        .arg(Arg::new("interval").short('i').value_name("ms").help("Time from one pair to the next, 1000"))
        .arg(Arg::new("count").short('r').value_name("count").help("Number of pairs, 1"))
        .arg(Arg::new("pidfile").short('p').value_name("pidfile").help("Absolute path of the pid file"))
        .arg(
            Arg::new("words")
                .value_names(["device", "src_ip", "src_hw", "broadcast_ip", "netmask"])
                .num_args(5)
                .action(ArgAction::Append)
                .help("Interface, address, hardware address or auto, and two that are ignored"),
        )
}

fn run(invocation: &Invocation) -> u8 {
    ha_core::net::announce::send_arp(&invocation.called_as, &invocation.words())
}
