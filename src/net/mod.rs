//! Addresses, interfaces, netlink, ARP.
//!
//! ```text
//! resource/ip_addr ──▶ interface (which interface, netmask, broadcast) ──▶ netlink ──▶ kernel
//!                  └─▶ announce (send_arp: pairs, pid file) ──▶ arp ──▶ sys/packet
//! ```
//!
//! Plain blocking code: no tokio, nothing of the cluster.

pub mod announce;
pub mod arp;
pub mod arping;
pub mod interface;
pub mod netlink;
pub mod netlink_message;
pub mod ping;
pub mod smtp;
pub mod state;
