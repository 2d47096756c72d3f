//! `raft-kv restore`: a new cluster of one node from a backup.

use std::fs::File;
use std::io::{BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{
    HardState, JournalWrite, SnapshotError, SnapshotId, SnapshotMeta, SnapshotSource, Vote,
};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, NodeId, StoreId};
use raft_core::membership::{Member, Membership};
use raft_core::node::seed_snapshot;

use super::copy::{Named, damage};
use super::progress::Progress;
use super::snapshots::{Snapshots, failed};
use super::{AGAIN, of_journal, of_open, random};
use crate::advice;
use crate::backup::{self, BadBackup, Head, Reader};
use crate::exit::Exit;
use crate::journal::{JournalKind, View};
use crate::settings::{self, CLIENT};

/// Flags of `raft-kv restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The backup.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The new node's data folder: it is empty or does not exist yet.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The name of the new node, a number from 1.
    #[arg(long, value_name = "N")]
    id: u64,
    /// Where its clients will connect.
    #[arg(long, value_name = "HOST:PORT")]
    listen: SocketAddr,
    /// Where the nodes that join it later will connect.
    #[arg(long, value_name = "HOST:PORT")]
    peer_listen: SocketAddr,
    /// How its log is kept: file or sqlite.
    #[arg(long, value_name = "KIND", default_value = "file")]
    journal: String,
    /// The name of the new cluster. Default: a random one.
    #[arg(long, value_name = "UUID")]
    cluster_id: Option<String>,
}

/// Does it. The node begins with a snapshot of what was in the backup, at the same place of the log.
///
/// # Errors
/// [`Exit`]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Exit> {
    let kind = JournalKind::named(&arguments.journal)
        .ok_or_else(|| settings::unknown_journal("--journal", &arguments.journal))?;
    if arguments.id == 0 {
        return Err(Exit::usage("--id must not be 0", "give the new node a number from 1"));
    }
    let target = Named::new(kind, &arguments.data)?;
    let name = arguments.from.display();
    let bad = |error: BadBackup| of_backup(&arguments.from, &error);
    // All of it, before anything is made of it.
    let checked = backup::check(&arguments.from, true).map_err(bad)?;
    let cluster = match &arguments.cluster_id {
        Some(text) => settings::cluster(text)?,
        None => ClusterId(random()?),
    };
    if cluster == checked.head.cluster {
        let text = "--cluster-id: that is the cluster of the backup, with which this node must never talk";
        return Err(Exit::usage(text, "leave --cluster-id out, which makes a new name, or give another one"));
    }
    let unfinished = format!("an unfinished restore of {name}");
    if target.is_unfinished(&unfinished)? {
        target.clear().map_err(|error| target.failed("cannot remove an earlier attempt", &error))?;
    }
    let identity = Identity {
        cluster,
        group: GroupId(0),
        node: NodeId(arguments.id),
        store: StoreId(random()?),
        incarnation: Incarnation::default(),
    };
    let member = Member::new(identity.node, arguments.peer_listen.to_string())
        .with(CLIENT, arguments.listen.to_string());
    let membership = Membership::of_voters([member]).map_err(|error| {
        Exit::usage(format!("the new node: {error}"), "give another --listen and --peer-listen")
    })?;
    let reader = File::open(&arguments.from)
        .map_err(BadBackup::from)
        .and_then(|file| Reader::new(BufReader::new(file)));
    let source = Source(reader.map_err(bad)?, Progress::bytes("restored", checked.file_bytes));
    let made = target.in_runtime(write(&target, identity, &checked.head, membership, source, &unfinished))?;
    let mut new = View::new(kind, &target.dir).map_err(|error| of_open(&target.dir, &error))?;
    if let Some(damage) = damage(&new) {
        return Err(Exit::data(format!("{target} is damaged, it stays closed: {damage}"), AGAIN));
    }
    let there = target.in_runtime(async { Snapshots::of(kind, &target.dir).await })?;
    if there.and_then(|snapshots| snapshots.latest).as_ref() != Some(&made) {
        let text = format!("{target} has not the snapshot that was written; it stays closed");
        return Err(Exit::other(text, AGAIN));
    }
    new.release().map_err(|error| of_open(&target.dir, &error))?;
    println!("restored: {checked}");
    println!("the new cluster is {cluster}, with node {} alone", identity.node);
    println!(
        "start it with --id {} --data {} --journal {} --cluster-id {cluster} --listen {} --peer-listen {}",
        identity.node,
        target.dir.display(),
        kind.name(),
        arguments.listen,
        arguments.peer_listen
    );
    Ok(())
}

pub(super) fn of_backup(path: &std::path::Path, error: &BadBackup) -> Exit {
    let text = format!("{}: {error}", path.display());
    match error {
        BadBackup::Io(_) => Exit::other(text, advice::backup(error)),
        _ => Exit::data(text, advice::backup(error)),
    }
}

/// The data of a backup, as a state machine would give it.
struct Source<R>(Reader<R>, Progress);

#[async_trait]
impl<R: Read + Send + 'static> SnapshotSource for Source<R> {
    async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let next = self.0.next().map_err(|error| SnapshotError::Io {
            what: "read the backup".into(),
            cause: error.to_string().into(),
        });
        let next = next?.map(Bytes::from);
        self.1.add(next.as_ref().map_or(0, |piece| piece.len() as u64));
        Ok(next)
    }
}

/// Writes the journal, which stays closed, and the snapshot.
async fn write<R: Read + Send + 'static>(
    target: &Named,
    identity: Identity,
    head: &Head,
    membership: Membership,
    source: Source<R>,
    unfinished: &str,
) -> Result<SnapshotMeta, Exit> {
    let failing = |error| of_journal(&target.dir, &error);
    let adopted = target.kind.adopt(&target.dir, identity, unfinished).await;
    let mut journal = adopted.map_err(|error| of_open(&target.dir, &error))?;
    let mut first = JournalWrite::default();
    first.hard_state =
        Some(HardState { term: head.upto.term, vote: Vote::None, probation: false, ..HardState::default() });
    journal.write(first).await.map_err(failing)?;
    let dir = JournalKind::snapshots_dir(&target.dir);
    let store = target.kind.snapshots(&target.dir).await.map_err(|error| failed(&dir, &error))?;
    let id = SnapshotId(random()?);
    let made = seed_snapshot(&*store, id, head.upto, membership, Box::new(source)).await;
    let made = made.map_err(|error| failed(&dir, &error))?;
    journal.reset(head.upto).await.map_err(failing)?;
    Ok(made)
}
