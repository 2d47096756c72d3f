//! The one place through which the driver speaks to the protocol; with the feature `trace` somebody may
//! listen. Without it nothing is left of this at run time.

use core::ops::{Deref, Range};
#[cfg(feature = "trace")]
use std::sync::Arc;

use bytes::Bytes;

use super::handle::ReadPolicy;
use crate::backend::{JournalWrite, SnapshotId, SnapshotMeta};
use crate::config::Settings;
use crate::entry::Entry;
use crate::error::{ChangeError, ConfigError, ProposeError, ReadError, TransferError};
use crate::ids::{ChangeId, FetchId, Index, LogId, NodeId, ReadId, WriteTicket};
use crate::membership::Change;
use crate::message::{Envelope, Outgoing, PeerEvent};
use crate::raft::{Apply, ChangeOptions, Event, Fetch, Piece, Raft, ReadChunk, TakeSnapshot, Unreadable};
use crate::time::Time;

/// What is about to be done to a node's protocol.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "trace"), expect(unreachable_pub, dead_code, reason = "nobody listens"))]
#[non_exhaustive]
pub enum Input<'a> {
    /// A message has come.
    Message(&'a Envelope),
    /// A connection came or went.
    Peer(NodeId, PeerEvent),
    /// Time has passed.
    Timeout,
    /// A write is durable.
    Written(WriteTicket),
    /// The journal has failed.
    WriteFailed,
    /// The journal has no space for a write.
    NoSpace(WriteTicket),
    /// Entries have been read back.
    Fetched(FetchId),
    /// Stored entries are damaged; with the number of who asked for them, if somebody did.
    Damaged(&'a Range<Index>, Option<FetchId>),
    /// The state machine has executed entries through this one.
    Applied(Index),
    /// Commands are proposed, packed into this many bytes.
    Propose(usize),
    /// A session is to be opened, kept alive or closed, by an entry of this many bytes.
    ProposeSession(usize),
    /// A read is asked for.
    Read(ReadId),
    /// Leadership is to be handed over.
    Transfer(Option<NodeId>),
    /// The membership is to be changed.
    ChangeMembership(&'a [Change], ChangeOptions),
    /// An operator wants this node to campaign.
    Campaign,
    /// Other settings are to hold.
    Reconfigure(&'a Settings),
    /// Somebody wants a snapshot.
    TakeSnapshot,
    /// A snapshot of its own is durable, or is not.
    SnapshotTaken(Option<&'a SnapshotMeta>),
    /// The journal has forgotten everything through this entry.
    Purged(LogId),
    /// A piece of a snapshot was read, of so many bytes, or was not.
    Chunk(FetchId, Result<usize, Unreadable>),
    /// The store has this much of a snapshot that comes in, or could not take it.
    Piece(SnapshotId, Option<u64>),
    /// A snapshot that came in is durable.
    SnapshotReceived(&'a SnapshotMeta),
    /// The journal begins anew after this entry.
    Reset(LogId),
    /// The state machine's state is that of a snapshot of everything through this entry.
    Installed(LogId),
}

/// What has come out of it.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "trace"), expect(unreachable_pub, dead_code, reason = "nobody listens"))]
#[non_exhaustive]
pub enum Output<'a> {
    /// The input before has been dealt with; nothing has left yet.
    Settled,
    /// A message leaves.
    Message(&'a Envelope),
    /// The journal is given this.
    Write(&'a JournalWrite),
    /// The state machine is given this.
    Apply(&'a Apply),
    /// A snapshot is to be taken.
    TakeSnapshot(&'a TakeSnapshot),
    /// The journal is to forget everything through this entry.
    Purge(LogId),
    /// A piece of a snapshot is to be read.
    ReadChunk(&'a ReadChunk),
    /// The store is given this.
    Piece(&'a Piece),
    /// The journal is to begin anew after this entry.
    Reset(LogId),
    /// The state machine is to install this.
    Install(&'a SnapshotMeta),
    /// News.
    Event(&'a Event),
}

/// Listens to what a node's protocol is given and gives: for simulators, and for traces that a model
/// checks. Called from the protocol's task, in order: one `input`, its `Settled`, then what is pulled.
#[cfg(feature = "trace")]
pub trait Observer: Send + Sync + 'static {
    /// A node has come up with this.
    fn started(&self, raft: &Raft, now: Time);

    /// An input is about to be handled; `raft` is as it was before.
    fn input(&self, raft: &Raft, now: Time, input: Input<'_>);

    /// Something came out; `raft` is as it is after that.
    fn output(&self, raft: &Raft, output: Output<'_>);
}

/// The protocol, and who listens.
pub(crate) struct Traced {
    raft: Raft,
    #[cfg(feature = "trace")]
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl Deref for Traced {
    type Target = Raft;

    fn deref(&self) -> &Raft {
        &self.raft
    }
}

impl Traced {
    pub(crate) const fn new(raft: Raft) -> Self {
        Self {
            raft,
            #[cfg(feature = "trace")]
            observer: None,
        }
    }

    #[cfg_attr(not(feature = "trace"), expect(clippy::unused_self, reason = "nobody listens"))]
    #[inline]
    fn input(&self, _now: Time, _input: Input<'_>) {
        #[cfg(feature = "trace")]
        if let Some(observer) = &self.observer {
            observer.input(&self.raft, _now, _input);
        }
    }

    #[cfg_attr(not(feature = "trace"), expect(clippy::unused_self, reason = "nobody listens"))]
    #[inline]
    fn output(&self, _output: Output<'_>) {
        #[cfg(feature = "trace")]
        if let Some(observer) = &self.observer {
            observer.output(&self.raft, _output);
        }
    }

    pub(crate) fn handle_message(&mut self, now: Time, envelope: Envelope) {
        self.input(now, Input::Message(&envelope));
        self.raft.handle_message(now, envelope);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_peer(&mut self, now: Time, peer: NodeId, event: PeerEvent) {
        self.input(now, Input::Peer(peer, event));
        self.raft.handle_peer(now, peer, event);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        self.input(now, Input::Timeout);
        self.raft.handle_timeout(now);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_written(&mut self, now: Time, ticket: WriteTicket) {
        self.input(now, Input::Written(ticket));
        self.raft.handle_written(now, ticket);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_write_failed(&mut self, now: Time) {
        self.input(now, Input::WriteFailed);
        self.raft.handle_write_failed(now);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_no_space(&mut self, now: Time, ticket: WriteTicket) {
        self.input(now, Input::NoSpace(ticket));
        self.raft.handle_no_space(now, ticket);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_fetched(&mut self, now: Time, id: FetchId, entries: Vec<Entry>) {
        self.input(now, Input::Fetched(id));
        self.raft.handle_fetched(now, id, entries);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_damage(&mut self, now: Time, range: &Range<Index>) -> bool {
        self.input(now, Input::Damaged(range, None));
        let heals = self.raft.handle_damage(now, range);
        self.output(Output::Settled);
        heals
    }

    pub(crate) fn handle_fetch_damaged(&mut self, now: Time, id: FetchId, range: &Range<Index>) -> bool {
        self.input(now, Input::Damaged(range, Some(id)));
        let heals = self.raft.handle_fetch_damaged(now, id, range);
        self.output(Output::Settled);
        heals
    }

    pub(crate) fn handle_applied(&mut self, now: Time, through: Index) {
        self.input(now, Input::Applied(through));
        self.raft.handle_applied(now, through);
        self.output(Output::Settled);
    }

    pub(crate) fn propose(&mut self, now: Time, commands: Bytes) -> Result<LogId, ProposeError> {
        self.input(now, Input::Propose(commands.len()));
        let result = self.raft.propose(now, commands);
        self.output(Output::Settled);
        result
    }

    pub(crate) fn propose_session(&mut self, now: Time, data: Bytes) -> Result<LogId, ProposeError> {
        self.input(now, Input::ProposeSession(data.len()));
        let result = self.raft.propose_session(now, data);
        self.output(Output::Settled);
        result
    }

    pub(crate) fn read(&mut self, now: Time, id: ReadId, policy: ReadPolicy) -> Result<(), ReadError> {
        self.input(now, Input::Read(id));
        let result = match policy {
            ReadPolicy::Leader => self.raft.read(now, id),
            ReadPolicy::Follower => self.raft.read_anywhere(now, id),
        };
        self.output(Output::Settled);
        result
    }

    pub(crate) fn reconfigure(&mut self, now: Time, settings: &Settings) -> Result<(), ConfigError> {
        self.input(now, Input::Reconfigure(settings));
        let result = self.raft.reconfigure(now, settings);
        self.output(Output::Settled);
        result
    }

    pub(crate) fn transfer_leadership(
        &mut self,
        now: Time,
        to: Option<NodeId>,
    ) -> Result<NodeId, TransferError> {
        self.input(now, Input::Transfer(to));
        let result = self.raft.transfer_leadership(now, to);
        self.output(Output::Settled);
        result
    }

    pub(crate) fn change_membership(
        &mut self,
        now: Time,
        changes: &[Change],
        options: ChangeOptions,
    ) -> Result<ChangeId, ChangeError> {
        self.input(now, Input::ChangeMembership(changes, options));
        let result = self.raft.change_membership(now, changes, options);
        self.output(Output::Settled);
        result
    }

    pub(crate) fn campaign(&mut self, now: Time) {
        self.input(now, Input::Campaign);
        self.raft.campaign(now);
        self.output(Output::Settled);
    }

    pub(crate) fn take_snapshot(&mut self, now: Time) {
        self.input(now, Input::TakeSnapshot);
        self.raft.take_snapshot(now);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_snapshot_taken(&mut self, now: Time, snapshot: SnapshotMeta) {
        self.input(now, Input::SnapshotTaken(Some(&snapshot)));
        self.raft.handle_snapshot_taken(now, snapshot);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_snapshot_failed(&mut self, now: Time) {
        self.input(now, Input::SnapshotTaken(None));
        self.raft.handle_snapshot_failed(now);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_purged(&mut self, now: Time, upto: LogId) {
        self.input(now, Input::Purged(upto));
        self.raft.handle_purged(now, upto);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_chunk(&mut self, now: Time, id: FetchId, data: Bytes) {
        self.input(now, Input::Chunk(id, Ok(data.len())));
        self.raft.handle_chunk(now, id, data);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_chunk_failed(&mut self, now: Time, id: FetchId, why: Unreadable) {
        self.input(now, Input::Chunk(id, Err(why)));
        self.raft.handle_chunk_failed(now, id, why);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_piece_written(&mut self, now: Time, snapshot: SnapshotId, received: u64) {
        self.input(now, Input::Piece(snapshot, Some(received)));
        self.raft.handle_piece_written(now, snapshot, received);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_piece_failed(&mut self, now: Time, snapshot: SnapshotId) {
        self.input(now, Input::Piece(snapshot, None));
        self.raft.handle_piece_failed(now, snapshot);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_snapshot_received(&mut self, now: Time, snapshot: SnapshotMeta) {
        self.input(now, Input::SnapshotReceived(&snapshot));
        self.raft.handle_snapshot_received(now, snapshot);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_reset(&mut self, now: Time, to: LogId) {
        self.input(now, Input::Reset(to));
        self.raft.handle_reset(now, to);
        self.output(Output::Settled);
    }

    pub(crate) fn handle_installed(&mut self, now: Time, upto: LogId) {
        self.input(now, Input::Installed(upto));
        self.raft.handle_installed(now, upto);
        self.output(Output::Settled);
    }

    pub(crate) fn poll_snapshot(&mut self) -> Option<TakeSnapshot> {
        let take = self.raft.poll_snapshot()?;
        self.output(Output::TakeSnapshot(&take));
        Some(take)
    }

    pub(crate) fn poll_purge(&mut self) -> Option<LogId> {
        let upto = self.raft.poll_purge()?;
        self.output(Output::Purge(upto));
        Some(upto)
    }

    pub(crate) fn poll_chunk(&mut self) -> Option<ReadChunk> {
        let chunk = self.raft.poll_chunk()?;
        self.output(Output::ReadChunk(&chunk));
        Some(chunk)
    }

    pub(crate) fn poll_piece(&mut self) -> Option<Piece> {
        let piece = self.raft.poll_piece()?;
        self.output(Output::Piece(&piece));
        Some(piece)
    }

    pub(crate) fn poll_reset(&mut self) -> Option<LogId> {
        let to = self.raft.poll_reset()?;
        self.output(Output::Reset(to));
        Some(to)
    }

    pub(crate) fn poll_install(&mut self) -> Option<SnapshotMeta> {
        let snapshot = self.raft.poll_install()?;
        self.output(Output::Install(&snapshot));
        Some(snapshot)
    }

    pub(crate) fn poll_message(&mut self) -> Option<Outgoing> {
        let out = self.raft.poll_message()?;
        self.output(Output::Message(&out.envelope));
        Some(out)
    }

    pub(crate) fn poll_write(&mut self) -> Option<JournalWrite> {
        let write = self.raft.poll_write()?;
        self.output(Output::Write(&write));
        Some(write)
    }

    pub(crate) fn poll_apply(&mut self) -> Option<Apply> {
        let apply = self.raft.poll_apply()?;
        self.output(Output::Apply(&apply));
        Some(apply)
    }

    pub(crate) fn poll_fetch(&mut self) -> Option<Fetch> {
        self.raft.poll_fetch()
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        let event = self.raft.poll_event()?;
        self.output(Output::Event(&event));
        Some(event)
    }
}
