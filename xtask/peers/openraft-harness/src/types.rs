//! What is replicated, and how its log writes it.

use std::fmt;
use std::io::{self, Read, Write};

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::alias::{LogIdOf, VoteOf};
use raft_log::codeq::{Decode, Encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::log::Flushed;

openraft::declare_raft_types!(
    /// openraft's defaults but for the command, the answer, and nodes that are known by their number alone.
    pub Config:
        D = Put,
        R = (),
        Node = (),
);

pub type Raft = openraft::Raft<Config, crate::map::Map>;

/// One client's command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Put {
    pub key: u64,
    pub value: Bytes,
}

impl fmt::Display for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} B)", self.key, self.value.len())
    }
}

/// What raft-log is told of openraft's types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored;

impl raft_log::Types for Stored {
    type LogId = Id;
    type LogPayload = Payload;
    type Vote = Vote;
    type Callback = Flushed;
    type UserData = ();

    fn log_index(id: &Id) -> u64 {
        id.0.index
    }

    fn payload_size(payload: &Payload) -> u64 {
        match &payload.0 {
            EntryPayload::Normal(put) => put.value.len() as u64 + 8,
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(pub LogIdOf<Config>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd)]
pub struct Vote(pub VoteOf<Config>);

#[derive(Clone, Debug)]
pub struct Payload(pub EntryPayload<Put, u64, ()>);

fn invalid(error: postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn encode<T: Serialize>(value: &T, w: impl Write) -> io::Result<usize> {
    postcard::to_stdvec(value).map_err(invalid)?.encode(w)
}

fn decode<T: DeserializeOwned>(r: impl Read) -> io::Result<T> {
    postcard::from_bytes(&Vec::decode(r)?).map_err(invalid)
}

impl Encode for Id {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let id = &self.0;
        Ok(id.leader_id.term.encode(&mut w)?
            + id.leader_id.node_id.encode(&mut w)?
            + id.index.encode(&mut w)?)
    }
}

impl Decode for Id {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let (term, node_id) = (u64::decode(&mut r)?, u64::decode(&mut r)?);
        let leader_id = openraft::impls::leader_id_adv::LeaderId { term, node_id };
        Ok(Self(LogIdOf::<Config>::new(leader_id, u64::decode(&mut r)?)))
    }
}

impl Encode for Vote {
    fn encode<W: Write>(&self, w: W) -> io::Result<usize> {
        encode(&self.0, w)
    }
}

impl Decode for Vote {
    fn decode<R: Read>(r: R) -> io::Result<Self> {
        decode(r).map(Self)
    }
}

/// A command goes as it is, by far the most of them; what else there is, through postcard.
impl Encode for Payload {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let EntryPayload::Normal(put) = &self.0 else {
            return Ok(false.encode(&mut w)? + encode(&self.0, w)?);
        };
        let head =
            true.encode(&mut w)? + put.key.encode(&mut w)? + (put.value.len() as u32).encode(&mut w)?;
        w.write_all(&put.value)?;
        Ok(head + put.value.len())
    }
}

impl Decode for Payload {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        if !bool::decode(&mut r)? {
            return decode(r).map(Self);
        }
        let (key, value) = (u64::decode(&mut r)?, Vec::<u8>::decode(&mut r)?);
        Ok(Self(EntryPayload::Normal(Put { key, value: value.into() })))
    }
}
