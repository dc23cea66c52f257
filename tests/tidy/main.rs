//! Goal: the rules that CONTRIBUTING.md states hold for the whole tree, so that nobody argues about them.
//! Method: read the files that git knows and check each rule; every list is made from the files
//! themselves, so a new room, applet, directive or page is judged the day it appears.

mod pages;
mod rooms;
mod source;

#[path = "../support/skip.rs"]
mod skip;

use source::{block_end, rust_files, tokens, tree, without_tests, Placed, SourceFile, Token};

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 70;

/// Rooms that print: the demo tells a story, agents, `send_arp` and the client programs talk to whoever
/// called them, the daemon answers `-s` and the like before it goes to the background.
const MAY_PRINT: &[&str] = &["demo", "daemon", "guards", "ipc", "net", "resource"];

#[test]
fn files_fit_in_a_head() {
    let limit = |file: &SourceFile| (file.text.lines().count() > MAX_FILE_LINES).then(|| file.path.clone());
    let long: Vec<_> =
        rust_files(&["src", "applets", "tests", "examples", "benches"]).iter().filter_map(limit).collect();
    assert!(long.is_empty(), "more than {MAX_FILE_LINES} lines: split {}", long.join(", "));
}

#[test]
fn functions_fit_on_a_screen() {
    let mut long = Vec::new();
    for file in rust_files(&["src", "applets", "tests", "examples", "benches"]) {
        for (name, line, lines) in functions(&tokens(&file.text)) {
            if lines > MAX_FUNCTION_LINES {
                long.push(format!("{}:{line}: `{name}` has {lines} lines", file.path));
            }
        }
    }
    assert!(long.is_empty(), "at most {MAX_FUNCTION_LINES} lines:\n{}", long.join("\n"));
}

/// Name, first line and number of lines of each function that has a body.
fn functions(tokens: &[Placed]) -> Vec<(String, usize, usize)> {
    let mut out = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let [(first, line), (Token::Word(name), _)] = pair else { continue };
        if !first.is("fn") {
            continue;
        }
        if let Some(open) = body(tokens, at) {
            out.push((name.clone(), *line, tokens[block_end(tokens, open)].1 + 1 - line));
        }
    }
    out
}

/// The brace that opens a function's body: the first outside of parentheses and brackets, unless a
/// semicolon (a declaration) comes before it.
fn body(tokens: &[Placed], from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (index, (token, _)) in tokens.iter().enumerate().skip(from) {
        match token {
            Token::Sign('(' | '[') => depth += 1,
            Token::Sign(')' | ']') => depth -= 1,
            Token::Sign('{') if depth == 0 => return Some(index),
            Token::Sign(';') if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[test]
fn no_unfinished_work_is_left_behind() {
    // Put together here, so that this file does not find itself.
    let marks = [concat!("FIX", "ME"), concat!("X", "XX"), concat!("TO", "DO")];
    let macros = ["todo", "unimplemented", "dbg"];
    let mut wrong = Vec::new();
    for file in rust_files(&["src", "applets", "tests", "examples", "benches"]) {
        for (number, line) in file.text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if let Some(mark) = words.find(|word| marks.contains(word)) {
                wrong.push(format!("{}:{}: {mark}: do it, or file an issue", file.path, number + 1));
            }
        }
        for name in called_macros(&tokens(&file.text), &macros) {
            wrong.push(format!(
                "{}:{}: {}!: say what is not supported with an error",
                file.path, name.1, name.0
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_library_does_not_print() {
    let printing = ["print", "println", "eprint", "eprintln"];
    let mut wrong = Vec::new();
    for file in rust_files(&["src"]) {
        let room = file.path.split('/').nth(1).unwrap_or_default();
        if MAY_PRINT.contains(&room.trim_end_matches(".rs")) {
            continue;
        }
        for (name, line) in called_macros(&without_tests(&tokens(&file.text)), &printing) {
            wrong.push(format!("{}:{line}: {name}!: return the text, or log it", file.path));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The macros of `names` that are called, with their lines.
fn called_macros(tokens: &[Placed], names: &[&str]) -> Vec<(String, usize)> {
    let calls = tokens.windows(2).filter(|pair| pair[1].0 == Token::Sign('!'));
    calls
        .filter_map(|pair| match &pair[0] {
            (Token::Word(word), line) if names.contains(&word.as_str()) => Some((word.clone(), *line)),
            _ => None,
        })
        .collect()
}

#[test]
fn unsafe_code_stays_in_sys() {
    let outside = |file: &SourceFile| !file.path.starts_with("src/sys/") && file.path != "src/sys.rs";
    let mut wrong = Vec::new();
    for file in rust_files(&["src", "applets"]).into_iter().filter(outside) {
        let lines =
            tokens(&file.text).into_iter().filter(|(token, _)| token.is("unsafe") || token.is("unsafe_code"));
        wrong.extend(lines.map(|(_, line)| format!("{}:{line}", file.path)));
    }
    assert!(wrong.is_empty(), "`unsafe` belongs in src/sys, with a SAFETY note: {}", wrong.join(", "));
}

#[test]
fn no_test_is_put_aside() {
    let mut wrong = Vec::new();
    for file in rust_files(&["src", "applets", "tests", "examples"]) {
        let tokens = tokens(&file.text);
        let ignored = tokens.windows(3).filter(|three| {
            three[0].0 == Token::Sign('#') && three[1].0 == Token::Sign('[') && three[2].0.is("ignore")
        });
        wrong
            .extend(ignored.map(|three| {
                format!("{}:{}: put aside by `ignore`: repair the test", file.path, three[0].1)
            }));
        // A test that steps aside by itself must be found where everything is present.
        let silent = tokens
            .iter()
            .find(|(token, _)| matches!(token, Token::Text(t) if t.starts_with(concat!("skip", "ped:"))));
        if let Some((_, line)) = silent.filter(|_| !file.path.starts_with("tests/support/")) {
            wrong.push(format!(
                "{}:{line}: call `skip` (or `skip_without_privilege`) of tests/support/skip.rs",
                file.path
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn each_dependency_has_a_reason() {
    let manifest =
        tree().into_iter().find(|file| file.path == "Cargo.toml").expect("Cargo.toml is in the tree");
    let (mut inside, mut explained, mut bare) = (false, false, Vec::new());
    for line in manifest.text.lines() {
        if line.starts_with('[') {
            inside = line.trim_matches(['[', ']']).ends_with("dependencies");
            explained = false;
        } else if line.trim().is_empty() {
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if inside && !explained {
            // One comment may stand for the lines that follow it.
            bare.push(line.split('=').next().unwrap_or(line).trim().to_owned());
        }
    }
    assert!(bare.is_empty(), "Cargo.toml: say above each why it is needed: {}", bare.join(", "));
}

#[test]
fn nothing_points_to_one_machine() {
    // Put together here, so that this file does not find itself.
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!(".cargo/", "registry")];
    let mut wrong = Vec::new();
    for file in tree() {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(place) = places.iter().find(|place| line.contains(**place)) {
                wrong.push(format!("{}:{}: {place}", file.path, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "these places exist on one machine only:\n{}", wrong.join("\n"));
}

#[test]
fn lengths_are_counted_right() {
    let code = "trait T { fn a(&self) -> [u8; 2]; }\nfn b(f: impl Fn() -> [u8; 2])\n where u8: Copy\n{\n let _ = '}';\n}";
    assert_eq!(functions(&tokens(code)), [("b".to_owned(), 2, 5)]);
}
