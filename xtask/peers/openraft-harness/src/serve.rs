//! The network as other nodes call it.

use std::io;

use futures_util::{FutureExt, StreamExt, stream};
use openraft::raft::AppendEntriesRequest;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};

use crate::types::{Config, Raft};
use crate::wire::{self, Frames};

pub async fn all(listener: TcpListener, raft: Raft) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let raft = raft.clone();
        // Whoever called sees that it ends, and comes again.
        tokio::spawn(async move { one(stream, &raft).await });
    }
}

async fn one(stream: TcpStream, raft: &Raft) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (from, mut to) = stream.into_split();
    let mut from = Frames::new(from);
    let mut out = Vec::new();
    while let Some(kind) = from.next().await? {
        out.clear();
        match kind {
            wire::APPEND => {
                let answer = raft.append_entries(from.message()?).await.map_err(io::Error::other)?;
                wire::put(&mut out, kind, &answer)?;
            }
            wire::VOTE => {
                let answer = raft.vote(from.message()?).await.map_err(io::Error::other)?;
                wire::put(&mut out, kind, &answer)?;
            }
            wire::STREAM => return appends(from, to, raft).await,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        to.write_all(&out).await?;
    }
    Ok(())
}

/// The stream whose first request has come already.
async fn appends(from: Frames, mut to: OwnedWriteHalf, raft: &Raft) -> io::Result<()> {
    let first: AppendEntriesRequest<Config> = from.message()?;
    let more = stream::unfold(from, |mut from| async {
        from.next().await.ok()??;
        let request = from.message().ok()?;
        Some((request, from))
    });
    let requests = stream::once(async { first }).chain(more);
    let mut answers = Box::pin(raft.stream_append(requests)).fuse();
    let mut out = Vec::new();
    while let Some(answer) = answers.next().await {
        out.clear();
        wire::put(&mut out, wire::STREAM, &answer.map_err(io::Error::other)?)?;
        while let Some(Some(answer)) = answers.next().now_or_never() {
            wire::put(&mut out, wire::STREAM, &answer.map_err(io::Error::other)?)?;
        }
        to.write_all(&out).await?;
    }
    Ok(())
}
