//! What the kernel said of addresses, interfaces and routes, asked once each: a thousand addresses of
//! a group are looked up with as many requests as one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use super::netlink::{Address, Link, Netlink, NetlinkError, Route};

/// Answers of one moment. Changes made later do not show.
#[derive(Debug)]
pub struct Snapshot {
    /// For changes, and what was not asked yet.
    pub netlink: Netlink,
    addresses: [Option<Known>; 2],
    links: HashMap<String, Option<Link>>,
    names: HashMap<u32, String>,
    routes: HashMap<(bool, u32), Vec<Route>>,
    broadcasts: HashMap<(u32, IpAddr, u8), Option<Ipv4Addr>>,
}

/// The addresses of a family.
#[derive(Debug)]
struct Known {
    all: Vec<Address>,
    by_address: HashMap<IpAddr, Vec<usize>>,
}

impl Snapshot {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// No netlink socket.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            netlink: Netlink::open()?,
            addresses: [None, None],
            links: HashMap::new(),
            names: HashMap::new(),
            routes: HashMap::new(),
            broadcasts: HashMap::new(),
        })
    }

    /// All addresses of the family of `like`, as [`Netlink::addresses`] has them.
    pub fn addresses(&mut self, like: IpAddr) -> Result<&[Address], NetlinkError> {
        Ok(&self.known(like)?.all)
    }

    /// The entries with this very address.
    pub fn with_address(&mut self, address: IpAddr) -> Result<Vec<Address>, NetlinkError> {
        let known = self.known(address)?;
        let indices = known.by_address.get(&address).map(Vec::as_slice).unwrap_or_default();
        Ok(indices.iter().map(|index| known.all[*index].clone()).collect())
    }

    /// The interface of that name; `None` when there is none.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        if let Some(link) = self.links.get(name) {
            return Ok(link.clone());
        }
        let link = self.netlink.link(name)?;
        self.links.insert(name.to_owned(), link.clone());
        Ok(link)
    }

    /// The interface with that index; `None` when there is none.
    pub fn link_at(&mut self, index: u32) -> Result<Option<Link>, NetlinkError> {
        match self.name(index) {
            name if name.is_empty() => Ok(None),
            name => self.link(&name),
        }
    }

    /// The name of an interface; empty when it is gone.
    pub fn name(&mut self, index: u32) -> String {
        let look = || nix::net::if_::if_indextoname(index).unwrap_or_default().to_string_lossy().into_owned();
        self.names.entry(index).or_insert_with(look).clone()
    }

    /// As [`Netlink::routes`] of that family.
    pub fn routes(&mut self, like: IpAddr, table: u32) -> Result<&[Route], NetlinkError> {
        let key = (like.is_ipv6(), table);
        if !self.routes.contains_key(&key) {
            let routes =
                if like.is_ipv6() { self.netlink.routes6(table)? } else { self.netlink.routes(table)? };
            self.routes.insert(key, routes);
        }
        Ok(self.routes.get(&key).map(Vec::as_slice).unwrap_or_default())
    }

    /// The broadcast address of the interface's first address in that network.
    pub fn known_broadcast(
        &mut self,
        interface: u32,
        ip: IpAddr,
        prefix: u8,
    ) -> Result<Option<Ipv4Addr>, NetlinkError> {
        let IpAddr::V4(address) = ip else { return Ok(None) };
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
        let network = IpAddr::from(Ipv4Addr::from(u32::from(address) & mask));
        if let Some(broadcast) = self.broadcasts.get(&(interface, network, prefix)) {
            return Ok(*broadcast);
        }
        let fits = |address: &&Address| {
            address.interface == interface && address.prefix <= prefix && address.network_contains(ip)
        };
        let found = self.addresses(ip)?.iter().find(fits).and_then(|address| address.broadcast);
        self.broadcasts.insert((interface, network, prefix), found);
        Ok(found)
    }

    fn known(&mut self, like: IpAddr) -> Result<&Known, NetlinkError> {
        let slot = &mut self.addresses[usize::from(like.is_ipv6())];
        if slot.is_none() {
            let all = if like.is_ipv6() { self.netlink.addresses6()? } else { self.netlink.addresses()? };
            let mut by_address: HashMap<IpAddr, Vec<usize>> = HashMap::with_capacity(all.len());
            for (index, address) in all.iter().enumerate() {
                by_address.entry(address.local).or_default().push(index);
            }
            *slot = Some(Known { all, by_address });
        }
        Ok(slot.get_or_insert_with(|| Known { all: Vec::new(), by_address: HashMap::new() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_remembered() {
        let mut snapshot = Snapshot::open().unwrap();
        let link = snapshot.link("lo").unwrap().unwrap();
        assert_eq!(snapshot.name(link.index), "lo");
        assert_eq!(snapshot.link_at(link.index).unwrap(), Some(link));
        assert_eq!(snapshot.link("no such interface").unwrap(), None);
        assert_eq!(snapshot.link_at(u32::MAX).unwrap(), None);
        let all = snapshot.addresses(Ipv4Addr::LOCALHOST.into()).unwrap().to_vec();
        for address in all {
            assert!(snapshot.with_address(address.local).unwrap().contains(&address));
        }
        assert_eq!(snapshot.known_broadcast(0, "192.0.2.1".parse().unwrap(), 24).unwrap(), None);
    }
}
