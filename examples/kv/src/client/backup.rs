//! `RAFT SNAPSHOT` and `RAFT BACKUP ...`.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::local::upper;
use super::session::Session;
use crate::backup::{BadBackup, Checked, NewFile, Stream};
use crate::refusal;
use crate::resp::Reply;
use crate::server::Server;

/// `RAFT SNAPSHOT`: takes one now, and waits until it is durable.
pub(crate) async fn snapshot(server: &Server, reply: &mut Reply) {
    match server.node.snapshot().await {
        Ok(meta) => {
            reply.map(3);
            let bytes = meta.content.total_bytes;
            for (name, number) in [("index", meta.upto.index.0), ("term", meta.upto.term.0), ("bytes", bytes)]
            {
                reply.bulk(name.as_bytes());
                reply.integer(i64::try_from(number).unwrap_or(i64::MAX));
            }
        }
        Err(error) => reply.error(&format!("ERR {error}")),
    }
}

impl Session {
    /// `RAFT BACKUP path`: writes one on this node's disk. `RAFT BACKUP STREAM` and then `NEXT`, until there is an
    /// empty answer: sends one, piece by piece, to a client that has a disk of its own.
    pub(crate) async fn backup(&mut self, args: &[Bytes], reply: &mut Reply) {
        match (upper(args.first()).as_slice(), args) {
            (b"NEXT", [_]) => match &mut self.backup {
                Some(stream) => {
                    let piece = stream.next();
                    if piece.is_none() {
                        self.backup = None;
                    }
                    reply.bulk(&piece.unwrap_or_default());
                }
                None => reply.error("ERR there is no backup under way: RAFT BACKUP STREAM begins one"),
            },
            (b"STREAM", [_]) => match moment(&self.server).await {
                Ok(stream) => {
                    self.backup = Some(Box::new(stream));
                    reply.ok();
                }
                Err(error) => reply.error(&error),
            },
            (_, [path]) => match self.backup_to(path).await {
                Ok(done) => reply.bulk(done.to_string().as_bytes()),
                Err(error) => reply.error(&error),
            },
            _ => reply.error("ERR wrong number of arguments for 'raft|backup' command"),
        }
    }

    async fn backup_to(&self, path: &Bytes) -> Result<Checked, String> {
        let path = std::str::from_utf8(path).map(PathBuf::from).unwrap_or_default();
        if !path.is_absolute() {
            return Err("ERR the path of a backup must begin with /: it is on the node's own disk".into());
        }
        let stream = moment(&self.server).await?;
        // Its own thread: neither data nor disk make anybody wait.
        let written = tokio::task::spawn_blocking(move || write(stream, &path)).await;
        let written = written.map_err(|_| String::from("ERR the backup has died"))?;
        written.map_err(|error| format!("ERR the backup was not written: {error}"))
    }
}

fn write(mut stream: Stream, path: &Path) -> Result<Checked, BadBackup> {
    let mut file = NewFile::create(path)?;
    while let Some(piece) = stream.next() {
        file.write(&piece)?;
    }
    file.finish()
}

/// The data as it is once everything is in it that was acknowledged before.
async fn moment(server: &Server) -> Result<Stream, String> {
    let waited = server.node.read_barrier().await;
    waited.map_err(|error| refusal::of_read(&error, server.me(), 0))?;
    let membership = server.node.status().membership.clone();
    let data = server.data.lock().clone();
    Ok(Stream::new(server.cluster, server.node.id(), membership, data))
}
