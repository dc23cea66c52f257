//! `old-kernel COMMAND [ARGUMENT...]`: runs a command as Linux 2.6.32 would answer it.
//!
//! A seccomp filter, kept by all children, refuses what came later: every x86-64 system call numbered
//! 299 (recvmmsg, 2.6.33) or higher answers ENOSYS, and the newer options and flags of older calls in
//! [`NEWER`] get the answer an old kernel gives. What a filter cannot see (packet contents, netlink
//! attributes, flags that old kernels ignore in silence) is listed in packaging/KERNELS.md.
//!
//! Exit code: the command's; 125 when the filter cannot be installed, 126 when the command cannot be
//! started.

#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The first system call of x86-64 that 2.6.32 does not have.
const FIRST_MISSING: u32 = 299;

/// What one argument of a call must look like for a rule to apply. Arguments count from 0.
enum Argument {
    /// Its low 32 bits are in this range, both ends included.
    Range(u32, u32, u32),
    /// It has at least one of these bits.
    Bits(u32, u32),
}
use Argument::{Bits, Range};

/// An old call used in a newer way: number, arguments, the error an old kernel gives.
type Rule = (libc::c_long, &'static [Argument], i32);

const SOL_SOCKET: u32 = libc::SOL_SOCKET as u32;
const SOL_PACKET: u32 = libc::SOL_PACKET as u32;
const SOL_NETLINK: u32 = libc::SOL_NETLINK as u32;

/// THE TABLE of options and flags that came after 2.6.32.
const NEWER: &[Rule] = &[
    // SO_REUSEPORT (3.9); SO_RXQ_OVFL (2.6.33) and all behind it.
    (libc::SYS_setsockopt, &[Range(1, SOL_SOCKET, SOL_SOCKET), Range(2, 15, 15)], libc::ENOPROTOOPT),
    (libc::SYS_setsockopt, &[Range(1, SOL_SOCKET, SOL_SOCKET), Range(2, 40, u32::MAX)], libc::ENOPROTOOPT),
    // IP_MINTTL (2.6.34) to IP_BIND_ADDRESS_NO_PORT (4.2); IP_UNICAST_IF (3.4).
    (libc::SYS_setsockopt, &[Range(1, 0, 0), Range(2, 21, 24)], libc::ENOPROTOOPT),
    (libc::SYS_setsockopt, &[Range(1, 0, 0), Range(2, 50, 50)], libc::ENOPROTOOPT),
    // PACKET_VNET_HDR (2.6.34), PACKET_FANOUT (3.1) and all behind them.
    (libc::SYS_setsockopt, &[Range(1, SOL_PACKET, SOL_PACKET), Range(2, 15, u32::MAX)], libc::ENOPROTOOPT),
    // Extended acknowledgements (4.12), strict checks (4.20) and the rest.
    (libc::SYS_setsockopt, &[Range(1, SOL_NETLINK, SOL_NETLINK), Range(2, 6, u32::MAX)], libc::ENOPROTOOPT),
    // CLOCK_BOOTTIME (2.6.39), the alarm clocks (3.0), CLOCK_TAI (3.10).
    (libc::SYS_clock_gettime, &[Range(0, 7, 11)], libc::EINVAL),
    (libc::SYS_clock_nanosleep, &[Range(0, 7, 11)], libc::EINVAL),
    (libc::SYS_timerfd_create, &[Range(0, 7, 11)], libc::EINVAL),
    // Locks of open files (3.15), pipe sizes (2.6.35), seals (3.17).
    (libc::SYS_fcntl, &[Range(1, 36, 38)], libc::EINVAL),
    (libc::SYS_fcntl, &[Range(1, 1031, 1099)], libc::EINVAL),
    // PR_SET_MM (3.3), child subreaper (3.4), no new privileges (3.5) and all behind them.
    (libc::SYS_prctl, &[Range(0, 35, u32::MAX)], libc::EINVAL),
    // Waiting for a pidfd (5.4).
    (libc::SYS_waitid, &[Range(0, 3, 3)], libc::EINVAL),
    // O_TMPFILE (3.11), seen as O_DIRECTORY; packet mode of pipes (3.4).
    (libc::SYS_open, &[Bits(1, 0o20_000_000)], libc::EISDIR),
    (libc::SYS_openat, &[Bits(2, 0o20_000_000)], libc::EISDIR),
    (libc::SYS_pipe2, &[Bits(1, libc::O_DIRECT as u32)], libc::EINVAL),
    // Holes in files (2.6.38); UMOUNT_NOFOLLOW (2.6.35).
    (libc::SYS_fallocate, &[Bits(1, !1)], libc::EOPNOTSUPP),
    (libc::SYS_umount2, &[Bits(1, 8)], libc::EINVAL),
];

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(command) = words.next() else {
        eprintln!("usage: old-kernel COMMAND [ARGUMENT...]");
        return ExitCode::from(125);
    };
    if let Err(error) = install(&filter()) {
        eprintln!("old-kernel: cannot install the filter: {error}");
        return ExitCode::from(125);
    }
    let error = Command::new(&command).args(words).exec();
    eprintln!("old-kernel: cannot start {}: {error}", command.display());
    ExitCode::from(126)
}

/// The filter's program in the kernel's packet filter language.
fn filter() -> Vec<libc::sock_filter> {
    let (load, equal, at_least, any_bit, answer) = (0x20, 0x15, 0x35, 0x45, 0x06);
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let refuse = |error: i32| step(answer, 0, 0, libc::SECCOMP_RET_ERRNO | error as u32);
    // The fields of `struct seccomp_data`: call number, architecture, instruction, arguments.
    let (number, architecture, audit_arch_x86_64) = (0, 4, 0xC000_003E);
    let mut program = vec![
        step(load, 0, 0, architecture),
        step(equal, 1, 0, audit_arch_x86_64),
        refuse(libc::ENOSYS),
        step(load, 0, 0, number),
        step(at_least, 0, 1, FIRST_MISSING),
        refuse(libc::ENOSYS),
    ];
    for (call, arguments, error) in NEWER {
        let mut checks = vec![step(load, 0, 0, number), step(equal, 0, 0, *call as u32)];
        for argument in *arguments {
            match *argument {
                Range(index, low, high) => {
                    checks.push(step(load, 0, 0, 16 + 8 * index));
                    checks.push(step(at_least, 0, 0, low));
                    // "Not above": the way out is the branch that is taken.
                    if let Some(above) = high.checked_add(1) {
                        checks.push(step(at_least, 1, 0, above));
                    }
                }
                Bits(index, mask) => {
                    checks.push(step(load, 0, 0, 16 + 8 * index));
                    checks.push(step(any_bit, 0, 0, mask));
                }
            }
        }
        program.extend(leave_on_failure(checks));
        program.push(refuse(*error));
    }
    program.push(step(answer, 0, 0, libc::SECCOMP_RET_ALLOW));
    program
}

/// Points each check's way out behind the rule's answer, which follows the checks.
fn leave_on_failure(mut checks: Vec<libc::sock_filter>) -> Vec<libc::sock_filter> {
    let count = checks.len();
    for (index, check) in checks.iter_mut().enumerate().filter(|(_, check)| check.code != 0x20) {
        let out = u8::try_from(count - index).expect("a rule has few checks");
        match check.jt {
            0 => check.jf = out,
            _ => check.jt = out,
        }
    }
    checks
}

/// Puts this process, and all it starts, under the filter.
fn install(program: &[libc::sock_filter]) -> std::io::Result<()> {
    let length = program.len() as libc::c_ushort;
    let description = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: prctl reads `description` and the program behind it, which both live until it returns,
    // and writes neither; the other call takes plain numbers.
    let failed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const description) != 0
    };
    if failed {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
