//! What the kernel says about one interface, by the old ioctls (netdevice(7)).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{socket, AddressFamily, SockFlag, SockType};

/// Longest interface name in bytes (IFNAMSIZ less the end mark).
pub const INTERFACE_NAME_MAX_BYTES: usize = libc::IFNAMSIZ - 1;

/// The interface's first IPv4 address and its broadcast address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// SIOCGIFADDR; `None` without an IPv4 address.
    pub address: Option<Ipv4Addr>,
    /// SIOCGIFBRDADDR; `None` without one.
    pub broadcast: Option<Ipv4Addr>,
}

/// Asks about interfaces by name; holds the one socket needed for that.
#[derive(Debug)]
pub struct InterfaceProbe {
    socket: OwnedFd,
}

impl InterfaceProbe {
    /// Opens the probe in the calling thread's network namespace.
    ///
    /// # Errors
    /// No descriptor left, or IPv4 is not built in.
    pub fn open() -> io::Result<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(Self { socket })
    }

    /// The index, which changes when an interface is deleted and made again. For a name without
    /// an interface the kernel may run modprobe(8) and wait for it: not to be asked in every round.
    ///
    /// # Errors
    /// ENODEV when there is no such interface (also for a name that cannot be one).
    pub fn index(&self, name: &str) -> io::Result<u32> {
        let mut request = request_for(name)?;
        self.ask(libc::SIOCGIFINDEX as _, &mut request)?;
        // SAFETY: the kernel has just filled this member of the union.
        let index = unsafe { request.ifr_ifru.ifru_ifindex };
        u32::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// Whether the interface with this index (still) has this name. Cheap: waits neither for
    /// address changes nor for modules.
    pub fn is_named(&self, index: u32, name: &str) -> bool {
        // SAFETY: `ifreq` is plain data; all zero bytes are a valid value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_ifru.ifru_ifindex = libc::c_int::try_from(index).unwrap_or(0);
        let found = self.ask(libc::SIOCGIFNAME as _, &mut request).is_ok();
        let bytes = request.ifr_name.map(|c| c.to_ne_bytes()[0]);
        found && bytes.split(|byte| *byte == 0).next() == Some(name.as_bytes())
    }

    /// Address and broadcast address. Takes the kernel's configuration lock, so it may wait for a
    /// batch of address changes: ask when something has changed, not in every round.
    ///
    /// # Errors
    /// ENODEV when there is no such interface. Missing addresses are no error.
    pub fn addresses(&self, name: &str) -> io::Result<Addresses> {
        Ok(Addresses {
            address: self.address(libc::SIOCGIFADDR as _, name)?,
            broadcast: self.address(libc::SIOCGIFBRDADDR as _, name)?.filter(|found| !found.is_unspecified()),
        })
    }

    fn address(&self, code: libc::c_ulong, name: &str) -> io::Result<Option<Ipv4Addr>> {
        let mut request = request_for(name)?;
        request.ifr_ifru.ifru_addr.sa_family = libc::AF_INET as _;
        match self.ask(code, &mut request) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => return Ok(None),
            Err(error) => return Err(error),
        }
        // SAFETY: the kernel has just filled this member with a sockaddr_in, whose address stands
        // at bytes 2 to 5 of `sa_data` (behind the port).
        let data = unsafe { request.ifr_ifru.ifru_addr.sa_data };
        let octet = |index: usize| data[index].to_ne_bytes()[0];
        Ok(Some(Ipv4Addr::new(octet(2), octet(3), octet(4), octet(5))))
    }

    fn ask(&self, code: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: the descriptor is open, and all codes used here read and write one ifreq.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), code as _, &raw mut *request) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

fn request_for(name: &str) -> io::Result<libc::ifreq> {
    if name.is_empty() || name.len() > INTERFACE_NAME_MAX_BYTES || name.bytes().any(|byte| byte == 0) {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    // SAFETY: `ifreq` is plain data; all zero bytes are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there() {
        let probe = InterfaceProbe::open().unwrap();
        let index = probe.index("lo").unwrap();
        assert!(probe.is_named(index, "lo"));
        assert!(!probe.is_named(index, "l") && !probe.is_named(u32::MAX, "lo"));
    }

    #[test]
    fn bad_names_are_absent_devices() {
        let probe = InterfaceProbe::open().unwrap();
        for name in ["", "no-such-dev", "a-name-that-is-far-too-long", "nul\0nul"] {
            assert_eq!(probe.index(name).unwrap_err().raw_os_error(), Some(libc::ENODEV), "{name:?}");
            assert!(probe.addresses(name).is_err());
        }
    }
}
