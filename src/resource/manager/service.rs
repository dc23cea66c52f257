//! What the daemon asks for one resource of a group that runs: whether it works, to be restarted with
//! what comes after it, to be put back.

use std::net::IpAddr;

use crate::config::haresources::{Group, Resource};
use crate::net::netlink::{Change, Netlink, NetlinkError};
use crate::resource::{address_of, by_hand};
use crate::types::ResourceSet;

use super::{progress, Manager};

/// Exit code of `monitor`: it does not work. Success is 0.
const DOES_NOT_WORK: u8 = 1;
/// Exit code for a resource that haresources no longer has, and for wrong words.
const UNKNOWN: u8 = 2;

impl Manager {
    /// `service VERB KEY INDEX`; `restart` and `restore` end with the outcome line of a job.
    pub(super) fn service(&self, verb: &str, key: &str, index: &str) -> u8 {
        let found = self.groups().find(|group| group.key() == key);
        let place = index.parse::<usize>().ok();
        let (Some(group), Some(at)) = (found, place) else { return UNKNOWN };
        let Some(resource) = group.resources.get(at) else { return UNKNOWN };
        let word = resource.word.as_str();
        let set = self.set_of(group);
        match verb {
            "monitor" => {
                let works = self.runner.log().quietly(|| self.runner.is_active(word));
                // What a person stopped is nobody else's business.
                if works || by_hand::is_stopped(word) || by_hand::is_stopped(key) {
                    0
                } else {
                    DOES_NOT_WORK
                }
            }
            "restart" => {
                let (start_failed, stop_failed) = self.restart(group, at);
                outcome(set, start_failed, stop_failed)
            }
            "restore" => outcome(set, !self.restore(word, address_of(resource)), false),
            _ => UNKNOWN,
        }
    }

    /// Whether a start failed, and whether a stop did; after a start that failed the group is stopped.
    fn restart(&self, group: &Group, at: usize) -> (bool, bool) {
        let rest = Group { resources: group.resources[at..].to_vec(), ..group.clone() };
        if self.runner.give_group(&rest, Vec::new(), &mut |_, _, _| ()).still_active {
            return (true, true);
        }
        // Everything of it was stopped, so nothing is asked before the start: an agent that hangs when it
        // is asked is one of those that are restarted for it.
        self.runner.log().line(&format!("info: Acquiring resource group: {}", rest.text()));
        match rest.resources.iter().find(|resource| !self.runner.start_alone(&resource.word)) {
            None => (false, false),
            Some(Resource { word, .. }) => {
                self.runner.log().line(&format!("CRIT: Giving up resources due to failure of {word}"));
                (true, self.runner.give_group(group, Vec::new(), &mut |_, _, _| ()).still_active)
            }
        }
    }

    /// Puts an address back, with its interface up, and says so to the network; `false` when it is not
    /// there afterwards.
    fn restore(&self, word: &str, address: Option<IpAddr>) -> bool {
        if by_hand::is_stopped(word) {
            return true;
        }
        if let Some(Err(error)) = address.map(set_interface_up) {
            self.runner.log().line(&format!("ERROR: the interface of {word} cannot be set up: {error}"));
        }
        if self.runner.log().quietly(|| self.runner.is_active(word)) {
            self.runner.announce(word) == Some(true)
        } else {
            self.runner.start_alone(word)
        }
    }
}

fn outcome(set: ResourceSet, start_failed: bool, stop_failed: bool) -> u8 {
    let failed = |is: bool| if is { set } else { ResourceSet::NONE };
    let line = format!("outcome start-failed={} stop-failed={}", failed(start_failed), failed(stop_failed));
    u8::from(!progress(&line))
}

/// Sets the interface up on which the address still is; without effect where it is up or nowhere.
fn set_interface_up(address: IpAddr) -> Result<(), NetlinkError> {
    let mut netlink = Netlink::open()?;
    let all = if address.is_ipv4() { netlink.addresses()? } else { netlink.addresses6()? };
    for entry in all.iter().filter(|entry| entry.local == address) {
        if netlink.link_at(entry.interface)?.is_some_and(|link| !link.is_up()) {
            netlink.apply(&[Change::LinkUp(entry.interface)])?;
        }
    }
    Ok(())
}
