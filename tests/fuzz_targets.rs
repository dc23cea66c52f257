//! Fuzz targets as ordinary functions over bytes, run here over the recorded packets, damaged ones
//! and random bytes. A fuzzer calls the same functions for hours.

use std::fs;
use std::path::Path;

use ha_core::types::{AuthKey, AuthKeys, SigningMethod};
use ha_core::wire::{
    decode_datagram, decode_local, encode_api, encode_datagram, encode_serial, Compression, Compressor,
    MessageFormat, MessageStream, WireFormat, MESSAGE_MAX_BYTES,
};

/// A datagram from anywhere. What is accepted (the crc key needs no secret, so a fuzzer gets in)
/// must come out the same after it was encoded again.
pub fn fuzz_datagram(bytes: &[u8]) {
    let keys = keys();
    match decode_datagram(bytes, &keys) {
        Err(error) => {
            for (_, line) in error.log_lines() {
                assert!(line.len() < 512 && !line.contains(['\n', '\r', '\0', '\x1b']), "{line:?}");
            }
        }
        Ok(datagram) => {
            let formats =
                [None, Some(Compressor::Zlib), Some(Compressor::Bz2)].map(|compressor| WireFormat {
                    message_format: MessageFormat::Netstring,
                    compression: compressor.map(|compressor| Compression { compressor, threshold_bytes: 0 }),
                });
            for format in formats {
                // A list longer than the original sends may be read, but is not sent on.
                let Ok(again) = encode_datagram(&datagram.message, &keys, None, &format) else { continue };
                let (message, auth) = (&datagram.message, datagram.message.value("auth").is_some());
                assert!(auth || decode_datagram(&again, &keys).map(|it| it.message).as_ref() == Ok(message));
            }
            let _ = encode_serial(&datagram.message, &keys, None);
        }
    }
}

/// The same with the digest put right, so that the parser behind it is reached.
pub fn fuzz_signed(bytes: &[u8]) {
    let mut sum = 0_u32;
    for byte in bytes {
        sum ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            sum = if sum >> 31 == 1 { sum << 1 ^ 0x04c1_1db7 } else { sum << 1 };
        }
    }
    let signature = format!("3 {:x}", !sum);
    fuzz_datagram(&[bytes, format!("{}:{signature},", signature.len()).as_bytes()].concat());
    let classic = [b">>>\n", bytes, format!("auth={signature}\n<<<\n").as_bytes()].concat();
    fuzz_datagram(&classic);
}

/// A frame from a client, or a text from the FIFO.
pub fn fuzz_local(bytes: &[u8]) {
    if let Ok(message) = decode_local(bytes) {
        // Classic framing turns byte 0x13 of a text into a newline, but only once.
        if let Ok(again) = encode_api(&message) {
            let message = decode_local(&again).unwrap();
            assert_eq!(decode_local(&encode_api(&message).unwrap()), Ok(message));
        }
    }
}

/// A FIFO or serial line: the first byte says how large the pieces are that are read.
pub fn fuzz_stream(bytes: &[u8]) {
    let piece = bytes.first().map_or(1, |byte| usize::from(*byte) + 1);
    let mut stream = MessageStream::new();
    let mut taken = 0;
    for piece in bytes.chunks(piece) {
        stream.push(piece);
        while let Some(message) = stream.next_message() {
            assert!(message.len() >= 7 && message.len() <= MESSAGE_MAX_BYTES + piece.len());
            taken += message.len();
            let _ = decode_local(&message);
        }
    }
    assert!(taken as u64 + stream.skipped_bytes() <= bytes.len() as u64);
}

const TARGETS: [fn(&[u8]); 4] = [fuzz_datagram, fuzz_signed, fuzz_local, fuzz_stream];

fn keys() -> AuthKeys {
    let key = |method, secret: &str| AuthKey { method, secret: secret.as_bytes().to_vec() };
    let keys = [
        (1, key(SigningMethod::Sha1, "labsecret")),
        (2, key(SigningMethod::Md5, "another")),
        (3, key(SigningMethod::Crc, "")),
    ];
    AuthKeys { active: 3, keys: keys.into() }
}

/// The recorded packets, a few of each scenario.
fn corpus() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/packets");
    let mut all = Vec::new();
    for scenario in fs::read_dir(root).unwrap() {
        let mut files: Vec<_> =
            fs::read_dir(scenario.unwrap().path()).unwrap().map(|it| it.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
        files.sort();
        all.extend(files.iter().step_by(7).chain(files.last()).map(|path| fs::read(path).unwrap()));
    }
    all
}

/// A small generator of our own, so that a failure is the same at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }

    /// Changes, removes, repeats or inserts a few bytes, often such as have a meaning.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        const MEANINGFUL: &[u8] = b"\n\0,:=()0123456789#%<>\x13\x14\x15\xff";
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(5) {
                0 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                1 if at < bytes.len() => bytes[at] = MEANINGFUL[self.below(MEANINGFUL.len())],
                2 => bytes.truncate(at),
                3 => {
                    let end = (at + self.below(30)).min(bytes.len());
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
                _ => bytes.insert(at, MEANINGFUL[self.below(MEANINGFUL.len())]),
            }
        }
    }
}

#[test]
fn recorded_packets() {
    for bytes in corpus() {
        TARGETS.iter().for_each(|target| target(&bytes));
        // Up to the signature, so that the targets can sign it themselves.
        if let Some(end) = bytes.windows(4).position(|window| window == b"%%%\n") {
            TARGETS.iter().for_each(|target| target(&bytes[..end + 4]));
        }
    }
}

#[test]
fn damaged_packets() {
    let mut random = Random(1);
    let corpus = corpus();
    for _ in 0..3000 {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        if let Some(end) = bytes.windows(4).position(|window| window == b"%%%\n") {
            if random.below(2) == 0 {
                bytes.truncate(end + 4);
            }
        }
        random.damage(&mut bytes);
        TARGETS.iter().for_each(|target| target(&bytes));
    }
}

#[test]
fn random_bytes() {
    const WORDS: [&[u8]; 16] = [
        b"###\n",
        b"%%%\n",
        b">>>\n",
        b"<<<\n",
        b"11:(0)t=status,",
        b"(2)m=",
        b"(3)l=1:a,",
        b"(1)b=Zg==\n",
        b"t=x\n",
        b"auth=",
        b"5:(0)a=,",
        b"\0",
        b"\n",
        b"9999999:",
        b"(4)c=",
        b"6:1 1234,",
    ];
    let mut random = Random(2);
    for _ in 0..5000 {
        let mut bytes = Vec::new();
        for _ in 0..random.below(12) {
            match random.below(3) {
                0 => bytes.push(random.below(256) as u8),
                _ => bytes.extend_from_slice(WORDS[random.below(WORDS.len())]),
            }
        }
        TARGETS.iter().for_each(|target| target(&bytes));
    }
}
