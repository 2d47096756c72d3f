//! A state of the whole model, small enough to keep millions of.

use super::Bounds;

/// What is left of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) proposals: u8,
    pub(crate) crashes: u8,
    pub(crate) damages: u8,
    pub(crate) reads: u8,
    pub(crate) changes: u8,
    pub(crate) transfers: u8,
    pub(crate) silences: u8,
    pub(crate) snapshots: u8,
    pub(crate) ticks: u8,
    /// Messages that may arrive once more.
    pub(crate) copies: u8,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// By number.
    pub(crate) nodes: Vec<u32>,
    /// All messages that may still arrive, by number, in order.
    pub(crate) messages: Vec<u32>,
    /// Who has led each term, from 1; 0 for nobody.
    pub(crate) leaders: [u8; 6],
    /// Whom each node has voted for in each term, three bits a node.
    pub(crate) votes: [u16; 6],
    /// What each node had on its disk when that was damaged: the number of a log.
    pub(crate) lost: [u32; 5],
    /// What was committed: the number of a log.
    pub(crate) committed: u32,
    /// How far the log was committed when the read was asked for.
    pub(crate) floor: u8,
    pub(crate) budget: Budget,
}

impl World {
    pub(crate) fn new(bounds: &Bounds, nodes: Vec<u32>) -> Self {
        let budget = Budget {
            proposals: bounds.proposals,
            crashes: bounds.crashes,
            damages: bounds.damages,
            reads: bounds.reads,
            changes: bounds.changes,
            transfers: bounds.transfers,
            silences: bounds.silences,
            snapshots: bounds.snapshots,
            ticks: bounds.ticks,
            copies: bounds.copies.unwrap_or_default(),
        };
        Self {
            nodes,
            messages: Vec::new(),
            leaders: [0; 6],
            votes: [0; 6],
            lost: [0; 5],
            committed: 0,
            floor: 0,
            budget,
        }
    }

    /// Node `from` votes for `to` in this term, both from 1. Whom it has voted for before, if that is another.
    pub(crate) fn vote(&mut self, term: u64, from: u64, to: u64) -> Option<u64> {
        let votes = self.votes.get_mut(usize::try_from(term).ok()?)?;
        let place = 3 * (from as u16 - 1);
        let before = *votes >> place & 7;
        *votes |= (to as u16) << place;
        (before != 0 && u64::from(before) != to).then_some(before.into())
    }

    /// For whom a node has voted in a term.
    pub(crate) fn voted(&self, term: u64, from: u64) -> Option<u64> {
        let votes = self.votes.get(usize::try_from(term).ok()?)?;
        Some(u64::from(votes >> (3 * (from - 1)) & 7)).filter(|to| *to != 0)
    }

    /// A digest, from those of the nodes and of the messages.
    pub(crate) fn fingerprint(&self, node: impl Fn(u32) -> u128, message: impl Fn(u32) -> u128) -> u128 {
        let mut bytes = [0_u8; 192];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        for number in &self.nodes {
            put(&node(*number).to_le_bytes());
        }
        let all = self.messages.iter().fold(0_u128, |all, number| all ^ message(*number));
        put(&all.to_le_bytes());
        put(&self.leaders);
        put(&self.committed.to_le_bytes());
        self.votes.iter().for_each(|votes| put(&votes.to_le_bytes()));
        self.lost.iter().for_each(|log| put(&log.to_le_bytes()));
        let Budget { proposals, crashes, damages, reads, changes, .. } = self.budget;
        let Budget { transfers, silences, snapshots, ticks, copies, .. } = self.budget;
        put(&[self.floor, proposals, crashes, damages, reads, changes]);
        put(&[transfers, silences, snapshots, ticks, copies]);
        xxhash_rust::xxh3::xxh3_128(&bytes[..at])
    }
}
