//! The commands of one turn: one proposal, one read barrier at most, replies in order.
//!
//! If a turn writes, all its commands up to the last write go through the log, reads too: each then sees
//! exactly what stands before it. Reads after the last write need no barrier of their own: that write was
//! proposed after they came, so whatever was acknowledged before is below it in the log.

use std::io;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use raft_core::ReadPolicy;
use raft_core::error::{ProposeError, ReadError};
use raft_core::ids::LogId;
use raft_core::session::{Mark, SessionRefusal};
use raft_core::{Applied, NodeHandle};
use smallvec::SmallVec;

use super::Output;
use super::cluster::slot;
use super::session::{Queue, Reads, Session};
use crate::command::{Kind, Op, Spec};
use crate::log_codec::{put_command, put_transaction};
use crate::refusal;
use crate::resp::{Reply, translate};

/// Commands of one proposal, in bytes; one larger command goes alone. As much as one append carries.
const BATCH_BYTES: usize = 1 << 20;

enum Item {
    /// The reply is known.
    Ready(Vec<u8>),
    /// A command on data.
    Data { spec: &'static Spec, args: Vec<Bytes>, slot: u16, mark: Option<Mark> },
    /// Encoded already.
    Transaction { encoded: Bytes, slot: u16, mark: Option<Mark> },
}

/// Commands that came together.
#[derive(Default)]
pub(crate) struct Turn {
    items: Vec<Item>,
}

impl Turn {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Adds a reply in its place.
    pub(crate) fn answer(&mut self, make: impl FnOnce(&mut Reply)) {
        let mut reply = Reply::default();
        make(&mut reply);
        self.items.push(Item::Ready(reply.into_bytes()));
    }

    /// Adds a command on data.
    pub(crate) fn add(&mut self, spec: &'static Spec, args: Vec<Bytes>, mark: Option<Mark>) {
        let slot = spec.keys(&args).next().map_or(0, slot);
        self.items.push(Item::Data { spec, args, slot, mark });
    }

    /// Adds a transaction.
    pub(crate) fn add_transaction(&mut self, watched: &[(Bytes, u64)], queue: &Queue, mark: Option<Mark>) {
        let mut encoded = BytesMut::new();
        put_transaction(&mut encoded, watched, &queue.commands);
        self.items.push(Item::Transaction { encoded: encoded.freeze(), slot: queue.slot, mark });
    }

    /// Does them, and writes their replies. The turn is empty then.
    pub(crate) async fn finish(&mut self, session: &Session, output: &mut Output) -> io::Result<()> {
        if self.items.is_empty() {
            return Ok(());
        }
        let server = &session.server;
        // Reads that a follower answers itself, of whatever kind, are not for the leader's log.
        let here = session.reads != Reads::Moved && !server.leads();
        let items = std::mem::take(&mut self.items);
        let writes = |item: &Item| match item {
            Item::Data { spec, .. } => spec.kind == Kind::Write,
            Item::Transaction { .. } => true,
            Item::Ready(_) => false,
        };
        let reads = |item: &Item| matches!(item, Item::Data { spec, .. } if spec.kind == Kind::Read);
        let logged = items.iter().rposition(writes).map_or(0, |last| last + 1);

        let mut barrier = None;
        let mut items = items.into_iter();
        if logged > 0 {
            let mut batch = Batch::default();
            for item in items.by_ref().take(logged) {
                if here && reads(&item) {
                    batch.finish(session, output).await?;
                    read(session, &allowed(session).await, item, output);
                    continue;
                }
                if !batch.has_room_for(&item) {
                    batch.finish(session, output).await?;
                }
                batch.add(item);
            }
            if batch.finish(session, output).await? {
                barrier = Some(Ok(()));
            }
        }
        for item in items {
            if reads(&item) && barrier.is_none() {
                barrier = Some(allowed(session).await);
            }
            read(session, barrier.as_ref().unwrap_or(&Ok(())), item, output);
            output.relieve().await?;
        }
        Ok(())
    }
}

/// Whether this node may answer reads that have come until now.
async fn allowed(session: &Session) -> Result<(), ReadError> {
    let node = &session.server.node;
    let policy = match session.reads {
        Reads::Stale if !session.server.leads() => return Ok(()),
        Reads::Stale | Reads::Moved => ReadPolicy::Leader,
        Reads::Current => ReadPolicy::Follower,
    };
    node.read_barrier_with(policy).await.map(|_| ())
}

/// Answers a read, or says why not.
fn read(session: &Session, allowed: &Result<(), ReadError>, item: Item, output: &mut Output) {
    if let (Err(error), Item::Data { slot, .. }) = (allowed, &item) {
        let sentence = refusal::of_read(error, session.server.me(), *slot);
        session.answer(output, |reply| reply.error(&sentence));
    } else {
        local(session, allowed, item, output);
    }
}

/// Answers a read from the data here, or gives a reply that is known.
fn local(session: &Session, allowed: &Result<(), ReadError>, item: Item, output: &mut Output) {
    match item {
        Item::Ready(reply) => translate(&reply, session.protocol, &mut output.buffer),
        Item::Data { .. } if session.reads == Reads::Stale && !session.server.has_replayed() => {
            session.answer(output, |reply| {
                reply.error(
                    "LOADING this node has not yet replayed its log; ask again in a moment, or another node",
                )
            });
        }
        Item::Data { spec, args, .. } if allowed.is_ok() => {
            let args: SmallVec<[&[u8]; 4]> = args.iter().skip(1).map(AsRef::as_ref).collect();
            session.answer(output, |reply| session.server.data.lock().read(spec.op, &args, reply));
            if let Some(traffic) = &session.server.traffic {
                traffic.read();
            }
        }
        // Nothing else comes here: transactions are writes, and refused reads are answered before.
        Item::Data { .. } | Item::Transaction { .. } => {}
    }
}

enum Place {
    Ready(Vec<u8>),
    Logged { slot: u16 },
}

/// Commands of one proposal, and the replies between them.
#[derive(Default)]
struct Batch {
    places: Vec<Place>,
    ends: Vec<usize>,
    bytes: BytesMut,
    alone: Option<Bytes>,
    /// Which of its commands are of sessions: none, mostly.
    marks: Vec<(usize, Mark)>,
}

fn size(item: &Item) -> usize {
    match item {
        Item::Ready(_) => 0,
        Item::Data { args, .. } => args.iter().map(|arg| arg.len() + 4).sum(),
        Item::Transaction { encoded, .. } => encoded.len(),
    }
}

impl Batch {
    fn has_room_for(&self, item: &Item) -> bool {
        self.places.is_empty() || self.alone.is_none() && self.bytes.len() + size(item) <= BATCH_BYTES
    }

    fn add(&mut self, item: Item) {
        match item {
            Item::Ready(reply) => self.places.push(Place::Ready(reply)),
            Item::Data { spec, args, slot, mark } => {
                self.mark(mark);
                put_command::<Bytes>(&mut self.bytes, spec.op, args.get(1..).unwrap_or_default());
                self.ends.push(self.bytes.len());
                self.places.push(Place::Logged { slot });
            }
            Item::Transaction { encoded, slot, mark } => {
                self.mark(mark);
                self.places.push(Place::Logged { slot });
                if self.bytes.is_empty() && self.ends.is_empty() {
                    // Not copied once more if it is the first.
                    self.alone = Some(encoded);
                } else {
                    self.bytes.extend_from_slice(&encoded);
                    self.ends.push(self.bytes.len());
                }
            }
        }
    }

    /// The next command is of a session.
    fn mark(&mut self, mark: Option<Mark>) {
        let at = self.ends.len() + usize::from(self.alone.is_some());
        self.marks.extend(mark.map(|mark| (at, mark)));
    }

    /// Proposes and writes the replies; whether it was applied. Empty then.
    async fn finish(&mut self, session: &Session, output: &mut Output) -> io::Result<bool> {
        let Self { places, ends, bytes, alone, marks } = std::mem::take(self);
        let bytes = bytes.freeze();
        let mut from = 0;
        let mut commands = Vec::with_capacity(ends.len() + usize::from(alone.is_some()));
        commands.extend(alone);
        for end in ends {
            commands.push(bytes.slice(from..end));
            from = end;
        }
        drop(bytes);
        let any = !commands.is_empty();
        let (server, count) = (&session.server, commands.len() as u64);
        let timed = server.traffic.as_ref().filter(|_| any).map(|traffic| (traffic, Instant::now()));
        let result = propose(&server.node, commands, &marks).await;
        if let Some((traffic, begun)) = timed {
            traffic.proposed(count, begun, &result);
        }
        if let (Some(spans), Ok(applied)) = (&server.spans, &result) {
            let mut told = LogId::ZERO;
            for applied in applied.iter().flatten().filter(|applied| spans.follows(applied.id.index)) {
                if applied.id != told {
                    told = applied.id;
                    spans.answered(applied, &session.address);
                }
            }
        }
        let (mut applied, error) = match result {
            Ok(applied) => (applied.into_iter(), None),
            Err(error) => (Vec::new().into_iter(), Some(error)),
        };
        for place in places {
            match place {
                Place::Ready(reply) => translate(&reply, session.protocol, &mut output.buffer),
                Place::Logged { slot } => match (applied.next(), &error) {
                    (Some(Ok(applied)), _) => {
                        translate(&applied.response, session.protocol, &mut output.buffer);
                    }
                    (Some(Err(refused)), _) => {
                        let sentence = refusal::of_session(&refused);
                        session.answer(output, |reply| reply.error(&sentence));
                    }
                    (None, Some(error)) => {
                        let sentence = refusal::of_write(error, session.server.me(), slot);
                        session.answer(output, |reply| reply.error(&sentence));
                    }
                    (None, None) => session.answer(output, |reply| {
                        reply.error(
                            "UNKNOWN no reply was kept; look whether it was done before you send it again",
                        )
                    }),
                },
            }
            output.relieve().await?;
        }
        Ok(any && error.is_none())
    }
}

/// Proposes commands, of which these are of sessions.
async fn propose(
    node: &NodeHandle,
    commands: Vec<Bytes>,
    marks: &[(usize, Mark)],
) -> Result<Vec<Result<Applied, SessionRefusal>>, ProposeError> {
    if marks.is_empty() {
        return Ok(node.propose_batch(commands).await?.into_iter().map(Ok).collect());
    }
    let mut marks = marks.iter().peekable();
    let marked = commands.into_iter().enumerate().map(|(at, command)| {
        let mark = marks.next_if(|(marked, _)| *marked == at).map(|(_, mark)| *mark);
        (mark, command)
    });
    node.propose_marked(marked.collect()).await
}

/// Reads the versions of keys behind a barrier, for `WATCH`.
pub(crate) async fn watch(session: &mut Session, keys: &[Bytes], reply: &mut Reply) {
    let slot = keys.first().map_or(0, |key| slot(key));
    let result = session.server.node.read_barrier().await;
    if let Err(error) = result {
        reply.error(&refusal::of_read(&error, session.server.me(), slot));
        return;
    }
    let server = std::sync::Arc::clone(&session.server);
    let data = server.data.lock();
    for key in keys {
        if !session.watched.iter().any(|(watched, _)| watched == key) {
            session.watched.push((Bytes::copy_from_slice(key), data.version(key)));
        }
    }
    reply.ok();
}

/// For the thin protocol: a command that stores a value.
pub(crate) fn put_set(out: &mut BytesMut, key: &[u8], value: &[u8]) {
    put_command(out, Op::Set, &[key, value]);
}
