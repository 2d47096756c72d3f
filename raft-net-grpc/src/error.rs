//! What a peer can do wrong on the wire. Each ends that one stream and is counted.

/// Why a stream was ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// More entries than one append may have. No room was made for them.
    #[error("an append of {entries} entries, the limit is {limit}")]
    TooMany {
        /// How many it has.
        entries: u64,
        /// How many it may have.
        limit: u64,
    },
    /// The checksum does not match.
    #[error("a frame's checksum does not match")]
    Checksum,
    /// The bytes or the fields do not make sense.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A frame that must not come at this point.
    #[error("a frame out of turn")]
    OutOfTurn,
    /// A frame speaks for another node than the one that shook hands.
    #[error("a frame speaks for another node than the stream's")]
    WrongSender,
    /// It came on the lane that is not its own.
    #[error("a frame on the wrong lane")]
    WrongLane,
    /// What gRPC says: a frame over the limit, bytes that are no protobuf, a broken stream.
    #[error("{0}")]
    Stream(String),
}
