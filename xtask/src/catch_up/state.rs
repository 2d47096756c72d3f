//! The data that a cluster is filled with: values that can be made again, so that a node can be asked for each.

use std::net::SocketAddr;
use std::time::Duration;

use crate::content;
use crate::servers::Servers;
use crate::util::random::Random;
use crate::util::resp::{Client, Reply};
use crate::util::{Context, Failure};

/// How long an answer may take while the disk is being filled.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that are sent before an answer is awaited.
const AHEAD_BYTES: usize = 1 << 20;

/// So much data: `keys` values of `value_bytes`.
#[derive(Clone, Copy)]
pub(super) struct State {
    pub(super) keys: u64,
    pub(super) value_bytes: usize,
}

impl State {
    /// At least this much, in values of that size.
    pub(super) const fn new(bytes: u64, value_bytes: usize) -> Self {
        Self { keys: bytes.div_ceil(value_bytes as u64), value_bytes }
    }

    /// The size of all values.
    pub(super) const fn bytes(self) -> u64 {
        self.keys * self.value_bytes as u64
    }

    fn key(number: u64) -> Vec<u8> {
        format!("state:{number}").into_bytes()
    }

    /// Not compressible, and not that of any other key.
    fn value(self, number: u64) -> Vec<u8> {
        let mut random = Random::new(number);
        let mut value = Vec::with_capacity(self.value_bytes + 8);
        while value.len() < self.value_bytes {
            value.extend_from_slice(&random.next().to_le_bytes());
        }
        value.truncate(self.value_bytes);
        value
    }

    fn batch(self) -> usize {
        (AHEAD_BYTES / self.value_bytes.max(1)).clamp(1, 256)
    }

    /// Writes all of it to the leader at this address; `step` is told how many keys are there.
    pub(super) fn fill(self, leader: SocketAddr, mut step: impl FnMut(u64)) -> Result<(), Failure> {
        let mut client =
            Client::connect(leader, PATIENCE).context(|| String::from("cannot reach the leader"))?;
        let numbers: Vec<u64> = (0..self.keys).collect();
        for batch in numbers.chunks(self.batch()) {
            let pairs: Vec<_> =
                batch.iter().map(|number| (Self::key(*number), self.value(*number))).collect();
            let commands: Vec<[&[u8]; 3]> =
                pairs.iter().map(|(key, value)| [&b"SET"[..], key, value]).collect();
            client.send(commands.iter().map(|command| &command[..])).context(|| String::from("SET"))?;
            for _ in batch {
                let reply = client.receive().context(|| String::from("SET"))?;
                if reply != Reply::Simple("OK".into()) {
                    return Err(Failure::new(format!("SET was answered {reply:?}")));
                }
            }
            step(batch.last().map_or(0, |last| last + 1));
        }
        Ok(())
    }

    /// How many of the values are not on a node as they were written. Reads what it has applied.
    pub(super) fn wrong(self, servers: &Servers, at: usize) -> Result<u64, Failure> {
        let mut client = content::connect(servers, at)?;
        client.call(&[b"READONLY"]).context(|| String::from("READONLY"))?;
        let numbers: Vec<u64> = (0..self.keys).collect();
        let mut wrong = 0;
        for batch in numbers.chunks(self.batch()) {
            let keys: Vec<Vec<u8>> = batch.iter().map(|number| Self::key(*number)).collect();
            let values = content::values(&mut client, &keys)?;
            let same = |(number, value): &(&u64, &Option<Vec<u8>>)| {
                value.as_deref() == Some(&self.value(**number)[..])
            };
            wrong += batch.iter().zip(&values).filter(|pair| !same(pair)).count() as u64;
        }
        Ok(wrong)
    }
}
