//! Which interfaces changed: the kernel's notices (rtnetlink(7)), read without waiting.
//!
//! Asking about addresses takes the kernel's configuration lock, which may be held for long while
//! thousands of addresses are added, and asking for a missing interface may start modprobe. So we
//! listen, and ask only about what has changed.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    bind, recv, socket, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
};

/// Groups of links and of IPv4 addresses.
const GROUPS: u32 = 0x1 | 0x10;

const NEW_LINK: u16 = 16;
const DELETED_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const DELETED_ADDRESS: u16 = 21;

/// Attribute of a link notice: the name.
const LINK_NAME: u16 = 3;

/// A further address of a subnet that has one; ours for services are of this kind.
const SECONDARY: u8 = 1;

/// Datagrams read at once; more count as "everything changed".
const READ_MAX: usize = 64;

/// Where there are no notices, everything is looked at this often.
const BLIND_INTERVAL_MS: u64 = 30_000;

#[derive(Debug)]
pub(super) struct Watch {
    socket: Option<OwnedFd>,
    next_blind_ms: u64,
}

/// What changed since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    everything: bool,
    indexes: Vec<u32>,
    names: Vec<Vec<u8>>,
}

impl Changes {
    /// Whether a link of this name or this index, or its first address, may have changed.
    pub(super) fn concern(&self, name: &str, index: Option<u32>) -> bool {
        self.everything
            || index.is_some_and(|index| self.indexes.contains(&index))
            || self.names.iter().any(|changed| changed == name.as_bytes())
    }
}

impl Watch {
    pub(super) fn open() -> Self {
        Self { socket: open_socket(), next_blind_ms: 0 }
    }

    pub(super) fn take_changes(&mut self, now_ms: u64) -> Changes {
        let mut changes = Changes::default();
        let Some(socket) = &self.socket else {
            changes.everything = now_ms >= self.next_blind_ms;
            if changes.everything {
                self.next_blind_ms = now_ms.saturating_add(BLIND_INTERVAL_MS);
                self.socket = open_socket();
            }
            return changes;
        };
        let mut buffer = [0; 8192];
        for _ in 0..READ_MAX {
            match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => note(&buffer[..length], &mut changes),
                Err(Errno::EAGAIN) => return changes,
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => changes.everything = true,
                Err(_) => {
                    self.socket = open_socket();
                    break;
                }
            }
        }
        Changes { everything: true, ..changes }
    }
}

fn open_socket() -> Option<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute).ok()?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS)).ok()?;
    Some(socket)
}

/// Reads the messages of one datagram (netlink(7)): a header of 16 bytes (length, type), then
/// 16 bytes about a link or 8 about an address, then attributes.
fn note(mut bytes: &[u8], changes: &mut Changes) {
    while let (Some(length), Some(kind)) = (u32_at(bytes, 0), u16_at(bytes, 4)) {
        let length = length as usize;
        let Some(message) = bytes.get(16..length) else {
            return;
        };
        match kind {
            NEW_LINK | DELETED_LINK => {
                changes.indexes.extend(u32_at(message, 4));
                changes.names.extend(link_name(message.get(16..).unwrap_or_default()));
            }
            NEW_ADDRESS | DELETED_ADDRESS if message.get(2).is_some_and(|flags| flags & SECONDARY == 0) => {
                changes.indexes.extend(u32_at(message, 4));
            }
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

fn link_name(mut attributes: &[u8]) -> Option<Vec<u8>> {
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let length = usize::from(length);
        let value = attributes.get(4..length)?;
        if kind == LINK_NAME {
            return Some(value.iter().copied().take_while(|byte| *byte != 0).collect());
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    fn link(index: u32, name: &[u8]) -> Vec<u8> {
        let mut body = vec![0; 4];
        body.extend(index.to_ne_bytes());
        body.extend([0; 8]);
        body.extend((4 + name.len() as u16).to_ne_bytes());
        body.extend(LINK_NAME.to_ne_bytes());
        body.extend(name);
        message(NEW_LINK, &body)
    }

    fn address(index: u32, flags: u8) -> Vec<u8> {
        let mut body = vec![2, 24, flags, 0];
        body.extend(index.to_ne_bytes());
        message(NEW_ADDRESS, &body)
    }

    #[test]
    fn notices_name_what_changed() {
        let mut changes = Changes::default();
        note(&[link(7, b"eth1\0\0\0\0"), address(9, 0), address(11, SECONDARY)].concat(), &mut changes);
        assert!(changes.concern("eth1", None) && changes.concern("other", Some(7)));
        assert!(changes.concern("x", Some(9)));
        assert!(!changes.concern("x", Some(11)), "service addresses are no news");
        assert!(!changes.concern("eth", None));
    }

    #[test]
    fn hostile_bytes_do_not_panic_or_hang() {
        let good = [link(7, b"eth1\0\0\0\0"), address(9, 0)].concat();
        for position in 0..good.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[position] = value;
                note(&bytes, &mut Changes::default());
                note(&bytes[..position], &mut Changes::default());
            }
        }
    }
}
