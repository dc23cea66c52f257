//! Many addresses at once, the small programs beside the original's, agents killed at any moment, and
//! who else has an address.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::inside::{self, ip};
use crate::skip;

const ORIGINAL: &str = "/usr/libexec/heartbeat";

struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn ha(&self, applet: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ha"));
        command.arg(applet).args(arguments).stdin(Stdio::null());
        for name in ["HA_LOGFACILITY", "HA_LOGTAG", "HA_RESOURCEDIR", "HA_LOGD"] {
            command.env_remove(name);
        }
        let place = self.directory.path();
        command.env("HA_DIR", place).env("HA_RSCTMP", place.join("state")).env("HA_CURHOST", "node1");
        command.env("HA_LOGFILE", place.join("log"));
        command
    }

    fn job(&self, work: &str) -> String {
        let output = self.ha("ResourceManager", &["job", work, "all"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn haresources(&self, text: &str) {
        fs::write(self.directory.path().join("haresources"), text).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

fn in_network(test: &str, body: impl FnOnce(&World)) {
    inside::in_network(&format!("many_addresses::{test}"), || {
        body(&World { directory: tempfile::tempdir().unwrap() });
    });
}

fn count(part: &str) -> usize {
    ip("-o addr show").matches(part).count()
}

/// `per_group` addresses in each line.
fn addresses(number: usize, per_group: usize) -> String {
    let word = |index: usize| format!("IPaddr2::10.7.{}.{}/16/v0", index / 250, index % 250 + 1);
    let words: Vec<String> = (0..number).map(word).collect();
    words.chunks(per_group).map(|group| format!("node1 {}\n", group.join(" "))).collect()
}

const DONE: &str = "outcome start-failed=none stop-failed=none\n";

#[test]
fn hundreds_come_and_go_as_a_batch() {
    in_network("hundreds_come_and_go_as_a_batch", |world| {
        world.haresources(&addresses(500, 100));
        let output = world.job("acquire");
        assert!(output.ends_with(DONE), "{output}");
        assert_eq!((output.matches(" active\n").count(), count(" inet 10.7.")), (500, 500));
        let log = world.log();
        assert_eq!(log.matches("INFO: Adding inet address 10.7.").count(), 500);
        assert_eq!(log.matches("IPaddr2 10.7.1.1/16/v0 start").count(), 1, "{log}");
        assert!(world.job("acquire").ends_with(DONE));
        assert_eq!(world.log().matches("INFO: Adding inet address 10.7.").count(), 500);
        // One that somebody took away comes back, the others stay.
        ip("addr del 10.7.1.7/16 dev v0");
        assert!(world.job("acquire").ends_with(DONE));
        assert_eq!(count(" inet 10.7."), 500);
        // An address that is none of ours stays when the kernel drops it with its primary.
        ip("addr add 10.7.200.1/16 dev v0");
        assert!(world.job("release").ends_with(DONE));
        assert_eq!((count(" inet 10.7."), count("10.7.200.1/16")), (1, 1));
        assert!(world.job("release-active").ends_with(DONE));
    });
}

#[test]
fn a_refused_address_stops_its_group_where_the_original_would() {
    in_network("a_refused_address_stops_its_group_where_the_original_would", |world| {
        world.haresources(
            "node1 10.7.0.1/24/v0 10.7.0.2/24/none 10.7.0.3/24/v0\n\
             node1 10.8.0.1/24/v0 IPv6addr::2001:db8:77::9\n",
        );
        let output = world.job("acquire");
        assert!(output.ends_with("outcome start-failed=local stop-failed=none\n"), "{output}");
        assert!(output.contains("resource 10.7.0.1/24/v0 1 10.7.0.2/24/none failed\n"), "{output}");
        assert!(!output.contains("10.7.0.3/24/v0 active"), "{output}");
        assert_eq!((count("10.7.0."), count("10.8.0.1/"), count("2001:db8:77::9/")), (0, 1, 1));
        let log = world.log();
        assert!(log.contains("CRIT: Giving up resources due to failure of 10.7.0.2/24/none\n"), "{log}");
        assert_eq!(log.matches("Unknown interface [none] No such device.").count(), 1, "{log}");
        assert!(world.job("release").ends_with(DONE));
        assert_eq!((count("10.8.0.1/"), count("2001:db8:77::9/")), (0, 0));
    });
}

/// Each of the two waits for the other.
#[test]
fn groups_go_at_the_same_time_where_that_is_asked_for() {
    in_network("groups_go_at_the_same_time_where_that_is_asked_for", |world| {
        let folder = world.directory.path().join("resource.d");
        fs::create_dir(&folder).unwrap();
        let script = "#!/bin/sh\n\
            [ $2 = start ] || exit 0\n\
            touch $HA_DIR/began.$1\n\
            for i in $(seq 100); do [ $(ls $HA_DIR/began.* | wc -l) = 2 ] && exit 0; sleep 0.1; done\n\
            exit 1\n";
        fs::write(folder.join("waits"), script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.join("waits"), mode).unwrap();
        world.haresources("node1 waits::a\nnode1 waits::b\n");
        let mut command = world.ha("ResourceManager", &["job", "acquire", "all"]);
        let output = command.env("HA_parallel_groups", "on").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.ends_with(DONE), "{text}");
        assert!(text.contains("group waits::a done\n") && text.contains("group waits::b done\n"), "{text}");
    });
}

#[test]
fn an_agent_killed_at_any_moment_can_be_run_again() {
    in_network("an_agent_killed_at_any_moment_can_be_run_again", |world| {
        world.haresources(&addresses(200, 100));
        for round in 0..40_u64 {
            let (work, other) = if round % 2 == 0 { ("acquire", "release") } else { ("release", "acquire") };
            assert!(world.job(other).ends_with(DONE));
            let mut command = world.ha("ResourceManager", &["job", work, "all"]);
            let mut child = command.stdout(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_micros(round * 400));
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(world.job(work).ends_with(DONE), "round {round}");
            assert_eq!(count(" inet 10.7."), if round % 2 == 0 { 200 } else { 0 }, "round {round}");
        }
    });
}

#[test]
fn an_address_that_answers_elsewhere_is_started_all_the_same() {
    in_network("an_address_that_answers_elsewhere_is_started_all_the_same", |world| {
        ip("addr add 192.168.77.40/32 dev v1");
        ip("-6 addr add 2001:db8:77::40/128 dev v1 nodad");
        world.haresources("node1 192.168.77.40/24/v0\nnode1 IPv6addr::2001:db8:77::41/64/v0\n");
        assert!(world.job("acquire").ends_with(DONE));
        assert_eq!(count("v0    inet 192.168.77.40/24"), 1, "{}", ip("-o addr show"));
        assert_eq!(count("2001:db8:77::41/64"), 1);
        assert!(world.job("release").ends_with(DONE));
        assert_eq!((count("192.168.77.40/24"), count("192.168.77.40/32")), (0, 1));
    });
}

/// Exit code, standard output and standard error, with the path of the program cut off.
fn seen(output: &Output, program: &str) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(program, "PROGRAM");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn findif_and_send_ua_are_those_of_the_original() {
    in_network("findif_and_send_ua_are_those_of_the_original", |_| {
        if !Path::new(ORIGINAL).join("findif").exists() {
            return skip::skip_without_privilege("no original to compare with");
        }
        let folder = tempfile::tempdir().unwrap();
        let run = |program: &Path, words: &[&str], variables: &[(&str, &str)]| {
            let mut command = Command::new(program);
            command.args(words).stdin(Stdio::null());
            command.envs(variables.iter().map(|(name, value)| (format!("OCF_RESKEY_{name}"), value)));
            seen(&command.output().unwrap(), program.to_str().unwrap())
        };
        let both = |name: &str, words: &[&str], variables: &[(&str, &str)]| {
            let own = folder.path().join(name);
            if !own.exists() {
                std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ha"), &own).unwrap();
            }
            let theirs = run(&Path::new(ORIGINAL).join(name), words, variables);
            assert_eq!(run(&own, words, variables), theirs, "{name} {words:?} {variables:?}");
        };
        let ip_is = ("ip", "192.168.77.9");
        for words in [&[][..], &["-C"], &["-x"], &["-C", "-C"]] {
            both("findif", words, &[]);
            both("findif", words, &[ip_is]);
            both("findif", words, &[ip_is, ("nic", "v1")]);
        }
        for more in [
            ("cidr_netmask", "255.255.0.0"),
            ("cidr_netmask", "33"),
            ("cidr_netmask", "0"),
            ("netmask", "25"),
            ("nic", "none"),
            ("nic", "v0:1"),
            ("broadcast", "xx"),
            ("broadcast", "1.2.3.4"),
        ] {
            both("findif", &["-C"], &[ip_is, more]);
        }
        both("findif", &[], &[("ip", "bad")]);
        ip("route add default via 192.168.77.254");
        for address in ["10.9.9.9", "127.9.9.9"] {
            both("findif", &["-C"], &[("ip", address)]);
        }
        both("findif", &["-C"], &[("ip", "10.9.9.9"), ("cidr_netmask", "8")]);
        for words in [
            &[][..],
            &["-h"],
            &["-i", "1", "-c", "2", "2001:db8:77::1", "64", "v0"],
            &["-i", "1", "-c", "2", "2001:db8:77::5", "64", "v0"],
            &["-i", "1", "-c", "2", "2001:db8:77::1", "64", "none"],
            &["-i", "1", "-c", "1", "zz", "64", "v0"],
            &["-i", "x", "-c", "1", "2001:db8:77::1", "xx", "v0", "extra"],
        ] {
            both("send_ua", words, &[]);
        }
    });
}
