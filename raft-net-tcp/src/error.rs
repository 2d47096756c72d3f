//! What a peer can do wrong on the wire. Each closes that one connection and is counted.

/// Why a connection was closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The first bytes are not ours.
    #[error("not a raft connection")]
    Magic,
    /// A frame announces more than the limit. Nothing was allocated for it.
    #[error("a frame of {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// What it announces, in bytes.
        bytes: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The checksum does not match.
    #[error("a frame's checksum does not match")]
    Checksum,
    /// The bytes do not make sense.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A frame of a kind that this version does not know.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// A frame speaks for another node than the one that shook hands.
    #[error("a frame speaks for another node than the connection's")]
    WrongSender,
    /// It came on the lane that is not its own.
    #[error("a frame on the wrong lane")]
    WrongLane,
}
