//! How the process ends.

use std::process::ExitCode;

/// A sentence for stderr, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    code: u8,
    text: String,
}

impl Exit {
    /// Wrong use: 2.
    pub(crate) const fn usage(text: String) -> Self {
        Self { code: 2, text }
    }

    /// The data is damaged, foreign or replaced: 3.
    pub(crate) const fn data(text: String) -> Self {
        Self { code: 3, text }
    }

    /// An address is in use: 4.
    pub(crate) const fn address(text: String) -> Self {
        Self { code: 4, text }
    }

    /// Anything else: 1.
    pub(crate) const fn other(text: String) -> Self {
        Self { code: 1, text }
    }

    /// Says it, and gives the code.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("raft-kv: {}", self.text);
        ExitCode::from(self.code)
    }
}
