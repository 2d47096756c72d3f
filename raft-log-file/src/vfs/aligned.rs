//! Memory that a disk can be written from directly.

/// Disks and file systems are content with a multiple of this, in bytes.
pub(crate) const ALIGN: usize = 4096;

/// Bytes that begin at a multiple of [`ALIGN`] in memory, as long as they do not outgrow what was announced.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    memory: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// That many zeros.
    pub(crate) fn zeros(bytes: usize) -> Self {
        let mut zeros = Self::default();
        let memory = zeros.begin(bytes);
        memory.resize(memory.len() + bytes, 0);
        zeros
    }

    /// Begins anew: that many bytes can be appended to the vector.
    pub(crate) fn begin(&mut self, bytes: usize) -> &mut Vec<u8> {
        self.memory.clear();
        self.memory.reserve(bytes + ALIGN);
        // Where that cannot be said it is written another way.
        self.start = self.memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        self.memory.resize(self.start, 0);
        &mut self.memory
    }

    /// What was appended.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..).unwrap_or_default()
    }

    /// What it takes of memory, in bytes.
    pub(crate) const fn capacity(&self) -> usize {
        self.memory.capacity()
    }
}

/// Whether a write can go to the disk directly.
#[cfg(target_os = "linux")]
pub(super) fn is_aligned(bytes: &[u8], offset: u64) -> bool {
    let is_whole = !bytes.is_empty() && bytes.len().is_multiple_of(ALIGN);
    is_whole && offset.is_multiple_of(ALIGN as u64) && bytes.as_ptr().align_offset(ALIGN) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_announced_is_aligned() {
        let mut buffer = Aligned::default();
        for bytes in [1, ALIGN, 100_000, 10] {
            let memory = buffer.begin(bytes);
            memory.extend(std::iter::repeat_n(7, bytes));
            assert_eq!(buffer.bytes(), vec![7; bytes]);
            assert_eq!(buffer.bytes().as_ptr().align_offset(ALIGN), 0);
        }
        assert_eq!(Aligned::zeros(ALIGN).bytes(), [0; ALIGN]);
    }
}
