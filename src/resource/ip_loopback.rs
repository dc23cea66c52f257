//! Addresses that wait on a loopback interface for LVS direct routing: start takes one away from there,
//! stop puts it back (agents spec 2.5).

use std::fs;

use nix::errno::Errno;

use crate::net::netlink::{Address, Change, Netlink};
use crate::net::snapshot::Snapshot;
use crate::net::state;

use super::ip_addr::{scope_of, IpAddr};
use super::ExitCode;

impl IpAddr<'_> {
    /// There is a note of a loopback address to be put back.
    pub(super) fn has_loopback_note(&self) -> bool {
        self.moves_from_loopback() && self.loopback_file.exists()
    }

    /// Takes the address away from loopback interfaces and notes that it was there.
    pub(super) fn free_loopback(&self, snapshot: &mut Snapshot) -> Result<(), ExitCode> {
        let ip = self.checked.ip;
        let all = self.kernel(snapshot.addresses(ip))?.to_vec();
        for address in all.iter().filter(|address| address.local == ip && address.prefix == 32) {
            let name = snapshot.name(address.interface);
            if !name.starts_with("lo") {
                continue;
            }
            self.info(&format!("Removing conflicting loopback {name}."));
            if let Some(directory) = self.loopback_file.parent() {
                // It exists nearly always; writing the note tells if not.
                let _ = fs::create_dir(directory);
            }
            if let Err(error) =
                state::replace(&self.loopback_file, format!("{ip} 32 255.255.255.255 {name}\n").as_bytes())
            {
                let file = self.loopback_file.display();
                return self.fail(&format!("Cannot note the loopback address in {file}: {error}"));
            }
            self.remove(&mut snapshot.netlink, address, &all)?;
            // Most often there is no such route.
            let _ = snapshot.netlink.apply(&[Change::DeleteHostRoute(ip, address.interface)]);
        }
        Ok(())
    }

    /// Puts back what [`Self::free_loopback`] noted.
    pub(super) fn restore_loopback(&self, netlink: &mut Netlink) {
        let Ok(note) = state::read(&self.loopback_file) else { return };
        let note = String::from_utf8_lossy(&note);
        let ip = self.checked.ip;
        let name = match note.split_ascii_whitespace().collect::<Vec<_>>().as_slice() {
            [noted, "32", _, name] if *noted == ip.to_string() && name.starts_with("lo") => {
                (*name).to_owned()
            }
            _ => {
                let file = self.loopback_file.display();
                return self.warn(&format!("{file} does not name a loopback address; left as it is."));
            }
        };
        self.info(&format!("Restoring loopback IP Address {}.", note.trim()));
        let result = netlink.link(&name).and_then(|link| match link {
            Some(link) => {
                let address = Address { scope: scope_of(ip), ..Address::new(link.index, ip, 32) };
                netlink.apply(&[Change::AddAddress(address)]).map(|results| results[0])
            }
            None => Ok(Err(Errno::ENODEV)),
        });
        match result {
            Ok(Ok(()) | Err(Errno::EEXIST)) => {
                // A leftover is overwritten by the next start.
                let _ = fs::remove_file(&self.loopback_file);
            }
            Ok(Err(error)) => self.warn(&format!("{ip} is not back on {name}: {}", error.desc())),
            Err(error) => self.warn(&format!("{ip} is not back on {name}: {error}")),
        }
    }
}
