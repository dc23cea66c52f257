//! `ha guard`: what the daemon runs as children for its guards, and what a person needs for a lease.
//!
//! A child of the daemon says one line: `yes`, `no` or `failed`, and words.

use std::path::Path;
use std::time::Duration;

use crate::config::haresources::Resource;
use crate::net::interface::Wanted;
use crate::resource;
use crate::sys::print;
use crate::sys::time::monotonic_ms;
use crate::types::lease::LeaseRecord;

use super::address::{ask, Asked};
use super::lease_disk::{boot_id, LeaseDisk, LeaseError, Written};

/// `lease-init PATH NODE NODE`: makes a lease. The value is the exit code.
pub fn lease_init(path: &Path, nodes: [&str; 2], force: bool) -> u8 {
    match LeaseDisk::init(path, nodes[0], nodes[1], force) {
        Ok(disk) => {
            let [first, second] = disk.nodes();
            print::line(&format!("{}: lease of {first} and {second}", path.display()));
            0
        }
        Err(error) => complain(&error),
    }
}

/// `lease-show PATH`: both nodes' words. The value is the exit code.
pub fn lease_show(path: &Path) -> u8 {
    let disk = match LeaseDisk::open_any(path) {
        Ok(disk) => disk,
        Err(error) => return complain(&error),
    };
    let mut code = 0;
    for node in disk.nodes() {
        match disk.word_of(node) {
            Ok(Some(written)) => print::line(&format!("{node}: {}", in_words(&written))),
            Ok(None) => print::line(&format!("{node}: never wrote anything")),
            Err(error) => code = complain(&error),
        }
    }
    code
}

/// `lease PATH NODE OTHER [RECORD]`: writes this node's word, if there is one, then reads both. Says
/// `yes own WORD peer WORD`, a word being `none`, `unreadable` or a record; behind our own record stands
/// how many milliseconds ago its write began, `-` when that was before this boot.
pub fn lease(path: &Path, node: &str, other: &str, record: Option<LeaseRecord>) -> u8 {
    match write_and_read(path, node, other, record) {
        Ok(text) => print::line(&format!("yes {text}")),
        Err(error) => print::line(&format!("failed {error}")),
    }
    0
}

fn write_and_read(
    path: &Path,
    node: &str,
    other: &str,
    record: Option<LeaseRecord>,
) -> Result<String, LeaseError> {
    let disk = LeaseDisk::open(path, node, other)?;
    let own = match record {
        Some(record) => {
            disk.write_word(node, record)?;
            format!("{record} 0")
        }
        None => readable(&disk, node, |written| {
            let age = (written.boot == boot_id())
                .then(|| monotonic_ms().saturating_sub(written.began_ms).to_string());
            format!("{} {}", written.record, age.as_deref().unwrap_or("-"))
        })?,
    };
    let peer = readable(&disk, other, |written| written.record.to_string())?;
    Ok(format!("own {own} peer {peer}"))
}

/// What stands in a node's place, in words: damage there says nothing of the other place.
fn readable(
    disk: &LeaseDisk,
    node: &str,
    in_words: impl Fn(&Written) -> String,
) -> Result<String, LeaseError> {
    match disk.word_of(node) {
        Ok(written) => Ok(written.as_ref().map_or("none".to_owned(), in_words)),
        Err(LeaseError::Damaged { .. }) => Ok("unreadable".to_owned()),
        Err(error) => Err(error),
    }
}

/// `ask WORD...`: whether somebody has an address that these words of haresources stand for. Says `yes`
/// when nobody answered, `no` and who, or `failed` and why.
pub fn ask_addresses(words: &[String], wait: Duration, tcp_port: Option<u16>) -> u8 {
    let wanted: Vec<Wanted> = words.iter().filter_map(|word| wanted_of(word)).collect();
    print::line(&match ask(&wanted, wait, tcp_port) {
        Asked::Free => format!("yes nobody answers for {} addresses", wanted.len()),
        Asked::InUse(who) => format!("no {who}"),
        Asked::Unknown(why) => format!("failed {why}"),
    });
    0
}

/// The address of a word, with the interface and netmask that its agent would use.
fn wanted_of(word: &str) -> Option<Wanted> {
    let resource = Resource::new(word);
    let address = resource::address_of(&resource)?;
    let agent = resource::agent(&resource.script)?;
    let arguments: Vec<&str> = resource.arguments.iter().map(String::as_str).collect();
    let parameters = (agent.from_arguments)(&arguments).ok()?.parameters;
    let text = |name: &str| parameters.get(name).map(str::to_owned).filter(|text| !text.is_empty());
    // A label follows the interface's name after a colon.
    let nic = text("nic").map(|nic| nic.split(':').next().unwrap_or_default().to_owned());
    Some(Wanted { ip: address.to_string(), netmask: text("cidr_netmask"), nic, broadcast: None })
}

fn in_words(written: &Written) -> String {
    let Written { record, boot, began_ms } = written;
    let age = if *boot == boot_id() {
        format!("{} ms ago by this machine's clock", monotonic_ms().saturating_sub(*began_ms))
    } else {
        "on another machine or before its last boot".to_owned()
    };
    let state = match (record.left, record.holds) {
        (true, _) => "has left, holding nothing",
        (false, true) => "runs and holds something",
        (false, false) => "runs and holds nothing",
    };
    let wish = if record.claim == 0 { "" } else { ", wants everything" };
    let LeaseRecord { generation, counter, .. } = record;
    format!("{state}{wish} (generation {generation}, word {counter}, written {age})")
}

fn complain(error: &LeaseError) -> u8 {
    print::error_line(&format!("ha guard: {error}"));
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_haresources_give_interface_and_netmask() {
        let wanted = wanted_of("IPaddr2::10.0.0.5/24/eth1").unwrap();
        assert_eq!((wanted.ip.as_str(), wanted.nic.as_deref()), ("10.0.0.5", Some("eth1")));
        assert_eq!(wanted.netmask.as_deref(), Some("24"));
        assert_eq!(wanted_of("httpd"), None);
    }

    /// What is damaged in one place costs the other nothing.
    #[test]
    fn damage_in_one_place_is_said_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lease");
        LeaseDisk::init(&path, "node1", "node2", false).unwrap();
        let word = LeaseRecord { generation: 3, counter: 1, holds: true, ..LeaseRecord::default() };
        let ask = |node: &str, other: &str, word| write_and_read(&path, node, other, word).unwrap();
        assert_eq!(ask("node1", "node2", None), "own none peer none");
        assert_eq!(ask("node2", "node1", Some(word)), format!("own {word} 0 peer none"));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[3 * 4096..5 * 4096].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(ask("node1", "node2", Some(word)), format!("own {word} 0 peer unreadable"));
        assert!(ask("node2", "node1", None).starts_with("own unreadable peer 3 1 runs holds"));
        assert_eq!(ask("node2", "node1", Some(word)), format!("own {word} 0 peer {word}"));
    }
}
