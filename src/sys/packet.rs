//! Link layer sockets (AF_PACKET): send and receive frames of one protocol on one interface.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};

/// Longest link layer address of any interface (MAX_ADDR_LEN of the kernel; InfiniBand has 20).
pub const HARDWARE_ADDRESS_MAX_BYTES: usize = 32;

/// Offset of the address in `sockaddr_ll`; longer addresses than its 8 bytes just follow
/// (packet(7) and the kernel's own check: the length given must cover halen).
const ADDRESS_OFFSET: usize = mem::offset_of!(libc::sockaddr_ll, sll_addr);

/// What the caller hands over and gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The whole frame with its link layer header (SOCK_RAW).
    Frame,
    /// Only what follows the header; the kernel makes the header (SOCK_DGRAM).
    Payload,
}

/// An AF_PACKET socket. Needs CAP_NET_RAW.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    interface: u32,
    ethertype: u16,
}

/// Something received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// Bytes in the buffer; the rest of a longer packet is lost.
    pub length: usize,
    /// It was addressed to this host (PACKET_HOST), not broadcast, nor our own.
    pub unicast: bool,
    /// It is a copy of what this host sent (PACKET_OUTGOING).
    pub outgoing: bool,
    /// Index of the interface on which it came.
    pub interface: u32,
    /// Link layer address of the sender.
    pub sender: [u8; HARDWARE_ADDRESS_MAX_BYTES],
    /// Valid bytes of it.
    pub sender_bytes: usize,
}

impl PacketSocket {
    /// Opens a socket that only sends: nothing is queued on it, and no receive hook has to be
    /// taken out again when it closes (which would wait for the kernel's grace period).
    pub fn open_for_sending(framing: Framing, interface: u32, ethertype: u16) -> io::Result<Self> {
        let socket = new_socket(framing, 0)?;
        Ok(Self { socket, interface, ethertype })
    }

    /// Opens a socket that sends and receives packets of one ethertype on one interface.
    pub fn open(framing: Framing, interface: u32, ethertype: u16) -> io::Result<Self> {
        let packet_socket = Self::open_for_sending(framing, interface, ethertype)?;
        packet_socket.bind()?;
        Ok(packet_socket)
    }

    fn attach(&self, filter: &[libc::sock_filter]) -> io::Result<()> {
        let len = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
        // SAFETY: the structure names `len` instructions that live as long as the call, which copies
        // and checks them and writes nothing.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                mem::size_of::<libc::sock_fprog>() as libc::socklen_t,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn bind(&self) -> io::Result<()> {
        let (address, length) = self.address(&[])?;
        // SAFETY: the address is a sockaddr_ll of at least `length` bytes, only read by the call.
        let result = unsafe {
            libc::bind(self.socket.as_raw_fd(), (&raw const address).cast::<libc::sockaddr>(), length)
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Opens a socket that receives packets of one ethertype on every interface, as far as the filter
    /// (SO_ATTACH_FILTER, socket(7)) lets them pass.
    pub fn open_filtered(framing: Framing, ethertype: u16, filter: &[libc::sock_filter]) -> io::Result<Self> {
        let packet_socket = Self::open_for_sending(framing, 0, ethertype)?;
        // Before it is bound: nothing comes in unfiltered.
        packet_socket.attach(filter)?;
        packet_socket.bind()?;
        Ok(packet_socket)
    }

    /// Takes a socket made by [`PacketSocket::open_for_sending`] in another process.
    pub fn from_socket(socket: OwnedFd, interface: u32, ethertype: u16) -> Self {
        Self { socket, interface, ethertype }
    }

    /// Gives the descriptor away, for a child process.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Sends one packet. `destination` is the link layer address; it is ignored for whole frames
    /// and may be empty then.
    ///
    /// # Errors
    /// Those of sendto(2); `InvalidInput` for an address longer than
    /// [`HARDWARE_ADDRESS_MAX_BYTES`].
    pub fn send(&self, destination: &[u8], packet: &[u8]) -> io::Result<()> {
        let (address, length) = self.address(destination)?;
        // SAFETY: buffer and address are valid for their lengths and only read by the call.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                libc::MSG_NOSIGNAL,
                (&raw const address).cast::<libc::sockaddr>(),
                length,
            )
        };
        match usize::try_from(sent) {
            Err(_) => Err(io::Error::last_os_error()),
            Ok(sent) if sent < packet.len() => Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => Ok(()),
        }
    }

    /// Waits for a packet. `None` when none came in time or a signal interrupted the wait.
    pub fn receive(&self, buffer: &mut [u8], timeout: Duration) -> io::Result<Option<Received>> {
        if !self.readable(timeout)? {
            return Ok(None);
        }
        self.receive_waiting(buffer)
    }

    /// Takes a packet that has come already. `None` when there is none.
    pub fn receive_waiting(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut address = LongAddress::default();
        let mut length = address_length(HARDWARE_ADDRESS_MAX_BYTES);
        // SAFETY: the kernel writes at most `buffer.len()` bytes to the buffer and at most `length`
        // bytes, the size of LongAddress, to the address.
        let got = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                (&raw mut address).cast::<libc::sockaddr>(),
                &mut length,
            )
        };
        match usize::try_from(got) {
            Ok(got) => Ok(Some(Received {
                length: got.min(buffer.len()),
                unicast: address.start.sll_pkttype == libc::PACKET_HOST,
                outgoing: address.start.sll_pkttype == libc::PACKET_OUTGOING,
                interface: u32::try_from(address.start.sll_ifindex).unwrap_or(0),
                sender: address.hardware(),
                sender_bytes: usize::from(address.start.sll_halen).min(HARDWARE_ADDRESS_MAX_BYTES),
            })),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                error if error.kind() == io::ErrorKind::Interrupted => Ok(None),
                error => Err(error),
            },
        }
    }

    fn readable(&self, timeout: Duration) -> io::Result<bool> {
        let timeout_ms = timeout.as_millis().clamp(u128::from(!timeout.is_zero()), 3_600_000) as i32;
        let timeout = PollTimeout::try_from(timeout_ms).unwrap_or(PollTimeout::ZERO);
        let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut waiting, timeout) {
            Ok(count) => Ok(count > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn address(&self, destination: &[u8]) -> io::Result<(LongAddress, libc::socklen_t)> {
        if destination.len() > HARDWARE_ADDRESS_MAX_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut address = LongAddress::default();
        address.start.sll_family = libc::AF_PACKET as u16;
        address.start.sll_protocol = self.ethertype.to_be();
        address.start.sll_ifindex = i32::try_from(self.interface).map_err(|_| io::ErrorKind::InvalidInput)?;
        address.start.sll_halen = destination.len() as u8;
        let inside = destination.len().min(address.start.sll_addr.len());
        address.start.sll_addr[..inside].copy_from_slice(&destination[..inside]);
        address.rest[..destination.len() - inside].copy_from_slice(&destination[inside..]);
        Ok((address, address_length(destination.len())))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// `sockaddr_ll` with room for the longest address: the kernel reads halen bytes from `sll_addr`
/// on, so the rest directly follows it.
#[repr(C)]
#[derive(Clone, Copy)]
struct LongAddress {
    start: libc::sockaddr_ll,
    rest: [u8; HARDWARE_ADDRESS_MAX_BYTES - 8],
}

impl LongAddress {
    fn hardware(&self) -> [u8; HARDWARE_ADDRESS_MAX_BYTES] {
        let mut bytes = [0; HARDWARE_ADDRESS_MAX_BYTES];
        bytes[..8].copy_from_slice(&self.start.sll_addr);
        bytes[8..].copy_from_slice(&self.rest);
        bytes
    }
}

impl Default for LongAddress {
    fn default() -> Self {
        // SAFETY: sockaddr_ll consists of integers and arrays of them: all zero bytes are a value.
        let start = unsafe { mem::zeroed() };
        Self { start, rest: [0; HARDWARE_ADDRESS_MAX_BYTES - 8] }
    }
}

const _: () = assert!(mem::size_of::<libc::sockaddr_ll>() == ADDRESS_OFFSET + 8);

fn address_length(hardware_bytes: usize) -> libc::socklen_t {
    (ADDRESS_OFFSET + hardware_bytes.max(8)) as libc::socklen_t
}

fn new_socket(framing: Framing, protocol: u16) -> io::Result<OwnedFd> {
    let kind = match framing {
        Framing::Frame => libc::SOCK_RAW,
        Framing::Payload => libc::SOCK_DGRAM,
    };
    // SAFETY: no pointers; the result is checked before it is owned.
    let descriptor =
        unsafe { libc::socket(libc::AF_PACKET, kind | libc::SOCK_CLOEXEC, i32::from(protocol.to_be())) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_addresses_follow_the_short_structure() {
        let socket = std::fs::File::open("/dev/null").unwrap().into();
        let packet_socket = PacketSocket::from_socket(socket, 3, 0x0806);
        let (address, length) = packet_socket.address(&[7; 20]).unwrap();
        assert_eq!(length as usize, ADDRESS_OFFSET + 20);
        assert_eq!(address.start.sll_halen, 20);
        assert_eq!(address.rest[..12], [7; 12]);
        assert_eq!(address.rest[12..], [0; 12]);
        assert!(packet_socket.address(&[0; 33]).is_err());
        assert_eq!(packet_socket.address(&[]).unwrap().1 as usize, ADDRESS_OFFSET + 8);
    }
}
