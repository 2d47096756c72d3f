//! What goes into slots: numbers, the hard state, the known peers, the identity of a store.

use alloc::vec::Vec;
use core::time::Duration;

use crate::backend::{HardState, Vote};
use crate::ids::{ClusterId, GroupId, Identity, Incarnation, KnownPeer, LogId, NodeId, StoreId, Term};

/// Builds bytes of little-endian numbers.
#[derive(Clone, Debug, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    /// Adds a number.
    #[must_use]
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn u128(mut self, value: u128) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
}

/// Takes them apart again; `None` past the end.
#[derive(Clone, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    /// The next number.
    pub fn u64(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*word))
    }

    /// The next number.
    pub fn u128(&mut self) -> Option<u128> {
        let (word, rest) = self.0.split_first_chunk::<16>()?;
        self.0 = rest;
        Some(u128::from_le_bytes(*word))
    }
}

/// The hard state of a store as bytes. The promise stands last, where older readers do not look and older writers wrote
/// nothing.
#[must_use]
pub fn encode_hard_state(store: StoreId, state: &HardState) -> Vec<u8> {
    let (tag, node) = match state.vote {
        Vote::None => (0, 0),
        Vote::For(node) => (1, node.0),
        Vote::Blocked => (2, 0),
    };
    let promised = u64::try_from(state.promised.as_nanos()).unwrap_or(u64::MAX);
    let head = Writer::default().u128(store.0).u64(state.term.0).u64(tag).u64(node);
    head.u64(u64::from(state.probation)).u64(promised).0
}

/// Undoes [`encode_hard_state`]; `None` for other bytes or another store.
#[must_use]
pub fn decode_hard_state(store: StoreId, bytes: &[u8]) -> Option<HardState> {
    let mut r = Reader(bytes);
    if r.u128()? != store.0 {
        return None;
    }
    let term = Term(r.u64()?);
    let vote = match (r.u64()?, r.u64()?) {
        (0, _) => Vote::None,
        (1, node) => Vote::For(NodeId(node)),
        (2, _) => Vote::Blocked,
        _ => return None,
    };
    let probation = r.u64()? != 0;
    let promised = if r.0.is_empty() { 0 } else { r.u64()? };
    Some(HardState { term, vote, probation, promised: Duration::from_nanos(promised) })
}

/// The known peers of a store as bytes. Who has become a member by what entry stands behind the peers, where older
/// readers do not look.
#[must_use]
pub fn encode_peers(store: StoreId, peers: &[KnownPeer]) -> Vec<u8> {
    let head = Writer::default().u128(store.0).u64(peers.len() as u64);
    let all = peers.iter().fold(head, |w, peer| {
        let incarnation = peer.incarnation;
        w.u64(peer.node.0).u128(peer.store.0).u64(incarnation.number).u64(incarnation.nonce)
    });
    let admitted: Vec<&KnownPeer> = peers.iter().filter(|peer| peer.admitted != LogId::ZERO).collect();
    if admitted.is_empty() {
        return all.0;
    }
    let all = all.u64(admitted.len() as u64);
    let entry = |w: Writer, peer: &&KnownPeer| {
        w.u64(peer.node.0).u64(peer.admitted.term.0).u64(peer.admitted.index.0)
    };
    admitted.iter().fold(all, entry).0
}

/// Undoes [`encode_peers`]; `None` for other bytes or another store.
#[must_use]
pub fn decode_peers(store: StoreId, bytes: &[u8]) -> Option<Vec<KnownPeer>> {
    let mut r = Reader(bytes);
    if r.u128()? != store.0 {
        return None;
    }
    let count = r.u64()?;
    let mut peers = Vec::new();
    for _ in 0..count {
        peers.push(KnownPeer {
            node: NodeId(r.u64()?),
            store: StoreId(r.u128()?),
            incarnation: Incarnation { number: r.u64()?, nonce: r.u64()? },
            admitted: LogId::ZERO,
        });
    }
    if r.0.is_empty() {
        return Some(peers);
    }
    for _ in 0..r.u64()? {
        let (node, admitted) = (NodeId(r.u64()?), LogId::new(r.u64()?, r.u64()?));
        peers.iter_mut().find(|peer| peer.node == node)?.admitted = admitted;
    }
    Some(peers)
}

/// The identity of a store, with its incarnation, added to other bytes.
#[must_use]
pub fn encode_identity(to: Writer, identity: &Identity) -> Writer {
    to.u128(identity.cluster.0)
        .u64(identity.group.0)
        .u64(identity.node.0)
        .u128(identity.store.0)
        .u64(identity.incarnation.number)
        .u64(identity.incarnation.nonce)
}

/// Undoes [`encode_identity`]; `None` if bytes are missing.
pub fn decode_identity(from: &mut Reader<'_>) -> Option<Identity> {
    Some(Identity {
        cluster: ClusterId(from.u128()?),
        group: GroupId(from.u64()?),
        node: NodeId(from.u64()?),
        store: StoreId(from.u128()?),
        incarnation: Incarnation { number: from.u64()?, nonce: from.u64()? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_state_and_peers_come_back_to_their_store_only() {
        let store = StoreId(7);
        for vote in [Vote::None, Vote::For(NodeId(3)), Vote::Blocked] {
            for probation in [false, true] {
                let promised = Duration::from_nanos(1_500_000_000);
                let state = HardState { term: Term(9), vote, probation, promised };
                let bytes = encode_hard_state(store, &state);
                assert_eq!(decode_hard_state(store, &bytes), Some(state));
                assert_eq!(decode_hard_state(StoreId(8), &bytes), None);
                assert_eq!(decode_hard_state(store, &bytes[..bytes.len() - 1]), None);
                // As it was written before promises were kept.
                let before = decode_hard_state(store, &bytes[..bytes.len() - 8]);
                assert_eq!(before, Some(HardState { promised: Duration::ZERO, ..state }));
            }
        }
        let incarnation = Incarnation { number: 2, nonce: 5 };
        let founder = KnownPeer { node: NodeId(4), store: StoreId(6), incarnation, admitted: LogId::ZERO };
        let added = KnownPeer { node: NodeId(5), admitted: LogId::new(3, 300), ..founder };
        let peers = [founder, added];
        let bytes = encode_peers(store, &peers);
        assert_eq!(decode_peers(store, &bytes).as_deref(), Some(&peers[..]));
        assert_eq!(decode_peers(StoreId(8), &bytes), None);
        assert_eq!(decode_peers(store, &bytes[..bytes.len() - 1]), None);
        assert_eq!(decode_peers(store, &encode_peers(store, &[])), Some(Vec::new()));
    }

    /// Never edit: a slot as it stands in the files, and the hard state with and without what was added to it.
    #[test]
    fn golden_bytes_of_a_slot() {
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let state = HardState {
            term: Term(3),
            vote: Vote::For(NodeId(2)),
            probation: true,
            promised: Duration::from_nanos(9),
        };
        let body = words(&[7, 0, 3, 1, 2, 1, 9]);
        assert_eq!(encode_hard_state(StoreId(7), &state), body);
        assert_eq!(decode_hard_state(StoreId(7), &body), Some(state));
        let before_promises = HardState { promised: Duration::ZERO, ..state };
        assert_eq!(decode_hard_state(StoreId(7), &body[..48]), Some(before_promises));

        let layout = crate::slots::Layout { kind: *b"HARD", version: 1, stride: 4096 };
        let copies = [0, 1].map(|copy| layout.encode(1, copy, 5, &body).unwrap());
        let head = |crc: [u8; 4], copy| {
            let fixed = [1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 56, 0, 0, 0, 1, copy, 0, 0];
            [&b"RSLT"[..], &crc, b"HARD", &fixed, &body].concat()
        };
        assert_eq!(copies[0][..88], head([36, 31, 22, 255], 0));
        assert_eq!(copies[1][..88], head([144, 146, 87, 203], 1));
        assert!(copies.iter().all(|copy| copy.len() == 512 && copy[88..].iter().all(|byte| *byte == 0)));
        let mut file = vec![0; layout.slot_bytes()];
        file[..512].copy_from_slice(&copies[0]);
        file[4096..4608].copy_from_slice(&copies[1]);
        let found = layout.decode(1, &file);
        assert!(found.is_sound());
        assert_eq!(found.record.map(|record| (record.generation, record.body)), Some((5, body)));
    }

    /// Never edit: what stands behind the peers is not there in what older versions have written.
    #[test]
    fn golden_bytes_of_known_peers() {
        let incarnation = Incarnation { number: 2, nonce: 5 };
        let founder = KnownPeer { node: NodeId(4), store: StoreId(6), incarnation, admitted: LogId::ZERO };
        let added = KnownPeer { node: NodeId(5), admitted: LogId::new(3, 300), ..founder };
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let plain = words(&[7, 0, 1, 4, 6, 0, 2, 5]);
        assert_eq!(encode_peers(StoreId(7), &[founder]), plain);
        assert_eq!(decode_peers(StoreId(7), &plain).as_deref(), Some(&[founder][..]));
        let both = words(&[7, 0, 2, 4, 6, 0, 2, 5, 5, 6, 0, 2, 5, 1, 5, 3, 300]);
        assert_eq!(encode_peers(StoreId(7), &[founder, added]), both);
        assert_eq!(decode_peers(StoreId(7), &both).as_deref(), Some(&[founder, added][..]));
        let stranger = words(&[7, 0, 1, 4, 6, 0, 2, 5, 1, 5, 3, 300]);
        assert_eq!(decode_peers(StoreId(7), &stranger), None, "of nobody");
    }
}
