//! What an observer sees of a node (feature `trace`): the view that the simulator's checkers read, and the hashes that
//! the explorer compares. Two nodes that may behave differently must not hash alike.
#![cfg(feature = "trace")]

use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use bytes::Bytes;
use raft_core::backend::{JournalState, SnapshotContent, SnapshotId, SnapshotMeta};
use raft_core::config::Lease;
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{
    ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, ReadId, StoreId, Term,
};
use raft_core::membership::{Member, Membership};
use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Message, Notice, ReadIndex,
    ReadIndexReply, SnapshotChunk, VoteReply,
};
use raft_core::raft::Restored;
use raft_core::status::RoleKind;
use raft_core::time::Time;
use raft_core::{Config, Raft};

const CLUSTER: ClusterId = ClusterId(7);

fn membership() -> Membership {
    let member = |id: u64| Member::new(NodeId(id), format!("node-{id}"));
    Membership::of_voters([1, 2, 3].map(member)).unwrap()
}

fn config(lease: bool) -> Config {
    let mut config = Config::new(NodeId(1), CLUSTER);
    config.lease = lease.then_some(Lease { max_drift_ppm: 1000 });
    config
}

fn journal() -> JournalState {
    JournalState::empty(Identity {
        cluster: CLUSTER,
        group: GroupId(0),
        node: NodeId(1),
        store: StoreId(1),
        incarnation: Incarnation::default(),
    })
}

/// Node 1, whose log has nothing at all: it is on probation.
fn empty(config: Config) -> Raft {
    let restored = Restored { journal: journal(), snapshot: None, applied: LogId::ZERO };
    Raft::new(config, restored, Time::ZERO).unwrap()
}

/// Node 1 of three, whose log has nothing but the entry that names them.
fn node(config: Config) -> Raft {
    let mut journal = journal();
    let (id, data) = (LogId::new(0, 1), membership().encode());
    journal.terms.push((Index(1), Term(0)));
    journal.last = id;
    journal.memberships.push(Entry { id, kind: EntryKind::Membership, data });
    Raft::new(config, Restored { journal, snapshot: None, applied: LogId::ZERO }, Time::ZERO).unwrap()
}

/// All that is to be written is, and all that is to be sent goes away.
fn hear(raft: &mut Raft, now: Time, from: u64, message: Message) {
    let group = GroupId(0);
    raft.handle_message(now, Envelope { group, from: NodeId(from), to: NodeId(1), term: Term(1), message });
    settle(raft, now);
}

fn settle(raft: &mut Raft, now: Time) {
    while let Some(write) = raft.poll_write() {
        raft.handle_written(now, write.ticket);
    }
    while raft.poll_message().is_some() {}
    while raft.poll_event().is_some() {}
}

fn beat(round: u64) -> Message {
    Message::Heartbeat(Heartbeat { commit: Index(0), round })
}

/// An answer to that round, with a promise.
fn promise(round: u64) -> Message {
    let promise = config(true).election_timeout;
    let reply =
        HeartbeatReply { round, promise, matched: Index(2), last: Index(2), ..HeartbeatReply::default() };
    Message::HeartbeatReply(reply)
}

fn matched(index: u64) -> Message {
    Message::AppendReply(AppendReply::Matched { matched: Index(index) })
}

/// Node 1 follows node 2 since this moment.
fn follower(config: Config, since: Time) -> Raft {
    let mut raft = node(config);
    hear(&mut raft, since, 2, beat(1));
    raft
}

/// Node 1 leads term 1 since this moment.
fn leader(config: Config) -> (Raft, Time) {
    let mut raft = node(config);
    let now = raft.next_timeout().unwrap();
    raft.handle_timeout(now);
    for (pre, term) in [(true, 0), (false, 1)] {
        let grant = VoteReply { pre, asked: Term(1), ballot: Ballot::Granted };
        let message = Message::VoteReply(grant);
        let (group, term) = (GroupId(0), Term(term));
        raft.handle_message(now, Envelope { group, from: NodeId(2), to: NodeId(1), term, message });
        settle(&mut raft, now);
    }
    assert_eq!(raft.role_kind(), RoleKind::Leader);
    (raft, now)
}

fn protocol(raft: &Raft) -> u64 {
    let mut state = DefaultHasher::new();
    raft.hash_protocol(&mut state);
    state.finish()
}

fn leadership(raft: &Raft) -> u64 {
    let mut state = DefaultHasher::new();
    raft.hash_leadership(&mut state);
    state.finish()
}

fn clocks(raft: &Raft, now: Time) -> u64 {
    let mut state = DefaultHasher::new();
    raft.hash_clocks(now, &mut state);
    state.finish()
}

const MILLI: Duration = Duration::from_millis(1);

#[test]
fn a_leader_shows_what_it_counts() {
    let (mut raft, now) = leader(config(true));
    assert_eq!(raft.view().round, 1);
    assert_eq!(raft.view().lease_until, Some(Time::ZERO));
    assert_eq!((raft.matched(NodeId(2)), raft.matched(NodeId(9))), (Some(Index(0)), None));
    hear(&mut raft, now, 2, matched(2));
    assert_eq!(raft.matched(NodeId(2)), Some(Index(2)));
    raft.handle_timeout(raft.next_timeout().unwrap());
    assert_eq!(raft.view().round, 2);
    hear(&mut raft, now, 2, promise(1));
    assert!(raft.view().lease_until.is_some_and(|until| until > now), "the round before counts still");
    let follower = follower(config(true), Time::ZERO);
    assert_eq!((follower.view().round, follower.view().lease_until), (0, None));
    assert_eq!(follower.matched(NodeId(2)), None);
}

/// A promise that was on record is not written again.
#[test]
fn a_promise_is_recorded_once() {
    let mut raft = follower(config(true), Time::ZERO);
    let group = GroupId(0);
    let message = beat(2);
    raft.handle_message(
        Time::ZERO,
        Envelope { group, from: NodeId(2), to: NodeId(1), term: Term(1), message },
    );
    assert!(raft.poll_write().is_none());
}

#[test]
fn what_a_leader_knows_of_others_is_compared() {
    let (mut raft, now) = leader(config(false));
    hear(&mut raft, now, 2, matched(2));
    let before = raft.clone();
    hear(&mut raft, now, 3, matched(2));
    assert_eq!(before.view().commit, raft.view().commit);
    assert_ne!(leadership(&before), leadership(&raft));
    assert_ne!(protocol(&before), protocol(&raft));
}

#[test]
fn what_a_follower_knows_is_compared() {
    let follower = || follower(config(false), Time::ZERO);
    let before = protocol(&follower());
    let append = Append { prev: LogId::new(0, 1), commit: Index(0), entries: Vec::new().into() };
    let content = SnapshotContent { total_bytes: 10, checksum: 7 };
    let of = SnapshotMeta::new(SnapshotId(1), LogId::new(1, 9), membership(), content);
    let chunk = SnapshotChunk {
        upto: of.upto,
        snapshot: of.id.0,
        membership: of.membership.encode(),
        offset: 0,
        total: content.total_bytes,
        checksum: content.checksum,
        data: Bytes::new(),
    };
    let removed = Message::Notice(Notice::Removed { since: Index(1) });
    for message in [Message::Append(append), Message::Snapshot(chunk), removed] {
        let mut raft = follower();
        hear(&mut raft, Time::ZERO, 2, message.clone());
        assert_ne!(protocol(&raft), before, "{message:?}");
    }
}

/// Times do not count, but whether the leader was heard within an election timeout does, and what was promised while it
/// binds.
#[test]
fn of_times_only_what_is_over_is_compared() {
    let nano = Duration::from_nanos(1);
    let end = Time::ZERO + config(false).election_timeout;
    let at = |now: Time| {
        let mut raft = follower(config(false), Time::ZERO);
        raft.handle_peer(now, NodeId(9), raft_core::message::PeerEvent::Down);
        protocol(&raft)
    };
    let before = Time::from_nanos(end.as_nanos() - 1);
    assert_eq!(at(Time::ZERO), at(before));
    assert_ne!(at(before), at(end));
    assert_eq!(at(end), at(end + nano));

    let promised = |round: u64, now: Time| {
        let mut raft = node(config(true));
        hear(&mut raft, Time::ZERO, 2, beat(round));
        raft.handle_peer(now, NodeId(9), raft_core::message::PeerEvent::Down);
        protocol(&raft)
    };
    assert_ne!(promised(1, before), promised(2, before));
    assert_eq!(promised(1, end), promised(2, end));
}

/// Where time is an input, contacts and promises count until they are over.
#[test]
fn clocks_are_compared_until_they_are_over() {
    let timeout = config(true).election_timeout;
    for lease in [false, true] {
        let (early, late) = (Time::ZERO, Time::ZERO + MILLI);
        let of = |since: Time, now: Time| clocks(&follower(config(lease), since), now);
        assert_ne!(of(early, late + MILLI), of(late, late + MILLI));
        assert_eq!(of(early, late + timeout), of(late, late + timeout));
        assert_eq!(of(early, late + timeout + MILLI), of(late, late + timeout + MILLI));
    }
    let led = |contact: Duration, now: Duration| {
        let (mut raft, since) = leader(config(false));
        let answer = || HeartbeatReply { round: 1, ..HeartbeatReply::default() };
        hear(&mut raft, since + contact, 3, Message::HeartbeatReply(answer()));
        hear(&mut raft, since + MILLI * 5, 2, Message::HeartbeatReply(answer()));
        clocks(&raft, since + now)
    };
    assert_ne!(led(MILLI, MILLI * 6), led(MILLI * 2, MILLI * 6));
    let (end, after) = (timeout + MILLI * 2, timeout + MILLI * 3);
    assert_eq!(led(MILLI, end), led(MILLI * 2, end));
    assert_eq!(led(MILLI, after), led(MILLI * 2, after));
    // When the next heartbeat is due counts too.
    let due = |interval: Duration| {
        let mut config = config(false);
        config.heartbeat_interval = interval;
        let (raft, since) = leader(config);
        clocks(&raft, since)
    };
    assert_ne!(due(MILLI * 40), due(MILLI * 50));
}

/// Rounds count as long as an answer to them may bind who gives it.
#[test]
fn rounds_are_compared_while_they_may_bind() {
    let timeout = config(true).election_timeout;
    // Both begin rounds at the same moments but for the second.
    let led = |second: Duration, now: Duration| {
        let (mut raft, since) = leader(config(true));
        for at in [second, MILLI * 110] {
            raft.handle_timeout(since + at);
            settle(&mut raft, since + at);
        }
        assert_eq!(raft.view().round, 3);
        clocks(&raft, since + now)
    };
    let (one, other) = (MILLI * 50, MILLI * 60);
    let nano = Duration::from_nanos(1);
    assert_ne!(led(one, MILLI * 110), led(other, MILLI * 110));
    assert_ne!(led(one, other + timeout - nano), led(other, other + timeout - nano));
    assert_eq!(led(one, other + timeout), led(other, other + timeout));
}

/// Nothing that was promised before a hand-over in vain makes a lease: that is part of what a leader knows.
#[test]
fn a_lease_that_was_given_up_is_compared() {
    let led = |hands_over: bool| {
        let (mut raft, since) = leader(config(true));
        hear(&mut raft, since, 2, matched(2));
        let end = since + config(true).election_timeout;
        if hands_over {
            raft.transfer_leadership(since, Some(NodeId(2))).unwrap();
            settle(&mut raft, since);
        }
        let answer = HeartbeatReply { round: 1, ..HeartbeatReply::default() };
        hear(&mut raft, since + MILLI, 2, Message::HeartbeatReply(answer));
        raft.handle_timeout(end);
        settle(&mut raft, end);
        assert_eq!(raft.role_kind(), RoleKind::Leader);
        leadership(&raft)
    };
    assert_eq!(led(false), led(false));
    assert_ne!(led(false), led(true));
}

/// What is on its way to the disk counts, with or without what comes after it.
#[test]
fn writes_under_way_are_compared() {
    let mut raft = follower(config(false), Time::ZERO);
    let entry = Entry { id: LogId::new(1, 2), kind: EntryKind::Noop, data: Bytes::new() };
    let append = Append { prev: LogId::new(0, 1), commit: Index(0), entries: vec![entry].into() };
    let message = Message::Append(append);
    let envelope = Envelope { group: GroupId(0), from: NodeId(2), to: NodeId(1), term: Term(1), message };
    raft.handle_message(Time::ZERO, envelope);
    let before = protocol(&raft);
    assert!(raft.poll_write().is_some_and(|write| write.hard_state.is_none()));
    assert_ne!(protocol(&raft), before);
}

/// That somebody asked for a snapshot counts until it is taken.
#[test]
fn a_snapshot_that_is_due_is_compared() {
    let (mut raft, now) = leader(config(false));
    let before = protocol(&raft);
    raft.take_snapshot(now);
    assert_ne!(protocol(&raft), before);
}

/// What a follower has asked its leader counts, and what that has said.
#[test]
fn questions_are_compared() {
    for probation in [false, true] {
        // On probation it asks by itself.
        let mut raft = if probation { empty(config(false)) } else { node(config(false)) };
        raft.handle_message(
            Time::ZERO,
            Envelope { group: GroupId(0), from: NodeId(2), to: NodeId(1), term: Term(1), message: beat(1) },
        );
        if !probation {
            raft.read_anywhere(Time::ZERO, ReadId(1)).unwrap();
        }
        while let Some(write) = raft.poll_write() {
            raft.handle_written(Time::ZERO, write.ticket);
        }
        let asked = std::iter::from_fn(|| raft.poll_message()).find_map(|out| match out.envelope.message {
            Message::ReadIndex(ReadIndex { id }) => Some(id),
            _ => None,
        });
        let id = asked.expect("it has asked");
        let before = protocol(&raft);
        let reply = ReadIndexReply { id, index: Some(Index(9)) };
        hear(&mut raft, Time::ZERO, 2, Message::ReadIndexReply(reply));
        assert_ne!(protocol(&raft), before, "on probation: {probation}");
    }
}

/// What `EntrySpans` tells of a follower, as a subscriber hears it.
#[cfg(feature = "tracing")]
mod ways {
    use std::num::NonZeroU64;
    use std::sync::{Arc, Mutex};

    use raft_core::node::{EntrySpans, Input, Observer, Output};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// Numbers of a span, or the words of an event.
    #[derive(Default)]
    struct Fields {
        term: u64,
        index: u64,
        message: String,
    }

    impl Visit for Fields {
        fn record_u64(&mut self, field: &Field, value: u64) {
            match field.name() {
                "term" => self.term = value,
                "index" => self.index = value,
                _ => {}
            }
        }

        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                self.message = format!("{value:?}");
            }
        }
    }

    #[derive(Clone, Default)]
    struct Heard {
        spans: Arc<Mutex<Vec<LogId>>>,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl Subscriber for Heard {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            let mut fields = Fields::default();
            span.record(&mut fields);
            let mut spans = self.spans.lock().unwrap();
            spans.push(LogId::new(fields.term, fields.index));
            Id::from_u64(spans.len() as u64)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let span = event.parent().expect("it is in a span").into_u64() as usize;
            let id = self.spans.lock().unwrap()[span - 1];
            self.lines.lock().unwrap().push(format!("{id} {}", fields.message));
        }
    }

    /// Node 1, and who follows the entries that it gets.
    struct Watched {
        raft: Raft,
        spans: EntrySpans,
        heard: Heard,
    }

    impl Watched {
        fn new() -> Self {
            let every = NonZeroU64::new(1).unwrap();
            Self { raft: node(config(false)), spans: EntrySpans::new(every), heard: Heard::default() }
        }

        /// Says what was told since the last time. `term` is the leader's.
        fn append(
            &mut self,
            from: u64,
            term: u64,
            prev: LogId,
            entries: &[LogId],
            commit: u64,
        ) -> Vec<String> {
            let entry = |id: &LogId| Entry { id: *id, kind: EntryKind::Noop, data: Bytes::new() };
            let entries = entries.iter().map(entry).collect::<Vec<_>>().into();
            let message = Message::Append(Append { prev, entries, commit: Index(commit) });
            let (group, to) = (GroupId(0), NodeId(1));
            let envelope = Envelope { group, from: NodeId(from), to, term: Term(term), message };
            tracing::subscriber::with_default(self.heard.clone(), || {
                self.spans.input(&self.raft, Time::ZERO, Input::Message(&envelope));
                self.raft.handle_message(Time::ZERO, envelope);
                self.pull();
            });
            std::mem::take(&mut *self.heard.lines.lock().unwrap())
        }

        /// As the driver does.
        fn pull(&mut self) {
            let now = Time::ZERO;
            loop {
                if let Some(out) = self.raft.poll_message() {
                    self.spans.output(&self.raft, Output::Message(&out.envelope));
                } else if let Some(write) = self.raft.poll_write() {
                    self.spans.output(&self.raft, Output::Write(&write));
                    self.spans.input(&self.raft, now, Input::Written(write.ticket));
                    self.raft.handle_written(now, write.ticket);
                } else if let Some(apply) = self.raft.poll_apply() {
                    self.spans.output(&self.raft, Output::Apply(&apply));
                    self.spans.input(&self.raft, now, Input::Applied(apply.through.index));
                    self.raft.handle_applied(now, apply.through.index);
                } else if let Some(fetch) = self.raft.poll_fetch() {
                    let founding = Entry {
                        id: LogId::new(0, 1),
                        kind: EntryKind::Membership,
                        data: membership().encode(),
                    };
                    self.raft.handle_fetched(now, fetch.id, vec![founding]);
                } else {
                    break;
                }
            }
        }
    }

    const FOUNDING: LogId = LogId { term: Term(0), index: Index(1) };

    #[test]
    fn what_a_later_leader_replaces_is_cut_away_and_nothing_else() {
        let mut node = Watched::new();
        let (old, new) = (LogId::new(1, 2), LogId::new(2, 2));
        let told = node.append(2, 1, FOUNDING, &[old], 0);
        assert_eq!(told, ["1.2 received", "1.2 to the journal", "1.2 durable", "1.2 acknowledges"]);
        let told = node.append(3, 2, FOUNDING, &[new], 2);
        let way = ["received", "to the journal", "durable", "acknowledges", "committed", "applied"];
        let of = |id: &str| {
            told.iter().filter_map(|line| line.strip_prefix(id)).map(str::trim_start).collect::<Vec<_>>()
        };
        assert_eq!((of("1.2"), of("2.2")), (vec!["cut away"], way.to_vec()), "{told:?}");
        // Who is sent it once more has it.
        assert_eq!(node.append(3, 2, FOUNDING, &[new], 2), [""; 0]);
    }

    #[test]
    fn the_word_of_a_deposed_leader_is_no_news() {
        let mut node = Watched::new();
        node.append(3, 2, FOUNDING, &[LogId::new(2, 2)], 0);
        assert_eq!(node.append(2, 1, FOUNDING, &[LogId::new(1, 2)], 0), [""; 0]);
        assert_eq!(node.append(3, 2, LogId::new(2, 2), &[], 2), ["2.2 committed", "2.2 applied"]);
    }

    #[test]
    fn what_is_refused_is_neither_in_the_log_nor_applied() {
        let mut node = Watched::new();
        // It lacks the entry before.
        assert_eq!(node.append(2, 1, LogId::new(1, 2), &[LogId::new(1, 3)], 0), ["1.3 received"]);
        let told = node.append(3, 2, FOUNDING, &[LogId::new(2, 2), LogId::new(2, 3)], 3);
        assert!(told.iter().all(|line| !line.starts_with("1.3")), "{told:?}");
        assert!(told.contains(&String::from("2.3 applied")), "{told:?}");
    }
}
