//! What several commands need.

pub(crate) mod json;
pub(crate) mod markdown;
pub(crate) mod ports;
pub(crate) mod proc;
pub(crate) mod progress;
pub(crate) mod random;
pub(crate) mod resp;
pub(crate) mod rust_text;
pub(crate) mod table;
pub(crate) mod watch;

/// Why a command could not do its work, as a sentence, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    next: Option<String>,
}

impl Failure {
    /// A failure that says so.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), next: None }
    }

    /// The same, and what helps, where that is not what helps a command in general.
    pub(crate) fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }

    /// What helps.
    pub(crate) fn helps(&self) -> Option<&str> {
        self.next.as_deref()
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

/// Adds to an error what was attempted.
pub(crate) trait Context<T> {
    /// The same, or a failure `what: error`.
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: std::fmt::Display> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(format!("{}: {error}", what())))
    }
}
