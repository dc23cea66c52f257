//! Who may use what: the rooms of `src` and the applets.

use crate::source::{rust_files, tokens, tree, without_tests, Placed, SourceFile, Token};

/// What one room may use.
struct Room {
    /// Folder or file below `src`; `applets` for the applets.
    name: &'static str,
    /// Other rooms, or one module of a room (`cluster::view`).
    rooms: &'static [&'static str],
    /// Crates outside the standard library. `libc` is here for its constants and types: its calls are
    /// unsafe, which another test keeps in `sys`.
    crates: &'static [&'static str],
    /// Parts of the standard library that it must not touch.
    not_std: &'static [&'static str],
}

/// Whatever makes a result depend on more than its arguments.
const WORLD: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::collections::hash_map::RandomState",
];
const SOCKETS_AND_CLOCKS: &[&str] = &[
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::os::unix::net",
    "std::process::Command",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];
const LIBRARY_ROOMS: &[&str] = &[
    "types", "config", "wire", "cluster", "media", "ipc", "daemon", "resource", "net", "stonith", "log",
    "sys",
];
const ALL_ROOMS: &[&str] = &[
    "types", "config", "wire", "cluster", "media", "ipc", "ipfail", "dopd", "daemon", "resource", "net",
    "stonith", "log", "sys", "setup", "demo",
];

/// THE TABLE of rooms. A change here is a change of the design: say why in the commit.
const ROOMS: &[Room] = &[
    Room { name: "types", rooms: &[], crates: &["serde", "thiserror"], not_std: WORLD },
    Room {
        name: "config",
        rooms: &["types"],
        crates: &["log", "nix", "serde", "serde_json", "thiserror"],
        not_std: SOCKETS_AND_CLOCKS,
    },
    Room {
        name: "wire",
        rooms: &["types"],
        crates: &["bzip2", "crc", "flate2", "hmac", "md5", "serde", "sha1", "thiserror"],
        // Compression works through `std::io::Read`; nothing here opens anything.
        not_std: &[
            "std::env",
            "std::fs",
            "std::net",
            "std::os",
            "std::process",
            "std::thread",
            "std::time::Instant",
            "std::time::SystemTime",
        ],
    },
    Room {
        name: "cluster",
        rooms: &["types", "wire::message", "config"],
        crates: &["serde", "thiserror"],
        not_std: WORLD,
    },
    Room {
        name: "media",
        // It returns its log lines as values, and decides how often one is worth saying.
        rooms: &["types", "config", "wire", "net", "sys", "log::LogLine", "log::RateLimit", "log::Verdict"],
        crates: &["libc", "log", "nix", "socket2", "thiserror", "tokio"],
        not_std: &["std::thread"],
    },
    Room {
        name: "ipc",
        // The client programs show log lines on the terminal, in the daemon's form.
        rooms: &["types", "wire", "sys", "cluster::view", "log::line"],
        crates: &["libc", "log", "nix", "serde", "serde_json", "socket2", "thiserror", "tokio"],
        not_std: &[],
    },
    Room {
        name: "ipfail",
        // A client program like those of `ipc`, with decisions of its own.
        rooms: &["types", "config::boolean", "wire::message", "ipc::client", "log", "sys"],
        crates: &["nix"],
        not_std: &["std::thread", "std::os::unix::net", "std::process::Command"],
    },
    Room {
        name: "dopd",
        // The same; it runs drbdadm for the other node.
        rooms: &["ipc::client", "ipc::frame", "log", "sys", "types", "wire"],
        crates: &["nix"],
        not_std: &["std::thread"],
    },
    Room {
        name: "daemon",
        rooms: LIBRARY_ROOMS,
        crates: &["libc", "log", "nix", "serde", "serde_json", "socket2", "thiserror", "tokio"],
        not_std: &[],
    },
    Room {
        name: "resource",
        // The log daemon's records have one form, whoever sends them; so has base64, for passwords of web
        // pages.
        rooms: &["types", "config", "net", "sys", "wire::base64", "wire::logd"],
        // socket2: the standard library cannot connect to a log daemon without waiting for it.
        crates: &["libc", "log", "nix", "serde", "serde_json", "socket2", "thiserror"],
        not_std: &[],
    },
    Room {
        name: "net",
        rooms: &["types", "sys"],
        crates: &["libc", "log", "nix", "pnet_packet", "socket2", "thiserror"],
        not_std: &[],
    },
    Room {
        name: "stonith",
        // `stonith` is a program of its own and logs where the other programs do.
        rooms: &["types", "config", "log", "sys"],
        crates: &["libc", "log", "nix", "thiserror"],
        not_std: &[],
    },
    Room {
        name: "log",
        rooms: &["types", "config", "sys", "wire::logd"],
        crates: &["env_logger", "libc", "log", "nix", "thiserror"],
        not_std: &[],
    },
    Room {
        name: "sys",
        rooms: &[],
        // tokio: registering a descriptor with the runtime is unsafe, and unsafe is at home here.
        crates: &["libc", "nix", "serialport", "thiserror", "tokio"],
        not_std: &[],
    },
    Room {
        name: "setup",
        // It writes what the others read; of the daemon it knows where things are and whether one runs.
        rooms: &[
            "types",
            "config",
            "ipc::client",
            "ipc::requests",
            "ipc::status",
            "ipc::terminal",
            "daemon::layout",
            "daemon::process",
            "net",
            "resource",
            "sys",
        ],
        crates: &["libc", "log", "nix", "serde_json", "sha1", "thiserror"],
        not_std: &["std::thread"],
    },
    Room {
        name: "demo",
        rooms: &["types", "config", "wire", "ipc", "resource", "net", "log", "sys", "cluster::view"],
        crates: &["libc", "log", "nix", "serde", "serde_json", "socket2", "thiserror", "tokio"],
        not_std: &[],
    },
    Room { name: "applets", rooms: ALL_ROOMS, crates: &["clap", "clap_complete", "log"], not_std: &[] },
];

/// Crates that only the files named may use.
const ONE_HOME: &[(&str, &[&str])] =
    &[("pnet_packet", &["src/net/arp.rs", "src/net/icmp.rs", "src/net/nd.rs"])];

#[test]
fn rooms_use_only_what_they_may() {
    let crates = dependencies();
    let mut wrong = Vec::new();
    // A file of its own for a room's tests is like the tests at the end of a file.
    let code = |file: &SourceFile| !file.path.ends_with("/tests.rs");
    for file in rust_files(&["src", "applets"]).into_iter().filter(code) {
        let Some(name) = room_of(&file.path) else { continue };
        let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
            wrong.push(format!("{}: no rule for room `{name}`: add one to tests/tidy/rooms.rs", file.path));
            continue;
        };
        check(room, &file, &crates, &mut wrong);
    }
    wrong.dedup();
    assert!(
        wrong.is_empty(),
        "\n{}\nThe rooms and their reasons: src/lib.rs, CONTRIBUTING.md\n",
        wrong.join("\n")
    );
}

/// The room a file is in; nothing for `src/lib.rs`, which only lists them.
fn room_of(path: &str) -> Option<&str> {
    match path.strip_prefix("src/") {
        Some("lib.rs") => None,
        Some(inner) => inner.split('/').next().map(|name| name.trim_end_matches(".rs")),
        None => Some("applets"),
    }
}

fn check(room: &Room, file: &SourceFile, crates: &[String], wrong: &mut Vec<String>) {
    let tokens = without_tests(&tokens(&file.text));
    for (path, line) in used_paths(&tokens) {
        let place = format!("{}:{line}", file.path);
        let first = path.split("::").next().unwrap_or_default();
        let inside = path.strip_prefix("crate::").or_else(|| path.strip_prefix("ha_core::"));
        if let Some(inside) = inside.map(str::to_owned).or_else(|| climbed(&path, &file.path)) {
            if !may_use_room(room, &inside) {
                wrong.push(format!("{place}: room `{}` must not use `{inside}`", room.name));
            }
        } else if first == "std" || first == "core" {
            let path = path.replacen("core", "std", 1);
            for banned in room.not_std.iter().filter(|banned| covers(banned, &path)) {
                wrong.push(format!("{place}: room `{}` must not use `{banned}`", room.name));
            }
        } else if crates.iter().any(|name| name == first) {
            if !room.crates.contains(&first) {
                wrong.push(format!("{place}: room `{}` must not use the crate `{first}`", room.name));
            }
            let home = ONE_HOME.iter().find(|(name, _)| *name == first);
            if let Some((_, files)) = home.filter(|(_, files)| !files.contains(&file.path.as_str())) {
                wrong.push(format!("{place}: the crate `{first}` is for {} alone", files.join(", ")));
            }
        }
    }
}

/// May `room` use `inside`, a path from the crate's root? Names that are no room (a macro, an applet's
/// own module) are nobody's business here.
fn may_use_room(room: &Room, inside: &str) -> bool {
    let other = inside.split("::").next().unwrap_or_default();
    let known = ROOMS.iter().any(|room| room.name == other);
    !known || other == room.name || room.rooms.iter().any(|allowed| covers(allowed, inside))
}

/// Is `path` the thing `prefix` or inside of it?
fn covers(prefix: &str, path: &str) -> bool {
    path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with("::"))
}

/// What a `super::super::…` path names, if it climbs to the crate's root.
fn climbed(path: &str, file: &str) -> Option<String> {
    let climbs = path.split("::").take_while(|part| *part == "super").count();
    let inner = file.strip_prefix("src/")?;
    let depth = inner.split('/').count() - usize::from(inner.ends_with("/mod.rs"));
    let rest = || path.split("::").skip(climbs).collect::<Vec<_>>().join("::");
    (climbs > 0 && climbs == depth).then(rest)
}

/// Every path in the code, groups of a `use` spread out: `use a::{b, c::d};` gives `a::b` and `a::c::d`.
fn used_paths(tokens: &[Placed]) -> Vec<(String, usize)> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let behind_path = at > 0 && matches!(tokens[at - 1].0, Token::Path | Token::Sign('.'));
        let imported = at > 0 && tokens[at - 1].0.is("use");
        let leads = matches!(tokens.get(at + 1), Some((Token::Path, _))) || imported;
        if matches!(tokens[at].0, Token::Word(_)) && leads && !behind_path {
            at = path(tokens, at, "", &mut out);
        } else {
            at += 1;
        }
    }
    out
}

/// Reads one path (with its group) that begins at `at`; the index behind it.
fn path(tokens: &[Placed], mut at: usize, prefix: &str, out: &mut Vec<(String, usize)>) -> usize {
    let mut name = prefix.to_owned();
    let line = tokens[at].1;
    while let Some((token, _)) = tokens.get(at) {
        match token {
            Token::Word(word) => {
                name = if name.is_empty() { word.clone() } else { format!("{name}::{word}") };
                at += 1;
            }
            Token::Sign('{') => return group(tokens, at + 1, &name, out),
            _ => break,
        }
        if !matches!(tokens.get(at), Some((Token::Path, _))) {
            break;
        }
        at += 1;
    }
    out.push((name, line));
    at
}

/// Reads the members of a group behind its `{`; the index behind its `}`.
fn group(tokens: &[Placed], mut at: usize, prefix: &str, out: &mut Vec<(String, usize)>) -> usize {
    while let Some((token, line)) = tokens.get(at) {
        match token {
            Token::Sign('}') => return at + 1,
            Token::Word(word) if word == "as" => at += 2,
            Token::Word(word) if word == "self" => {
                out.push((prefix.to_owned(), *line));
                at += 1;
            }
            Token::Word(_) => at = path(tokens, at, prefix, out),
            Token::Sign('*') => {
                out.push((format!("{prefix}::*"), *line));
                at += 1;
            }
            _ => at += 1,
        }
    }
    at
}

/// The names of all dependencies as code spells them. `md-5` calls its library `md5`.
fn dependencies() -> Vec<String> {
    let manifest =
        tree().into_iter().find(|file| file.path == "Cargo.toml").expect("Cargo.toml is in the tree");
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.text.lines() {
        if line.starts_with('[') {
            inside = line.trim_matches(['[', ']']).ends_with("dependencies");
        } else if let Some((name, _)) = line.split_once('=').filter(|_| inside && !line.starts_with('#')) {
            names.push(if name.trim() == "md-5" { "md5".into() } else { name.trim().replace('-', "_") });
        }
    }
    names
}

#[test]
fn paths_are_found_in_all_their_forms() {
    let code = "use crate::{cluster::event, types::{self, Node as N}}; use super::super::wire; \
                fn f() { tokio::spawn(x); a.nix::b(); let y: crate::media::M = std::time::Instant::now(); }";
    let found: Vec<String> = used_paths(&tokens(code)).into_iter().map(|(path, _)| path).collect();
    let expected = [
        "crate::cluster::event",
        "crate::types",
        "crate::types::Node",
        "super::super::wire",
        "tokio::spawn",
        "crate::media::M",
        "std::time::Instant::now",
    ];
    assert_eq!(found, expected);
    assert_eq!(climbed("super::super::wire", "src/media/udp.rs").as_deref(), Some("wire"));
    assert_eq!(climbed("super::wire", "src/media/mod.rs").as_deref(), Some("wire"));
    assert_eq!(climbed("super::wire", "src/media/udp.rs"), None);
}

#[test]
fn a_trespass_is_seen() {
    let cluster = ROOMS.iter().find(|room| room.name == "cluster").expect("the room is in the table");
    let file = SourceFile {
        path: "src/cluster/x.rs".into(),
        text: "use crate::media; use crate::wire::{message, frame}; use std::time::{Duration, Instant};\n\
               use tokio::net; #[cfg(test)]\nmod tests { use std::fs; }"
            .into(),
    };
    let mut wrong = Vec::new();
    check(cluster, &file, &["tokio".to_owned()], &mut wrong);
    let named = ["`media`", "`wire::frame`", "`std::time::Instant`", "`tokio`"];
    assert_eq!(wrong.len(), named.len(), "{wrong:?}");
    assert!(named.iter().zip(&wrong).all(|(name, line)| line.contains(name)), "{wrong:?}");
}
