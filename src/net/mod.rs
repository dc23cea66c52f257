//! Addresses, interfaces, netlink, ARP.
