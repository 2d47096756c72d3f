//! A small generator: the same seed gives the same history, for ever.

use bytes::Bytes;

/// SplitMix64.
///
/// # Examples
/// ```
/// use raft_testkit::conformance::Random;
///
/// let draw = |seed| {
///     let mut random = Random::new(seed);
///     [random.next(), random.next()]
/// };
/// assert_eq!(draw(7), draw(7));
/// assert_ne!(draw(7), draw(8));
/// ```
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at a seed.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::conformance::Random;
    ///
    /// // Two that begin alike go on alike: a failed test can be run again from its seed.
    /// let (mut first, mut again) = (Random::new(42), Random::new(42));
    /// assert!((0..100).all(|_| first.next() == again.next()));
    /// ```
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::conformance::Random;
    ///
    /// let mut random = Random::new(0);
    /// // The sequence is the same on every machine and in every version.
    /// assert_eq!(random.next(), 0xe220_a839_7b1d_cdaf);
    /// ```
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if `end` is 0.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::conformance::Random;
    ///
    /// let mut random = Random::new(1);
    /// let mut faces = [0; 6];
    /// (0..600).for_each(|_| faces[random.below(6) as usize] += 1);
    /// assert!(faces.iter().all(|count| (50..150).contains(count)), "{faces:?}");
    /// assert_eq!(random.below(0), 0);
    /// ```
    pub const fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// True once in `times`.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::conformance::Random;
    ///
    /// let mut random = Random::new(1);
    /// let hits = (0..1000).filter(|_| random.one_in(10)).count();
    /// assert!((60..140).contains(&hits), "{hits}");
    /// ```
    pub const fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// So many bytes.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::conformance::Random;
    ///
    /// // A payload of any length, which another process can make again from the seed.
    /// let payload = Random::new(3).bytes(1000);
    /// assert_eq!(payload.len(), 1000);
    /// assert_eq!(payload, Random::new(3).bytes(1000));
    /// ```
    pub fn bytes(&mut self, length: usize) -> Bytes {
        let mut out = Vec::with_capacity(length + 8);
        while out.len() < length {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(length);
        out.into()
    }
}
