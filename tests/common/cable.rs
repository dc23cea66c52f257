//! A serial cable between the two nodes of a world.

#![allow(dead_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ha_core::demo::world::World;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::pty::openpty;
use nix::sys::termios::{cfmakeraw, tcgetattr, tcsetattr, SetArg};

/// Where each host of a world with a [`Cable`] has its serial port.
pub(crate) const TTY: &str = "/dev/ttyHA";

/// A null-modem cable between two hosts: two pseudo-terminals and a thread that carries bytes.
pub(crate) struct Cable {
    over: Arc<AtomicBool>,
    /// Bytes of nonsense still to be put on both lines.
    pub(crate) noise: Arc<AtomicU64>,
    /// Nothing is carried any more: nobody reads at either end.
    pub(crate) pulled: Arc<AtomicBool>,
    /// What was carried, in both directions.
    pub(crate) carried: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Cable {
    pub(crate) fn between(world: &World) -> Self {
        let ends = ["node1", "node2"].map(|name| {
            let pair = openpty(None, None).expect("a pseudo-terminal");
            let mut settings = tcgetattr(&pair.slave).expect("settings");
            cfmakeraw(&mut settings);
            tcsetattr(&pair.slave, SetArg::TCSANOW, &settings).expect("raw");
            let path = nix::unistd::ttyname(pair.slave.as_fd()).expect("name");
            let host = world.host(name).expect("host");
            let made = host.run(&["ln", "-sfn", path.to_str().expect("text"), TTY]).expect("ln");
            assert_eq!(made.code, Some(0), "{made:?}");
            fcntl(&pair.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("non-blocking");
            (File::from(pair.master), pair.slave)
        });
        let mut cable = Self {
            over: Arc::default(),
            noise: Arc::default(),
            pulled: Arc::default(),
            carried: Arc::default(),
            thread: None,
        };
        let (over, noise) = (cable.over.clone(), cable.noise.clone());
        let (pulled, carried) = (cable.pulled.clone(), cable.carried.clone());
        let ends = ends.map(|(line, port)| (line, Vec::new(), port));
        cable.thread = Some(thread::spawn(move || carry(ends, &over, &noise, &pulled, &carried)));
        cable
    }
}

/// Until it is over. The ports stay open here, as real ones do not hang up.
fn carry<P>(
    mut ends: [(File, Vec<u8>, P); 2],
    over: &AtomicBool,
    noise: &AtomicU64,
    pulled: &AtomicBool,
    carried: &AtomicU64,
) {
    let mut bytes = [0; 4096];
    let mut state = 1u32;
    while !over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(2));
        if pulled.load(Ordering::Relaxed) {
            continue;
        }
        for from in 0..2 {
            while let Ok(count @ 1..) = ends[from].0.read(&mut bytes) {
                carried.fetch_add(count as u64, Ordering::Relaxed);
                ends[1 - from].1.extend(&bytes[..count]);
            }
        }
        let nonsense = noise.swap(0, Ordering::Relaxed);
        for (line, rest, _) in &mut ends {
            for _ in 0..nonsense {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                rest.push((state >> 24) as u8);
            }
            if let Ok(count) = line.write(rest) {
                rest.drain(..count);
            }
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
