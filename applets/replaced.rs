//! Programs of cluster-glue that have no work here: each says what to use instead.

use clap::{Arg, Command};

use crate::applet::{Applet, Invocation};

/// Exit code: not done.
const NOT_DONE: u8 = 1;

/// Table entry of `lrmadmin`.
pub const LRMADMIN: Applet =
    Applet { names: &["lrmadmin"], summary: "Says what to use instead", definition, run };
/// Table entry of `cibsecret`.
pub const CIBSECRET: Applet =
    Applet { names: &["cibsecret"], summary: "Says what to use instead", definition, run };

/// What each of them answers.
const ANSWERS: [(&str, &str); 2] = [
    (
        "lrmadmin",
        "there is no local resource manager (lrmd) here: heartbeat runs what /etc/ha.d/haresources names.\n\
         Use `ha status` to see what runs where, `/etc/ha.d/resource.d/NAME ... status` to ask a resource,\n\
         `hb_standby` and `hb_takeover` to move resources.",
    ),
    (
        "cibsecret",
        "there is no cluster information base (CIB) here that could hold secrets.\n\
         Put the parameters of a fencing device into a file of mode 600 and name it in /etc/ha.d/ha.cf\n\
         (`stonith TYPE FILE`), or use `stonith -F FILE` by hand.",
    ),
];

fn definition() -> Command {
    Command::new("replaced").arg(Arg::new("word").value_name("word").num_args(0..).help("Not looked at"))
}

fn run(invocation: &Invocation) -> u8 {
    let name = invocation.called_as.rsplit('/').next().unwrap_or_default();
    for (_, answer) in ANSWERS.iter().filter(|(known, _)| *known == name) {
        eprintln!("{name}: {answer}");
    }
    NOT_DONE
}
