//! Messages out of a stream without frames: the FIFO and serial lines.

use super::{classic, netstring, MESSAGE_MAX_BYTES};

/// Cuts a byte stream into messages, each for [`super::decode_local`] (FIFO) or
/// [`super::decode_datagram`] (serial line, classic framing).
///
/// A message begins with its `>>>` or `###` line and ends with its last line; what lies between
/// two messages is skipped. A classic message that is cut off by the next one's first line is
/// given up. Holds at most [`MESSAGE_MAX_BYTES`] and what one [`MessageStream::push`] adds: a
/// longer message is given up.
#[derive(Debug, Default)]
pub struct MessageStream {
    buffer: Vec<u8>,
    /// The buffer begins with a first line.
    started: bool,
    /// Bytes at the front in which no end was found.
    scanned: usize,
    skipped_bytes: u64,
    /// Netstring framing is not looked for.
    classic_only: bool,
}

/// What the front of the buffer is.
enum Front {
    /// More bytes are needed to tell.
    Incomplete,
    /// A message of that length.
    Message(usize),
    /// That many bytes are of no use.
    Junk(usize),
}

impl MessageStream {
    /// An empty stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty stream of a serial line, which carries classic text alone: a first line of netstring
    /// framing is a stray one, so that a false length cannot swallow what follows.
    pub fn of_serial_line() -> Self {
        Self { classic_only: true, ..Self::default() }
    }

    /// Adds what was read. Take out the messages before the next call.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, with its first and last line; `None` when more must be read.
    pub fn next_message(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.front() {
                Front::Message(length) => {
                    let rest = self.buffer.split_off(length);
                    self.started = false;
                    self.scanned = 0;
                    return Some(std::mem::replace(&mut self.buffer, rest));
                }
                Front::Junk(length) => self.skip(length),
                Front::Incomplete if self.buffer.len() > MESSAGE_MAX_BYTES => self.skip(self.buffer.len()),
                Front::Incomplete => return None,
            }
        }
    }

    /// Bytes skipped so far because they belonged to no whole message; newlines and NULs between
    /// messages count too.
    pub fn skipped_bytes(&self) -> u64 {
        self.skipped_bytes
    }

    fn skip(&mut self, length: usize) {
        self.buffer.drain(..length);
        self.started = false;
        self.scanned = 0;
        self.skipped_bytes += length as u64;
    }

    fn front(&mut self) -> Front {
        if self.buffer.is_empty() {
            return Front::Incomplete;
        }
        if !self.started {
            let starts: &[&[u8]] =
                if self.classic_only { &[classic::START] } else { &[classic::START, netstring::START] };
            let is_start = |bytes: &[u8]| starts.iter().any(|start| bytes.starts_with(start));
            let could_start = |bytes: &[u8]| starts.iter().any(|start| start.starts_with(bytes));
            if !is_start(&self.buffer) {
                let starts = |at: &usize| is_start(&self.buffer[*at..]) || could_start(&self.buffer[*at..]);
                let next = (0..self.buffer.len()).find(starts).unwrap_or(self.buffer.len());
                return if next > 0 { Front::Junk(next) } else { Front::Incomplete };
            }
            self.started = true;
        }
        if self.buffer.starts_with(netstring::START) {
            self.netstring_front()
        } else {
            self.classic_front()
        }
    }

    /// Looks for a line that is an end or another start, from where the last look ended.
    fn classic_front(&mut self) -> Front {
        let mut at = self.scanned.max(classic::START.len());
        while let Some(length) = self.buffer[at..].iter().position(|byte| *byte == b'\n') {
            let line = &self.buffer[at..=at + length];
            if line == classic::END {
                return Front::Message(at + classic::END.len());
            }
            if line == classic::START || (line == netstring::START && !self.classic_only) {
                return Front::Junk(at);
            }
            at += length + 1;
        }
        self.scanned = at;
        Front::Incomplete
    }

    /// Walks over lengths. The last newline may be missing (the original's tools cut it off).
    fn netstring_front(&self) -> Front {
        let mut rest = &self.buffer[netstring::START.len()..];
        let end = &netstring::END[..netstring::END.len() - 1];
        loop {
            if rest.starts_with(end) {
                let newline = usize::from(rest.starts_with(netstring::END));
                return Front::Message(self.buffer.len() - rest.len() + end.len() + newline);
            }
            match netstring::peel(rest) {
                Ok((_, behind)) => rest = behind,
                Err(_) if end.starts_with(rest) || cut_off(rest) => return Front::Incomplete,
                Err(_) => return Front::Junk(netstring::START.len()),
            }
        }
    }
}

/// The beginning of `length:bytes,` and no more.
fn cut_off(bytes: &[u8]) -> bool {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let length =
        bytes[..digits].iter().take(8).fold(0, |length, digit| length * 10 + usize::from(digit & 15));
    let fits = length > 0 && length < MESSAGE_MAX_BYTES && bytes[0] != b'0';
    match bytes.get(digits) {
        None => fits,
        Some(b':') => fits && bytes.len() - digits - 1 <= length,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Message, Value};
    use super::super::{decode_local, encode_api};
    use super::*;

    fn messages(stream: &mut MessageStream, bytes: &[u8], piece: usize) -> Vec<Message> {
        let mut all = Vec::new();
        for bytes in bytes.chunks(piece) {
            stream.push(bytes);
            all.extend(
                std::iter::from_fn(|| stream.next_message()).map(|bytes| decode_local(&bytes).unwrap()),
            );
        }
        all
    }

    #[test]
    fn cut_anywhere() {
        let first = Message::new("ask_resources").with("rsc_hold", "all").with("info", "me");
        let mut second = Message::new("x");
        second.push("inside", Value::Message(first.clone()));
        let (one, two) = (encode_api(&first).unwrap(), encode_api(&second).unwrap());
        let cut = &two[..two.len() - 1];
        let bytes = [&one, b"\n".as_slice(), &two, b"junk\n", &one, &one[..20], &one, cut, &one].concat();
        let expected = [&first, &second, &first, &first, &second, &first].map(Clone::clone);
        for piece in [1, 2, 3, 7, 100, bytes.len()] {
            let mut stream = MessageStream::new();
            assert_eq!(messages(&mut stream, &bytes, piece), expected, "pieces of {piece}");
            // Whatever was cut, the next whole message is found.
            assert!(stream.buffer.len() <= 1, "{:?}", stream.buffer);
        }
    }

    #[test]
    fn junk_and_floods_leave_nothing_behind() {
        let whole = encode_api(&Message::new("x")).unwrap();
        let start = |line: &str| [line.as_bytes(), &vec![b'a'; MESSAGE_MAX_BYTES]].concat();
        let floods = [
            vec![b'\n'; 2 * MESSAGE_MAX_BYTES],
            vec![b'>'; 2 * MESSAGE_MAX_BYTES],
            start(">>>\n"),
            start("###\n"),
            start("###\n9999999:"),
            start("###\n0:"),
            start("###\n262143:"),
        ];
        for flood in floods {
            let mut stream = MessageStream::new();
            for bytes in flood.chunks(4096) {
                stream.push(bytes);
                assert_eq!(stream.next_message(), None);
                assert!(stream.buffer.len() <= MESSAGE_MAX_BYTES);
            }
            stream.push(&[b"\n", whole.as_slice()].concat());
            assert_eq!(stream.next_message().as_deref(), whole.strip_suffix(b"\0"));
            assert_eq!(stream.next_message(), None);
        }
    }

    #[test]
    fn a_false_length_swallows_nothing_of_a_serial_line() {
        let whole = encode_api(&Message::new("x")).unwrap();
        let mut stream = MessageStream::of_serial_line();
        stream.push(b"###\n262143:(0)t=");
        assert_eq!(stream.next_message(), None);
        stream.push(&[b"\n", whole.as_slice()].concat());
        assert_eq!(stream.next_message().as_deref(), whole.strip_suffix(b"\0"));
        let inside = b">>>\nt=y\n###\nz=1\n<<<\n";
        stream.push(inside);
        assert_eq!(stream.next_message().as_deref(), Some(inside.as_slice()), "judged by its reader");
    }
}
