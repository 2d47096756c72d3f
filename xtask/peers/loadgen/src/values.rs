//! Keys and incompressible values.

use std::sync::Arc;

/// How many keys there are.
pub const KEYS: u64 = 100_000;

/// A small generator, the same numbers on every machine.
#[derive(Clone)]
pub struct Values {
    state: u64,
    pool: Arc<Vec<u8>>,
    size: usize,
}

impl Values {
    /// For values of `size` bytes.
    pub fn new(size: usize) -> Self {
        let mut values = Self { state: 0x9E37_79B9_7F4A_7C15, pool: Arc::default(), size };
        let pool = (0..(4 << 20).max(4 * size) / 8).flat_map(|_| values.next().to_le_bytes()).collect();
        values.pool = Arc::new(pool);
        values
    }

    /// The same values in another order.
    pub fn of(&self, client: usize) -> Self {
        let state = (client as u64 + 1).wrapping_mul(0x2545_F491_4F6C_DD1D) | 1;
        Self { state, ..self.clone() }
    }

    pub const fn size(&self) -> usize {
        self.size
    }

    pub fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    pub fn key(&mut self) -> u64 {
        self.next() % KEYS
    }

    pub fn value(&mut self) -> &[u8] {
        let at = self.next() as usize % (self.pool.len() - self.size);
        &self.pool[at..at + self.size]
    }
}
