//! Addresses, interfaces, netlink, ARP.
//!
//! ```text
//! resource/ip_addr ──▶ interface (which interface, netmask, broadcast) ──▶ netlink ──▶ kernel
//!                  └─▶ announce (send_arp: pairs, pid file) ──▶ arp ──▶ sys/packet
//! ```
//!
//! Plain blocking code: no tokio, nothing of the cluster.

pub mod announce;
pub mod announce_many;
pub mod arp;
pub mod arping;
pub mod conflict;
pub mod interface;
pub mod nd;
pub mod netlink;
mod netlink_change;
pub mod netlink_message;
pub mod ping;
pub mod snapshot;
pub mod state;
