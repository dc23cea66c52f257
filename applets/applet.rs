//! What an applet is: names, one line of help, argument definition, run function.

use std::ffi::OsString;

/// How an applet was called.
pub struct Invocation {
    /// `argv[0]` as given when called through a link (`/usr/share/heartbeat/hb_standby`), else the
    /// applet's name. The original's usage texts show it.
    pub called_as: String,
    /// Arguments behind the applet's name.
    pub arguments: Vec<OsString>,
}

impl Invocation {
    /// The arguments as text; what is not UTF-8 is shown with replacement characters.
    pub fn words(&self) -> Vec<String> {
        self.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }
}

/// One entry of THE TABLE in `main.rs`.
#[derive(Clone, Copy)]
pub struct Applet {
    /// The first is the main name; all get links.
    pub names: &'static [&'static str],
    /// One line for the list.
    pub summary: &'static str,
    /// Argument definition for help and completion. A legacy applet parses its arguments itself,
    /// to the letter of the original; the definition then only describes them.
    pub definition: fn() -> clap::Command,
    /// Runs it; the value is the exit code.
    pub run: fn(&Invocation) -> u8,
}

/// The arguments of an applet of ours by its definition; an error is the exit code, and was said.
pub fn matches_of(
    definition: clap::Command,
    called_as: &str,
    invocation: &Invocation,
) -> Result<clap::ArgMatches, u8> {
    let words = std::iter::once(called_as.into()).chain(invocation.arguments.iter().cloned());
    definition.bin_name(called_as).try_get_matches_from(words).map_err(|error| {
        // nothing can be done about a closed terminal
        let _ = error.print();
        error.exit_code() as u8
    })
}
