//! Every applet has a page, every directive is on the page of ha.cf, and every page is well-formed.

use std::process::Command;

use crate::skip::skip;
use crate::source::{root, rust_files, tokens, tree, without_tests, Placed, SourceFile, Token};

#[test]
fn each_applet_has_a_page() {
    let covered: Vec<String> = pages().iter().flat_map(names_on_page).collect();
    let mut missing = Vec::new();
    for file in rust_files(&["applets"]).iter().filter(|file| !is_placeholder(file)) {
        let tokens = without_tests(&tokens(&file.text));
        let names = tokens
            .windows(2)
            .enumerate()
            .filter(|(_, two)| two[0].0.is("names") && two[1].0 == Token::Sign(':'));
        for name in names.flat_map(|(at, _)| list(&tokens, at)) {
            if !covered.contains(&name) {
                missing.push(format!("{}: `{name}`", file.path));
            }
        }
    }
    assert!(missing.is_empty(), "no page in man/ has these in its NAME section:\n{}", missing.join("\n"));
}

/// Agents are applets by their names in the library's table.
#[test]
fn each_agent_has_a_page() {
    let covered: Vec<String> = pages().iter().flat_map(names_on_page).collect();
    let agents = ha_core::resource::AGENT_NAMES;
    let missing: Vec<&str> =
        agents.into_iter().filter(|name| !covered.iter().any(|page| page == name)).collect();
    assert!(missing.is_empty(), "no page in man/ has these in its NAME section: {missing:?}");
}

/// An applet whose run function does not look at its call does nothing yet.
fn is_placeholder(file: &SourceFile) -> bool {
    file.text.contains("fn run(_invocation: &Invocation) -> u8 {\n    1\n}")
}

/// The texts of the list `[…]` that begins behind `from`.
fn list(tokens: &[Placed], from: usize) -> Vec<String> {
    let inside = tokens[from..].iter().skip_while(|(token, _)| *token != Token::Sign('['));
    inside
        .take_while(|(token, _)| *token != Token::Sign(']'))
        .filter_map(|(token, _)| match token {
            Token::Text(text) => Some(text.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn each_directive_is_on_the_page() {
    let table = rust_files(&["src"]).into_iter().find(|file| file.path == "src/config/directive.rs");
    let Some(table) = table else { return };
    let page = pages().into_iter().find(|page| page.path == "man/ha.cf.5");
    let page = page.expect("src/config/directive.rs is there, so man/ha.cf.5 must be");
    let names = directive_names(&without_tests(&tokens(&table.text)));
    assert!(!names.is_empty(), "no `DIRECTIVES` found in {}: teach tests/tidy/pages.rs its form", table.path);
    let words: Vec<&str> = page.text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').collect();
    let missing: Vec<_> = names.into_iter().filter(|name| !words.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "man/ha.cf.5 does not name: {}", missing.join(", "));
}

/// The first text of each row of `DIRECTIVES: … = &[row, row…]`: its name.
fn directive_names(tokens: &[Placed]) -> Vec<String> {
    let table = tokens.iter().skip_while(|(token, _)| !token.is("DIRECTIVES"));
    let rows = table.skip_while(|(token, _)| *token != Token::Sign('=')).skip(1);
    let (mut depth, mut named, mut names) = (0, false, Vec::new());
    for (token, _) in rows {
        match token {
            Token::Sign('[' | '(' | '{') => depth += 1,
            Token::Sign(']' | ')' | '}') => depth -= 1,
            Token::Sign(',') if depth == 1 => named = false,
            Token::Sign(';') if depth == 0 => break,
            Token::Text(name) if !named => {
                names.push(name.clone());
                named = true;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn directives_are_read_from_the_table() {
    let code =
        "pub const DIRECTIVES: &[Directive] = &[row(\"a\", Some(\"1\"), \"x\"), Directive { name: \"b\", \
                n: [\"y\"] },]; fn f() { \"c\" }";
    assert_eq!(directive_names(&tokens(code)), ["a", "b"]);
}

#[test]
fn pages_are_well_formed() {
    if Command::new("mandoc").arg("-Tlint").arg("/dev/null").output().is_err() {
        return skip("mandoc is not installed");
    }
    let mut wrong = Vec::new();
    for page in pages() {
        let run =
            Command::new("mandoc").args(["-Tlint", "-W", "warning", &page.path]).current_dir(root()).output();
        let output = run.expect("mandoc ran a moment ago");
        if !output.status.success() {
            wrong.push(String::from_utf8_lossy(&output.stdout).into_owned());
        }
    }
    assert!(wrong.is_empty(), "mandoc -Tlint -W warning:\n{}", wrong.concat());
}

/// The manual pages: files of `man/` that end in a section's number.
fn pages() -> Vec<SourceFile> {
    let page = |path: &str| path.starts_with("man/") && path.ends_with(|c: char| c.is_ascii_digit());
    tree().into_iter().filter(|file| page(&file.path)).collect()
}

/// What a page's NAME section names: `.Nm` lines of mdoc, or the line before the dash of man.
fn names_on_page(page: &SourceFile) -> Vec<String> {
    let section = page.text.lines().skip_while(|line| !is_heading(line) || !line.contains("NAME"));
    let mut names = Vec::new();
    for line in section.skip(1).take_while(|line| !is_heading(line)) {
        let line = match line.strip_prefix(".Nm ") {
            Some(name) => name,
            None if line.starts_with('.') && !line.starts_with(".B") => continue,
            None => line.trim_start_matches(".B ").split("\\-").next().unwrap_or_default(),
        };
        let words = line.split([' ', ',']).filter(|word| !word.is_empty());
        names.extend(words.map(|word| word.replace("\\-", "-").replace("\\&", "")));
    }
    names
}

fn is_heading(line: &str) -> bool {
    line.starts_with(".Sh ") || line.starts_with(".SH ")
}

#[test]
fn names_are_read_from_both_kinds_of_pages() {
    let page = |text: &str| SourceFile { path: "man/x.8".into(), text: text.into() };
    let mdoc =
        page(".Sh NAME\n.Nm hb_standby ,\n.Nm hb_takeover\n.Nd move resources\n.Sh SYNOPSIS\n.Nm no\n");
    let man = page(".SH NAME\nhb_standby, hb_takeover \\- move resources\n.SH SYNOPSIS\nno\n");
    for page in [mdoc, man] {
        assert_eq!(names_on_page(&page), ["hb_standby", "hb_takeover"]);
    }
}
