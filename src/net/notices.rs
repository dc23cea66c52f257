//! The kernel's notices about links and addresses (rtnetlink(7)), waited for in a thread.

use std::collections::BTreeSet;
use std::io::{self, PipeReader, Read};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{
    bind, recv, socket, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
};

use super::netlink::{Netlink, NetlinkError};

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// Why [`Notices::wait`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The kernel told of a change.
    Changed,
    /// A byte came through the pipe.
    Asked,
    /// The other end of the pipe was closed.
    Closed,
}

/// A socket that the kernel tells of every change.
#[derive(Debug)]
pub struct Notices {
    socket: OwnedFd,
}

impl Notices {
    /// Hears of every change of a link or an address from now on.
    ///
    /// # Errors
    /// The socket's.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Self { socket })
    }

    /// Waits until something changed or somebody asks through the pipe, one byte a time. Notices are not
    /// read for what they say: a lost one is a change too.
    ///
    /// # Errors
    /// The socket's, and the pipe's.
    pub fn wait(&self, mut pipe: &PipeReader) -> io::Result<Woken> {
        loop {
            let mut waiting = [
                PollFd::new(pipe.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut waiting, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            if waiting[0].any().unwrap_or(false) {
                let closed = pipe.read(&mut [0])? == 0;
                return Ok(if closed { Woken::Closed } else { Woken::Asked });
            }
            let mut buffer = [0; 8192];
            loop {
                match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                    Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
                    Err(Errno::EAGAIN) => return Ok(Woken::Changed),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// The addresses of this host on interfaces that are set up.
///
/// # Errors
/// The kernel's.
pub fn served_addresses() -> Result<BTreeSet<IpAddr>, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let up: BTreeSet<u32> =
        netlink.links()?.into_iter().filter(|link| link.is_up()).map(|link| link.index).collect();
    let mut all = netlink.addresses()?;
    // A kernel without IPv6 has none.
    all.extend(netlink.addresses6().unwrap_or_default());
    let served = all.into_iter().filter(|address| up.contains(&address.interface));
    Ok(served.map(|address| address.local).collect())
}
