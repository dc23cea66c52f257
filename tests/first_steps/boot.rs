//! `ha install --enable`: the boot starts it, and after `ha uninstall` nothing tells that it did.

use std::fs;
use std::path::Path;

use crate::common::binary;
use crate::install::{place, system};
use crate::traces::{ha, said, tree, with_own_mounts};

#[test]
fn run_levels_of_another_system() {
    for levels in ["etc", "etc/rc.d"] {
        let root = system("sysv");
        let top = root.path();
        fs::remove_dir(top.join("etc/rc3.d")).expect("empty");
        for level in ["0", "1", "2", "3", "4", "5", "6"] {
            fs::create_dir_all(top.join(format!("{levels}/rc{level}.d"))).expect("folder");
        }
        let before = tree(top);
        let planned = ha(&["install", "--root", place(&root), "--enable", "--dry-run"]);
        assert_eq!(planned.status.code(), Some(0), "{}", said(&planned));
        assert!(said(&planned).contains(&format!("/{levels}/rc3.d/S75heartbeat -> /etc/init.d/heartbeat\n")));
        assert_eq!(tree(top), before, "a dry run changed something");
        assert_eq!(ha(&["install", "--root", place(&root)]).status.code(), Some(0));
        let output = ha(&["install", "--root", place(&root), "--enable"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        for link in
            ["rc2.d/S75", "rc3.d/S75", "rc4.d/S75", "rc5.d/S75", "rc0.d/K05", "rc1.d/K05", "rc6.d/K05"]
        {
            let target = fs::read_link(top.join(format!("{levels}/{link}heartbeat"))).expect(link);
            assert_eq!(target, Path::new("/etc/init.d/heartbeat"), "{link}");
        }
        let installed = tree(top);
        let again = ha(&["install", "--root", place(&root), "--enable"]);
        assert_eq!(again.status.code(), Some(0), "{}", said(&again));
        assert_eq!(tree(top), installed);
        let would = said(&ha(&["uninstall", "--root", place(&root), "--dry-run"]));
        assert_eq!(would.matches("rc3.d/S75heartbeat").count(), 1, "{would}");
        let removed = ha(&["uninstall", "--root", place(&root)]);
        assert_eq!(removed.status.code(), Some(0), "{}", said(&removed));
        assert_eq!(tree(top), before);
    }
}

#[test]
fn systemd_of_another_system() {
    let root = system("systemd");
    let before = tree(root.path());
    let output = ha(&["install", "--root", place(&root), "--enable"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let link = root.path().join("etc/systemd/system/multi-user.target.wants/heartbeat.service");
    assert_eq!(fs::read_link(link).expect("link"), Path::new("/etc/systemd/system/heartbeat.service"));
    assert!(said(&output).contains("systemctl start heartbeat"), "{}", said(&output));
    let removed = ha(&["uninstall", "--root", place(&root)]);
    assert_eq!(removed.status.code(), Some(0), "{}", said(&removed));
    assert_eq!(tree(root.path()), before);
}

#[test]
fn a_choice_that_was_made_by_hand_stays() {
    let root = system("sysv");
    let link = root.path().join("etc/rc3.d/S99heartbeat");
    std::os::unix::fs::symlink("../init.d/heartbeat", &link).expect("link");
    let output = ha(&["install", "--root", place(&root), "--enable"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(link.is_symlink() && !root.path().join("etc/rc3.d/S75heartbeat").is_symlink());
}

#[test]
fn nothing_is_done_where_nothing_starts_scripts() {
    let root = system("sysv");
    fs::remove_dir(root.path().join("etc/rc3.d")).expect("empty");
    let before = tree(root.path());
    let output = ha(&["install", "--root", place(&root), "--enable"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("run levels") && said(&output).contains("nothing was done"));
    assert_eq!(tree(root.path()), before);
}

/// This machine's tree below memory, `$1/all`; `$2` is the program. `installed` runs between.
fn in_own_system(installed: &str) -> Option<String> {
    let script = format!(
        "mount -t tmpfs none \"$1\" && mkdir \"$1/up\" \"$1/work\" \"$1/all\" || exit 77\n\
         mount -t overlay -o lowerdir=/,upperdir=\"$1/up\",workdir=\"$1/work\" none \"$1/all\" || exit 77\n\
         mount -t proc proc \"$1/all/proc\" || exit 77\n\
         cp \"$2\" \"$1/all/ha-file\" && mknod \"$1/all/dev/null\" c 1 3 || exit 77\n\
         rm -f \"$1\"/all/etc/init.d/heartbeat \"$1\"/all/etc/rc?.d/???heartbeat \"$1\"/all/etc/logrotate.d/heartbeat\n\
         inside() {{ chroot \"$1/all\" /bin/sh -c \"$2\"; }}\n\
         state() {{ (cd \"$1/all\" && find etc sbin/ usr/sbin usr/local var/lib/heartbeat ! -name .pwd.lock \
           -printf '%p %y %l\\n' | sort); }}\n\
         {installed}"
    );
    let folder = tempfile::tempdir().expect("folder");
    let output = with_own_mounts(&script, &[folder.path(), binary()])?;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    Some(said(&output))
}

/// The tool of the test's own notes how it is called, makes what Red Hat's makes, and fails on demand.
const CHKCONFIG: &str = "rm -f \"$1/all/usr/sbin/update-rc.d\"\n\
    mkdir -p \"$1/all/sbin\" \"$1/all/etc/rc3.d\" \"$1/all/etc/init.d\"\n\
    cat >\"$1/all/sbin/chkconfig\" <<'END'\n\
    #!/bin/sh\n\
    echo \"$*\" >>/calls\n\
    [ -x /etc/init.d/heartbeat ] || exit 9\n\
    case $* in\n\
    '--add heartbeat') ln -s ../init.d/heartbeat /etc/rc3.d/K05heartbeat; echo kept >/etc/init.d/.kept ;;\n\
    'heartbeat on') [ ! -e /fails ] || { echo no such level; exit 1; }\n\
    mv /etc/rc3.d/K05heartbeat /etc/rc3.d/S75heartbeat ;;\n\
    '--del heartbeat') rm -f /etc/rc3.d/???heartbeat /etc/init.d/.kept ;;\n\
    esac\n\
    END\n\
    chmod 755 \"$1/all/sbin/chkconfig\"; : >\"$1/all/calls\"\n";

#[test]
fn the_systems_own_tool_is_asked_where_there_is_one() {
    let installed = format!(
        "{CHKCONFIG}\
         state \"$1\" >\"$1/before\"\n\
         inside \"$1\" '/ha-file install --prefix /usr/local/heartbeat --service sysv --enable --dry-run' || exit 1\n\
         state \"$1\" | cmp - \"$1/before\" || exit 1\n\
         inside \"$1\" '/ha-file install --prefix /usr/local/heartbeat --service sysv --enable' || exit 1\n\
         inside \"$1\" '[ -L /etc/rc3.d/S75heartbeat ] && [ -e /etc/init.d/.kept ]' || exit 1\n\
         inside \"$1\" '/ha-file install --prefix /usr/local/heartbeat --service sysv --enable' || exit 1\n\
         inside \"$1\" '/usr/local/heartbeat/sbin/ha uninstall' || exit 1\n\
         state \"$1\" | diff \"$1/before\" - || exit 1\n\
         tr '\\n' ';' <\"$1/all/calls\"\n"
    );
    let Some(text) = in_own_system(&installed) else { return };
    assert!(
        text.contains("would run /sbin/chkconfig --add heartbeat && /sbin/chkconfig heartbeat on\n"),
        "{text}"
    );
    assert!(text.contains("--add heartbeat;heartbeat on;--del heartbeat;"), "{text}");
    assert_eq!(text.matches("heartbeat on;").count(), 1, "{text}");
}

#[test]
fn a_tool_that_refuses_takes_everything_back() {
    let installed = format!(
        "{CHKCONFIG}: >\"$1/all/fails\"\nstate \"$1\" >\"$1/before\"\n\
         inside \"$1\" '/ha-file install --prefix /usr/local/heartbeat --service sysv --enable' && exit 1\n\
         state \"$1\" | diff \"$1/before\" - || exit 1\n"
    );
    let Some(text) = in_own_system(&installed) else { return };
    assert!(text.contains("ended with 1: no such level; everything was taken back"), "{text}");
}

#[test]
fn debians_tool() {
    let here = Path::new("/usr/sbin/update-rc.d").exists() && Path::new("/etc/rc3.d").is_dir();
    if !here {
        return crate::common::skip::skip("there is no update-rc.d here");
    }
    let installed = "state \"$1\" >\"$1/before\"\n\
        inside \"$1\" '/ha-file install --prefix /usr/local/heartbeat --service sysv --enable' || exit 1\n\
        inside \"$1\" 'ls /etc/rc3.d/S??heartbeat /etc/rc0.d/K??heartbeat' || exit 1\n\
        inside \"$1\" '/usr/local/heartbeat/sbin/ha uninstall' || exit 1\n\
        inside \"$1\" 'ls /etc/rc?.d/???heartbeat' && exit 1\n\
        state \"$1\" | diff \"$1/before\" - || exit 1\n";
    in_own_system(installed);
}
