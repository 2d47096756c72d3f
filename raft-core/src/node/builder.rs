//! Putting a node together, and starting it.

use std::sync::Arc;

use ::tokio::sync::{mpsc, oneshot};

use super::guard;
use super::handle::NodeHandle;
use super::inbox::NodeInbox;
use super::protocol::{Protocol, Queues};
use super::shared::Shared;
use super::snapshots::{self, Snapshots};
#[cfg(feature = "trace")]
use super::trace::Observer;
use super::trace::Traced;
use super::{TokioRuntime, applier};
use crate::backend::{Inbox, Journal, Runtime, SnapshotStore, StateMachine, Transport};
use crate::config::Config;
use crate::error::{ConfigError, FatalReason, Violation};
use crate::raft::Raft;

/// A node: one journal, one transport and one state machine, joined by the protocol.
///
/// ```
/// use std::sync::Arc;
///
/// use raft_core::backend::{Journal, SnapshotStore, StateMachine, Transport};
/// use raft_core::error::FatalReason;
/// use raft_core::{Config, Node, NodeHandle};
///
/// async fn start(
///     config: Config,
///     journal: impl Journal,
///     transport: Arc<dyn Transport>,
///     snapshots: Arc<dyn SnapshotStore>,
///     machine: impl StateMachine,
/// ) -> Result<NodeHandle, FatalReason> {
///     Node::builder(config)
///         .journal(journal)
///         .transport(transport)
///         .snapshots(snapshots)
///         .state_machine(machine)
///         .start()
///         .await
/// }
/// ```
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Begins to put a node together.
    pub fn builder(config: Config) -> Builder<(), (), ()> {
        Builder { config, journal: (), transport: (), machine: (), around: Around::default() }
    }
}

/// Collects the parts; [`start`](Builder::start) is there once all are.
#[must_use]
pub struct Builder<J, T, S> {
    config: Config,
    journal: J,
    transport: T,
    machine: S,
    around: Around,
}

/// What a node runs in, beside its parts.
#[derive(Default)]
struct Around {
    snapshots: Option<Arc<dyn SnapshotStore>>,
    runtime: Option<Arc<dyn Runtime>>,
    #[cfg(feature = "trace")]
    observer: Option<Arc<dyn Observer>>,
}

impl<J, T, S> core::fmt::Debug for Builder<J, T, S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<J, T, S> Builder<J, T, S> {
    /// Where the log and the hard state are kept. Already open.
    pub fn journal(self, journal: impl Journal) -> Builder<Box<dyn Journal>, T, S> {
        let Self { config, transport, machine, around, .. } = self;
        Builder { config, journal: Box::new(journal), transport, machine, around }
    }

    /// The same, for a journal chosen at run time.
    pub fn boxed_journal(self, journal: Box<dyn Journal>) -> Builder<Box<dyn Journal>, T, S> {
        let Self { config, transport, machine, around, .. } = self;
        Builder { config, journal, transport, machine, around }
    }

    /// How it reaches the others. Not yet started.
    pub fn transport(self, transport: Arc<dyn Transport>) -> Builder<J, Arc<dyn Transport>, S> {
        let Self { config, journal, machine, around, .. } = self;
        Builder { config, journal, transport, machine, around }
    }

    /// What executes the commands.
    pub fn state_machine(self, machine: impl StateMachine) -> Builder<J, T, Box<dyn StateMachine>> {
        let Self { config, journal, transport, around, .. } = self;
        Builder { config, journal, transport, machine: Box::new(machine), around }
    }

    /// Where snapshots are kept. Without a store none is ever taken, the log only grows, and no other node's
    /// snapshot can be received: a node that lies too far behind cannot catch up then.
    pub fn snapshots(mut self, store: Arc<dyn SnapshotStore>) -> Self {
        self.around.snapshots = Some(store);
        self
    }

    /// Clock, tasks and randomness. Without it, the tokio runtime that `start` is called in.
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.around.runtime = Some(runtime);
        self
    }

    /// Who listens to what the node's protocol is given and gives.
    #[cfg(feature = "trace")]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.around.observer = Some(observer);
        self
    }
}

impl Builder<Box<dyn Journal>, Arc<dyn Transport>, Box<dyn StateMachine>> {
    /// Loads what the journal, the snapshot store and the state machine have, makes them fit after a crash, starts the
    /// transport, and runs.
    ///
    /// # Errors
    /// [`FatalReason`]; nothing runs, the journal is closed. What contradicts itself was not changed.
    pub async fn start(self) -> Result<NodeHandle, FatalReason> {
        let Self { mut config, mut journal, transport, mut machine, around } = self;
        let runtime = around.runtime.unwrap_or_else(|| Arc::new(TokioRuntime::current()));
        config.seed = runtime.seed();
        if around.snapshots.is_none() {
            (config.snapshot_every_entries, config.snapshot_every_bytes) = (0, 0);
        }

        let journal_state = journal.load().await?;
        let identity = journal_state.identity;
        if (identity.node, identity.cluster, identity.group) != (config.id, config.cluster, config.group) {
            let what = "the journal is of another node, cluster or group than the settings";
            return Err(FatalReason::Config(ConfigError::Restored(Violation::Local { what })));
        }
        let store = around.snapshots.as_deref();
        let (restored, mut table, known) =
            snapshots::restore(journal_state, &mut *journal, store, &mut *machine).await?;
        let (known_peers, applied) = (restored.journal.known_peers.clone(), restored.applied);
        let raft = Raft::new(config.clone(), restored, runtime.now())?;
        // What the state machine kept over the restart is not executed again, but its sessions must be known:
        // whether a command is executed follows from the whole log.
        applier::remember(&*journal.reader(), known.next(), applied.index, &mut table).await?;

        let shared = Arc::new(Shared::new(raft.status(runtime.now()), &config));
        let (batches, batches_out) = mpsc::unbounded_channel();
        let (requests, requests_out) = mpsc::unbounded_channel();
        let (control, control_out) = mpsc::unbounded_channel();
        let (bulk, bulk_out) = mpsc::unbounded_channel();
        let (jobs, jobs_out) = mpsc::unbounded_channel();
        let (done, done_out) = mpsc::unbounded_channel();
        let (news, news_out) = mpsc::unbounded_channel();
        let (alive, mut all_ended) = mpsc::channel(1);
        let room = Arc::clone(&shared.room);
        let inbox = NodeInbox::new(control, bulk, requests.clone(), Arc::clone(&room));
        transport.start(identity, Inbox::new(Arc::new(inbox))).await?;

        shared.sessions.publish(&table);
        let snapshots = around
            .snapshots
            .map(|store| Snapshots::new(store, news, requests.clone(), Arc::clone(&runtime), alive));
        let failed = requests.clone();
        let applier = applier::Applier::new(machine, table, snapshots.clone(), Arc::clone(&shared.sessions));
        let (ended, applier_ended) = oneshot::channel();
        runtime.spawn(
            "raft-applier",
            Box::pin(async move {
                if let Err(reason) = guard::catch(applier.run(jobs_out, done)).await {
                    // A protocol that has stopped needs no reason any more.
                    let _ = failed.send(super::protocol::Request::Failed { reason });
                }
                let _ = ended.send(());
            }),
        );
        let queues = Queues {
            batches: batches_out,
            requests: requests_out,
            control: control_out,
            bulk: bulk_out,
            applied: done_out,
            news: news_out,
            room,
        };
        let connected = Arc::clone(&transport);
        let handle = NodeHandle::new(config.id, batches.clone(), requests.clone(), Arc::clone(&shared));
        #[cfg_attr(not(feature = "trace"), expect(unused_mut, reason = "nobody listens"))]
        let mut raft = Traced::new(raft);
        #[cfg(feature = "trace")]
        {
            if let Some(observer) = &around.observer {
                observer.started(&raft, runtime.now());
            }
            raft.observer = around.observer;
        }
        let protocol = Protocol::new(
            raft,
            config,
            identity,
            known_peers,
            journal,
            transport,
            Arc::clone(&runtime),
            Arc::clone(&shared),
            jobs,
            queues,
            snapshots,
        );
        runtime.spawn(
            "raft-protocol",
            Box::pin(async move {
                // Whatever becomes of this task, nobody waits for ever.
                let ending = Ending(shared);
                // Kept so that the queues stay open while the node runs, also without handles.
                let _open = (batches, requests);
                let mut end = guard::catch(protocol.run()).await;
                ending.0.ends(&end);
                let closed = async {
                    connected.shutdown().await;
                    Ok(())
                };
                if let Err(panicked) = guard::catch(closed).await {
                    end = end.and(Err(panicked));
                }
                // It ends what it was given, answers for it and lets go of the state machine.
                let _ = applier_ended.await;
                // So do the tasks that are at snapshots: then the store is free.
                let _ = all_ended.recv().await;
                ending.0.finish(end);
            }),
        );
        Ok(handle)
    }
}

/// A node whose task is dropped has ended too.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        // The first end counts.
        self.0.finish(Err(Arc::new(FatalReason::RuntimeEnded)));
    }
}
