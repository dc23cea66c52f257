//! A FUSE server that greets the kernel and never answers anything again.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::mount::{mount, MsFlags};

use crate::skip;

const FUSE_INIT: u32 = 26;
/// A request begins with its length, its kind, its number.
const UNIQUE: std::ops::Range<usize> = 8..16;

/// The server; the mount ends with it.
pub struct Silent(#[allow(dead_code)] File);

impl Silent {
    /// Mounts it; `None` where that is not possible, which is told.
    pub fn mount(point: &Path) -> Option<Self> {
        Self::mount_as("fuse", "silent", point)
    }

    /// The same with a type (`fuse`, `fuseblk`) and a source.
    pub fn mount_as(kind: &str, source: &str, point: &Path) -> Option<Self> {
        let opened = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let device = match opened {
            Ok(device) => device,
            Err(error) => {
                skip::skip_without_privilege(&format!("/dev/fuse: {error}"));
                return None;
            }
        };
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some(source), point, Some(kind), flags, Some(options.as_str())).expect("mount fuse");
        let mut server = Self(device);
        server.greet();
        Some(server)
    }

    fn greet(&mut self) {
        let mut request = vec![0; 64 * 1024];
        let length = self.0.read(&mut request).expect("request");
        assert!(length >= 40 && request[4..8] == FUSE_INIT.to_ne_bytes());
        let mut answer = Vec::new();
        answer.extend_from_slice(&80_u32.to_ne_bytes());
        answer.extend_from_slice(&0_i32.to_ne_bytes());
        answer.extend_from_slice(&request[UNIQUE]);
        // Version 7.23, then sizes; nothing optional.
        for number in [7_u32, 23, 64 * 1024, 0, 0x000c_000c, 64 * 1024, 1, 0] {
            answer.extend_from_slice(&number.to_ne_bytes());
        }
        answer.resize(80, 0);
        self.0.write_all(&answer).expect("answer");
    }
}
