//! Serial lines as descriptors that never wait.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::sys::termios::{tcflush, FlushArg};
use serialport::{DataBits, FlowControl, Parity, StopBits, TTYPort};

/// Opens a terminal device for raw bytes: 8 data bits, no parity, 1 stop bit, hardware flow control,
/// modem signals ignored (messaging spec 6, `serial`). What waited in it is thrown away. No other
/// program that locks it the same way (flock) may have it; it does not become the controlling
/// terminal of this process, and nothing here waits for the other side.
///
/// # Errors
/// The system's: no such device, no terminal, or one that does not take these settings; in use.
pub fn open(path: &str, baud: u32) -> io::Result<OwnedFd> {
    open_with(path, baud, FlowControl::Hardware)
}

/// The same without flow control: for devices that know three wires.
///
/// # Errors
/// As [`open`].
pub fn open_without_flow_control(path: &str, baud: u32) -> io::Result<OwnedFd> {
    open_with(path, baud, FlowControl::None)
}

fn open_with(path: &str, baud: u32, flow_control: FlowControl) -> io::Result<OwnedFd> {
    let builder = serialport::new(path, baud)
        .data_bits(DataBits::Eight)
        .parity(Parity::None)
        .stop_bits(StopBits::One)
        .flow_control(flow_control);
    let port = TTYPort::open(&builder).map_err(|error| match error.description == Errno::ENOTTY.desc() {
        // The crate keeps the words of an error and not its number.
        true => io::Error::from_raw_os_error(libc::ENOTTY),
        false => error.into(),
    })?;
    // SAFETY: into_raw_fd hands the open descriptor over; nobody else has it.
    let line = unsafe { OwnedFd::from_raw_fd(port.into_raw_fd()) };
    // The crate makes it wait.
    fcntl(&line, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    tcflush(&line, FlushArg::TCIOFLUSH)?;
    Ok(line)
}

/// Lines that this end of a serial line sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModemLine {
    /// Data terminal ready.
    Dtr,
    /// Request to send.
    Rts,
}

/// Raises or lowers a modem line (TIOCMBIS and TIOCMBIC, tty_ioctl(4)).
///
/// # Errors
/// The driver has no such line.
pub fn set_modem_line(line: &OwnedFd, which: ModemLine, raised: bool) -> io::Result<()> {
    let bit: libc::c_int = match which {
        ModemLine::Dtr => libc::TIOCM_DTR,
        ModemLine::Rts => libc::TIOCM_RTS,
    };
    let request = if raised { libc::TIOCMBIS } else { libc::TIOCMBIC };
    // SAFETY: the descriptor is open, and the kernel reads one int.
    match unsafe { libc::ioctl(line.as_raw_fd(), request, &raw const bit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Throws away what was written and has not left yet: also what makes a later close wait.
pub fn discard_output(line: &OwnedFd) {
    let _ = tcflush(line, FlushArg::TCOFLUSH);
}

/// Bytes that were written and have not left yet (TIOCOUTQ, tty_ioctl(4)); 0 where the driver does
/// not count.
pub fn waiting_output(line: &OwnedFd) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the kernel writes one int.
    let result = unsafe { libc::ioctl(line.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if result < 0 {
        return 0;
    }
    usize::try_from(count).unwrap_or(0)
}
