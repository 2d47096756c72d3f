//! All randomness of a run: one stream per purpose, each from the seed, so that drawing more in one place
//! changes nothing in another.

/// A stream of random numbers (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream of a seed.
    #[must_use]
    pub(crate) const fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)))
    }

    /// Another stream of the same seed, for one purpose.
    #[must_use]
    pub(crate) const fn stream(seed: u64, purpose: u64) -> Self {
        Self(mix(mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)) ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93)))
    }

    /// The next number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`; 0 if that is 0.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { ((self.next() as u128 * bound as u128) >> 64) as u64 }
    }

    /// A number from `least` to `most`, both included.
    pub(crate) const fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// True in `per_mille` of a thousand cases.
    pub(crate) const fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1000) < per_mille as u64
    }

    /// True in `ppm` of a million cases.
    pub(crate) const fn rare(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < ppm as u64
    }

    /// One of them.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// Many small, few large: `least` times a power of two up to `most`, then anywhere in that octave.
    pub(crate) const fn skewed(&mut self, least: u64, most: u64) -> u64 {
        let octaves = (most / if least == 0 { 1 } else { least }).ilog2() as u64;
        let top = (if least == 0 { 1 } else { least }) << self.below(octaves + 1);
        let drawn = self.between(least, if top > most { most } else { top });
        if drawn > most { most } else { drawn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose| {
            let mut rng = Rng::stream(seed, purpose);
            [rng.next(), rng.below(10), rng.between(5, 9), rng.skewed(1, 1000)]
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2)[0], draw(1, 3)[0]);
        assert_ne!(draw(1, 2)[0], draw(2, 2)[0]);
        let mut rng = Rng::new(3);
        assert!((0..1000).all(|_| (5..=9).contains(&rng.between(5, 9)) && rng.below(3) < 3));
        assert!((0..1000).all(|_| (1..=100).contains(&rng.skewed(1, 100))));
    }
}
