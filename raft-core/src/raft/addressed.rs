//! Members as messages name them: shared, so that a message copies no address.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::hash::{Hash, Hasher};

use crate::ids::NodeId;
use crate::membership::Member;

/// More than any cluster has; then it begins anew.
const LIMIT: usize = 64;

/// Records that were handed out. What is in it changes nothing, so it is equal to any other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addressed(BTreeMap<NodeId, Arc<Member>>);

impl Addressed {
    /// The record of a member as it is now, or one without an address.
    pub(crate) fn share(&mut self, id: NodeId, known: Option<&Member>) -> Arc<Member> {
        if let Some(shared) = self.0.get(&id) {
            let is_same = known.map_or_else(|| **shared == Member::new(id, ""), |member| **shared == *member);
            if is_same {
                return Arc::clone(shared);
            }
        }
        let shared = Arc::new(known.cloned().unwrap_or_else(|| Member::new(id, "")));
        if self.0.len() >= LIMIT {
            self.0.clear();
        }
        self.0.insert(id, Arc::clone(&shared));
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
        let member = Member::new(NodeId(1), "here");
        let first = all.share(NodeId(1), Some(&member));
        assert!(Arc::ptr_eq(&first, &all.share(NodeId(1), Some(&member))));
        let other = all.share(NodeId(9), None);
        assert!(Arc::ptr_eq(&first, &all.share(NodeId(1), Some(&member))), "one beside the other");
        assert!(Arc::ptr_eq(&other, &all.share(NodeId(9), None)));
        assert_eq!(all, Addressed::default(), "what was shared makes no difference");
        let moved = all.share(NodeId(1), Some(&Member::new(NodeId(1), "there")));
        assert_eq!((first.address.as_str(), moved.address.as_str()), ("here", "there"));
        assert_eq!(all.share(NodeId(1), None).address, "");
        for id in 2..200 {
            assert_eq!(all.share(NodeId(id), None).id, NodeId(id));
        }
        assert!(all.0.len() <= LIMIT);
    }
}
