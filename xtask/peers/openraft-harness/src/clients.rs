//! Clients: request = u32 LE length of key and value, u64 id, u64 key, value; answer = u64 id, u8 status (0 done, 1 not the
//! leader, 2 dropped). What was read at once goes to openraft at once, one entry a request.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use openraft::base::BoxStream;
use openraft::errors::{ClientWriteError, Fatal};
use openraft::raft::WriteResult;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::types::{Config, Put, Raft};

/// Of a key and its value, at most.
const LIMIT: usize = 64 << 20;

/// Requests that went together, and their answers in the same order.
type Under = (Vec<u64>, BoxStream<'static, Result<WriteResult<Config>, Fatal<Config>>>);

pub async fn all(listener: TcpListener, raft: Raft) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let raft = raft.clone();
        tokio::spawn(async move { one(stream, &raft).await });
    }
}

async fn one(stream: TcpStream, raft: &Raft) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut from, to) = stream.into_split();
    let (under, all) = unbounded_channel();
    tokio::spawn(answer(all, to));
    let mut buffer = BytesMut::with_capacity(256 << 10);
    while from.read_buf(&mut buffer).await? > 0 {
        let (mut ids, mut puts) = (Vec::new(), Vec::new());
        while let Some((id, put)) = request(&mut buffer)? {
            ids.push(id);
            puts.push(put);
        }
        if ids.is_empty() {
            continue;
        }
        let answers = raft.client_write_many(puts).await.map_err(io::Error::other)?;
        if under.send((ids, answers)).is_err() {
            break;
        }
    }
    Ok(())
}

/// The next one, if all of it has come. The value is copied: it would keep all that was read with it otherwise.
fn request(buffer: &mut BytesMut) -> io::Result<Option<(u64, Put)>> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if !(8..=LIMIT).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if buffer.len() < 12 + length {
        buffer.reserve(12 + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(4);
    let (id, key) = (buffer.get_u64_le(), buffer.get_u64_le());
    let value = Bytes::copy_from_slice(&buffer[..length - 8]);
    buffer.advance(length - 8);
    Ok(Some((id, Put { key, value })))
}

/// All answers that are there at once in one write.
async fn answer(mut all: UnboundedReceiver<Under>, mut to: OwnedWriteHalf) -> io::Result<()> {
    let mut out = Vec::new();
    while let Some((ids, answers)) = all.recv().await {
        let mut answers = answers.fuse();
        for id in ids {
            let next = match answers.next().now_or_never() {
                Some(next) => next,
                None => {
                    to.write_all(&out).await?;
                    out.clear();
                    answers.next().await
                }
            };
            let status = match next {
                Some(Ok(Ok(_))) => 0,
                Some(Ok(Err(ClientWriteError::ForwardToLeader(_)))) => 1,
                Some(Ok(Err(_)) | Err(_)) | None => 2,
            };
            out.extend_from_slice(&u64::to_le_bytes(id));
            out.push(status);
        }
        if all.is_empty() {
            to.write_all(&out).await?;
            out.clear();
        }
    }
    Ok(())
}
