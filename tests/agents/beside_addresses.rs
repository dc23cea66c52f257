//! The address agents beside Debian's 4.12, in one network namespace: same arguments, same exit code, same
//! kernel state. Where ours follows another rule on purpose it says so beside the step; the pages of the
//! agents list that. Texts are those of the older generation (see `addresses`).

use crate::beside::{Beside, Form, Whose};
use crate::inside::{self, ip};

/// Runs both without comparing lines: exit codes and kernel state count.
fn codes(name: &'static str, calls: &[(Form<'_>, &str)], state: impl Fn() -> String) {
    codes_each(name, calls, state, || ());
}

/// As [`codes`], with something done after each of the two.
fn codes_each(name: &'static str, calls: &[(Form<'_>, &str)], state: impl Fn() -> String, reset: impl Fn()) {
    let Some(beside) = Beside::new(name, &[]) else { return };
    for whose in [Whose::Debian, Whose::Ours] {
        for (form, expected) in calls {
            let seen = beside.run(whose, *form);
            let found = format!("{} {}", seen.code.unwrap_or(-1), state());
            assert_eq!(found.trim(), *expected, "{whose:?} {name} {form:?}: {seen:#?}");
        }
        reset();
    }
}

fn in_network(test: &str, body: impl FnOnce()) {
    inside::in_network(&format!("beside_addresses::{test}"), body);
}

/// The addresses with that text, without flags that only ours have.
fn addresses(part: &str) -> String {
    let found: Vec<String> = ip("-o addr show")
        .lines()
        .filter_map(|line| line.split_whitespace().skip(1).take(3).collect::<Vec<_>>().join(" ").into())
        .filter(|line: &String| line.contains(part))
        .collect();
    found.join(",")
}

#[test]
fn ipaddr2_gives_the_same_codes_and_addresses() {
    in_network("ipaddr2_gives_the_same_codes_and_addresses", || {
        let class = |words: &'static [&'static str]| Form::Class(words);
        let here = "0 v0 inet 192.168.77.5/24";
        codes(
            "IPaddr2",
            &[
                (class(&["192.168.77.5/24/v0:x", "status"]), "7"),
                (class(&["192.168.77.5/24/v0:x", "start"]), here),
                (class(&["192.168.77.5/24/v0:x", "start"]), here),
                (class(&["192.168.77.5/24/v0:x", "status"]), here),
                (class(&["192.168.77.5", "monitor"]), here),
                (class(&["192.168.77.5/25/v0", "status"]), "7 v0 inet 192.168.77.5/24"),
                (class(&["192.168.77.5/24/v0:x", "stop"]), "0"),
                (class(&["192.168.77.5/24/v0:x", "stop"]), "0"),
                (class(&["192.168.77.5", "start"]), here),
                (class(&["192.168.77.5", "stop"]), "0"),
                (class(&["192.168.77.5/24/none", "start"]), "6"),
                (class(&["192.168.77.5/99", "start"]), "6"),
                (class(&["10.9.9.9", "start"]), "1"),
                (class(&["192.168.77.5/24/v0:much_too_long_label", "start"]), "6"),
                (class(&["2001:db8:77::5/64/v0", "start"]), "6"),
                (class(&["2001:db8:77::5/64/v0", "stop"]), "6"),
                (class(&["192.168.77.5", "fly"]), "1"),
                (class(&["192.168.77.5", "usage"]), "0"),
            ],
            || addresses("192.168.77.5/"),
        );
    });
}

#[test]
fn ipaddr2_with_ipv6_gives_the_same_codes_and_addresses() {
    in_network("ipaddr2_with_ipv6_gives_the_same_codes_and_addresses", || {
        const PLAIN: &[(&str, &str)] = &[("ip", "2001:db8:77::5")];
        const PREFIX: &[(&str, &str)] = &[("ip", "2001:db8:77::5"), ("cidr_netmask", "65")];
        const LOCAL: &[(&str, &str)] = &[("ip", "fe80::5"), ("cidr_netmask", "64")];
        const LONG: &[(&str, &str)] = &[("ip", "2001:db8:77::5"), ("cidr_netmask", "129"), ("nic", "v0")];
        let here = "0 v0 inet6 2001:db8:77::5/64";
        codes(
            "IPaddr2",
            &[
                (Form::Ocf("monitor", PLAIN), "7"),
                (Form::Ocf("start", PLAIN), here),
                (Form::Ocf("start", PLAIN), here),
                (Form::Ocf("monitor", PLAIN), here),
                (Form::Ocf("monitor", PREFIX), "7 v0 inet6 2001:db8:77::5/64"),
                (Form::Ocf("stop", PLAIN), "0"),
                (Form::Ocf("stop", PLAIN), "0"),
                (Form::Ocf("start", LOCAL), "6"),
                (Form::Ocf("start", LONG), "6"),
            ],
            || addresses("2001:db8:77::5/"),
        );
    });
}

#[test]
fn ipv6addr_gives_the_same_codes_and_addresses() {
    in_network("ipv6addr_gives_the_same_codes_and_addresses", || {
        let class = |words: &'static [&'static str]| Form::Class(words);
        let here = "0 v0 inet6 2001:db8:77::7/64";
        codes(
            "IPv6addr",
            &[
                (class(&["2001:db8:77::7", "status"]), "7"),
                (class(&["2001:db8:77::7", "start"]), here),
                (class(&["2001:db8:77::7/64/v1", "status"]), here),
                (class(&["2001:db8:77::7", "stop"]), "0"),
                (class(&["2001:db8:77::7", "stop"]), "0"),
                (class(&["2001:db8:98::7", "start"]), "1"),
                (class(&["2001:db8:77::7/65", "start"]), "1"),
                (class(&["2001:db8:77::7/64/none", "start"]), "1"),
                (class(&["2001:db8:77::7/64/none", "stop"]), "0"),
                (class(&["fe80::99", "start"]), "1"),
                (class(&["zz", "start"]), "2"),
                (class(&["zz", "stop"]), "2"),
                (class(&["2001:db8:77::7", "usage"]), "1"),
                (class(&["2001:db8:77::7", "fly"]), "1"),
            ],
            || addresses("2001:db8:77::7/"),
        );
    });
}

#[test]
fn sendarp_gives_the_same_codes() {
    in_network("sendarp_gives_the_same_codes", || {
        let class = |words: &'static [&'static str]| Form::Class(words);
        codes(
            "SendArp",
            &[
                (class(&["192.168.77.9/v0", "status"]), "7"),
                (class(&["192.168.77.9/v0", "start"]), "0"),
                (class(&["192.168.77.9/v0", "start"]), "0"),
                (class(&["192.168.77.9/v0", "status"]), "0"),
                (class(&["192.168.77.9/v0", "stop"]), "0"),
                (class(&["192.168.77.9/v0", "stop"]), "0"),
                (class(&["192.168.77.9/v0", "status"]), "7"),
                (class(&["192.168.77.9/none", "start"]), "0"),
                (class(&["192.168.77.9/none", "stop"]), "0"),
                (class(&["192.168.77.9/v0", "usage"]), "0"),
                (class(&["192.168.77.9/v0", "fly"]), "1"),
                (Form::Ocf("start", &[("ip", "192.168.77.9")]), "6"),
            ],
            String::new,
        );
    });
}

#[test]
fn ipsrcaddr_gives_the_same_codes_and_routes() {
    in_network("ipsrcaddr_gives_the_same_codes_and_routes", || {
        ip("addr add 192.168.77.9/24 dev v0");
        ip("route add default via 192.168.77.254");
        let class = |words: &'static [&'static str]| Form::Class(words);
        let source = || ip("route show default").split(" src ").nth(1).unwrap_or("").trim().to_owned();
        let calls = [
            (class(&["192.168.77.9", "status"]), "7"),
            (class(&["192.168.77.8", "start"]), "5"),
            (class(&["192.168.77.9", "start"]), "0 192.168.77.9"),
            (class(&["192.168.77.9", "start"]), "0 192.168.77.9"),
            (class(&["192.168.77.9", "status"]), "0 192.168.77.9"),
            (class(&["192.168.77.1", "stop"]), "1 192.168.77.9"),
            (class(&["127.0.0.1", "start"]), "6 192.168.77.9"),
            (class(&["zz", "start"]), "6 192.168.77.9"),
            (class(&["zz", "stop"]), "0 192.168.77.9"),
        ];
        let reset = || {
            ip("route replace 192.168.77.0/24 dev v0 proto kernel scope link src 192.168.77.1");
            ip("route replace default via 192.168.77.254");
        };
        codes_each("IPsrcaddr", &calls, source, reset);
        assert!(!ip("route show default").contains("src"));
        // Debian's leaves the network's own source address in the default route; ours leaves none, so
        // that a second stop finds nothing to do.
        let Some(beside) = Beside::new("IPsrcaddr", &[]) else { return };
        assert_eq!(beside.run(Whose::Ours, class(&["192.168.77.9", "start"])).code, Some(0));
        let stop = class(&["192.168.77.9", "stop"]);
        assert_eq!((beside.run(Whose::Ours, stop).code, source()), (Some(0), String::new()));
        assert_eq!(beside.run(Whose::Ours, stop).code, Some(0));
        ip("route add default via 192.168.77.253 metric 7");
        let two = class(&["192.168.77.9", "start"]);
        for whose in [Whose::Debian, Whose::Ours] {
            assert_eq!(beside.run(whose, two).code, Some(1), "{whose:?}");
        }
    });
}
