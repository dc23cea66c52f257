//! Every verb of every agent that Debian has too, rightly and wrongly asked for: the same exit code, or a
//! row of [`RULES`]. The pages of the agents have what they do; this is how they are called.

use std::process::Command;

use crate::beside::{Beside, Form, Whose};
use crate::inside::in_namespaces;

/// The agents, arguments that their script takes, and parameters that make them quick.
const AGENTS: &[(&str, &[&str], &[(&str, &str)])] = &[
    ("apache", &["/nonexistent"], &[]),
    ("AudibleAlarm", &["other"], &[]),
    ("Delay", &["0", "0"], &[("startdelay", "0"), ("stopdelay", "0"), ("mondelay", "0")]),
    ("Filesystem", &["/dev/null", "/nonexistent", "ext4"], &[]),
    ("IPaddr", &["192.168.77.9"], &[]),
    ("IPaddr2", &["192.168.77.9"], &[]),
    ("IPsrcaddr", &["192.168.77.9"], &[]),
    ("IPv6addr", &["2001:db8::9"], &[]),
    ("LinuxSCSI", &["9:0:10"], &[]),
    ("LVM", &["none"], &[]),
    ("MailTo", &["a@b"], &[]),
    ("portblock", &["tcp", "80", "block"], &[]),
    ("Raid1", &["/nonexistent", "/dev/null"], &[]),
    ("SendArp", &["192.168.77.9/v0"], &[]),
    ("WinPopup", &["/nonexistent"], &[]),
    ("Xinetd", &["none"], &[]),
];

/// Where ours exits with another code, and why. Agent `*`: any.
const RULES: &[(&str, &str, &str, i32, &str)] = &[
    ("class", "*", "meta-data", 0, "Debian's scripts name it in their usage and do not have it"),
    ("class", "*", "validate-all", -1, "Debian's scripts do not hand it on to the agent, ours do"),
    ("class", "apache", "usage", 1, "as the other scripts"),
    ("ocf", "*", "fly", 3, "the OCF interface has this code for it; Debian's may look at parameters first"),
    ("ocf", "*", "", 3, "as above"),
    ("ocf", "*", "usage", 0, "asking how to use an agent is no mistake"),
    ("ocf", "apache", "status", 7, "an action of every other agent"),
    ("ocf", "IPaddr", "monitor", 6, "as the 3.9 of CentOS 6 and 7: without an address nothing can be said"),
    ("ocf", "IPaddr", "status", 6, "as above"),
    ("ocf", "IPaddr", "stop", 6, "as above"),
    ("ocf", "IPaddr2", "stop", 6, "as above"),
    ("ocf", "SendArp", "monitor", 6, "as above"),
    ("ocf", "SendArp", "status", 6, "as above"),
    ("ocf", "SendArp", "stop", 6, "as above"),
    ("ocf", "WinPopup", "stop", 0, "a stop that fails ends in a reset of the node"),
];

const PROBE: &str = "mount -t proc proc /proc && ip link add v0 type veth peer name v1";

#[test]
fn each_verb_of_each_agent_ends_as_debians() {
    let options = ["--net", "--mount", "--pid", "--fork"];
    in_namespaces("verbs::each_verb_of_each_agent_ends_as_debians", &options, PROBE, || {
        let cable =
            "mount -t proc proc /proc && ip link add v0 type veth peer name v1 && ip link set v0 up && \
                     ip addr add 192.168.77.1/24 dev v0";
        assert!(Command::new("sh").args(["-c", cable]).status().unwrap().success());
        let mut wrong = Vec::new();
        for (name, arguments, quick) in AGENTS {
            let Some(mut pair) = Beside::new(name, &[]) else { return };
            pair.environment.push(("OCF_RESKEY_mondelay".into(), "0".into()));
            let mut check = |kind: &str, verb: &str, form: Form<'_>| {
                let [debian, ours] =
                    [Whose::Debian, Whose::Ours].map(|whose| pair.run(whose, form).code.unwrap_or(-1));
                let allowed = RULES.iter().any(|(of, agent, word, code, _)| {
                    *of == kind
                        && (*agent == "*" || agent == name)
                        && *word == verb
                        && (*code == ours || *code < 0)
                });
                if debian != ours && !allowed {
                    wrong.push(format!("{kind} {name} {verb:?}: {debian} and not {ours}"));
                }
            };
            check("class", "no word", Form::Class(&[]));
            check("class", "nine words", Form::Class(&["a", "b", "c", "d", "e", "f", "g", "h", "fly"]));
            for verb in ["", "status", "usage", "help", "meta-data", "validate-all", "fly"] {
                let words = [*arguments, &[verb]].concat();
                check("class", verb, Form::Class(&words));
            }
            for verb in
                ["", "validate-all", "status", "monitor", "start", "stop", "usage", "meta-data", "fly"]
            {
                check("ocf", verb, Form::Ocf(verb, quick));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(RULES.iter().all(|rule| !rule.4.is_empty()));
    });
}
