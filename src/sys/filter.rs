//! A filter on system calls for the hosts of a demo world.

use std::io;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(target_arch = "x86")]
const ARCHITECTURE: u32 = 0x4000_0003;

/// Places in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

/// Makes sync(2) do nothing for this process and its children, for good. 3.0.6 calls it at each start
/// and with it waits for everything that anybody wrote on this machine, which took more than a minute
/// beside a compiler. fsync(2) stays what it is.
///
/// # Errors
/// The kernel has no filters (before 3.5) or the process may not set one: nothing was changed.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "x86"))]
pub fn ignore_sync() -> io::Result<()> {
    let step = |code: u32, value: u32, yes: u8, no: u8| libc::sock_filter {
        code: code as u16,
        jt: yes,
        jf: no,
        k: value,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    let mut program = [
        step(load, ARCHITECTURE_AT, 0, 0),
        step(equal, ARCHITECTURE, 0, 3),
        step(load, NUMBER_AT, 0, 0),
        step(equal, libc::SYS_sync as u32, 0, 1),
        step(end, libc::SECCOMP_RET_ERRNO, 0, 0),
        step(end, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program and its description live through the call; the kernel copies and checks them.
    let refused = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter) };
    if refused < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// No filter is written for this architecture.
///
/// # Errors
/// Always.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "x86")))]
pub fn ignore_sync() -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
