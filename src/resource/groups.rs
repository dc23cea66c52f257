//! haresources as the runner needs it: groups of words, and what a word stands for.

/// Longest file that is read.
pub const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A line of haresources: its node, lower-cased, and its resources.
pub type Group = (String, Vec<String>);

/// All groups in file order (resources spec 1.3).
pub fn groups(text: &str) -> Vec<Group> {
    let without_comments: Vec<&str> =
        text.lines().map(|line| line.split_once('#').map_or(line, |(before, _)| before)).collect();
    let mut logical = Vec::new();
    let mut unfinished = String::new();
    for line in without_comments {
        match line.strip_suffix('\\') {
            Some(start) => unfinished.push_str(start),
            None => logical.push(std::mem::take(&mut unfinished) + line),
        }
    }
    logical.push(unfinished);
    let group_of = |line: &String| {
        let mut words = line.split_ascii_whitespace();
        let node = words.next()?.to_ascii_lowercase();
        Some((node, words.map(str::to_owned).collect()))
    };
    logical.iter().filter_map(group_of).collect()
}

/// A resource word taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Name of the script.
    pub script: &'a str,
    /// Its arguments; empty ones vanish.
    pub arguments: Vec<&'a str>,
}

impl<'a> Resource<'a> {
    /// `script::argument::...`, or an address alone, which stands for `IPaddr` with it.
    pub fn from_word(word: &'a str) -> Self {
        if is_address(word) {
            return Self { script: "IPaddr", arguments: vec![word] };
        }
        let mut parts = word.split("::");
        let script = parts.next().unwrap_or("");
        Self { script, arguments: parts.filter(|part| !part.is_empty()).collect() }
    }
}

/// Starts with a digit and holds three dots each followed by a digit (resources spec 1.3); a word
/// with `::` in it is a script whatever its name looks like.
fn is_address(word: &str) -> bool {
    let bytes = word.as_bytes();
    let dots = bytes.windows(2).filter(|pair| pair[0] == b'.' && pair[1].is_ascii_digit()).count();
    bytes.first().is_some_and(u8::is_ascii_digit) && dots >= 3 && !word.contains("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_continued_lines_and_node_names() {
        let text = "# all\nNode1 \\ # not continued\n  a::b::c\\\nd 10.0.0.1 # x\n\n\tnode2\t b\\\n";
        let found = groups(text);
        assert_eq!(
            found,
            [
                ("node1".into(), vec!["\\".into()]),
                ("a::b::cd".into(), vec!["10.0.0.1".into()]),
                ("node2".into(), vec!["b".into()]),
            ]
        );
        assert_eq!(groups(""), []);
        assert_eq!(groups("\\\n\\"), []);
    }

    #[test]
    fn words_stand_for_scripts() {
        let of = |word| {
            let resource = Resource::from_word(word);
            (resource.script, resource.arguments)
        };
        assert_eq!(of("10.0.0.1/24/eth0"), ("IPaddr", vec!["10.0.0.1/24/eth0"]));
        assert_eq!(of("IPaddr2::10.0.0.1"), ("IPaddr2", vec!["10.0.0.1"]));
        assert_eq!(of("a::::b::"), ("a", vec!["b"]));
        assert_eq!(of("httpd"), ("httpd", vec![]));
        assert_eq!(of("1.2.3"), ("1.2.3", vec![]));
        assert_eq!(of("::"), ("", vec![]));
    }
}
