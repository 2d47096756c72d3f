//! Inputs out of other inputs, without any guide: for where libFuzzer cannot be built, and the same every
//! time for the plain tests.

/// Numbers at which lengths and counts go wrong.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x10_000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// Mutants that are mutated further.
const LATELY: usize = 64;

/// Makes inputs.
pub(super) struct Mutator {
    inputs: Vec<Vec<u8>>,
    words: &'static [&'static [u8]],
    longest: usize,
    random: u64,
    lately: Vec<Vec<u8>>,
    input: Vec<u8>,
}

impl Mutator {
    pub(super) fn new(
        mut inputs: Vec<Vec<u8>>,
        words: &'static [&'static [u8]],
        longest: usize,
        seed: u64,
    ) -> Self {
        inputs.push(Vec::new());
        let random = (seed ^ 0x9e37_79b9_7f4a_7c15).max(1);
        Self { inputs, words, longest, random, lately: Vec::new(), input: Vec::new() }
    }

    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.draw() % limit.max(1) as u64) as usize
    }

    /// One that is there already.
    fn pick(&mut self) -> &[u8] {
        let known = self.inputs.len();
        let at = self.below(known + self.lately.len().div_ceil(4));
        let late = self.below(self.lately.len());
        if at < known { &self.inputs[at] } else { &self.lately[late] }
    }

    /// The next input.
    pub(super) fn next(&mut self) -> &[u8] {
        let mut input = std::mem::take(&mut self.input);
        input.clear();
        input.extend_from_slice(self.pick());
        for _ in 0..1 + self.below(2) * self.below(6) {
            self.change(&mut input);
        }
        input.truncate(self.longest);
        if self.below(16) == 0 {
            if self.lately.len() < LATELY {
                self.lately.push(input.clone());
            } else {
                let at = self.below(LATELY);
                self.lately[at].clone_from(&input);
            }
        }
        self.input = input;
        &self.input
    }

    /// A place and a length, mostly short.
    fn range(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let at = self.below(input.len());
        let most = if self.below(4) == 0 { input.len() - at } else { (input.len() - at).min(16) };
        at..at + 1 + self.below(most)
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        if input.is_empty() {
            let count = 1 + self.below(32);
            input.extend((0..count).map(|_| self.draw() as u8));
            return;
        }
        let at = self.below(input.len());
        match self.below(13) {
            0 | 1 => input[at] ^= 1 << self.below(8),
            2 => input[at] = self.draw() as u8,
            3 => input[at] = input[at].wrapping_add(self.below(17) as u8).wrapping_sub(8),
            4 => {
                let range = self.range(input);
                input.drain(range);
            }
            5 => {
                let range = self.range(input);
                let copy = input[range].to_vec();
                let times = 1 + self.below(2) * self.below(40);
                (0..times).for_each(|_| insert(input, at, &copy));
            }
            6 => {
                let count = 1 + self.below(8);
                let bytes: Vec<u8> = (0..count).map(|_| self.draw() as u8).collect();
                insert(input, at, &bytes);
            }
            7 if !self.words.is_empty() => {
                let word = self.words[self.below(self.words.len())];
                if self.below(2) == 0 {
                    insert(input, at, word);
                } else {
                    write(input, at, word);
                }
            }
            8 => self.number(input, at),
            9 => input.truncate(at),
            10 => {
                let range = self.range(input);
                let copy = input[range].to_vec();
                write(input, at, &copy);
            }
            11 => {
                // The beginning of this one, the end of another.
                let other = self.pick().to_vec();
                let from = self.below(other.len());
                input.truncate(at);
                input.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            _ => {
                let range = self.range(input);
                let with = if self.below(2) == 0 { 0 } else { self.draw() as u8 };
                input[range].fill(with);
            }
        }
    }

    /// Changes a field: a length, a count, a number.
    fn number(&mut self, input: &mut [u8], at: usize) {
        let width = [1, 2, 4, 8][self.below(4)].min(input.len() - at);
        let mut field = [0; 8];
        field[..width].copy_from_slice(&input[at..at + width]);
        let big_endian = self.below(4) == 0;
        if big_endian {
            field[..width].reverse();
        }
        let old = u64::from_le_bytes(field);
        let new = match self.below(4) {
            0 => NUMBERS[self.below(NUMBERS.len())],
            1 => (input.len() - at) as u64,
            2 => old.wrapping_add(self.below(33) as u64).wrapping_sub(16),
            _ => self.draw() >> self.below(64),
        };
        field = new.to_le_bytes();
        if big_endian {
            field[..width].reverse();
        }
        input[at..at + width].copy_from_slice(&field[..width]);
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let at = at.min(input.len());
    input.splice(at..at, bytes.iter().copied());
}

fn write(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let at = at.min(input.len());
    let end = input.len().min(at + bytes.len());
    input.splice(at..end, bytes.iter().copied());
}
