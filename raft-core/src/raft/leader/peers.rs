//! What a leader knows of each follower: a list in the order of their names. It is gone through with every input, and
//! there are few.

use alloc::vec::Vec;

use super::Progress;
use crate::ids::NodeId;

/// The followers, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Peers(Vec<(NodeId, Progress)>);

impl Peers {
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, id: &NodeId) -> Option<&Progress> {
        self.iter().find(|(peer, _)| *peer == id).map(|(_, progress)| progress)
    }

    pub(crate) fn get_mut(&mut self, id: &NodeId) -> Option<&mut Progress> {
        self.iter_mut().find(|(peer, _)| *peer == id).map(|(_, progress)| progress)
    }

    /// Takes the place of what was known of this one.
    pub(crate) fn insert(&mut self, id: NodeId, progress: Progress) {
        match self.0.binary_search_by_key(&id, |(peer, _)| *peer) {
            Ok(at) => self.0[at].1 = progress,
            Err(at) => self.0.insert(at, (id, progress)),
        }
    }

    pub(crate) fn remove(&mut self, id: &NodeId) {
        self.0.retain(|(peer, _)| peer != id);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeId, &Progress)> {
        self.0.iter().map(|(id, progress)| (id, progress))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&NodeId, &mut Progress)> {
        self.0.iter_mut().map(|(id, progress)| (&*id, progress))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &NodeId> {
        self.0.iter().map(|(id, _)| id)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Progress> {
        self.0.iter().map(|(_, progress)| progress)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Progress> {
        self.0.iter_mut().map(|(_, progress)| progress)
    }

    /// Whose turn it is after this one's: after the last comes the first.
    pub(crate) fn after(&self, turn: NodeId) -> Option<NodeId> {
        self.keys().find(|id| **id > turn).or_else(|| self.keys().next()).copied()
    }
}

impl FromIterator<(NodeId, Progress)> for Peers {
    fn from_iter<T: IntoIterator<Item = (NodeId, Progress)>>(all: T) -> Self {
        let mut peers = Self::default();
        all.into_iter().for_each(|(id, progress)| peers.insert(id, progress));
        peers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Index;
    use crate::time::Time;

    fn progress(next: u64) -> Progress {
        Progress::new(Index(next), Time::ZERO)
    }

    #[test]
    fn each_is_there_once_and_in_order() {
        let all = [(7, 1), (2, 2), (9, 3), (7, 4)];
        let mut peers: Peers = all.into_iter().map(|(id, next)| (NodeId(id), progress(next))).collect();
        let known = |peers: &Peers| {
            let known = peers.iter().map(|(id, progress)| (id.0, progress.next_index.0));
            known.collect::<Vec<(u64, u64)>>()
        };
        assert_eq!(known(&peers), [(2, 2), (7, 4), (9, 3)]);
        assert_eq!(peers.get(&NodeId(9)), Some(&progress(3)));
        assert!(peers.get(&NodeId(8)).is_none() && peers.get_mut(&NodeId(8)).is_none());
        peers.remove(&NodeId(7));
        peers.remove(&NodeId(8));
        assert_eq!((known(&peers), peers.len()), (alloc::vec![(2, 2), (9, 3)], 2));
        assert!(peers.get(&NodeId(2)).is_some() && peers.get(&NodeId(7)).is_none());
    }

    #[test]
    fn everybody_has_a_turn() {
        let mut peers: Peers = [2, 7, 9].into_iter().map(|id| (NodeId(id), progress(1))).collect();
        let turns = [0, 2, 3, 7, 8, 9, 10].map(|turn| peers.after(NodeId(turn)).map(|id| id.0));
        assert_eq!(turns, [2, 7, 7, 9, 9, 2, 2].map(Some));
        [2, 7, 9].into_iter().for_each(|id| peers.remove(&NodeId(id)));
        assert_eq!(peers.after(NodeId(2)), None);
    }
}
