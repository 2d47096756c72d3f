//! Frames as protobuf and back, for the generated code.
//!
//! tonic gathers a whole frame in one buffer, at both ends: there each payload is copied once, and nowhere else. Of
//! what was read prost takes `bytes` fields as slices of that buffer. To send without the copy the buffer would have to
//! be a chain of pieces, which [`EncodeBuf`] is not. An append with absurdly many empty entries is refused before prost makes room for them.

use bytes::Buf;
use prost::Message as _;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::error::WireError;
use crate::proto::Frame;

/// Entries in one append: with their overhead they count for 64 MiB. Part of the wire format.
pub(crate) const ENTRIES: u64 = 1 << 20;

/// The fields of the `.proto` that lead to an append's entries: `Frame.message`, `Message.append`,
/// `Append.entries`.
pub(crate) const WAY: [u64; 3] = [5, 9, 3];

/// The codec of both lanes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameCodec;

impl Codec for FrameCodec {
    type Encode = Frame;
    type Decode = Frame;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for FrameCodec {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(frame.encoded_len());
        frame.encode(out).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Frame>, Status> {
        frame(buffer).map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

/// A frame out of its bytes, which are contiguous: tonic collects a whole one.
///
/// # Errors
/// [`WireError`] for bytes that are no frame, or one with too many entries, for which no room is made.
pub(crate) fn frame(bytes: impl Buf) -> Result<Frame, WireError> {
    let entries = count(bytes.chunk(), &WAY);
    if entries > ENTRIES {
        return Err(WireError::TooMany { entries, limit: ENTRIES });
    }
    Frame::decode(bytes).map_err(|error| WireError::Stream(error.to_string()))
}

/// How many fields `way` leads to, never fewer than prost finds. What cannot be read ends the count: prost will say what
/// is wrong.
pub(crate) fn count(mut bytes: &[u8], way: &[u64]) -> u64 {
    let Some((field, rest)) = way.split_first() else { return 1 };
    let mut found = 0;
    while let Some(key) = varint(&mut bytes) {
        let length = match key & 7 {
            0 => match varint(&mut bytes) {
                Some(_) => 0,
                None => return found,
            },
            1 => 8,
            2 => match varint(&mut bytes) {
                Some(length) => length,
                None => return found,
            },
            // Groups, which nobody writes any more and prost skips. What is in one is counted with the rest.
            3 | 4 => 0,
            5 => 4,
            _ => return found,
        };
        let Some((value, after)) = usize::try_from(length).ok().and_then(|at| bytes.split_at_checked(at))
        else {
            return found;
        };
        if key >> 3 == *field && key & 7 == 2 {
            found += count(value, rest);
        }
        bytes = after;
    }
    found
}

/// Takes a number of up to ten bytes.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
