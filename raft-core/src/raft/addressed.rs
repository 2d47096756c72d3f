//! Members as messages name them: shared, so that a message copies no address.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use crate::ids::NodeId;
use crate::membership::Member;

/// More than any cluster has; then it begins anew.
const LIMIT: usize = 64;

/// Records that were handed out while this version of whom the node reaches was in force. What is in it changes nothing, so
/// it is equal to any other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addressed {
    version: u64,
    shared: Vec<(NodeId, Arc<Member>)>,
}

impl Addressed {
    /// The record of a member as `find` knows it in this version, or one without an address.
    pub(crate) fn share<'a>(
        &mut self,
        version: u64,
        id: NodeId,
        find: impl FnOnce() -> Option<&'a Member>,
    ) -> Arc<Member> {
        if self.version != version || self.shared.len() >= LIMIT {
            self.version = version;
            self.shared.clear();
        }
        if let Some((_, shared)) = self.shared.iter().find(|(known, _)| *known == id) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(find().cloned().unwrap_or_else(|| Member::new(id, "")));
        self.shared.push((id, Arc::clone(&shared)));
        shared
    }
}

impl PartialEq for Addressed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Addressed {}

impl Hash for Addressed {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_shared_until_it_changes() {
        let mut all = Addressed::default();
        let (here, there) = (Member::new(NodeId(1), "here"), Member::new(NodeId(1), "there"));
        let first = all.share(1, NodeId(1), || Some(&here));
        assert!(Arc::ptr_eq(&first, &all.share(1, NodeId(1), || Some(&here))));
        let other = all.share(1, NodeId(9), || None);
        assert!(Arc::ptr_eq(&first, &all.share(1, NodeId(1), || Some(&here))), "one beside the other");
        assert!(Arc::ptr_eq(&other, &all.share(1, NodeId(9), || None)));
        assert_eq!(all, Addressed::default(), "what was shared makes no difference");
        let moved = all.share(2, NodeId(1), || Some(&there));
        assert_eq!((first.address.as_str(), moved.address.as_str()), ("here", "there"));
        assert_eq!(all.share(3, NodeId(1), || None).address, "");
        for id in 2..200 {
            assert_eq!(all.share(3, NodeId(id), || None).id, NodeId(id));
        }
        assert!(all.shared.len() <= LIMIT);
    }
}
