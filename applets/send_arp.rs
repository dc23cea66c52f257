//! Announce an address by ARP

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["send_arp"], summary: "Announce an address by ARP", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("send_arp")
}

fn run(_invocation: &Invocation) -> u8 {
    1
}
