//! The thin protocol of the load generator, so that one program measures several systems.
//!
//! Request: length of the rest without the id (u32), id (u64), key (u64), value. Answer: id (u64), status
//! (u8): 0 done, 1 this node does not lead, 2 not done or unknown. Little endian.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use raft_core::error::ProposeError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::client::put_set;
use crate::server::Server;

/// Length and id.
const HEAD_BYTES: usize = 12;

/// A value may have so much; a larger announcement ends the connection.
const VALUE_LIMIT_BYTES: usize = 16 << 20;

/// Commands of one proposal, in bytes.
const BATCH_BYTES: usize = 1 << 20;

/// Batches under way on a connection; while there are more, nothing is read.
const BATCHES: usize = 64;

/// Accepts connections for ever.
pub(crate) async fn listen(server: Arc<Server>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                tokio::spawn(serve(Arc::clone(&server), socket));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of the thin protocol");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// The commands of one read, and the ids of those who asked.
#[derive(Default)]
struct Batch {
    ids: Vec<u64>,
    commands: Vec<Bytes>,
}

async fn serve(server: Arc<Server>, socket: TcpStream) {
    // Without it small answers may wait; nothing else is lost.
    let _ = socket.set_nodelay(true);
    let (mut input, mut output) = socket.into_split();
    let (batches, mut waiting) = mpsc::channel::<tokio::task::JoinHandle<Vec<u8>>>(BATCHES);
    let writer = tokio::spawn(async move {
        while let Some(answered) = waiting.recv().await {
            let Ok(mut answers) = answered.await else { return };
            // What is ready too goes with it.
            while answers.len() < 1 << 16 {
                let Ok(next) = waiting.try_recv() else { break };
                let Ok(more) = next.await else { return };
                answers.extend_from_slice(&more);
            }
            if output.write_all(&answers).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = BytesMut::new();
    'reading: loop {
        buffer.reserve(64 << 10);
        match input.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        while let Ok(batch) = take(&mut buffer).inspect_err(|what| tracing::debug!(what, "thin protocol")) {
            if batch.ids.is_empty() {
                continue 'reading;
            }
            let server = Arc::clone(&server);
            let Batch { ids, commands } = batch;
            let propose = async move {
                let (count, timed) =
                    (commands.len() as u64, server.traffic.as_ref().map(|it| (it, Instant::now())));
                let result = server.node.propose_batch(commands).await;
                if let Some((traffic, begun)) = timed {
                    traffic.proposed(count, begun, &result);
                }
                let status = match result {
                    Ok(_) => 0,
                    Err(ProposeError::NotLeader { .. }) => 1,
                    Err(_) => 2,
                };
                let mut answers = Vec::with_capacity(ids.len() * 9);
                for id in ids {
                    answers.extend_from_slice(&id.to_le_bytes());
                    answers.push(status);
                }
                answers
            };
            if batches.send(tokio::spawn(propose)).await.is_err() {
                break 'reading;
            }
        }
        break;
    }
    drop(batches);
    // It ends by itself; a panic in it would be its own.
    let _ = writer.await;
}

/// Takes whole requests.
fn take(buffer: &mut BytesMut) -> Result<Batch, &'static str> {
    let mut batch = Batch::default();
    let mut encoded = BytesMut::new();
    let mut ends = Vec::new();
    while encoded.len() < BATCH_BYTES
        && let Some(head) = buffer.first_chunk::<HEAD_BYTES>()
    {
        let mut fields = head.as_slice();
        let length = fields.get_u32_le() as usize;
        let id = fields.get_u64_le();
        if !(8..=VALUE_LIMIT_BYTES).contains(&length) {
            return Err("a length is out of range");
        }
        let Some(body) = buffer.get(HEAD_BYTES..HEAD_BYTES + length) else { break };
        let Some((key, value)) = body.split_at_checked(8) else { break };
        put_set(&mut encoded, key, value);
        ends.push(encoded.len());
        batch.ids.push(id);
        buffer.advance(HEAD_BYTES + length);
    }
    let encoded = encoded.freeze();
    let mut from = 0;
    for end in ends {
        batch.commands.push(encoded.slice(from..end));
        from = end;
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: u64, value: &[u8]) -> Vec<u8> {
        let mut out = (8 + value.len() as u32).to_le_bytes().to_vec();
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&7_u64.to_le_bytes());
        out.extend_from_slice(value);
        out
    }

    #[test]
    fn whole_requests_are_taken_and_halves_wait() {
        let mut all = request(1, b"one");
        all.extend(request(2, b"two"));
        let mut buffer = BytesMut::from(all.get(..all.len() - 1).unwrap());
        assert_eq!(take(&mut buffer).unwrap().ids, [1]);
        assert!(take(&mut buffer).unwrap().ids.is_empty());
        buffer.extend_from_slice(b"o");
        let batch = take(&mut buffer).unwrap();
        assert_eq!((batch.ids.as_slice(), batch.commands.len()), ([2].as_slice(), 1));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_length_of_two_gib_ends_the_connection_at_once() {
        let mut buffer = BytesMut::from([0xff; HEAD_BYTES].as_slice());
        assert!(take(&mut buffer).is_err());
    }
}
