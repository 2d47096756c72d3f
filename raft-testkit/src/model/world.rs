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
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// By number.
    pub(crate) nodes: Vec<u32>,
    /// All messages ever sent, by number, in order.
    pub(crate) messages: Vec<u32>,
    /// Who has led each term, from 1; 0 for nobody.
    pub(crate) leaders: [u8; 6],
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
        };
        Self { nodes, messages: Vec::new(), leaders: [0; 6], committed: 0, floor: 0, budget }
    }

    /// A digest, from those of the nodes and of the messages.
    pub(crate) fn fingerprint(&self, node: impl Fn(u32) -> u128, message: impl Fn(u32) -> u128) -> u128 {
        let mut bytes = [0_u8; 128];
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
        let Budget { proposals, crashes, damages, reads, changes, transfers, silences } = self.budget;
        put(&[self.floor, proposals, crashes, damages, reads, changes, transfers, silences]);
        xxhash_rust::xxh3::xxh3_128(&bytes[..at])
    }
}
