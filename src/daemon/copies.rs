//! Copies of packets that are known already: our own, heard back on a broadcast medium, and the
//! peer's on its second link. On a pair with two broadcast media they are three of four packets,
//! and say nothing but that their link works; they need no second decoding.

use std::collections::VecDeque;

use crate::types::NodeName;

/// Own packets that are recognised: as many as are sent in one go at the most.
const OWN_MAX: usize = 4;

/// The last packets, byte for byte.
#[derive(Debug, Default)]
pub struct Copies {
    own: VecDeque<Vec<u8>>,
    /// The last packet that was believed, and whose it was. One that is byte for byte the same was
    /// signed by the same hand, and nothing came in between.
    believed: Vec<u8>,
    believed_of: Option<NodeName>,
}

impl Copies {
    /// Notes a packet of ours.
    pub fn sent(&mut self, bytes: &[u8]) {
        let mut space =
            if self.own.len() == OWN_MAX { self.own.pop_front() } else { None }.unwrap_or_default();
        space.clear();
        space.extend_from_slice(bytes);
        self.own.push_back(space);
    }

    /// Notes a packet that was believed.
    pub fn believed(&mut self, bytes: &[u8], node: NodeName) {
        self.believed.clear();
        self.believed.extend_from_slice(bytes);
        self.believed_of = Some(node);
    }

    /// Another packet came, or the keys changed: what was believed last is no longer the last.
    pub fn forget_believed(&mut self) {
        self.believed_of = None;
    }

    /// Whose packet this is a copy of, if of any known; `local` for ours.
    pub fn whose(&self, bytes: &[u8], local: &NodeName) -> Option<NodeName> {
        if self.own.iter().any(|own| own == bytes) {
            return Some(local.clone());
        }
        self.believed_of.clone().filter(|_| self.believed == bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_packets_are_known() {
        let (local, peer) = (NodeName::new("node1").unwrap(), NodeName::new("node2").unwrap());
        let mut copies = Copies::default();
        assert_eq!(copies.whose(b"", &local), None);
        for own in [b"a", b"b", b"c", b"d", b"e"] {
            copies.sent(own);
        }
        assert_eq!(copies.whose(b"a", &local), None);
        assert_eq!(copies.whose(b"e", &local), Some(local.clone()));
        copies.believed(b"x", peer.clone());
        assert_eq!(copies.whose(b"x", &local), Some(peer.clone()));
        copies.believed(b"y", peer);
        assert_eq!(copies.whose(b"x", &local), None);
        copies.forget_believed();
        assert_eq!(copies.whose(b"y", &local), None);
    }
}
