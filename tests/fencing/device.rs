//! The device: an external plugin on the hosts and the test's own hand at the power switch.

use std::time::{Duration, Instant};

use ha_core::demo::host::LOG;
use ha_core::demo::world::{HostKind, World, SERVICE_ADDRESS};

use crate::common;
use crate::common::skip::skip;
use crate::secrets;

/// Where cluster-glue has its plugins, and ours looks first.
const PLUGINS: &str = "/usr/lib/stonith/plugins/external";
const WISH: &str = "/run/fencing-wish";
const DONE: &str = "/run/fencing-done";
/// Every reset that a plugin was asked for on this host, one line each.
const CALLS: &str = "/var/log/fencing-calls";
/// The parameter that nobody may see.
pub(crate) const PASSWORD: &str = "ganz-geheim";

/// The plugin; `MODE` says what it does with a reset.
const PLUGIN: &str = r#"#!/bin/sh
case "$1" in
    getconfignames) echo "hostlist mode password" ;;
    getinfo-devid) echo "power switch of the test" ;;
    gethosts) echo "$hostlist" ;;
    status) [ -n "$password" ] ;;
    reset)
        echo "$2 $mode" >> /var/log/fencing-calls
        case "$mode" in
            good)
                rm -f /run/fencing-done
                echo "$2" > /run/fencing-wish.new && mv /run/fencing-wish.new /run/fencing-wish
                while [ ! -e /run/fencing-done ]; do sleep 0.02; done ;;
            hang) sleep 1000 ;;
            drop) kill -9 $$ ;;
            refuse) echo "access denied"; exit 1 ;;
        esac ;;
    *) exit 1 ;;
esac
"#;

/// Two hosts with a device each that can reset the other.
pub(crate) struct Fenced {
    pub(crate) world: World,
}

impl Fenced {
    /// Powered and configured, no daemon yet. `devices` are the modes, in order; `more` lines of ha.cf.
    pub(crate) fn new(kinds: [HostKind; 2], devices: &[&str], more: &[&str]) -> Option<Self> {
        if !std::path::Path::new(PLUGINS).is_dir() {
            skip("cluster-glue is not installed: there is no folder for external plugins");
            return None;
        }
        let world = common::pair(kinds[0], kinds[1])?;
        let this = Self { world };
        let lines: Vec<String> = devices
            .iter()
            .map(|mode| format!("stonith_host * external/tester node1,node2 {mode} {PASSWORD}"))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let ha_cf = this.world.ha_cf(100, 1000, &lines).replace("initdead 2000ms", "initdead 5");
        let groups = format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0\n");
        this.world.configure(&ha_cf, &groups).expect("configure");
        ["node1", "node2"].iter().for_each(|name| this.plug_in(name));
        Some(this)
    }

    /// Two of ours that run and are settled.
    pub(crate) fn running(devices: &[&str], more: &[&str]) -> Option<Self> {
        let more: Vec<&str> = ["auto_failback off"].iter().chain(more).copied().collect();
        let this = Self::new([HostKind::Ours; 2], devices, &more)?;
        this.start_both();
        common::wait_for(&this.world, "the pair", crate::PATIENCE, || common::is_settled(&this.world));
        Some(this)
    }

    pub(crate) fn start_both(&self) {
        for host in self.world.hosts() {
            host.start_daemon().unwrap_or_else(|error| panic!("{error}\n{}", common::logs(&self.world)));
        }
        let comes = self.world.wait_owner(SERVICE_ADDRESS, "node1", crate::PATIENCE);
        comes.unwrap_or_else(|error| panic!("{error}\n{}", common::logs(&self.world)));
    }

    /// Puts the plugin where a host looks; to be done after each boot.
    pub(crate) fn plug_in(&self, name: &str) {
        let host = self.world.host(name).expect("host");
        let mounted = host.run(&["mount", "-t", "tmpfs", "tmpfs", PLUGINS]).expect("mount");
        assert_eq!(mounted.code, Some(0), "{}", mounted.stderr);
        host.write_file_with_mode(&format!("{PLUGINS}/tester"), PLUGIN, 0o755).expect("plugin");
    }

    /// Gives a host its power, its plugin and its daemon back.
    pub(crate) fn bring_back(&self, name: &str) {
        self.world.boot(name).expect("boot");
        self.plug_in(name);
        self.world.host(name).expect("host").start_daemon().expect("daemon");
    }

    /// Carries out a wish, if a plugin has one: the victim's power is gone before the plugin hears so.
    pub(crate) fn serve(&self) -> Option<&'static str> {
        for asker in ["node1", "node2"] {
            let host = self.world.host(asker).expect("host");
            if !host.is_on() {
                continue;
            }
            let wish = host.read_file(WISH).unwrap_or_default();
            if wish.is_empty() {
                continue;
            }
            let victim = ["node1", "node2"].into_iter().find(|name| *name == wish.trim());
            let victim =
                victim.unwrap_or_else(|| panic!("a wish for '{wish}'\n{}", common::logs(&self.world)));
            assert_ne!(asker, victim, "nobody resets itself");
            if self.world.host(victim).expect("host").is_on() {
                self.world.crash(victim).expect("power off");
            }
            let _ = host.run(&["rm", "-f", WISH]);
            host.write_file(DONE, "").expect("done");
            return Some(victim);
        }
        None
    }

    /// node2 takes over, and not before the reset of node1 was carried out.
    #[track_caller]
    pub(crate) fn is_taken_after_the_reset(&self) {
        let mut served = false;
        common::wait_for(&self.world, "node2 takes over", crate::PATIENCE, || {
            served |= self.serve().is_some();
            let owners = self.world.owners(SERVICE_ADDRESS).expect("owners");
            assert!(served || owners.is_empty(), "taken before anything was reset");
            owners == ["node2"]
        });
    }

    /// Resets that the plugin was asked for on this host.
    pub(crate) fn calls(&self, name: &str) -> Vec<String> {
        let text = self.world.host(name).expect("host").read_file(CALLS).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn log(&self, name: &str) -> String {
        self.world.host(name).expect("host").read_file(LOG).unwrap_or_default()
    }

    pub(crate) fn wait_log(&self, name: &str, text: &str) {
        let end = Instant::now() + crate::PATIENCE;
        while !self.log(name).contains(text) {
            assert!(Instant::now() < end, "{name} does not log '{text}'\n{}", common::logs(&self.world));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether two kernels have the address, looked at so that a move between two looks is none.
    pub(crate) fn two_owners(&self) -> bool {
        let has = |name: &str| {
            let host = self.world.host(name).expect("host");
            host.is_on() && host.addresses().is_ok_and(|list| list.contains(&SERVICE_ADDRESS))
        };
        has("node1") && has("node2") && has("node1") && has("node2")
    }

    /// The secret is nowhere where people and programs look.
    #[track_caller]
    pub(crate) fn keeps_the_secret(&self, name: &str) {
        secrets::is_nowhere(self.world.host(name).expect("host"), PASSWORD);
    }
}
