//! The wire against recordings of Heartbeat 3.0.6, and against hostile bytes.
//!
//! `data/packets/<scenario>/*.bin` are UDP payloads recorded from a running 3.0.6 (those of
//! `accepted_classic` were made by hand and believed by it); `index.tsv` names for each the line
//! of authkeys it was signed with and its fields.

use std::fs;
use std::path::Path;

use ha_core::types::{AuthKey, AuthKeys, SigningMethod};
use ha_core::wire::message::{Message, Value, FIELDS_MAX};
use ha_core::wire::{
    decode_datagram, decode_local, encode_api, encode_datagram, encode_serial, Compression, Compressor,
    Datagram, DecodeError, EncodeError, Framing, MessageFormat, WireFormat, DEPTH_MAX, EXPANDED_MAX_BYTES,
    MESSAGE_MAX_BYTES,
};

/// One recorded packet.
struct Recorded {
    name: String,
    bytes: Vec<u8>,
    keys: AuthKeys,
    framing: Framing,
    /// `(type)name=value`, separated by blanks, without `auth`.
    fields: String,
}

/// Every packet of every scenario.
fn recorded() -> Vec<Recorded> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/packets");
    let mut packets = Vec::new();
    for scenario in fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()) {
        let index = fs::read_to_string(scenario.join("index.tsv")).unwrap();
        for line in index.lines().skip(1) {
            let columns: Vec<&str> = line.split('\t').collect();
            let [file, authkey, format, fields] = columns[..] else { panic!("{line}") };
            packets.push(Recorded {
                name: format!("{}/{file}", scenario.file_name().unwrap().to_string_lossy()),
                bytes: fs::read(scenario.join(file)).unwrap(),
                keys: authkeys(&[authkey]),
                framing: if format == "classic" { Framing::Classic } else { Framing::Netstring },
                fields: fields.to_owned(),
            });
        }
    }
    packets
}

/// Lines as in authkeys (a key ends at the first white space); the first is the active one.
fn authkeys(lines: &[&str]) -> AuthKeys {
    let parse = |line: &&str| {
        let mut words = line.split_whitespace();
        let index: u8 = words.next().unwrap().parse().unwrap();
        let method = match words.next().unwrap() {
            "crc" => SigningMethod::Crc,
            "md5" => SigningMethod::Md5,
            "sha1" => SigningMethod::Sha1,
            other => panic!("{other}"),
        };
        (index, AuthKey { method, secret: words.next().unwrap_or("").as_bytes().to_vec() })
    };
    let keys: Vec<_> = lines.iter().map(parse).collect();
    AuthKeys { active: keys[0].0, keys: keys.into_iter().collect() }
}

fn fields_of(message: &Message) -> String {
    let text = |value: &Value| match value {
        Value::Text(bytes) => format!("(0)@={}", String::from_utf8_lossy(bytes)),
        Value::Binary(bytes) => {
            format!("(1)@={}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        other => panic!("{other:?}"),
    };
    let fields = message.fields().iter();
    fields.map(|field| text(&field.value).replacen('@', &field.name, 1)).collect::<Vec<_>>().join(" ")
}

/// Writes a datagram again as it came.
fn again(datagram: &Datagram, keys: &AuthKeys) -> Vec<u8> {
    let format = WireFormat {
        message_format: if datagram.inner_auth { MessageFormat::Classic } else { MessageFormat::Netstring },
        compression: datagram.compressor.map(|compressor| Compression { compressor, threshold_bytes: 0 }),
    };
    match datagram.framing {
        Framing::Netstring => {
            encode_datagram(&datagram.message, keys, Some(datagram.key_index), &format).unwrap()
        }
        Framing::Classic => encode_serial(&datagram.message, keys, Some(datagram.key_index)).unwrap(),
    }
}

#[test]
fn recorded_packets_decode_verify_and_encode_again() {
    let packets = recorded();
    assert!(packets.len() > 1000, "only {} packets", packets.len());
    for packet in &packets {
        let name = &packet.name;
        let datagram =
            decode_datagram(&packet.bytes, &packet.keys).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(datagram.framing, packet.framing, "{name}");
        assert_eq!(datagram.key_index, packet.keys.active, "{name}");
        if datagram.compressor.is_none() {
            let expected =
                packet.fields.replace("AAECAwQFBgcICQoLDA0ODw==", "000102030405060708090a0b0c0d0e0f");
            assert_eq!(fields_of(&datagram.message), expected.trim_end(), "{name}");
        }
        let bytes = again(&datagram, &packet.keys);
        if datagram.compressor == Some(Compressor::Zlib) {
            // Another implementation of the same format: other bytes, same content.
            assert_eq!(decode_datagram(&bytes, &packet.keys).as_ref(), Ok(&datagram), "{name}");
        } else {
            assert!(
                bytes == packet.bytes.strip_suffix(b"\0").unwrap_or(&packet.bytes),
                "{name} encodes differently"
            );
        }
    }
}

#[test]
fn recorded_packets_are_refused_with_another_key() {
    for packet in recorded() {
        let mut keys = packet.keys.clone();
        for key in keys.keys.values_mut() {
            match key.method {
                SigningMethod::Crc => *key = AuthKey { method: SigningMethod::Md5, secret: b"x".to_vec() },
                _ => key.secret.push(b'x'),
            }
        }
        let refused = decode_datagram(&packet.bytes, &keys);
        assert!(matches!(refused, Err(DecodeError::BadDigest { .. })), "{}: {refused:?}", packet.name);
        let none = AuthKeys {
            active: 9,
            keys: [(9, AuthKey { method: SigningMethod::Crc, secret: vec![] })].into(),
        };
        let refused = decode_datagram(&packet.bytes, &none);
        assert!(matches!(refused, Err(DecodeError::UnknownKey { .. })), "{}: {refused:?}", packet.name);
    }
}

#[test]
fn compressed_message_of_the_original() {
    for scenario in ["compression_zlib_traditional", "compression_bz2"] {
        let packet = recorded().into_iter().find(|packet| {
            packet.name.starts_with(scenario) && packet.fields.contains("_compressed_payload")
        });
        let packet = packet.unwrap();
        let datagram = decode_datagram(&packet.bytes, &packet.keys).unwrap();
        assert_eq!((datagram.message.kind(), datagram.inner_auth), ("labtest", true));
        assert_eq!(datagram.message.text("subt"), Some("big"));
        assert!(datagram.message.uuid("srcuuid").is_some());
    }
}

/// The test vector of messaging spec 1.5.
#[test]
fn digests_of_the_specification() {
    let mut message = Message::new("status");
    for (name, text) in [("st", "active"), ("dt", "1388"), ("protocol", "1"), ("src", "alpha")] {
        message.push_text(name, text);
    }
    message.push("srcuuid", Value::Binary((0..16).collect()));
    for (name, text) in [("seq", "a"), ("hg", "6b022b28"), ("ts", "6b022b29")] {
        message.push_text(name, text);
    }
    message.push_text("ld", "0.00 0.01 0.05 1/100 1234");
    message.push_text("ttl", "3");
    let vectors = [
        (
            "1 sha1 TestKey",
            "83ff6f14ed35ecd68fb5b0252e628932fc1e3362",
            "9f34132d5ef9b138b9ca93ed812e684543f40e41",
            264,
        ),
        ("1 md5 TestKey", "4d7a03ca37043ec6fc94b39e2a5e856b", "f5008933674e9d20a4d83130c576a990", 256),
        ("1 crc", "e0e154ee", "90def92d", 232),
    ];
    for (line, inner, trailer, length) in vectors {
        let keys = authkeys(&[line]);
        let bytes = encode_datagram(&message, &keys, None, &WireFormat::default()).unwrap();
        let end = bytes.windows(4).position(|window| window == b"%%%\n").unwrap() + 4;
        assert_eq!(end, length);
        let (body, signature) = bytes.split_at(end);
        assert!(body.ends_with(format!(":(0)auth=1 {inner},%%%\n").as_bytes()));
        assert_eq!(signature, format!("{}:1 {trailer},", trailer.len() + 2).as_bytes());
        let serial = encode_serial(&message, &keys, None).unwrap();
        assert!(serial.ends_with(format!("\nauth=1 {inner}\n<<<\n").as_bytes()));
    }
}

/// The captured packets of the specification's appendix A, written with escapes.
#[test]
fn captured_packets_of_the_specification() {
    let keys = authkeys(&["1 sha1 TestKey"]);
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/packets.txt")).unwrap();
    let mut count = 0;
    for line in text.lines().filter(|line| line.starts_with("###")) {
        let bytes = unescaped(line);
        let datagram = decode_datagram(&bytes, &keys).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(datagram.inner_auth && datagram.key_index == 1);
        assert!(again(&datagram, &keys) == bytes, "{line}");
        // The original also takes the classic form, with the same inner signature.
        let serial = encode_serial(&datagram.message, &keys, None).unwrap();
        let inner = line.split("(0)auth=").nth(1).unwrap().split(',').next().unwrap();
        assert!(serial.ends_with(format!("\nauth={inner}\n<<<\n").as_bytes()), "{line}");
        assert_eq!(decode_datagram(&serial, &keys).unwrap().message, datagram.message);
        count += 1;
    }
    assert_eq!(count, 18);
}

/// `\n`, `\\` and `\xNN` as bytes.
fn unescaped(line: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = line.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = match (first, behind) {
            (b'\\', [b'n', more @ ..]) => {
                out.push(b'\n');
                more
            }
            (b'\\', [b'\\', more @ ..]) => {
                out.push(b'\\');
                more
            }
            (b'\\', [b'x', digits @ ..]) => {
                let text = std::str::from_utf8(&digits[..2]).unwrap();
                out.push(u8::from_str_radix(text, 16).unwrap());
                &digits[2..]
            }
            _ => {
                out.push(*first);
                behind
            }
        };
    }
    out
}

/// The trials of `believes.md` that concern the wire alone.
#[test]
fn what_the_original_believes() {
    let keys = authkeys(&["1 sha1 labsecret", "2 md5 another"]);
    let message = Message::new("status").with("src", "node2").with("seq", "1");
    let with_auth = WireFormat::default();
    let without = WireFormat { message_format: MessageFormat::Netstring, ..with_auth };
    let sent = encode_datagram(&message, &keys, None, &with_auth).unwrap();
    let believed = |bytes: &[u8]| decode_datagram(bytes, &keys).map(|datagram| datagram.message);
    assert_eq!(believed(&sent), Ok(message.clone()));
    assert_eq!(believed(&encode_datagram(&message, &keys, None, &without).unwrap()), Ok(message.clone()));
    assert_eq!(
        believed(&encode_datagram(&message, &keys, Some(2), &with_auth).unwrap()),
        Ok(message.clone())
    );
    let serial = encode_serial(&message, &keys, Some(2)).unwrap();
    for tail in [b"".as_slice(), b"\0", b"junk", b"\0###\n"] {
        assert_eq!(believed(&[&sent, tail].concat()), Ok(message.clone()));
        assert_eq!(believed(&[&serial, tail].concat()), Ok(message.clone()));
    }
    // A wrong inner signature under a right outer one is believed; it stays out of the message.
    let wrong_inner = encode_datagram(&message.clone().with("auth", "1 00"), &keys, None, &without).unwrap();
    assert_eq!(believed(&wrong_inner), Ok(message));
    // No signature behind the message: refused, whatever the inner one says.
    let end = sent.windows(4).position(|window| window == b"%%%\n").unwrap() + 4;
    assert_eq!(believed(&sent[..end]), Err(DecodeError::Unsigned { framing: Framing::Netstring }));
    let refused = encode_datagram(&Message::new("x"), &keys, Some(7), &with_auth);
    assert_eq!(refused, Err(EncodeError::UnknownKey(7)));
}

#[test]
fn refusals_are_logged_as_the_original_does() {
    let theirs = authkeys(&["7 sha1 secret"]);
    let message = Message::new("status").with("src", "no\tde2");
    let bytes = encode_datagram(&message, &theirs, None, &WireFormat::default()).unwrap();
    let lines = |bytes: &[u8], keys: &AuthKeys| -> Vec<String> {
        let lines = decode_datagram(bytes, keys).unwrap_err().log_lines();
        lines.into_iter().map(|(level, text)| format!("{}: {text}", level.as_str())).collect()
    };
    assert_eq!(
        lines(&bytes, &authkeys(&["1 sha1 secret"])),
        ["WARN: Invalid authentication [7] in message!", "ERROR: netstring authentication failed, s=###"]
    );
    let mismatch = lines(&bytes, &authkeys(&["7 sha1 other"]));
    let claimed = String::from_utf8_lossy(&bytes[bytes.len() - 41..bytes.len() - 1]).into_owned();
    let expected = format!("ERROR: authtoken does not match, authtoken={claimed}, authstr=(not shown)");
    assert_eq!(mismatch, [expected.as_str(), "ERROR: netstring authentication failed, s=###"]);
    let serial = encode_serial(&message, &theirs, None).unwrap();
    let mismatch = lines(&serial, &authkeys(&["7 sha1 other"]));
    assert_eq!(mismatch[1], "ERROR: string2msg_ll: node [no.de2] failed authentication");
    assert_eq!(lines(&serial, &authkeys(&["1 crc"])), ["WARN: Invalid authentication type [7] in message!"]);
    let cut = lines(&bytes[..30], &theirs);
    assert_eq!(cut[0], "ERROR: netstring2msg_rec:peel_netstring fails for name/value pair");
    assert!(lines(b"", &theirs).is_empty() && lines(b"junk", &theirs).is_empty());
}

#[test]
fn cut_at_every_length() {
    let keys = authkeys(&["1 sha1 TestKey"]);
    let message = Message::new("status").with("src", "alpha").with("info", "some\nlines");
    for bytes in [
        encode_datagram(&message, &keys, None, &WireFormat::default()).unwrap(),
        encode_serial(&message, &keys, None).unwrap(),
    ] {
        for length in 0..bytes.len() {
            assert!(decode_datagram(&bytes[..length], &keys).is_err(), "{length}");
        }
    }
    let frame = encode_api(&message).unwrap();
    for length in 0..frame.len() - 1 {
        assert!(decode_local(&frame[..length]).is_err(), "{length}");
    }
    // Without its NUL it is what scripts write to the FIFO.
    assert_eq!(decode_local(&frame[..frame.len() - 1]), Ok(message));
}

#[test]
fn every_bit_counts() {
    for line in ["1 sha1 TestKey", "1 md5 TestKey", "1 crc"] {
        let keys = authkeys(&[line]);
        let message = Message::new("status").with("src", "alpha").with("seq", "a");
        for bytes in [
            encode_datagram(&message, &keys, None, &WireFormat::default()).unwrap(),
            encode_serial(&message, &keys, None).unwrap(),
        ] {
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(decode_datagram(&bad, &keys).is_err(), "{line}: bit {bit}");
            }
        }
    }
}

#[test]
fn huge_and_odd_lengths() {
    let keys = authkeys(&["1 crc"]);
    for length in ["99", "0", "00011", "99999999999", "18446744073709551627", "-1", "4294967307", "11 ", ""] {
        let bytes = format!("###\n{length}:(0)t=status,%%%\n6:1 1234,");
        let refused = decode_datagram(bytes.as_bytes(), &keys);
        assert!(matches!(refused, Err(DecodeError::Malformed { .. })), "{length}: {refused:?}");
    }
    for signature in
        ["", "x", "0:,", "2:1 ,", "3:1x0,", "99:1 0,", "99999999999999999999:1 0,", "4:99 0,,", "-4:1 00,"]
    {
        let bytes = format!("###\n11:(0)t=status,%%%\n{signature}");
        assert!(decode_datagram(bytes.as_bytes(), &keys).is_err(), "{signature}");
    }
}

#[test]
fn too_large() {
    let keys = authkeys(&["1 sha1 TestKey"]);
    let limit = DecodeError::TooLarge { limit_bytes: MESSAGE_MAX_BYTES };
    let bytes = vec![b'#'; MESSAGE_MAX_BYTES + 1];
    assert_eq!(decode_datagram(&bytes, &keys), Err(limit.clone()));
    assert_eq!(decode_local(&bytes), Err(limit));
    let message = Message::new("big").with("payload", &"1".repeat(MESSAGE_MAX_BYTES));
    let refused = Err(EncodeError::TooLarge { limit_bytes: MESSAGE_MAX_BYTES });
    assert_eq!(encode_datagram(&message, &keys, None, &WireFormat::default()), refused);
    assert_eq!(encode_serial(&message, &keys, None), refused);
    assert_eq!(encode_api(&message), refused);
    // With a compressor it can be sent.
    for compressor in [Compressor::Zlib, Compressor::Bz2] {
        let compression = Some(Compression { compressor, threshold_bytes: MESSAGE_MAX_BYTES });
        let format = WireFormat { compression, ..WireFormat::default() };
        let bytes = encode_datagram(&message, &keys, None, &format).unwrap();
        assert!(bytes.len() < 4096);
        let datagram = decode_datagram(&bytes, &keys).unwrap();
        assert_eq!((datagram.message, datagram.compressor), (message.clone(), Some(compressor)));
        let huge = Message::new("huge").with("payload", &"1".repeat(EXPANDED_MAX_BYTES));
        let refused = Err(EncodeError::TooLarge { limit_bytes: EXPANDED_MAX_BYTES });
        assert_eq!(encode_datagram(&huge, &keys, None, &format), refused);
    }
}

#[test]
fn too_many_fields_and_levels() {
    let keys = authkeys(&["1 crc"]);
    let format = WireFormat { message_format: MessageFormat::Netstring, ..WireFormat::default() };
    let mut message = Message::empty();
    (0..FIELDS_MAX).for_each(|number| message.push_text(&format!("n{number}"), ""));
    let bytes = encode_datagram(&message, &keys, None, &format).unwrap();
    assert_eq!(decode_datagram(&bytes, &keys).unwrap().message, message);
    assert_eq!(decode_local(&encode_api(&message).unwrap()), Ok(message.clone()));
    message.push_text("more", "");
    assert_eq!(encode_datagram(&message, &keys, None, &format), Err(EncodeError::TooManyFields));
    assert_eq!(encode_api(&message), Err(EncodeError::TooManyFields));
    let lines: String = (0..=FIELDS_MAX).map(|number| format!("n{number}=\n")).collect();
    assert!(decode_local(format!(">>>\n{lines}<<<\n").as_bytes()).is_err());
    let strings = "5:(0)n=,".repeat(FIELDS_MAX + 1);
    assert!(decode_local(format!("###\n{strings}%%%\n").as_bytes()).is_err());

    let nested = |levels: usize| {
        (1..levels).fold(b"###\n%%%\n".to_vec(), |inner, _| {
            let payload = [b"(2)m=".as_slice(), &inner].concat();
            [format!("###\n{}:", payload.len()).as_bytes(), &payload, b",%%%\n"].concat()
        })
    };
    assert!(decode_local(&nested(DEPTH_MAX)).is_ok());
    assert!(decode_local(&nested(DEPTH_MAX + 1)).is_err());
    assert!(decode_local(&nested(10_000)).is_err());

    // Few fields on each level, very many together.
    let leaf = format!("###\n{}%%%\n", "5:(0)n=,".repeat(FIELDS_MAX));
    let branch = format!("{}:(2)m={leaf},", leaf.len() + 5);
    assert!(decode_local(format!("###\n{}%%%\n", branch.repeat(FIELDS_MAX)).as_bytes()).is_err());
}

#[test]
fn compression_is_refused_when_bad() {
    let keys = authkeys(&["1 sha1 TestKey"]);
    let format = WireFormat { message_format: MessageFormat::Netstring, ..WireFormat::default() };
    let wrap = |payload: &[u8], algorithm: &str| {
        let mut outer = Message::empty();
        outer.push("_compressed_payload", Value::Binary(payload.to_vec()));
        outer.push_text("_compression_algorithm", algorithm);
        outer
    };
    let refused = |outer: &Message| {
        let bytes = encode_datagram(outer, &keys, None, &format).unwrap();
        decode_datagram(&bytes, &keys).unwrap_err()
    };
    assert!(matches!(refused(&wrap(b"x", "lzma")), DecodeError::BadCompression(_)));
    assert!(matches!(refused(&wrap(b"x", "zlib")), DecodeError::BadCompression(_)));
    assert!(matches!(refused(&wrap(b"x", "bz2")), DecodeError::BadCompression(_)));
    assert!(matches!(refused(&wrap(b"", "zlib")), DecodeError::BadCompression(_)));

    let zlib = |plain: &[u8]| {
        use std::io::Write;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    let bomb = zlib(&vec![b'\n'; 100 * 1024 * 1024]);
    assert_eq!(refused(&wrap(&bomb, "zlib")), DecodeError::TooLarge { limit_bytes: EXPANDED_MAX_BYTES });
    assert!(matches!(refused(&wrap(&zlib(b"junk"), "zlib")), DecodeError::BadCompression(_)));
    let twice = wrap(&zlib(&encode_api(&wrap(&zlib(b">>>\nt=x\n<<<\n"), "zlib")).unwrap()), "zlib");
    assert_eq!(refused(&twice), DecodeError::BadCompression("compressed twice"));
}

#[test]
fn compressed_only_above_the_threshold() {
    let keys = authkeys(&["1 sha1 TestKey"]);
    for message_format in [MessageFormat::Classic, MessageFormat::Netstring] {
        let compression = Some(Compression { compressor: Compressor::Zlib, threshold_bytes: 2048 });
        let format = WireFormat { message_format, compression };
        for (length, expected) in [(1000, None), (4000, Some(Compressor::Zlib))] {
            let message = Message::new("labtest").with("payload", &"1".repeat(length));
            let bytes = encode_datagram(&message, &keys, None, &format).unwrap();
            let datagram = decode_datagram(&bytes, &keys).unwrap();
            assert_eq!(datagram.compressor, expected);
            assert_eq!(datagram.inner_auth, message_format == MessageFormat::Classic);
            assert_eq!(datagram.message, message);
        }
    }
}

#[test]
fn local_frames() {
    let message = Message::new("hbapi-req").with("reqtype", "signon").with("info", "a\nb");
    assert_eq!(encode_api(&message).unwrap(), b">>>\nt=hbapi-req\nreqtype=signon\ninfo=a\x13b\n<<<\n\0");
    let mut nested = message.clone();
    nested.push("inside", Value::Message(message));
    let bytes = encode_api(&nested).unwrap();
    assert!(bytes.starts_with(b"###\n") && bytes.ends_with(b",%%%\n"));
    assert_eq!(decode_local(&bytes), Ok(nested.clone()));
    // The original's tools cut the last byte off what they write to the FIFO.
    assert_eq!(decode_local(&bytes[..bytes.len() - 1]), Ok(nested));
    let mut packed = Message::new("x");
    packed.push("body", Value::Compressed(b"abc".to_vec()));
    assert!(encode_api(&packed).unwrap().starts_with(b"###\n"));
}

#[test]
fn what_cannot_be_sent() {
    let keys = authkeys(&["1 sha1 TestKey"]);
    let refusal = |name: &str, value: Value| {
        let mut message = Message::new("x");
        message.push(name, value);
        let datagram = encode_datagram(&message, &keys, None, &WireFormat::default()).unwrap_err();
        assert_eq!(encode_api(&message).unwrap_err(), datagram);
        datagram
    };
    for name in ["", "a=b", "(x", ">>>x", "a\nb", "a\0b"] {
        assert_eq!(refusal(name, Value::Text(vec![])), EncodeError::FieldName(name.to_owned()));
    }
    assert_eq!(refusal("a", Value::Text(b"x\0y".to_vec())), EncodeError::TextWithNul("a".into()));
    assert_eq!(refusal("a", Value::List(vec![vec![]])), EncodeError::List("a".into()));
    assert_eq!(refusal("a", Value::List(vec![vec![0]])), EncodeError::TextWithNul("a".into()));
    assert_eq!(refusal("a", Value::List(vec![vec![b'x']; 1025])), EncodeError::List("a".into()));
    let deep = (0..DEPTH_MAX).fold(Message::new("x"), |inner, _| {
        let mut outer = Message::empty();
        outer.push("m", Value::Message(inner));
        outer
    });
    assert_eq!(refusal("a", Value::Message(deep)), EncodeError::TooDeep);
}

mod round_trips {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = String> {
        "[A-Za-z_][A-Za-z0-9_.:>-]{0,12}".prop_filter("the signature's own name", |name| name != "auth")
    }

    /// Without NUL, and without what classic framing turns into something else.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(b'\n'), 32..=255_u8, Just(b'\t'), Just(b'=')], 0..40)
    }

    fn value() -> impl Strategy<Value = Value> {
        let item = prop::collection::vec(32..=255_u8, 1..10);
        let leaf = prop_oneof![
            text().prop_map(Value::Text),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Binary),
            prop::collection::vec(item, 0..5).prop_map(Value::List),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Compressed),
        ];
        leaf.prop_recursive(6, 40, 5, |inner| {
            prop::collection::vec((name(), inner), 0..5).prop_map(|fields| Value::Message(message_of(fields)))
        })
    }

    fn message_of(fields: Vec<(String, Value)>) -> Message {
        let mut message = Message::empty();
        fields.into_iter().for_each(|(name, value)| message.push(&name, value));
        message
    }

    fn message() -> impl Strategy<Value = Message> {
        prop::collection::vec((name(), value()), 0..12).prop_map(message_of)
    }

    fn key() -> impl Strategy<Value = AuthKeys> {
        (0..16_u8, 0..3_usize, prop::collection::vec(any::<u8>(), 0..100)).prop_map(
            |(active, method, secret)| {
                let method = [SigningMethod::Crc, SigningMethod::Md5, SigningMethod::Sha1][method];
                AuthKeys { active, keys: [(active, AuthKey { method, secret })].into() }
            },
        )
    }

    fn format() -> impl Strategy<Value = WireFormat> {
        let compressor = prop_oneof![Just(Compressor::Zlib), Just(Compressor::Bz2)];
        let compression = prop::option::of(
            (compressor, 0..2000_usize)
                .prop_map(|(compressor, threshold_bytes)| Compression { compressor, threshold_bytes }),
        );
        let message_format = prop_oneof![Just(MessageFormat::Classic), Just(MessageFormat::Netstring)];
        (message_format, compression)
            .prop_map(|(message_format, compression)| WireFormat { message_format, compression })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn datagrams(message in message(), keys in key(), format in format()) {
            let bytes = encode_datagram(&message, &keys, None, &format).unwrap();
            let datagram = decode_datagram(&bytes, &keys).unwrap();
            prop_assert_eq!(&datagram.message, &message);
            prop_assert_eq!(datagram.key_index, keys.active);
            if datagram.compressor.is_none() {
                prop_assert_eq!(again(&datagram, &keys), bytes);
            }
        }

        #[test]
        fn serial_lines(message in message(), keys in key()) {
            let bytes = encode_serial(&message, &keys, None).unwrap();
            let datagram = decode_datagram(&bytes, &keys).unwrap();
            prop_assert_eq!(&datagram.message, &message);
            prop_assert_eq!(again(&datagram, &keys), bytes);
        }

        #[test]
        fn frames(message in message()) {
            prop_assert_eq!(decode_local(&encode_api(&message).unwrap()), Ok(message));
        }

        #[test]
        fn damaged(message in message(), keys in key(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            for bytes in [
                encode_datagram(&message, &keys, None, &WireFormat::default()).unwrap(),
                encode_serial(&message, &keys, None).unwrap(),
            ] {
                let mut bad = bytes.clone();
                bad[at.index(bytes.len())] = to;
                let same = bad == bytes;
                prop_assert_eq!(decode_datagram(&bad, &keys).is_ok(), same);
            }
        }
    }
}
