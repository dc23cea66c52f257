//! Options as getopt(3) takes them, for the programs whose command lines must stay as they were.

/// What the command line holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Option letters in order, with their values; the value is empty for those without one.
    pub options: Vec<(char, String)>,
    /// Everything that is no option, in order.
    pub positionals: Vec<String>,
}

impl Parsed {
    /// The letter was given.
    pub fn has(&self, letter: char) -> bool {
        self.options.iter().any(|(given, _)| *given == letter)
    }

    /// The last value of the letter.
    pub fn value(&self, letter: char) -> Option<&str> {
        self.options.iter().rev().find(|(given, _)| *given == letter).map(|(_, value)| value.as_str())
    }
}

/// Takes the words apart. `known` is a getopt string: letters, those with a value followed by a
/// colon. Options may follow positionals; `--` ends them.
///
/// # Errors
/// The text that getopt prints behind `NAME: `.
pub fn parse(words: &[String], known: &str) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            parsed.positionals.extend(rest.cloned());
            break;
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            parsed.positionals.push(word.clone());
            continue;
        };
        for (position, letter) in letters.char_indices() {
            match known.find(letter).filter(|_| letter != ':') {
                None => return Err(format!("invalid option -- '{letter}'")),
                Some(at) if !known[at + letter.len_utf8()..].starts_with(':') => {
                    parsed.options.push((letter, String::new()));
                }
                Some(_) => {
                    let inside = &letters[position + letter.len_utf8()..];
                    let value =
                        if inside.is_empty() { rest.next().cloned() } else { Some(inside.to_owned()) };
                    let value = value.ok_or_else(|| format!("option requires an argument -- '{letter}'"))?;
                    parsed.options.push((letter, value));
                    break;
                }
            }
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn values_behind_and_inside_options_after_positionals() {
        let parsed = parse(&words("-i 200 eth0 -r5 -q 10.0.0.1 -- -x"), "i:r:q").unwrap();
        assert_eq!(parsed.value('i'), Some("200"));
        assert_eq!(parsed.value('r'), Some("5"));
        assert!(parsed.has('q'));
        assert_eq!(parsed.positionals, ["eth0", "10.0.0.1", "-x"]);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parse(&words("-x"), "i:").unwrap_err(), "invalid option -- 'x'");
        assert_eq!(parse(&words("-i"), "i:").unwrap_err(), "option requires an argument -- 'i'");
        assert_eq!(parse(&words("-:"), "i:").unwrap_err(), "invalid option -- ':'");
        assert_eq!(parse(&words("-ü"), "i:").unwrap_err(), "invalid option -- 'ü'");
    }
}
