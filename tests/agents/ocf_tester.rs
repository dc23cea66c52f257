//! Debian's `ocf-tester` (resource-agents) on our agents: each is called some twenty-five times, by its
//! path in the place of the original's. LVM, Raid1 and LinuxSCSI need whole machines:
//! `tests/machines/run ocf-tester`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::inside::{in_namespaces, in_network, ip};
use crate::skip;

const TESTER: &str = "/usr/sbin/ocf-tester";

/// A folder that everybody may read, with our program as each agent in it.
struct Place {
    directory: tempfile::TempDir,
    programs: PathBuf,
}

impl Place {
    /// `None` where something is missing, which is told.
    fn new() -> Option<Self> {
        if !Path::new(TESTER).exists() || Command::new("xmllint").arg("--version").output().is_err() {
            skip::skip_without_privilege("resource-agents (ocf-tester) or xmllint is not installed");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let place = Self { programs: directory.path().join("bin"), directory };
        fs::create_dir_all(place.agents()).unwrap();
        fs::create_dir(&place.programs).unwrap();
        fs::create_dir(place.directory.path().join("state")).unwrap();
        // It asks for the meta-data as another user too.
        fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_ha"), place.programs.join("ha")).unwrap();
        Some(place)
    }

    fn agents(&self) -> PathBuf {
        self.directory.path().join("ocf/resource.d/heartbeat")
    }

    fn program(&self, name: &str, body: &str) {
        let path = self.programs.join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The agent passes with these parameters.
    fn passes(&self, agent: &str, parameters: &[(&str, &str)]) {
        let path = self.agents().join(agent);
        std::os::unix::fs::symlink(self.programs.join("ha"), &path).unwrap();
        let mut command = Command::new(TESTER);
        command.args(["-n", "tested"]);
        for (name, value) in parameters {
            command.arg("-o").arg(format!("{name}={value}"));
        }
        let state = self.directory.path().join("state");
        command.arg(&path).stdin(Stdio::null()).env("OCF_ROOT", "/usr/lib/ocf");
        command.env("HA_RSCTMP", &state).env("HA_VARRUN", &state).env("HA_LOGFILE", state.join("log"));
        command.env("PATH", format!("{}:{}", self.programs.display(), std::env::var("PATH").unwrap()));
        command.env_remove("HA_LOGFACILITY").env_remove("OCF_RESOURCE_INSTANCE");
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let log = fs::read_to_string(state.join("log")).unwrap_or_default();
        assert!(output.status.success(), "{agent}: {}{}\n{log}", text[0], text[1]);
        assert!(text[0].ends_with("passed all tests\n"), "{agent}: {}{}", text[0], text[1]);
        assert!(!text[0].contains("* rc="), "{agent}: {}", text[0]);
    }
}

#[test]
fn agents_of_the_network() {
    in_network("ocf_tester::agents_of_the_network", || {
        let Some(place) = Place::new() else { return };
        ip("route add default via 192.168.77.254");
        ip("addr add 192.168.77.60/24 dev v0");
        place.passes("IPaddr", &[("ip", "192.168.77.50"), ("nic", "v0")]);
        place.passes("IPaddr2", &[("ip", "192.168.77.51"), ("cidr_netmask", "24"), ("nic", "v0")]);
        place.passes("IPv6addr", &[("ipv6addr", "2001:db8:77::52"), ("cidr_netmask", "64"), ("nic", "v0")]);
        place.passes("IPsrcaddr", &[("ipaddress", "192.168.77.60")]);
        place.passes("SendArp", &[("ip", "192.168.77.60"), ("nic", "v0")]);
        place.passes("portblock", &[("protocol", "tcp"), ("portno", "8080"), ("action", "block")]);
        let unblock = [("protocol", "tcp"), ("portno", "8081"), ("action", "unblock"), ("ip", "::/0")];
        fs::remove_file(place.agents().join("portblock")).unwrap();
        place.passes("portblock", &unblock);
    });
}

#[test]
fn agents_that_tell_somebody() {
    let Some(place) = Place::new() else { return };
    for name in ["sendmail", "smbclient", "nmblookup"] {
        place.program(name, "cat >/dev/null");
    }
    let hosts = place.directory.path().join("hosts");
    fs::write(&hosts, "one\n").unwrap();
    place.passes("Delay", &[("startdelay", "0"), ("stopdelay", "0"), ("mondelay", "0")]);
    place.passes("MailTo", &[("email", "a@b"), ("subject", "S")]);
    place.passes("WinPopup", &[("hostfile", hosts.to_str().unwrap())]);
    place.passes("AudibleAlarm", &[("nodelist", "other")]);
}

#[test]
fn a_file_system() {
    let probe = "D=$(losetup -f) && [ -b $D ] && mount -t tmpfs x /mnt";
    in_namespaces("ocf_tester::a_file_system", &["--mount", "--propagation", "private"], probe, || {
        let Some(place) = Place::new() else { return };
        let image = place.directory.path().join("image");
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        assert!(Command::new("mkfs.ext4").arg("-q").arg(&image).status().unwrap().success());
        // What is mounted is not below the folder that the end of the test empties.
        assert!(Command::new("mount").args(["-t", "tmpfs", "x", "/mnt"]).status().unwrap().success());
        let file = image.to_str().unwrap();
        place.passes(
            "Filesystem",
            &[("device", file), ("directory", "/mnt/data"), ("fstype", "ext4"), ("options", "loop")],
        );
    });
}

#[test]
fn a_web_server() {
    if !Path::new("/usr/sbin/apache2").exists() {
        return skip::skip_without_privilege("apache2 is not installed");
    }
    let probe = "ip link set lo up && id -u www-data";
    in_namespaces("ocf_tester::a_web_server", &["--net"], probe, || {
        let Some(place) = Place::new() else { return };
        ip("link set lo up");
        let root = place.directory.path().join("site");
        fs::create_dir_all(root.join("htdocs")).unwrap();
        let (modules, root) = ("/usr/lib/apache2/modules", root.display());
        let text = format!(
            "ServerRoot \"{root}\"\nServerName test\nPidFile {root}/pid\nErrorLog {root}/error\nUser www-data\n\
             Group www-data\nListen 127.0.0.1:8080\nDocumentRoot {root}/htdocs\nMutex file:{root}\n\
             LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
             LoadModule authz_core_module {modules}/mod_authz_core.so\n"
        );
        let file = place.directory.path().join("httpd.conf");
        fs::write(&file, text).unwrap();
        place.passes("apache", &[("configfile", file.to_str().unwrap())]);
    });
}

#[test]
fn a_service_of_xinetd() {
    let probe = "mount -t proc proc /proc && mkdir -p /etc/xinetd.d && mount -t tmpfs none /etc/xinetd.d";
    in_namespaces("ocf_tester::a_service_of_xinetd", &["--mount", "--pid", "--fork"], probe, || {
        assert!(Command::new("sh").args(["-c", probe]).status().unwrap().success());
        let Some(place) = Place::new() else { return };
        fs::copy("/bin/sh", place.programs.join("xinetd")).unwrap();
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP").arg(place.programs.join("xinetd"));
        let mut daemon = command.args(["-c", "trap : HUP; while :; do sleep 0.02; done"]).spawn().unwrap();
        fs::write("/etc/xinetd.d/echo", "service echo\n{\n\tdisable\t= yes\n}\n").unwrap();
        place.passes("Xinetd", &[("service", "echo")]);
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    });
}
