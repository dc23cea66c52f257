//! The three files on their way to the other node: `ha init --send | ssh root@beta ha init --receive`.
//!
//! ```text
//! ha-init 1
//! ha.cf 812
//! …812 bytes… authkeys 180
//! …
//! ```

use std::io::Read;
use std::path::Path;

use crate::config::source::{open_regular, read_limited, FILE_MAX_BYTES};
use crate::config::{authkeys, haresources, Texts, HA_CF};

const HEADING: &str = "ha-init 1\n";
/// The files, in their order.
pub const NAMES: [&str; 3] = [HA_CF, authkeys::FILE_NAME, haresources::FILE_NAME];
/// Three files and their headings.
const PARCEL_MAX_BYTES: u64 = 3 * FILE_MAX_BYTES + 1024;

/// Packs texts.
pub fn pack(texts: &Texts) -> Vec<u8> {
    let mut parcel = HEADING.as_bytes().to_vec();
    for (name, text) in NAMES.iter().zip([&texts.ha_cf, &texts.authkeys, &texts.haresources]) {
        parcel.extend(format!("{name} {}\n{text}", text.len()).into_bytes());
    }
    parcel
}

/// Reads the files of a directory.
///
/// # Errors
/// One of them cannot be read, in one sentence.
pub fn collect(directory: &Path) -> Result<Texts, String> {
    let read = |name: &str| {
        let path = directory.join(name);
        let bytes = open_regular(&path).and_then(|file| read_limited(&file));
        let bytes = bytes.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        String::from_utf8(bytes).map_err(|_| format!("{} is no text", path.display()))
    };
    Ok(Texts { ha_cf: read(NAMES[0])?, authkeys: read(NAMES[1])?, haresources: read(NAMES[2])? })
}

/// Reads a parcel to its end.
///
/// # Errors
/// It is none, or is cut short, or has more than three files.
pub fn unpack(input: &mut dyn Read) -> Result<Texts, String> {
    let mut bytes = Vec::new();
    let limited = input.take(PARCEL_MAX_BYTES + 1).read_to_end(&mut bytes);
    limited.map_err(|error| format!("cannot read standard input: {error}"))?;
    let wrong = || "what came is not what `ha init --send` writes, or only a part of it".to_owned();
    let mut rest = bytes.strip_prefix(HEADING.as_bytes()).ok_or_else(wrong)?;
    let mut texts = Vec::new();
    for name in NAMES {
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(wrong)?;
        let heading = std::str::from_utf8(&rest[..end]).map_err(|_| wrong())?;
        let length = heading.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')).ok_or_else(wrong)?;
        let length: usize = length.parse().map_err(|_| wrong())?;
        let body = rest.get(end + 1..).and_then(|body| body.get(..length)).ok_or_else(wrong)?;
        texts.push(String::from_utf8(body.to_vec()).map_err(|_| wrong())?);
        rest = &rest[end + 1 + length..];
    }
    match (rest.is_empty(), <[String; 3]>::try_from(texts)) {
        (true, Ok([ha_cf, authkeys, haresources])) => Ok(Texts { ha_cf, authkeys, haresources }),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_cut_is_noticed() {
        let texts = Texts { ha_cf: "a\n".into(), authkeys: String::new(), haresources: "ü b\n".into() };
        let parcel = pack(&texts);
        assert_eq!(unpack(&mut parcel.as_slice()), Ok(texts));
        for end in 0..parcel.len() {
            assert!(unpack(&mut &parcel[..end]).is_err(), "{end}");
        }
        assert!(unpack(&mut [parcel.as_slice(), b"x"].concat().as_slice()).is_err());
        let huge = format!("{HEADING}ha.cf {}\n", usize::MAX);
        assert!(unpack(&mut huge.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpack(&mut [HEADING.as_bytes(), b"ha.cf ", &bytes].concat().as_slice());
        }
    }
}
