//! Addresses, interfaces, netlink, ARP.
//!
//! ```text
//! resource/ip_addr ──▶ interface (which interface, netmask, broadcast) ──▶ snapshot ──▶ netlink ──▶ kernel
//!                  └─▶ announce (send_arp: pairs, pid file) ─┬─▶ arp, nd ──▶ sys/packet
//!                  └─▶ announce_many (a whole group) ────────┘
//! daemon ──▶ conflict (who else claims an address of ours?) ──▶ sys/packet
//! ```
//!
//! Plain blocking code: no tokio, nothing of the cluster.

pub mod announce;
pub mod announce_many;
pub mod arp;
pub mod arping;
pub mod conflict;
pub mod findif;
pub mod http;
pub mod interface;
pub mod nd;
pub mod netlink;
mod netlink_change;
pub mod netlink_message;
pub mod notices;
pub mod ping;
pub mod send_ua;
pub mod smtp;
pub mod snapshot;
pub mod state;
pub mod tcp_table;
pub mod tickle;
