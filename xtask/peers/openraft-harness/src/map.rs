//! The state machine: a map in memory. It takes no snapshots, and is made again from the log after a restart.

use std::collections::HashMap;
use std::io;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};

use crate::types::Config;

#[derive(Default)]
pub struct Map {
    values: HashMap<u64, Bytes>,
    applied: Option<LogIdOf<Config>>,
    membership: StoredMembershipOf<Config>,
}

/// Nobody asks for a snapshot: the policy is never, and the log is all there.
pub struct NoSnapshots;

fn no_snapshots<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "there are no snapshots here"))
}

impl RaftSnapshotBuilder<Config> for NoSnapshots {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Config, ()>> {
        no_snapshots()
    }
}

impl RaftStateMachine<Config> for Map {
    type SnapshotData = ();
    type SnapshotBuilder = NoSnapshots;

    async fn applied_state(&mut self) -> io::Result<(Option<LogIdOf<Config>>, StoredMembershipOf<Config>)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Config>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(put) => {
                    self.values.insert(put.key, put.value);
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembershipOf::<Config>::new(Some(entry.log_id), membership);
                }
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> NoSnapshots {
        NoSnapshots
    }

    async fn install_snapshot(&mut self, _: &SnapshotMetaOf<Config>, (): ()) -> io::Result<()> {
        no_snapshots()
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Config, ()>>> {
        Ok(None)
    }
}
