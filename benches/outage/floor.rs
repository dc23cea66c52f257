//! What the beats alone cost on this network, whoever sends them.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ha_core::demo::world::{HostKind, World, WorldError};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use socket2::{Domain, Socket, Type};

/// First argument of the bare program.
pub(crate) const WORD: &str = "--bare-beats";
/// What a beat of ours has with a sha1 signature.
const PACKET_BYTES: usize = 426;
/// No daemon listens there.
const PORT: u16 = 6940;
const DEVICES: [&str; 2] = ["eth0", "eth1"];

/// Microseconds of processor time per second that the bare program uses on one of two hosts.
pub(crate) fn measure(binary: &Path, keepalive_ms: u64, rest: Duration) -> Result<u64, WorldError> {
    let failed = |reason: String| WorldError::Failed { host: "bench".into(), reason };
    let unavailable = |error: &dyn std::fmt::Display| failed(error.to_string());
    let world = World::new(binary, &[("node1", HostKind::Ours), ("node2", HostKind::Ours)])
        .map_err(|error| unavailable(&error))?;
    let own = std::env::current_exe().map_err(|error| unavailable(&error))?;
    let program = format!("/.machine{}", own.display());
    let mut pids = Vec::new();
    for host in world.hosts() {
        pids.push(host.spawn(&[&program, WORD, &keepalive_ms.to_string()], "/var/log/bare")?);
        // Two nodes do not beat at the same instant.
        thread::sleep(Duration::from_millis(keepalive_ms / 3));
    }
    let used = || -> Result<u64, WorldError> {
        let processes = world.hosts()[0].processes()?;
        let bare = processes.iter().find(|process| process.pid == pids[0]);
        let said = || world.hosts()[0].read_file("/var/log/bare").unwrap_or_default();
        bare.map(|process| process.cpu_us).ok_or_else(|| failed(said()))
    };
    thread::sleep(Duration::from_secs(1));
    let (before_us, began) = (used()?, Instant::now());
    thread::sleep(rest);
    Ok(((used()? - before_us) as f64 / began.elapsed().as_secs_f64()) as u64)
}

/// The bare program itself; runs until it is killed.
pub(crate) fn run(keepalive_ms: u64) -> ExitCode {
    match beat(keepalive_ms) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bare beats: {error}");
            ExitCode::FAILURE
        }
    }
}

fn beat(keepalive_ms: u64) -> std::io::Result<()> {
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
    let interval = Duration::from_millis(keepalive_ms.max(1));
    timer.set(Expiration::Interval(interval.into()), TimerSetTimeFlags::empty())?;
    let sockets = DEVICES.map(socket).into_iter().collect::<std::io::Result<Vec<Socket>>>()?;
    let to = std::net::SocketAddr::from(([255, 255, 255, 255], PORT)).into();
    let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 2048];
    loop {
        let mut watched: Vec<PollFd<'_>> =
            sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
        watched.push(PollFd::new(timer.as_fd(), PollFlags::POLLIN));
        poll(&mut watched, PollTimeout::NONE)?;
        let ready: Vec<bool> = watched.iter().map(|one| one.any().unwrap_or(false)).collect();
        if ready[sockets.len()] {
            timer.wait()?;
            for socket in &sockets {
                socket.send_to(&[b'x'; PACKET_BYTES], &to)?;
            }
        }
        for (socket, _) in sockets.iter().zip(&ready).filter(|(_, ready)| **ready) {
            socket.recv(&mut buffer)?;
        }
    }
}

fn socket(device: &str) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_broadcast(true)?;
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(device.as_bytes()))?;
    socket.bind(&std::net::SocketAddr::from(([0, 0, 0, 0], PORT)).into())?;
    Ok(socket)
}
