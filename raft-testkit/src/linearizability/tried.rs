//! What the search has tried and need not try again.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

/// A set of small numbers that knows its first and last interesting word, so that a set with a long full
/// start, as that of the operations placed so far, is small as a key.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    /// All words before this are full.
    first: usize,
    /// All words from this on are empty.
    end: usize,
}

impl Bits {
    pub(super) fn new(size: usize) -> Self {
        Self { words: vec![0; size.div_ceil(64)], first: 0, end: 0 }
    }

    pub(super) fn contains(&self, bit: usize) -> bool {
        self.words.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    pub(super) fn insert(&mut self, bit: usize) {
        let at = bit / 64;
        if let Some(word) = self.words.get_mut(at) {
            *word |= 1 << (bit % 64);
            self.end = self.end.max(at + 1);
            while self.words.get(self.first) == Some(&u64::MAX) {
                self.first += 1;
            }
        }
    }

    pub(super) fn remove(&mut self, bit: usize) {
        let at = bit / 64;
        if let Some(word) = self.words.get_mut(at) {
            *word &= !(1 << (bit % 64));
            self.first = self.first.min(at);
            while self.end > 0 && self.words.get(self.end - 1) == Some(&0) {
                self.end -= 1;
            }
        }
    }

    /// What distinguishes this set: the number of full words and what follows, without empty words.
    fn key(&self) -> (usize, &[u64]) {
        (self.first, self.words.get(self.first..self.end).unwrap_or_default())
    }
}

/// A configuration: which completed operations are placed, which open ones, and the state that they give.
struct Tried<S> {
    /// The configuration before it with the same hash.
    before: Option<usize>,
    full: usize,
    placed: Box<[u64]>,
    open_full: usize,
    open: Box<[u64]>,
    state: S,
}

/// All configurations from which the search went on.
pub(super) struct Memory<S> {
    last: HashMap<u64, usize, BuildHasherDefault<DefaultHasher>>,
    tried: Vec<Tried<S>>,
}

impl<S: Clone + Eq + Hash> Memory<S> {
    pub(super) fn new() -> Self {
        Self { last: HashMap::default(), tried: Vec::new() }
    }

    /// Remembers a configuration. False if there is nothing new to find from it: the same completed operations
    /// were placed before with the same state, and with no more of the open ones. (Who placed fewer of these
    /// can still place the others, and need not.) Adds what it compared to the count.
    pub(super) fn remember(&mut self, placed: &Bits, open: &Bits, state: &S, compared: &mut u64) -> bool {
        let (full, rest) = placed.key();
        let (open_full, open_rest) = open.key();
        let mut hasher = DefaultHasher::new();
        (full, rest).hash(&mut hasher);
        state.hash(&mut hasher);
        let hash = hasher.finish();

        let before = self.last.get(&hash).copied();
        let mut next = before;
        while let Some(tried) = next.and_then(|at| self.tried.get(at)) {
            *compared += 1;
            let same = tried.full == full && *tried.placed == *rest && tried.state == *state;
            if same && is_subset((tried.open_full, &tried.open), (open_full, open_rest)) {
                return false;
            }
            next = tried.before;
        }
        self.last.insert(hash, self.tried.len());
        self.tried.push(Tried {
            before,
            full,
            placed: rest.into(),
            open_full,
            open: open_rest.into(),
            state: state.clone(),
        });
        true
    }
}

/// True if all of `a` is in `b`, both given as the number of full words and the words that follow.
fn is_subset((a_full, a): (usize, &[u64]), (b_full, b): (usize, &[u64])) -> bool {
    let word = |full: usize, rest: &[u64], at: usize| match at.checked_sub(full) {
        None => u64::MAX,
        Some(at) => rest.get(at).copied().unwrap_or(0),
    };
    (b_full..a_full + a.len()).all(|at| word(a_full, a, at) & !word(b_full, b, at) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(size: usize, set: &[usize]) -> Bits {
        let mut bits = Bits::new(size);
        for &bit in set {
            bits.insert(bit);
        }
        bits
    }

    #[test]
    fn equal_sets_have_equal_keys_whatever_the_way_to_them() {
        let mut a = Bits::new(300);
        for bit in 0..300 {
            a.insert(bit);
        }
        for bit in (70..300).rev() {
            a.remove(bit);
        }
        let b = bits(300, &(0..70).rev().collect::<Vec<_>>());
        assert_eq!(a.key(), b.key());
        assert_eq!(a.key(), (1, [0b11_1111].as_slice()));
        assert!(a.contains(69) && !a.contains(70));
    }

    #[test]
    fn fewer_open_operations_cover_more_and_not_the_other_way_round() {
        let placed = bits(8, &[0, 1]);
        let mut memory = Memory::new();
        let mut remember = |open: &[usize], state| memory.remember(&placed, &bits(200, open), &state, &mut 0);
        assert!(remember(&[3, 150], 7));
        assert!(!remember(&[3, 150], 7), "the same");
        assert!(!remember(&[3, 4, 150], 7), "more");
        assert!(remember(&[3, 4, 150], 8), "another state");
        assert!(remember(&[150], 7), "fewer");
        assert!(remember(&[4], 7), "others");
        assert!(!remember(&[4, 5, 199], 7));
    }

    #[test]
    fn subsets_across_full_words() {
        let all: Vec<usize> = (0..130).collect();
        let sub = |a: &[usize], b: &[usize]| is_subset(bits(200, a).key(), bits(200, b).key());
        assert!(sub(&all[..64], &all));
        assert!(!sub(&all, &all[..129]));
        assert!(sub(&[], &[]) && sub(&[5], &all) && !sub(&all, &[5]));
    }
}
