//! Clients: request = u32 LE length of key and value, u64 id, u64 key, value; answer = u64 id, u8 status (0 done, 1 not the
//! leader, 2 dropped). What was read at once is proposed at once.

use std::future::{Future, poll_fn};
use std::io;
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use raft_core::NodeHandle;
use raft_core::error::ProposeError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Of a key and its value, at most.
const LIMIT: usize = 64 << 20;
/// Commands of one proposal, in bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Proposals of a connection under way; while there are more, nothing is read.
const PROPOSALS: usize = 64;

pub async fn all(listener: TcpListener, node: NodeHandle) {
    while let Ok((stream, _)) = listener.accept().await {
        let node = node.clone();
        tokio::spawn(async move { one(stream, &node).await });
    }
}

/// Who asked, and what became of it.
type Answered = (Vec<u64>, u8);

async fn one(mut stream: TcpStream, node: &NodeHandle) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut from, mut to) = stream.split();
    let mut buffer = BytesMut::with_capacity(256 << 10);
    let mut under = FuturesUnordered::new();
    let mut out = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some(answered) = under.next() => {
                put(&mut out, answered);
                // All that is there at once in one write.
                while let Some(answered) = ready(&mut under).await {
                    put(&mut out, answered);
                }
                to.write_all(&out).await?;
                out.clear();
            }
            read = from.read_buf(&mut buffer), if under.len() < PROPOSALS => {
                if read? == 0 {
                    return Ok(());
                }
                loop {
                    let (ids, commands) = take(&mut buffer)?;
                    if ids.is_empty() {
                        break;
                    }
                    under.push(propose(node, ids, commands));
                }
                // It keeps what it was given: each read's commands have bytes of their own.
                buffer.reserve(64 << 10);
            }
        }
    }
}

/// The next that is over, if there is one at this moment.
async fn ready<F: Future>(under: &mut FuturesUnordered<F>) -> Option<F::Output> {
    poll_fn(|context| match under.poll_next_unpin(context) {
        Poll::Ready(done) => Poll::Ready(done),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

async fn propose(node: &NodeHandle, ids: Vec<u64>, commands: Vec<Bytes>) -> Answered {
    let status = match node.propose_batch(commands).await {
        Ok(_) => 0,
        Err(ProposeError::NotLeader { .. }) => 1,
        Err(_) => 2,
    };
    (ids, status)
}

fn put(out: &mut Vec<u8>, (ids, status): Answered) {
    for id in ids {
        out.extend_from_slice(&id.to_le_bytes());
        out.push(status);
    }
}

/// Whole requests, as many as are there and fit: who asks, and the commands, which are parts of what was read.
fn take(buffer: &mut BytesMut) -> io::Result<(Vec<u64>, Vec<Bytes>)> {
    let (mut ids, mut places, mut at) = (Vec::new(), Vec::new(), 0);
    while at < BATCH_BYTES
        && let Some((head, rest)) = buffer[at..].split_first_chunk::<4>()
    {
        let length = u32::from_le_bytes(*head) as usize;
        if !(8..=LIMIT).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if rest.len() < 8 + length {
            buffer.reserve(12 + length);
            break;
        }
        ids.push((&rest[..8]).get_u64_le());
        places.push(at + 12..at + 12 + length);
        at += 12 + length;
    }
    let taken = buffer.split_to(at).freeze();
    Ok((ids, places.into_iter().map(|place| taken.slice(place)).collect()))
}
