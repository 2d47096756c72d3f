//! How much memory a process has, and has had at most.

use std::path::PathBuf;

/// The memory of a process, where the system tells (Linux).
#[derive(Clone, Copy)]
pub(super) struct Memory(Option<u32>);

impl Memory {
    pub(super) const fn of(process: Option<u32>) -> Self {
        Self(process)
    }

    fn file(self, name: &str) -> Option<PathBuf> {
        Some(PathBuf::from(format!("/proc/{}/{name}", self.0?)))
    }

    fn kibibytes(self, key: &str) -> Option<u64> {
        let text = std::fs::read_to_string(self.file("status")?).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
    }

    /// Resident, in bytes.
    pub(super) fn now(self) -> Option<u64> {
        self.kibibytes("VmRSS").map(|kibibytes| kibibytes << 10)
    }

    /// The most that was resident since [`Memory::reset`], in bytes.
    pub(super) fn peak(self) -> Option<u64> {
        self.kibibytes("VmHWM").map(|kibibytes| kibibytes << 10)
    }

    /// What was resident so far does not count any more.
    pub(super) fn reset(self) {
        if let Some(file) = self.file("clear_refs") {
            // Where it is not allowed the peak is too high: never better than it was.
            let _ = std::fs::write(file, "5");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn ones_own_memory_is_found() {
        let own = Memory::of(Some(std::process::id()));
        own.reset();
        let (now, peak) = (own.now().unwrap(), own.peak().unwrap());
        assert!(now > 0 && peak > 0);
        assert!(Memory::of(None).now().is_none());
    }
}
