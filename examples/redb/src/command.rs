//! What one may ask, and what is answered.

use serde::{Deserialize, Serialize};

/// A command. In the log it is postcard, which numbers the variants: new ones go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The key has this value now.
    Put(String, Vec<u8>),
    /// The key is gone.
    Remove(String),
    /// The number under the key grows; without one it begins at 0. Done twice it would count twice.
    Add(String, u64),
}

/// What became of it.
pub type Answer = Result<Done, Refused>;

/// It was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// There was a value before, or not.
    Was(bool),
    /// What the number is now.
    Sum(u64),
}

/// Why nothing was done: it follows from the command and the data, so it is the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    /// The command was no [`Ask`].
    #[error("the command makes no sense")]
    Senseless,
    /// What is under the key is no number.
    #[error("there is no number under the key")]
    NotANumber,
    /// The number would be too large.
    #[error("the number would be too large")]
    TooLarge,
}
