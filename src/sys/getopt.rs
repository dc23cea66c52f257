//! Options the way getopt(3) of the C library takes them: short, clustered, between parameters, `--` ends them.
//! The original's tools show its error texts.

/// Command line words sorted out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Options in order, with their argument ("" when they take none).
    pub flags: Vec<(char, String)>,
    /// Everything else in order.
    pub parameters: Vec<String>,
    /// One text per bad option, in order, as the C library words it.
    pub errors: Vec<String>,
}

impl Options {
    /// Sorts `words`. `accepted` lists the letters, each followed by `:` when it takes an argument;
    /// `name` stands in front of the error texts.
    pub fn parse(name: &str, words: &[String], accepted: &str) -> Self {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                options.parameters.extend(words.by_ref().cloned());
            } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                options.cluster(name, letters, accepted, &mut words);
            } else {
                options.parameters.push(word.clone());
            }
        }
        options
    }

    /// Whether the option was given.
    pub fn has(&self, letter: char) -> bool {
        self.flags.iter().any(|(flag, _)| *flag == letter)
    }

    /// The argument of the last such option.
    pub fn argument(&self, letter: char) -> Option<&str> {
        self.flags.iter().rev().find(|(flag, _)| *flag == letter).map(|(_, argument)| argument.as_str())
    }

    fn cluster<'w>(
        &mut self,
        name: &str,
        letters: &str,
        accepted: &str,
        words: &mut impl Iterator<Item = &'w String>,
    ) {
        for (place, letter) in letters.char_indices() {
            let known = (letter != ':').then(|| accepted.find(letter)).flatten();
            let Some(known) = known else {
                self.errors.push(format!("{name}: invalid option -- '{letter}'"));
                continue;
            };
            if accepted[known..].chars().nth(1) != Some(':') {
                self.flags.push((letter, String::new()));
                continue;
            }
            let rest = &letters[place + letter.len_utf8()..];
            let argument = if rest.is_empty() { words.next().cloned() } else { Some(rest.to_owned()) };
            match argument {
                Some(argument) => self.flags.push((letter, argument)),
                None => self.errors.push(format!("{name}: option requires an argument -- '{letter}'")),
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str], accepted: &str) -> Options {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Options::parse("tool", &words, accepted)
    }

    #[test]
    fn options_between_parameters_and_in_clusters() {
        let options = parse(&["a", "-mv", "b", "-pvalue", "--", "-m"], "mvp:");
        assert_eq!(options.parameters, ["a", "b", "-m"]);
        assert!(options.has('m') && options.has('v'));
        assert_eq!(options.argument('p'), Some("value"));
        assert_eq!(parse(&["-p", "-x"], "p:").argument('p'), Some("-x"));
        assert_eq!(parse(&["-"], "m").parameters, ["-"]);
    }

    #[test]
    fn errors_read_as_the_c_library_writes_them() {
        assert_eq!(parse(&["-z"], "m").errors, ["tool: invalid option -- 'z'"]);
        assert_eq!(parse(&["-p"], "p:").errors, ["tool: option requires an argument -- 'p'"]);
        assert_eq!(parse(&["-:"], "p:").errors, ["tool: invalid option -- ':'"]);
        assert_eq!(parse(&["--foo"], "m").errors[0], "tool: invalid option -- '-'");
    }
}
