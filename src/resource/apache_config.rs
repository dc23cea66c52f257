//! What an agent wants to know of an Apache configuration: where the process number is, where the server
//! listens, where its status page is.
//!
//! Not a full reader of that language: sections like `<IfModule>` are looked into without asking whether
//! they apply, as the original does. Other than the original, `IncludeOptional` is followed, lines go on
//! behind a backslash, `Define` is known, and a missing `ServerRoot` is the directory of the file itself
//! (so on Debian).

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::script::read_text;

/// Most files that are read, one that is included twice counting twice.
const FILES_MAX: usize = 1000;
/// Longest of them.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// Most bytes of all together.
const TOTAL_MAX_BYTES: usize = 16 * 1024 * 1024;
/// How deep files include files, or directories hold directories.
const DEPTH_MAX: u32 = 16;
/// Most entries of one directory that are compared with a pattern.
const ENTRIES_MAX: usize = 10_000;
/// Most files whose absence is told.
const UNREAD_MAX: usize = 50;
/// Longest value with its variables filled in.
const VALUE_MAX_BYTES: usize = 4096;

/// One `Listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Host as in a URL: an IPv6 address in brackets, `localhost` for every address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS is spoken there: so it says, or the port is 443.
    pub tls: bool,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApacheConfig {
    /// Where relative paths start.
    pub server_root: Option<PathBuf>,
    /// File with the process number, absolute.
    pub pid_file: Option<PathBuf>,
    /// In the file's order.
    pub listens: Vec<Listen>,
    /// The old directive `Port`.
    pub port: Option<u16>,
    /// Path of the status page: the last location with the handler `server-status`.
    pub status_path: Option<String>,
    /// Files that are included and could not be read, and why.
    pub unread: Vec<String>,
}

impl ApacheConfig {
    /// Reads the file and what it includes. `variables` are those of the environment.
    ///
    /// # Errors
    /// The first file cannot be read. Included ones that cannot are listed in [`Self::unread`].
    pub fn read(path: &Path, variables: &BTreeMap<String, String>) -> std::io::Result<Self> {
        let mut reader = Reader {
            found: Self::default(),
            variables: variables.clone(),
            location: None,
            files_left: FILES_MAX,
            bytes_left: TOTAL_MAX_BYTES,
            fallback_root: path.parent().unwrap_or(Path::new("/")).to_owned(),
        };
        let text = read_text(path, FILE_MAX_BYTES)?;
        reader.take(&text, 0);
        Ok(reader.found)
    }
}

struct Reader {
    found: ApacheConfig,
    variables: BTreeMap<String, String>,
    /// The `<Location>` that we are in.
    location: Option<String>,
    files_left: usize,
    bytes_left: usize,
    fallback_root: PathBuf,
}

impl Reader {
    fn take(&mut self, text: &str, depth: u32) {
        self.bytes_left = self.bytes_left.saturating_sub(text.len());
        let mut joined = String::new();
        for line in text.lines() {
            match line.strip_suffix('\\') {
                Some(start) if joined.len() < VALUE_MAX_BYTES => joined.push_str(start),
                _ => {
                    joined.push_str(line);
                    self.line(&std::mem::take(&mut joined), depth);
                }
            }
        }
        self.line(&joined, depth);
    }

    fn line(&mut self, line: &str, depth: u32) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        let mut words = words(line.trim_end_matches('>')).into_iter().map(|word| self.filled_in(&word));
        let name = words.next().unwrap_or_default().to_ascii_lowercase();
        let arguments: Vec<String> = words.collect();
        let first = arguments.first().map(String::as_str).filter(|word| !word.is_empty());
        match (name.as_str(), first) {
            ("<location", Some(location)) => self.location = Some(location.to_owned()),
            ("</location", _) => self.location = None,
            ("sethandler", Some(handler)) if handler.eq_ignore_ascii_case("server-status") => {
                if let Some(location) = self.location.clone().filter(|it| it.starts_with('/')) {
                    self.found.status_path = Some(location);
                }
            }
            ("define", Some(variable)) => {
                let value = arguments.get(1).cloned().unwrap_or_default();
                self.variables.insert(variable.to_owned(), value);
            }
            ("serverroot", Some(root)) => self.found.server_root = Some(PathBuf::from(root)),
            // As the original: the first counts.
            ("pidfile", Some(file)) if self.found.pid_file.is_none() => {
                self.found.pid_file = Some(self.absolute(file));
            }
            ("port", Some(port)) if self.found.port.is_none() => {
                self.found.port = port.parse().ok().filter(|port| *port > 0);
            }
            ("listen", Some(place)) => {
                self.found.listens.extend(listen(place, arguments.get(1).map(String::as_str)));
            }
            ("include" | "includeoptional", Some(pattern)) => {
                let pattern = self.absolute(pattern);
                self.include(&pattern, name == "include", depth + 1);
            }
            _ => (),
        }
    }

    fn absolute(&self, path: &str) -> PathBuf {
        self.found.server_root.as_deref().unwrap_or(&self.fallback_root).join(path)
    }

    /// Reads what matches a pattern, in order; of a directory everything below it.
    fn include(&mut self, pattern: &Path, must_exist: bool, depth: u32) {
        let paths = matching(pattern);
        if paths.is_empty() && must_exist {
            self.not_read(pattern, "no such file");
        }
        for path in paths {
            self.include_path(&path, depth);
        }
    }

    fn include_path(&mut self, path: &Path, depth: u32) {
        if depth > DEPTH_MAX || self.files_left == 0 || self.bytes_left == 0 {
            return self.not_read(path, "too many files include files");
        }
        if path.is_dir() {
            for entry in sorted_entries(path) {
                self.include_path(&path.join(entry), depth + 1);
                if self.files_left == 0 {
                    return;
                }
            }
            return;
        }
        self.files_left -= 1;
        // A pipe or device would be waited for.
        let text = match fs::metadata(path) {
            Ok(about) if about.is_file() => {
                read_text(path, FILE_MAX_BYTES).map_err(|error| error.to_string())
            }
            Ok(_) => Err("no regular file".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match text {
            Ok(text) => self.take(&text, depth),
            Err(error) => self.not_read(path, &error),
        }
    }

    fn not_read(&mut self, path: &Path, why: &str) {
        if self.found.unread.len() < UNREAD_MAX {
            self.found.unread.push(format!("{}: {why}", path.display()));
        }
    }

    /// `${NAME}` replaced; an unknown one by nothing, as the shell of the original does it.
    fn filled_in(&self, word: &str) -> String {
        let mut rest = word;
        let mut filled = String::new();
        while let Some((before, after)) = rest.split_once("${") {
            filled.push_str(before);
            let Some((name, behind)) = after.split_once('}') else {
                filled.push_str("${");
                rest = after;
                continue;
            };
            let value = self.variables.get(name).map_or("", String::as_str);
            if filled.len() + value.len() > VALUE_MAX_BYTES {
                return String::new();
            }
            filled.push_str(value);
            rest = behind;
        }
        filled.push_str(rest);
        filled
    }
}

/// The words of a line: separated by white space, or in quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '"' || first == '\'' {
            let inside = &rest[1..];
            let end = inside.find(first).unwrap_or(inside.len());
            words.push(inside[..end].to_owned());
            rest = inside.get(end + 1..).unwrap_or("").trim_start();
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            rest = rest[end..].trim_start();
        }
    }
    words
}

/// `[address:]port [protocol]`.
fn listen(place: &str, protocol: Option<&str>) -> Option<Listen> {
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => ("*", place),
    };
    let port = port.parse().ok().filter(|port: &u16| *port > 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = match bare.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => "localhost".to_owned(),
        Ok(IpAddr::V6(ip)) => format!("[{}]", Ipv6Addr::from(ip.octets())),
        Ok(ip) => ip.to_string(),
        Err(_) if bare == "*" || bare.is_empty() => "localhost".to_owned(),
        // A name, or nonsense that the check of the URL refuses.
        Err(_) => bare.to_owned(),
    };
    let tls = protocol.map_or(port == 443, |protocol| protocol.eq_ignore_ascii_case("https"));
    Some(Listen { host, port, tls })
}

/// Paths that match a pattern with `*`, `?` and `[...]` in any of its parts, in order.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern {
        let text = part.to_string_lossy();
        if !text.contains(['*', '?', '[']) {
            for path in &mut found {
                path.push(part);
            }
            continue;
        }
        let of_directory = |directory: &PathBuf| -> Vec<PathBuf> {
            let fits =
                |name: &String| (!name.starts_with('.') || text.starts_with('.')) && is_like(&text, name);
            sorted_entries(directory).into_iter().filter(fits).map(|name| directory.join(name)).collect()
        };
        found = found.iter().flat_map(of_directory).take(ENTRIES_MAX).collect();
    }
    found.retain(|path| path.exists());
    found
}

fn sorted_entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let names = entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.take(ENTRIES_MAX).collect();
    names.sort();
    names
}

/// The shell's patterns on one name. Each `*` is tried again only behind the last one, so that the time
/// is bounded by the product of both lengths.
fn is_like(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut here) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    while here < name.len() {
        let step = match pattern.get(at) {
            Some('*') => {
                again = Some((at + 1, here));
                at += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => in_set(&pattern[at..], name[here]),
            Some(letter) if *letter == name[here] => Some(1),
            _ => None,
        };
        match (step, again) {
            (Some(length), _) => {
                at += length;
                here += 1;
            }
            (None, Some((behind, from))) => {
                again = Some((behind, from + 1));
                (at, here) = (behind, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

/// The length of the set at the start of the pattern when the letter is in it.
fn in_set(pattern: &[char], letter: char) -> Option<usize> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let start = if negated { 2 } else { 1 };
    // A bracket right at the start is a member.
    let end = (start + 1..pattern.len()).find(|index| pattern[*index] == ']')?;
    let mut members = &pattern[start..end];
    let mut found = false;
    while let [first, rest @ ..] = members {
        match rest {
            ['-', last, behind @ ..] => {
                found |= (*first..=*last).contains(&letter);
                members = behind;
            }
            _ => {
                found |= *first == letter;
                members = rest;
            }
        }
    }
    (found != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> ApacheConfig {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("etc");
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("ROOT", root.to_str().unwrap())).unwrap();
        }
        let variables = [("RUN", "/run/a"), ("LONG", &"x".repeat(VALUE_MAX_BYTES))];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut found = ApacheConfig::read(&root.join(files[0].0), &variables).unwrap();
        // Compared without the directory of the day.
        found.server_root = found.server_root.map(|path| path.strip_prefix(&root).unwrap().to_owned());
        found.pid_file =
            found.pid_file.map(|path| path.strip_prefix(&root).map(Path::to_owned).unwrap_or(path));
        found
    }

    fn at(host: &str, port: u16, tls: bool) -> Listen {
        Listen { host: host.to_owned(), port, tls }
    }

    #[test]
    fn debian() {
        let found = read(&[
            ("apache2.conf", "PidFile ${RUN}/apache2.pid\nInclude ports.conf\nIncludeOptional mods/*.conf\nIncludeOptional none/*.conf\n"),
            ("ports.conf", "Listen 80\n<IfModule ssl_module>\n\tListen 443\n</IfModule>\n"),
            ("mods/status.conf", "<IfModule mod_status.c>\n<Location /server-status>\nSetHandler server-status\nRequire local\n</Location>\n</IfModule>\n"),
            ("mods/status.load", "Listen 1\n"),
        ]);
        assert_eq!(found.pid_file.as_deref(), Some(Path::new("/run/a/apache2.pid")));
        assert_eq!(found.listens, [at("localhost", 80, false), at("localhost", 443, true)]);
        assert_eq!(found.status_path.as_deref(), Some("/server-status"));
        assert_eq!(found.unread, [""; 0]);
    }

    #[test]
    fn centos() {
        let found = read(&[
            ("conf/httpd.conf", "ServerRoot \"ROOT\"\n# Listen 1\nPidFile run/httpd.pid\nPidFile other\nListen 10.0.0.1:8080\nInclude conf.d/\nPort 81\n<Location \"/x\">\nsethandler Server-Status\n</Location>\nSetHandler server-status\n"),
            ("conf.d/ssl.conf", "LISTEN 8443 https\nListen [::]:82\nListen [fe80::1]:83\nListen *:84\nListen name:85\nListen x\nListen 0\nListen 1:99999\n"),
        ]);
        assert_eq!(found.server_root.as_deref(), Some(Path::new("")));
        assert_eq!(found.pid_file.as_deref(), Some(Path::new("run/httpd.pid")));
        assert_eq!((found.port, found.status_path.as_deref()), (Some(81), Some("/x")));
        let places = [
            at("10.0.0.1", 8080, false),
            at("localhost", 8443, true),
            at("localhost", 82, false),
            at("[fe80::1]", 83, false),
            at("localhost", 84, false),
            at("name", 85, false),
        ];
        assert_eq!(found.listens, places);
    }

    #[test]
    fn hostile_files_end_within_their_limits() {
        let found = read(&[("a", "Include a\nInclude a\nInclude a\nInclude nothing\n")]);
        assert!(found.unread.len() > 1);
        let found = read(&[("a", "PidFile ${LONG}${LONG}\nListen ${\nInclude \"\nInclude *\nDefine\n\\\n")]);
        assert!(found.pid_file.is_none() && found.listens.is_empty());
        let deep = format!("{}x", "d/".repeat(40));
        assert!(!read(&[("a", "Include d\n"), (&deep, "Listen 80\n")]).unread.is_empty());
        for text in
            ["\0\u{ff}<<>>", ">", "<Location", "\"", "'x", "\\", "${", "Include [", "Include [a-", "é\\"]
        {
            read(&[("a", text)]);
        }
        let directory = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&directory.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::write(directory.path().join("a"), "Include pipe\nInclude /dev/zero\n").unwrap();
        let found = ApacheConfig::read(&directory.path().join("a"), &BTreeMap::new()).unwrap();
        assert_eq!(found.unread.len(), 2);
    }

    #[test]
    fn patterns() {
        for (pattern, name) in [
            ("*", ""),
            ("*.conf", "a.conf"),
            ("[0-9]?-*", "00-x"),
            ("[!a]b", "cb"),
            ("[]]", "]"),
            ("a*b*c", "aXbYbc"),
        ] {
            assert!(is_like(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("*.conf", "a.conf~"), ("[!a]b", "ab"), ("?", ""), ("[", "["), ("[a", "a"), ("", "x")]
        {
            assert!(!is_like(pattern, name), "{pattern} {name}");
        }
        assert!(!is_like(&"*a".repeat(200), &"a".repeat(150)));
    }
}
