//! A list that can be cloned in little time: it is kept in pieces, which a clone shares until they change.

use std::collections::VecDeque;
use std::sync::Arc;

/// Elements in a piece.
const PIECE: usize = 128;

/// The elements of a list. No piece is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    pieces: VecDeque<Arc<VecDeque<Arc<[u8]>>>>,
    count: usize,
}

impl List {
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn push_front(&mut self, value: &[u8]) {
        if self.pieces.front().is_none_or(|piece| piece.len() >= PIECE) {
            self.pieces.push_front(Arc::default());
        }
        if let Some(piece) = self.pieces.front_mut() {
            Arc::make_mut(piece).push_front(value.into());
            self.count += 1;
        }
    }

    pub(crate) fn push_back(&mut self, value: &[u8]) {
        if self.pieces.back().is_none_or(|piece| piece.len() >= PIECE) {
            self.pieces.push_back(Arc::default());
        }
        if let Some(piece) = self.pieces.back_mut() {
            Arc::make_mut(piece).push_back(value.into());
            self.count += 1;
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<Arc<[u8]>> {
        let piece = Arc::make_mut(self.pieces.front_mut()?);
        let value = piece.pop_front()?;
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        self.count -= 1;
        Some(value)
    }

    pub(super) fn pop_back(&mut self) -> Option<Arc<[u8]>> {
        let piece = Arc::make_mut(self.pieces.back_mut()?);
        let value = piece.pop_back()?;
        if piece.is_empty() {
            self.pieces.pop_back();
        }
        self.count -= 1;
        Some(value)
    }

    /// The elements from a place on.
    pub(crate) fn from(&self, place: usize) -> impl Iterator<Item = &[u8]> {
        let (mut piece, mut left) = (0, place);
        while let Some(found) = self.pieces.get(piece).filter(|found| found.len() <= left) {
            left -= found.len();
            piece += 1;
        }
        self.pieces.iter().skip(piece).flat_map(|piece| piece.iter()).skip(left).map(|value| &**value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_as_in_a_plain_list_and_clones_stay_as_they_were() {
        let (mut list, mut plain) = (List::default(), VecDeque::new());
        let mut clones: Vec<(List, VecDeque<Vec<u8>>)> = Vec::new();
        let mut random = 1_u64;
        for round in 0..20_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = round.to_string().into_bytes();
            // More comes than goes, then the other way round.
            let pops = random >> 61 < if round < 12_000 { 3 } else { 6 };
            match (pops, random >> 40 & 1) {
                (true, 0) => assert_eq!(list.pop_front().as_deref(), plain.pop_front().as_deref()),
                (true, _) => assert_eq!(list.pop_back().as_deref(), plain.pop_back().as_deref()),
                (false, 0) => {
                    list.push_front(&value);
                    plain.push_front(value);
                }
                (false, _) => {
                    list.push_back(&value);
                    plain.push_back(value);
                }
            }
            assert_eq!(list.len(), plain.len());
            if round % 1999 == 0 {
                clones.push((list.clone(), plain.clone()));
            }
        }
        clones.push((list, plain));
        for (list, plain) in &clones {
            assert!(list.pieces.iter().all(|piece| !piece.is_empty()));
            for place in [0, 1, 127, 128, 129, plain.len() / 2, plain.len(), plain.len() + 1] {
                let wanted: Vec<&[u8]> = plain.iter().skip(place).map(Vec::as_slice).collect();
                assert_eq!(list.from(place).collect::<Vec<_>>(), wanted, "from {place}");
            }
        }
        assert!(clones.iter().any(|(list, _)| list.len() > 1000));
    }
}
