//! How the process ends.

use std::io::Write;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style};

use crate::settings::Usage;

/// A sentence for stderr, what to do next, and the exit code. There is no way to end without the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    code: u8,
    text: String,
    next: String,
}

impl From<Usage> for Exit {
    fn from(Usage(text, next): Usage) -> Self {
        Self::usage(text, next)
    }
}

impl Exit {
    /// Anything that is not one of the others: 1.
    pub(crate) const OTHER: u8 = 1;
    /// Wrong use. The same again ends the same.
    pub(crate) const USAGE: u8 = 2;
    /// The data is damaged, foreign or replaced.
    pub(crate) const DATA: u8 = 3;
    /// An address is in use.
    pub(crate) const ADDRESS: u8 = 4;

    fn new(code: u8, text: impl Into<String>, next: impl Into<String>) -> Self {
        Self { code, text: text.into(), next: next.into() }
    }

    pub(crate) fn usage(text: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Self::USAGE, text, next)
    }

    pub(crate) fn data(text: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Self::DATA, text, next)
    }

    pub(crate) fn address(text: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Self::ADDRESS, text, next)
    }

    pub(crate) fn other(text: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Self::OTHER, text, next)
    }

    /// Says it, and gives the code.
    pub(crate) fn report(&self) -> ExitCode {
        let (red, bold) = (AnsiColor::Red.on_default().bold(), Style::new().bold());
        // Coloured on a terminal only, and never with NO_COLOR. Nobody may be reading it.
        let _ = writeln!(
            anstream::stderr().lock(),
            "{red}raft-kv:{red:#} {}\n  {bold}next:{bold:#} {}",
            self.text,
            self.next
        );
        ExitCode::from(self.code)
    }
}
