//! A map from keys to values that can be cloned in no time: the clone and the map share what neither of them
//! changes.
//!
//! A tree over the bits of a hash of fixed seed, four of them at each level. A change copies the few nodes on
//! its way that are shared with a clone, and nothing if there is none. Keys are walked in the order of their
//! hashes, the same on every node, so that a place in the order is a number that survives all changes.

use std::sync::Arc;

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

/// Children of a branch.
const WIDTH: usize = 16;
/// Bits of the hash that choose one.
const BITS: u32 = 4;
/// Keys in a leaf. Beyond it becomes a branch, while there are bits left.
const LEAF: usize = 16;

/// Keys whose memory is looked at together.
pub(crate) const WARM: usize = 32;

/// A key with its value. A short key is in it: one look at memory less.
#[derive(Clone, Debug)]
pub(crate) struct Entry<V> {
    key: SmallVec<[u8; 24]>,
    value: V,
}

/// Ordered by hash, then by key. Few are in the leaf itself: one look at memory less.
type Leaf<V> = SmallVec<[(u64, Arc<Entry<V>>); 4]>;

#[derive(Debug)]
enum Node<V> {
    Empty,
    Leaf(Arc<Leaf<V>>),
    Branch(Arc<[Self; WIDTH]>),
}

impl<V> Clone for Node<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Leaf(leaf) => Self::Leaf(Arc::clone(leaf)),
            Self::Branch(branch) => Self::Branch(Arc::clone(branch)),
        }
    }
}

/// Keys and their values.
#[derive(Debug)]
pub(crate) struct Trie<V> {
    root: Node<V>,
    count: usize,
}

impl<V> Clone for Trie<V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), count: self.count }
    }
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self { root: Node::Empty, count: 0 }
    }
}

/// Which child the hash chooses, `used` bits of it being used up.
const fn child_of(hash: u64, used: u32) -> usize {
    (hash << used >> (u64::BITS - BITS)) as usize
}

fn find<V>(leaf: &Leaf<V>, hash: u64, key: &[u8]) -> Result<usize, usize> {
    leaf.binary_search_by(|(found, entry)| found.cmp(&hash).then_with(|| (*entry.key).cmp(key)))
}

impl<V> Trie<V> {
    /// How many keys there are.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        self.get_at(xxh3_64(key), key)
    }

    fn get_at(&self, hash: u64, key: &[u8]) -> Option<&V> {
        let (mut node, mut used) = (&self.root, 0);
        loop {
            match node {
                Node::Empty => return None,
                Node::Branch(children) => {
                    node = children.get(child_of(hash, used))?;
                    used += BITS;
                }
                Node::Leaf(leaf) => {
                    let (_, entry) = leaf.get(find(leaf, hash, key).ok()?)?;
                    return Some(&entry.value);
                }
            }
        }
    }

    /// Looks at the memory that changes of these keys will need, one step for all of them after the other: looks that
    /// do not depend on each other are under way at once, so that memory is waited for once a step and not once a
    /// step of each key. `look` looks at the memory of a value.
    pub(crate) fn warm<'a>(&self, keys: impl Iterator<Item = &'a [u8]>, look: impl Fn(&V) -> u8) {
        let mut places: SmallVec<[(u64, &Node<V>); WARM]> =
            keys.map(|key| (xxh3_64(key), &self.root)).collect();
        let (mut seen, mut used, mut deeper) = (0, 0, true);
        while core::mem::take(&mut deeper) {
            for (hash, node) in &mut places {
                if let Node::Branch(children) = node {
                    // Whether it is shared will be asked too.
                    seen ^= Arc::strong_count(children);
                    *node = &children[child_of(*hash, used)];
                    deeper = true;
                }
            }
            used += BITS;
        }
        let entries: SmallVec<[&Entry<V>; WARM]> = places
            .iter()
            .filter_map(|(hash, node)| match node {
                Node::Leaf(leaf) => leaf.iter().find(|(found, _)| found == hash).map(|(_, entry)| &**entry),
                _ => None,
            })
            .collect();
        let values = entries.iter().fold(0, |seen, entry| seen ^ look(&entry.value));
        core::hint::black_box((seen, values));
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// All keys from a hash on, in order. Keys of one hash come together, in their own order.
    pub(crate) fn from(&self, hash: u64) -> Iter<'_, V> {
        let mut iter = Iter { branches: Vec::new(), leaf: [].iter() };
        let (mut node, mut used) = (&self.root, 0);
        loop {
            match node {
                Node::Empty => return iter,
                Node::Leaf(leaf) => {
                    let start = leaf.partition_point(|(found, _)| *found < hash);
                    iter.leaf = leaf.get(start..).unwrap_or_default().iter();
                    return iter;
                }
                Node::Branch(children) => {
                    let mut rest = children.get(child_of(hash, used)..).unwrap_or_default().iter();
                    let next = rest.next();
                    iter.branches.push(rest);
                    node = next.unwrap_or(&Node::Empty);
                    used += BITS;
                }
            }
        }
    }

    /// All keys in order.
    pub(crate) fn iter(&self) -> Iter<'_, V> {
        self.from(0)
    }
}

impl<V: Clone> Trie<V> {
    pub(crate) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        let (hash, mut used) = (xxh3_64(key), 0);
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Empty => return None,
                Node::Branch(children) => {
                    node = Arc::make_mut(children).get_mut(child_of(hash, used))?;
                    used += BITS;
                }
                Node::Leaf(leaf) => {
                    let at = find(leaf, hash, key).ok()?;
                    let (_, entry) = Arc::make_mut(leaf).get_mut(at)?;
                    return Some(&mut Arc::make_mut(entry).value);
                }
            }
        }
    }

    /// Puts a value at a key. What was there is dropped, and not copied first if a clone has it too. Whether
    /// the key is new.
    pub(crate) fn insert(&mut self, key: &[u8], value: V) -> bool {
        self.put(key, value, |value| value, |place, value| *place = value)
    }

    /// Puts what is made of `from` at a key, or changes what is there into that, if no clone has it too. Whether
    /// the key is new.
    pub(crate) fn put<T>(
        &mut self,
        key: &[u8],
        from: T,
        make: impl FnOnce(T) -> V,
        change: impl FnOnce(&mut V, T),
    ) -> bool {
        self.put_at(xxh3_64(key), key, from, make, change)
    }

    fn put_at<T>(
        &mut self,
        hash: u64,
        key: &[u8],
        from: T,
        make: impl FnOnce(T) -> V,
        change: impl FnOnce(&mut V, T),
    ) -> bool {
        let leaf = Self::leaf_for(&mut self.root, hash, key);
        match find(leaf, hash, key) {
            Ok(at) => {
                if let Some((_, entry)) = leaf.get_mut(at) {
                    match Arc::get_mut(entry) {
                        Some(entry) => change(&mut entry.value, from),
                        None => *entry = Arc::new(Entry { key: entry.key.clone(), value: make(from) }),
                    }
                }
                false
            }
            Err(at) => {
                leaf.insert(at, (hash, Arc::new(Entry { key: key.into(), value: make(from) })));
                self.count += 1;
                true
            }
        }
    }

    /// What is at a key; made first if need be.
    pub(crate) fn get_or_insert(&mut self, key: &[u8], make: impl FnOnce() -> V) -> &mut V {
        let hash = xxh3_64(key);
        let leaf = Self::leaf_for(&mut self.root, hash, key);
        let at = find(leaf, hash, key).unwrap_or_else(|at| {
            leaf.insert(at, (hash, Arc::new(Entry { key: key.into(), value: make() })));
            self.count += 1;
            at
        });
        // It was found there, or has just been put there.
        &mut Arc::make_mut(&mut leaf[at].1).value
    }

    /// The leaf where a key is, or is to be, with room for it.
    fn leaf_for<'a>(mut node: &'a mut Node<V>, hash: u64, key: &[u8]) -> &'a mut Leaf<V> {
        let mut used = 0;
        loop {
            if let Node::Leaf(leaf) = node
                && leaf.len() >= LEAF
                && used < u64::BITS
                && find(leaf, hash, key).is_err()
            {
                *node = split(leaf, used);
            }
            match node {
                Node::Branch(children) => {
                    let children = Arc::make_mut(children);
                    node = &mut children[child_of(hash, used)];
                    used += BITS;
                }
                Node::Empty => *node = Node::Leaf(Arc::default()),
                Node::Leaf(leaf) => return Arc::make_mut(leaf),
            }
        }
    }

    /// Takes a key out. Whether it was there.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let hash = xxh3_64(key);
        // What is not there must not copy anything.
        if self.get_at(hash, key).is_none() {
            return false;
        }
        take(&mut self.root, hash, key, 0);
        self.count -= 1;
        true
    }
}

/// A full leaf as a branch.
fn split<V: Clone>(leaf: &Leaf<V>, used: u32) -> Node<V> {
    let mut children = [const { Node::Empty }; WIDTH];
    let mut rest = &leaf[..];
    for (at, child) in children.iter_mut().enumerate() {
        let (here, later) = rest.split_at(rest.partition_point(|(hash, _)| child_of(*hash, used) <= at));
        if !here.is_empty() {
            *child = Node::Leaf(Arc::new(here.into()));
        }
        rest = later;
    }
    Node::Branch(Arc::new(children))
}

/// Takes out a key that is there, and makes the branches on the way smaller where they can be.
fn take<V: Clone>(node: &mut Node<V>, hash: u64, key: &[u8], used: u32) {
    match node {
        Node::Empty => {}
        Node::Leaf(leaf) => {
            if let Ok(at) = find(leaf, hash, key) {
                let leaf = Arc::make_mut(leaf);
                leaf.remove(at);
                if leaf.is_empty() {
                    *node = Node::Empty;
                }
            }
        }
        Node::Branch(children) => {
            let children = Arc::make_mut(children);
            let Some(child) = children.get_mut(child_of(hash, used)) else { return };
            take(child, hash, key, used + BITS);
            if matches!(child, Node::Empty)
                && let Some(joined) = join(children)
            {
                *node = joined;
            }
        }
    }
}

/// What is left of a branch as one leaf, if it is that little.
fn join<V: Clone>(children: &[Node<V>; WIDTH]) -> Option<Node<V>> {
    let mut left = 0;
    for child in children {
        left += match child {
            Node::Empty => 0,
            Node::Leaf(leaf) => leaf.len(),
            Node::Branch(_) => return None,
        };
        if left > LEAF / 2 {
            return None;
        }
    }
    let mut all = Leaf::with_capacity(left);
    for child in children {
        if let Node::Leaf(leaf) = child {
            all.extend(leaf.iter().cloned());
        }
    }
    Some(if all.is_empty() { Node::Empty } else { Node::Leaf(Arc::new(all)) })
}

/// Hash, key and value, in the order of hashes.
pub(crate) struct Iter<'a, V> {
    branches: Vec<std::slice::Iter<'a, Node<V>>>,
    leaf: std::slice::Iter<'a, (u64, Arc<Entry<V>>)>,
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (u64, &'a [u8], &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((hash, entry)) = self.leaf.next() {
                return Some((*hash, &entry.key, &entry.value));
            }
            let Some(next) = self.branches.last_mut()?.next() else {
                self.branches.pop();
                continue;
            };
            match next {
                Node::Empty => {}
                Node::Leaf(leaf) => self.leaf = leaf.iter(),
                Node::Branch(children) => self.branches.push(children.iter()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Everything that is in a map, and its order checked.
    fn all(trie: &Trie<u64>) -> BTreeMap<Vec<u8>, u64> {
        let places: Vec<(u64, &[u8])> = trie.iter().map(|(hash, key, _)| (hash, key)).collect();
        assert!(places.is_sorted());
        let all: BTreeMap<Vec<u8>, u64> = trie.iter().map(|(_, key, value)| (key.to_vec(), *value)).collect();
        assert_eq!((all.len(), all.len()), (trie.len(), places.len()));
        all
    }

    #[test]
    fn changes_are_as_in_a_plain_map_and_clones_stay_as_they_were() {
        for keys in [1_u64, 10, 60, 3000] {
            let (mut trie, mut plain) = (Trie::default(), BTreeMap::new());
            let mut clones = Vec::new();
            let mut random = keys;
            for version in 0..6000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let key = ((random >> 33) % keys).to_string().into_bytes();
                match random >> 61 {
                    0..=2 => assert_eq!(trie.insert(&key, version), plain.insert(key, version).is_none()),
                    3..=5 => assert_eq!(trie.remove(&key), plain.remove(&key).is_some()),
                    6 => match trie.get_mut(&key) {
                        Some(value) => {
                            *value = version;
                            plain.insert(key, version);
                        }
                        None => assert!(!plain.contains_key(&key)),
                    },
                    _ => assert_eq!(trie.get(&key), plain.get(&key)),
                }
                if version % 701 == 0 {
                    assert_eq!(all(&trie), plain);
                    clones.push((trie.clone(), plain.clone()));
                }
                if clones.len() > 5 {
                    clones.remove((version % 5) as usize);
                }
            }
            for (trie, plain) in &clones {
                assert_eq!(all(trie), *plain);
            }
            for key in plain.keys() {
                assert!(trie.remove(key));
            }
            assert!(trie.is_empty() && matches!(trie.root, Node::Empty), "nothing is left of {keys} keys");
        }
    }

    #[test]
    fn a_walk_begins_anywhere() {
        let mut trie = Trie::default();
        for key in 0..2000_u64 {
            trie.insert(&key.to_le_bytes(), key);
        }
        let hashes: Vec<u64> = trie.iter().map(|(hash, ..)| hash).collect();
        for (at, hash) in hashes.iter().enumerate() {
            assert_eq!(trie.from(*hash).count(), hashes.len() - at);
            assert_eq!(trie.from(*hash + 1).count(), hashes.len() - at - 1);
        }
        assert_eq!((trie.from(0).count(), trie.from(u64::MAX).count()), (2000, 0));
    }

    fn insert_at(trie: &mut Trie<String>, hash: u64, key: &str) -> bool {
        trie.put_at(hash, key.as_bytes(), key, String::from, |_, _| panic!("{key} is there twice"))
    }

    /// Keys of one hash, which nobody finds by chance: the hash is made up.
    #[test]
    fn keys_of_one_hash_live_side_by_side() {
        let mut trie = Trie::default();
        let keys: Vec<String> = (0..100).map(|key| format!("{key:03}")).collect();
        for key in &keys {
            assert!(insert_at(&mut trie, 7, key));
        }
        assert!(insert_at(&mut trie, 8, "another"));
        for key in &keys {
            assert_eq!(trie.get_at(7, key.as_bytes()), Some(key));
        }
        assert_eq!(trie.get_at(7, b"another"), None);
        let walked: Vec<&[u8]> = trie.from(7).map(|(_, key, _)| key).collect();
        assert!(walked.iter().zip(&keys).all(|(walked, key)| *walked == key.as_bytes()));
        assert_eq!((walked.len(), trie.from(8).count()), (101, 1));
        let copy = trie.clone();
        for key in &keys {
            take(&mut trie.root, 7, key.as_bytes(), 0);
        }
        assert_eq!((trie.iter().count(), copy.iter().count()), (1, 101));
    }
}
