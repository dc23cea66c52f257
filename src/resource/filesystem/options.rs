//! The words behind `-o`: which of them are flags of mount(2), which are for mount(8) alone, and which
//! the file system gets (mount(8), "Filesystem-independent mount options").

use std::path::PathBuf;

use nix::mount::MsFlags;

/// Longest text for a file system: the kernel copies one page with its end mark.
const DATA_MAX_BYTES: usize = 4095;

/// What a list of options asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Flags of the mount.
    pub flags: MsFlags,
    /// Flags of propagation, set one after the other when it is mounted.
    pub propagation: Vec<MsFlags>,
    /// What the file system gets.
    pub data: String,
    /// Show a directory at another place too.
    pub bind: bool,
    /// ... with what is mounted below it.
    pub recursive: bool,
    /// Through a loop device.
    pub loop_device: Option<Loop>,
    /// Where a stop finds it still in use at its end, it is taken out of sight and goes away later.
    pub lazy_unmount: bool,
}

/// What is asked of a loop device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loop {
    /// Which one; any free one when absent.
    pub device: Option<PathBuf>,
    /// The first byte of the file that counts.
    pub offset: u64,
    /// Bytes that count; 0: all.
    pub size_limit: u64,
}

/// Words that are flags: set, or taken away again.
const FLAGS: &[(&str, MsFlags, bool)] = &[
    ("ro", MsFlags::MS_RDONLY, true),
    ("rw", MsFlags::MS_RDONLY, false),
    ("nosuid", MsFlags::MS_NOSUID, true),
    ("suid", MsFlags::MS_NOSUID, false),
    ("nodev", MsFlags::MS_NODEV, true),
    ("dev", MsFlags::MS_NODEV, false),
    ("noexec", MsFlags::MS_NOEXEC, true),
    ("exec", MsFlags::MS_NOEXEC, false),
    ("sync", MsFlags::MS_SYNCHRONOUS, true),
    ("async", MsFlags::MS_SYNCHRONOUS, false),
    ("dirsync", MsFlags::MS_DIRSYNC, true),
    ("mand", MsFlags::MS_MANDLOCK, true),
    ("nomand", MsFlags::MS_MANDLOCK, false),
    ("noatime", MsFlags::MS_NOATIME, true),
    ("atime", MsFlags::MS_NOATIME, false),
    ("nodiratime", MsFlags::MS_NODIRATIME, true),
    ("diratime", MsFlags::MS_NODIRATIME, false),
    ("relatime", MsFlags::MS_RELATIME, true),
    ("norelatime", MsFlags::MS_RELATIME, false),
    ("strictatime", MsFlags::MS_STRICTATIME, true),
    ("nostrictatime", MsFlags::MS_STRICTATIME, false),
    ("lazytime", MsFlags::from_bits_retain(1 << 25), true),
    ("nolazytime", MsFlags::from_bits_retain(1 << 25), false),
    ("iversion", MsFlags::MS_I_VERSION, true),
    ("noiversion", MsFlags::MS_I_VERSION, false),
    ("silent", MsFlags::MS_SILENT, true),
    ("loud", MsFlags::MS_SILENT, false),
    ("remount", MsFlags::MS_REMOUNT, true),
];

/// Words that only say who may mount it, or when; those for ordinary users bring flags with them.
const FOR_MOUNT_ALONE: &[(&str, MsFlags)] = &[
    ("defaults", MsFlags::empty()),
    ("auto", MsFlags::empty()),
    ("noauto", MsFlags::empty()),
    ("nouser", MsFlags::empty()),
    ("nousers", MsFlags::empty()),
    ("nogroup", MsFlags::empty()),
    ("noowner", MsFlags::empty()),
    ("_netdev", MsFlags::empty()),
    ("nofail", MsFlags::empty()),
    ("user", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC)),
    ("users", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC)),
    ("owner", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV)),
    ("group", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV)),
];

const PROPAGATION: &[(&str, MsFlags)] = &[
    ("shared", MsFlags::MS_SHARED),
    ("slave", MsFlags::MS_SLAVE),
    ("private", MsFlags::MS_PRIVATE),
    ("unbindable", MsFlags::MS_UNBINDABLE),
];

/// Our own word, which every mount(8) since util-linux 2.22 passes over.
const LAZY_UNMOUNT: &str = "x-ha.lazy-unmount";

impl Options {
    /// Takes a list apart.
    ///
    /// # Errors
    /// A sentence that names the option that cannot be had.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut options = Self {
            flags: MsFlags::empty(),
            propagation: Vec::new(),
            data: String::new(),
            bind: false,
            recursive: false,
            loop_device: None,
            lazy_unmount: false,
        };
        let (mut looped, mut asked) = (Loop::default(), false);
        let mut data = Vec::new();
        for word in split(text) {
            let (name, value) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            match (name, value) {
                ("loop", value) => (looped.device, asked) = (value.map(PathBuf::from), true),
                ("offset", Some(value)) => (looped.offset, asked) = (size(name, value)?, true),
                ("sizelimit", Some(value)) => (looped.size_limit, asked) = (size(name, value)?, true),
                ("bind", None) => options.bind = true,
                ("rbind", None) => (options.bind, options.recursive) = (true, true),
                ("encryption" | "verity.roothash" | "verity.hashdevice", _) | ("move", None) => {
                    return Err(format!("Mount option {name} is not supported"));
                }
                ("comment" | "uhelper" | "helper" | "user", Some(_)) => (),
                (LAZY_UNMOUNT, None) => options.lazy_unmount = true,
                _ if name.starts_with("x-") || name.starts_with("X-") => (),
                _ if options.take_flag(word) => (),
                _ => data.push(word),
            }
        }
        options.loop_device = asked.then_some(looped);
        options.data = data.join(",");
        if options.data.len() > DATA_MAX_BYTES {
            return Err(format!("More than {DATA_MAX_BYTES} bytes of mount options"));
        }
        if options.data.contains('\0') {
            return Err("A mount option contains a NUL byte".to_owned());
        }
        Ok(options)
    }

    fn take_flag(&mut self, word: &str) -> bool {
        if let Some((_, flag, set)) = FLAGS.iter().find(|(name, ..)| *name == word) {
            self.flags.set(*flag, *set);
            return true;
        }
        if let Some((_, flags)) = FOR_MOUNT_ALONE.iter().find(|(name, _)| *name == word) {
            self.flags |= *flags;
            return true;
        }
        for (name, flag) in PROPAGATION {
            if word == *name {
                self.propagation.push(*flag);
                return true;
            }
            if word.strip_prefix('r') == Some(name) {
                self.propagation.push(*flag | MsFlags::MS_REC);
                return true;
            }
        }
        false
    }
}

/// Commas separate, except in double quotes (`context="a,b"`).
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .map(str::trim)
    .filter(|word| !word.is_empty())
}

/// A number of bytes, with the binary suffixes of mount(8).
fn size(name: &str, text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match &text[end..] {
        "" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "m" | "MiB" => 1 << 20,
        "G" | "g" | "GiB" => 1 << 30,
        "T" | "t" | "TiB" => 1 << 40,
        _ => 0,
    };
    let number: Option<u64> = text[..end].parse().ok();
    number
        .and_then(|number| number.checked_mul(factor))
        .filter(|_| factor > 0)
        .ok_or_else(|| format!("Mount option {name} takes a number of bytes, not {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Options {
        Options::parse(text).unwrap()
    }

    #[test]
    fn flags_data_and_words_for_mount_alone() {
        let options = parsed("defaults,noatime,ro,errors=remount-ro,rw,_netdev,acl,x-systemd.automount");
        assert_eq!(options.flags, MsFlags::MS_NOATIME);
        assert_eq!(options.data, "errors=remount-ro,acl");
        let user = parsed("user,exec,context=\"u:r:t:s0:c1,c2\",,");
        assert_eq!(user.flags, MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
        assert_eq!(user.data, "context=\"u:r:t:s0:c1,c2\"");
        assert_eq!(parsed("").data, "");
        assert!(parsed("x-ha.lazy-unmount").lazy_unmount);
    }

    #[test]
    fn binds_loops_and_propagation() {
        let bind = parsed("rbind,ro,rslave,private");
        assert!(bind.bind && bind.recursive && bind.flags == MsFlags::MS_RDONLY);
        assert_eq!(bind.propagation, [MsFlags::MS_SLAVE | MsFlags::MS_REC, MsFlags::MS_PRIVATE]);
        let looped = parsed("loop=/dev/loop3,offset=1M,sizelimit=512").loop_device.unwrap();
        assert_eq!(looped.device, Some("/dev/loop3".into()));
        assert_eq!((looped.offset, looped.size_limit), (1 << 20, 512));
        assert_eq!(parsed("loop").loop_device, Some(Loop::default()));
        assert_eq!(parsed("ro").loop_device, None);
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        for text in ["move", "encryption=aes", "offset=1X", "offset=99999999999G", "sizelimit="] {
            assert!(Options::parse(text).is_err(), "{text}");
        }
        assert!(Options::parse(&"a".repeat(4096)).is_err());
        assert!(Options::parse("a\0b").is_err());
        for odd in ["=", "=,=", "\"", "\",", "offset", "é,ö"] {
            let _ = Options::parse(odd);
        }
    }
}
