//! Beside Debian's agent (resource-agents 4.12).

use std::cell::RefCell;
use std::fs;
use std::process::Command;

use super::world::{in_namespace, Holder, World};
use crate::beside::{Beside, Difference, Form, Whose};

const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "umount",
        why: "umount(8) is not run; what it would print is in the log",
        debian: "err: umount: ",
        ours: "log: ERROR: umount: ",
    },
    Difference {
        name: "mount",
        why: "mount(8) is not run; why the kernel refused is in the log",
        debian: "err: mount: ",
        ours: "log: ERROR: mount: ",
    },
    Difference {
        name: "dmesg",
        why: "an advice of mount(8)",
        debian: "err:        dmesg(1) may have more information",
        ours: "",
    },
    Difference {
        name: "modprobe",
        why: "its output is not shown",
        debian: "err: modprobe: FATAL: Module ",
        ours: "",
    },
    Difference {
        name: "no such label",
        why: "as above, with a text of our own",
        debian: "err: mount: ",
        ours: "log: ERROR: no device has label",
    },
    Difference {
        name: "mount failed",
        why: "the text of 3.9, which CentOS 6 and 7 have",
        debian: "err: ocf-exit-reason:Couldn't mount device ",
        ours: "err: ocf-exit-reason:Couldn't mount filesystem ",
    },
    Difference {
        name: "mount failed, logged",
        why: "the same in the log",
        debian: "log: ERROR: Couldn't mount device ",
        ours: "log: ERROR: Couldn't mount filesystem ",
    },
    Difference {
        name: "process",
        why: "each of the two ends a process of its own",
        debian: "log: INFO: sending signal TERM to: ",
        ours: "log: INFO: sending signal TERM to: ",
    },
];

const OCF_DIFFERENCES: &[Difference] = &[
    Difference {
        name: "umount with TERM",
        why: "umount(8) is not run; what it would print is in the log",
        debian: "err: umount: ",
        ours: "log: ERROR: umount: ",
    },
    Difference {
        name: "umount with KILL",
        why: "as above",
        debian: "err: umount: ",
        ours: "log: ERROR: umount: ",
    },
    Difference {
        name: "status file",
        why: "dd(1) is not run",
        debian: "log: ERROR: dd said: ",
        ours: ": Read-only file system (os error ",
    },
];

/// Calls both; `reset` runs between them, after the state was looked at.
fn same(world: &World, both: &Beside, arguments: &[&str], reset: impl Fn()) -> Option<i32> {
    both.same(Form::Class(arguments), |whose| {
        let state = format!("{:?}", world.mounted("data"));
        if whose == Whose::Debian {
            reset();
        }
        vec![state]
    })
}

#[test]
fn by_the_ocf_interface_too() {
    in_namespace("filesystem::compare::by_the_ocf_interface_too", |world| {
        let Some(both) = Beside::new("Filesystem", OCF_DIFFERENCES) else { return };
        let Some(device) = world.new_device("ext4") else { return };
        let data = world.text("data");
        let call = |action, more: &[(&'static str, &'static str)]| {
            let words = [("device", device.as_str()), ("directory", &data), ("fstype", "ext4")];
            let parameters: Vec<(&str, &str)> = words
                .into_iter()
                .filter(|(name, _)| !more.contains(&(name, "")))
                .chain(more.iter().copied())
                .collect();
            both.same(Form::Ocf(action, &parameters), |_| vec![format!("{:?}", world.mounted("data"))])
        };
        assert_eq!(call("validate-all", &[]), Some(0));
        assert_eq!(call("monitor", &[]), Some(7));
        assert_eq!(call("status", &[]), Some(7));
        assert_eq!(call("start", &[("device", "")]), Some(6));
        assert_eq!(call("start", &[("directory", "")]), Some(6));
        world.expect(&[&device, &data, "ext4", "start"], 0);
        assert_eq!(call("start", &[("run_fsck", "no")]), Some(0));
        assert_eq!(call("status", &[]), Some(0));
        for (level, code) in [("0", 0), ("10", 0), ("20", 0), ("30", 6)] {
            assert_eq!(call("monitor", &[("OCF_CHECK_LEVEL", level)]), Some(code));
        }
        let remount = ["-o", "remount,ro", &data];
        assert!(Command::new("mount").args(remount).status().unwrap().success());
        assert_eq!(call("monitor", &[("OCF_CHECK_LEVEL", "20")]), Some(1));
        // Nobody may be ended: both give up after one round of each signal.
        let _holder = Holder::in_directory(&world.path("data"));
        let patient = [("force_unmount", "false"), ("fast_stop", "no"), ("CRM_meta_timeout", "2000")];
        assert_eq!(call("stop", &patient), Some(1));
    });
}

#[test]
fn debians_agent_says_and_does_the_same() {
    in_namespace("filesystem::compare::debians_agent_says_and_does_the_same", |world| {
        let Some(both) = Beside::new("Filesystem", DIFFERENCES) else { return };
        let Some(device) = world.new_device("ext4") else { return };
        let (device, data) = (device.as_str(), world.text("data"));
        let data = data.as_str();
        let nothing = || ();
        let call = |arguments: &[&str], reset: &dyn Fn()| same(world, &both, arguments, reset);
        let wrong: [&[&str]; 5] =
            [&[], &["start"], &["a", "start"], &[device, data, "usage"], &[device, data, "fly"]];
        for arguments in wrong {
            assert_eq!(call(arguments, &nothing), Some(1));
        }
        let words = |operation| [device, data, "ext4", operation];
        let unmount = || world.expect(&words("stop"), 0);
        let mount = || world.expect(&words("start"), 0);
        for (operation, code) in [("status", 7), ("monitor", 7), ("stop", 0)] {
            assert_eq!(call(&words(operation), &nothing), Some(code));
        }
        assert_eq!(call(&words("start"), &unmount), Some(0));
        for operation in ["start", "status", "monitor"] {
            assert_eq!(call(&words(operation), &nothing), Some(0));
        }
        assert_eq!(call(&words("stop"), &mount), Some(0));
        // Each ends a process that holds it.
        mount();
        let first = Holder::in_directory(&world.path("data"));
        let second = RefCell::new(None);
        let hold_again = || {
            mount();
            *second.borrow_mut() = Some(Holder::in_directory(&world.path("data")));
        };
        assert_eq!(call(&words("stop"), &hold_again), Some(0));
        drop(first);
        // What does not work.
        for operation in ["start", "status"] {
            call(&["/dev/no such device", data, "ext4", operation], &nothing);
        }
        assert_eq!(call(&[device, data, "xfs", "start"], &nothing), Some(1));
        assert_eq!(call(&[device, data, "ext4", "no_such_option", "start"], &nothing), Some(1));
        assert_eq!(call(&["-Lno_such_label", data, "ext4", "start"], &nothing), Some(1));
        assert_eq!(call(&[device, data, "no_such_type", "start"], &nothing), Some(5));
        // A directory; with `bind,ro` Debian's fails on a busy file system, and else makes all of it read-only.
        fs::create_dir(world.path("source")).unwrap();
        let source = world.text("source");
        let bind = |operation| [source.as_str(), data, "none", "bind", operation];
        assert_eq!(call(&bind("start"), &|| world.expect(&bind("stop"), 0)), Some(0));
        assert_eq!(call(&bind("status"), &nothing), Some(0));
        assert_eq!(call(&bind("stop"), &|| world.expect(&bind("start"), 0)), Some(0));
    });
}
