//! What programs tell `apphbd` (agents spec 6): bodies of the frames of its socket.
//!
//! ```text
//! kind, 8 bytes │ nothing                      hb, unreg
//! kind, 8 bytes │ milliseconds, a C long       setint, setwarn
//! kind, 8 bytes │ name, instance, folder, 256 bytes each │ pid │ uid │ gid     reg
//! answer: an errno, 4 bytes; none to hb
//! ```
//!
//! All in host byte order; texts end in a NUL.

/// Bytes of a kind.
const KIND_BYTES: usize = 8;
/// Bytes of each text of a registration.
const TEXT_BYTES: usize = 256;
/// Bytes of a C `unsigned long`.
const LONG_BYTES: usize = std::mem::size_of::<usize>();
/// Bytes of a registration.
const REGISTRATION_BYTES: usize = KIND_BYTES + 3 * TEXT_BYTES + 12;
/// Longest body that a program sends.
pub const BODY_MAX_BYTES: usize = REGISTRATION_BYTES;

/// Who wants to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The program's name, not empty.
    pub name: String,
    /// Which of several.
    pub instance: String,
    /// Its working folder.
    pub folder: String,
    /// Its process, as it says.
    pub pid: i32,
    /// Its user, as it says.
    pub uid: u32,
    /// Its group, as it says.
    pub gid: u32,
}

/// A message of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Watch me.
    Register(Box<Registration>),
    /// Do not any more.
    Unregister,
    /// After so many milliseconds without a beat I failed; 0: never.
    SetInterval(u64),
    /// A beat that comes after more milliseconds is late; 0: none is.
    SetWarning(u64),
    /// I am well.
    Beat,
}

/// Why a body is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not even a kind: not answered.
    TooShort,
    /// Answered with EINVAL.
    Invalid,
}

impl Request {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let (kind, rest) = body.split_at_checked(KIND_BYTES).ok_or(Malformed::TooShort)?;
        let end = kind.iter().position(|byte| *byte == 0).ok_or(Malformed::Invalid)?;
        match (&kind[..end], rest.len()) {
            (b"hb", 0) => Ok(Self::Beat),
            (b"unreg", 0) => Ok(Self::Unregister),
            (b"setint", LONG_BYTES) => Ok(Self::SetInterval(number(rest))),
            (b"setwarn", LONG_BYTES) => Ok(Self::SetWarning(number(rest))),
            (b"reg", _) => registration(rest).map(|one| Self::Register(Box::new(one))),
            _ => Err(Malformed::Invalid),
        }
    }

    /// The body. Texts are cut to what has room.
    pub fn encode(&self) -> Vec<u8> {
        let kind: &[u8] = match self {
            Self::Register(_) => b"reg",
            Self::Unregister => b"unreg",
            Self::SetInterval(_) => b"setint",
            Self::SetWarning(_) => b"setwarn",
            Self::Beat => b"hb",
        };
        let mut body = padded(kind, KIND_BYTES);
        match self {
            Self::Register(one) => {
                for text in [&one.name, &one.instance, &one.folder] {
                    body.extend(padded(text.as_bytes(), TEXT_BYTES));
                }
                body.extend(one.pid.to_ne_bytes());
                body.extend(one.uid.to_ne_bytes());
                body.extend(one.gid.to_ne_bytes());
            }
            Self::SetInterval(ms) | Self::SetWarning(ms) => {
                body.extend(usize::try_from(*ms).unwrap_or(usize::MAX).to_ne_bytes());
            }
            Self::Unregister | Self::Beat => {}
        }
        body
    }
}

/// An answer's body: 0 for done, else why not.
pub fn encode_answer(errno: i32) -> [u8; 4] {
    errno.to_ne_bytes()
}

/// Reads an answer; `None` when it is none.
pub fn decode_answer(body: &[u8]) -> Option<i32> {
    body.try_into().ok().map(i32::from_ne_bytes)
}

fn registration(rest: &[u8]) -> Result<Registration, Malformed> {
    if rest.len() != REGISTRATION_BYTES - KIND_BYTES {
        return Err(Malformed::Invalid);
    }
    let (texts, numbers) = rest.split_at(3 * TEXT_BYTES);
    let text = |place: usize| {
        let bytes = &texts[place * TEXT_BYTES..(place + 1) * TEXT_BYTES];
        let end = bytes.iter().position(|byte| *byte == 0).ok_or(Malformed::Invalid)?;
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    };
    let number = |place: usize| {
        let bytes = numbers.get(place * 4..place * 4 + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(i32::from_ne_bytes).ok_or(Malformed::Invalid)
    };
    let one = Registration {
        name: text(0)?,
        instance: text(1)?,
        folder: text(2)?,
        pid: number(0)?,
        uid: number(1)?.cast_unsigned(),
        gid: number(2)?.cast_unsigned(),
    };
    match one.name.is_empty() {
        true => Err(Malformed::Invalid),
        false => Ok(one),
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, usize::from_ne_bytes) as u64
}

/// With NULs up to that length, the last of which is always there.
fn padded(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut padded = bytes[..bytes.len().min(length - 1)].to_vec();
    padded.resize(length, 0);
    padded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one() -> Registration {
        Registration {
            name: "heartbeat".into(),
            instance: "master_control_process".into(),
            folder: "/".into(),
            pid: 7,
            uid: 0,
            gid: 0,
        }
    }

    #[test]
    fn requests_come_back() {
        for request in [
            Request::Register(Box::new(one())),
            Request::Unregister,
            Request::SetInterval(400),
            Request::SetWarning(0),
            Request::Beat,
        ] {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        assert_eq!(Request::Register(Box::new(one())).encode().len(), 788);
        assert_eq!(Request::Beat.encode(), b"hb\0\0\0\0\0\0");
        assert_eq!(decode_answer(&encode_answer(17)), Some(17));
        assert_eq!(decode_answer(b"12345"), None);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let nameless = Request::Register(Box::new(Registration { name: String::new(), ..one() })).encode();
        let mut endless = Request::Register(Box::new(one())).encode();
        endless[8..264].fill(b'a');
        for body in
            [&nameless[..], &endless, b"nonsense", b"setint\0\0", b"hb\0\0\0\0\0\0x", b"reg\0\0\0\0\0x"]
        {
            assert_eq!(Request::decode(body), Err(Malformed::Invalid), "{body:?}");
        }
        assert_eq!(Request::decode(b"hb"), Err(Malformed::TooShort));
        let long = Request::Register(Box::new(Registration { name: "n".repeat(300), ..one() }));
        let Ok(Request::Register(cut)) = Request::decode(&long.encode()) else { panic!("a registration") };
        assert_eq!(cut.name.len(), 255);
    }

    proptest! {
        #[test]
        fn random_bodies_do_no_harm(body in proptest::collection::vec(any::<u8>(), 0..900)) {
            let _ = Request::decode(&body);
            let mut registration = b"reg\0\0\0\0\0".to_vec();
            registration.extend(&body);
            let _ = Request::decode(&registration);
        }
    }
}
