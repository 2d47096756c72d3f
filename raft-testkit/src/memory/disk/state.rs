//! A disk behind its lock: what is stored, who has it open, and what goes wrong next.

use std::hash::{BuildHasher, RandomState};

use raft_core::backend::{JournalError, JournalWrite, OpenError, Verdict};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, NodeId, StoreId};
use raft_core::membership::Membership;

use super::stored::Stored;

#[derive(Debug, Default)]
pub(in crate::memory) struct Disk {
    pub(in crate::memory) owner: Option<Identity>,
    pub(in crate::memory) stored: Stored,
    pub(in crate::memory) verdict: Option<Verdict>,
    /// What was cut as damaged.
    pub(super) evidence: Vec<Entry>,
    /// Which opening holds the lock.
    pub(in crate::memory) open: Option<u64>,
    openings: u64,
    pub(super) random: Option<u64>,
    pub(super) hold: bool,
    pub(super) held: Option<JournalWrite>,
    pub(super) fail_next: Option<JournalError>,
    pub(super) attempts: u64,
    pub(super) limit_bytes: Option<u64>,
}

impl Disk {
    /// The next number of a small generator (SplitMix64).
    fn random(&mut self) -> u64 {
        let state = self.random.get_or_insert_with(|| RandomState::new().hash_one(0u8));
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(in crate::memory) fn new_store(
        &mut self,
        cluster: ClusterId,
        group: GroupId,
        node: NodeId,
    ) -> Identity {
        let store = StoreId(u128::from(self.random()) << 64 | u128::from(self.random()));
        let incarnation = Incarnation { number: 0, nonce: 0 };
        Identity { cluster, group, node, store, incarnation }
    }

    /// Takes the lock and begins a new incarnation.
    pub(in crate::memory) fn begin(&mut self, mut owner: Identity) -> (u64, Identity) {
        owner.incarnation =
            Incarnation { number: owner.incarnation.number.saturating_add(1), nonce: self.random() };
        self.owner = Some(owner);
        self.openings += 1;
        self.open = Some(self.openings);
        (self.openings, owner)
    }

    /// Whether a write is stopped by a fault, and which.
    pub(in crate::memory) fn fault(&mut self, write: &JournalWrite) -> Result<(), JournalError> {
        self.attempts += 1;
        if let Some(error) = self.fail_next.take() {
            return Err(error);
        }
        let needed: u64 = write.entries.iter().map(|entry| entry.data.len() as u64).sum();
        match self.limit_bytes {
            Some(limit) if needed > 0 && self.stored.bytes() + needed > limit => {
                Err(JournalError::NoSpace { needed })
            }
            _ => Ok(()),
        }
    }

    /// Cuts the log before the first damaged record, says so and puts `node` on probation; what is cut is put aside.
    /// A single voter is refused instead (J10).
    pub(in crate::memory) fn cut_damage(&mut self, node: NodeId) -> Result<Option<Verdict>, OpenError> {
        let records = &mut self.stored.records;
        let Some(record) = records.values().find(|record| !record.is_sound()) else { return Ok(None) };
        let (at, damage) = (record.entry.id.index, record.damage());
        let sound = records.range(..at).rev().map(|(_, record)| &record.entry);
        let newest = sound.into_iter().find(|entry| entry.kind == EntryKind::Membership);
        let newest = newest.and_then(|entry| Membership::decode(&entry.data).ok());
        if newest.is_some_and(|membership| membership.all_voters().eq([node])) {
            return Err(OpenError::Corrupt(damage));
        }
        let is_last = records.last_key_value().is_some_and(|(last, _)| *last == at);
        let cut = records.split_off(&at);
        self.evidence.extend(cut.into_values().map(|record| record.entry));
        self.stored.hard_state.probation = true;
        Ok(Some(if is_last { Verdict::SuspectTail { from: at } } else { Verdict::Corrupt(damage) }))
    }
}
