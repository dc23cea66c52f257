//! Reads the tree, and Rust files as tokens without comments and texts.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of the tree.
pub(crate) struct SourceFile {
    /// Path from the repository's root, with `/`.
    pub(crate) path: String,
    /// Its content.
    pub(crate) text: String,
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files that belong to the tree, sorted: what git tracks, else (an unpacked archive) everything
/// except build folders. Files that are not UTF-8 text are left out.
pub(crate) fn tree() -> Vec<SourceFile> {
    let mut paths = tracked().unwrap_or_else(|| {
        let mut found = Vec::new();
        walk(root(), &mut found);
        found
    });
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| {
            let text = fs::read_to_string(root().join(&path)).ok()?;
            Some(SourceFile { path, text })
        })
        .collect()
}

/// The Rust files below any of `folders`.
pub(crate) fn rust_files(folders: &[&str]) -> Vec<SourceFile> {
    let inside = |path: &str| folders.iter().any(|folder| path.starts_with(&format!("{folder}/")));
    tree().into_iter().filter(|file| file.path.ends_with(".rs") && inside(&file.path)).collect()
}

/// Tracked files, and new ones that are not ignored, so that a file is judged before it is committed.
fn tracked() -> Option<Vec<String>> {
    let listed = std::process::Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .ok()?;
    let names = String::from_utf8(listed.stdout).ok()?;
    (listed.status.success() && !names.is_empty()).then(|| names.lines().map(str::to_owned).collect())
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path: PathBuf = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            if name != ".git" && !name.starts_with("target") {
                walk(&path, found);
            }
        } else if let Ok(relative) = path.strip_prefix(root()) {
            found.push(relative.to_string_lossy().into_owned());
        }
    }
}

/// A token of Rust code. Comments are gone and texts are empty, so neither can be mistaken for code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Identifier, keyword or number.
    Word(String),
    /// `::`
    Path,
    /// A text; its content, unescaped only as far as the checks need.
    Text(String),
    /// Any other single character.
    Sign(char),
}

impl Token {
    /// Is it this word?
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(own) if own == word)
    }
}

/// A token and the line (from 1) it begins on.
pub(crate) type Placed = (Token, usize);

/// Splits Rust source into tokens. It knows what can hide a brace or a quote: nested comments, raw and
/// byte texts, character literals against lifetimes.
pub(crate) fn tokens(source: &str) -> Vec<Placed> {
    let chars: Vec<char> = source.chars().collect();
    let mut out = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start_line = line;
        let (end, token) = next_token(&chars, at);
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
        out.extend(token.map(|token| (token, start_line)));
    }
    out
}

/// The end of the token (or comment, or blank) at `at`, and the token.
fn next_token(chars: &[char], at: usize) -> (usize, Option<Token>) {
    let peek = |n: usize| chars.get(at + n).copied().unwrap_or('\0');
    match peek(0) {
        '/' if peek(1) == '/' => (position(chars, at, '\n'), None),
        '/' if peek(1) == '*' => (comment_end(chars, at), None),
        '"' => text(chars, at + 1),
        '\'' => quote(chars, at),
        ':' if peek(1) == ':' => (at + 2, Some(Token::Path)),
        c if c.is_alphanumeric() || c == '_' => {
            let end = (at..chars.len())
                .find(|i| !chars[*i].is_alphanumeric() && chars[*i] != '_')
                .unwrap_or(chars.len());
            let word: String = chars[at..end].iter().collect();
            match (word.as_str(), chars.get(end)) {
                ("b" | "c", Some('"')) => text(chars, end + 1),
                ("b", Some('\'')) => quote(chars, end),
                ("r" | "br" | "cr", Some('"' | '#')) => raw_text(chars, end, word),
                _ => (end, Some(Token::Word(word))),
            }
        }
        c if c.is_whitespace() => (at + 1, None),
        c => (at + 1, Some(Token::Sign(c))),
    }
}

fn position(chars: &[char], from: usize, wanted: char) -> usize {
    (from..chars.len()).find(|i| chars[*i] == wanted).unwrap_or(chars.len())
}

fn comment_end(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

fn text(chars: &[char], start: usize) -> (usize, Option<Token>) {
    let mut at = start;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    let end = at.min(chars.len());
    (chars.len().min(end + 1), Some(Token::Text(chars[start..end].iter().collect())))
}

/// A raw text; or, with `#` but no quote behind, a raw identifier.
fn raw_text(chars: &[char], start: usize, word: String) -> (usize, Option<Token>) {
    let hashes = chars[start..].iter().take_while(|c| **c == '#').count();
    let content = start + hashes + 1;
    if chars.get(start + hashes) != Some(&'"') {
        return (start + hashes, Some(Token::Word(word)));
    }
    let closes = |i: &usize| chars[*i] == '"' && chars[i + 1..].iter().take(hashes).all(|c| *c == '#');
    let end = (content..chars.len()).find(closes).unwrap_or(chars.len());
    let inner = chars[content.min(end)..end].iter().collect();
    (chars.len().min(end + 1 + hashes), Some(Token::Text(inner)))
}

/// A character literal, or the quote of a lifetime.
fn quote(chars: &[char], at: usize) -> (usize, Option<Token>) {
    if chars.get(at + 1) == Some(&'\\') {
        // The character behind the backslash may itself be a quote.
        return (chars.len().min(position(chars, at + 3, '\'') + 1), Some(Token::Text(String::new())));
    }
    match chars.get(at + 2) {
        Some('\'') => (at + 3, Some(Token::Text(String::new()))),
        _ => (at + 1, None),
    }
}

/// The tokens outside of `#[cfg(test)]` modules: rules about who may use what are for the program.
pub(crate) fn without_tests(tokens: &[Placed]) -> Vec<Placed> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match is_test_module(&tokens[at..]) {
            Some(brace) => at = block_end(tokens, at + brace) + 1,
            None => {
                out.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    out
}

/// Does `#[cfg(test)] mod name {` begin here? The distance to its brace.
fn is_test_module(tokens: &[Placed]) -> Option<usize> {
    let word = |n: usize, word: &str| tokens.get(n).is_some_and(|(token, _)| token.is(word));
    if !(word(2, "cfg") && word(4, "test") && tokens[0].0 == Token::Sign('#')) {
        return None;
    }
    let head = tokens.iter().take(20);
    let module = head.clone().position(|(token, _)| token.is("mod"))?;
    let brace = head.clone().position(|(token, _)| *token == Token::Sign('{'))?;
    (brace == module + 2).then_some(brace)
}

/// The index of the brace that closes the one at `open`.
pub(crate) fn block_end(tokens: &[Placed], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, (token, _)) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return index;
        }
    }
    tokens.len().saturating_sub(1)
}

#[test]
fn tokens_skip_what_only_looks_like_code() {
    let source = "/* a /* b { */ */ fn f<'a>(x: &'a str) -> char { let s = r#\"}\"#; // }\n '{' }";
    let words: Vec<_> = tokens(source).into_iter().map(|(token, _)| token).collect();
    let open = words.iter().filter(|t| **t == Token::Sign('{')).count();
    let close = words.iter().filter(|t| **t == Token::Sign('}')).count();
    assert_eq!((open, close), (1, 1), "{words:?}");
    assert!(words.contains(&Token::Text("}".into())) && words[0].is("fn"));
    assert_eq!(tokens("b'\\'' '\\\\' \"\\\"\" x\n y").last(), Some(&(Token::Word("y".into()), 2)));
}
