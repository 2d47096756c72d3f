//! The wire format as a whole: what is sent comes back, byte by byte as it always was.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use raft_core::backend::Refusal;
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId, Term};
use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Message, Notice, ReadIndex,
    ReadIndexReply, SnapshotChunk, SnapshotReply, TimeoutNow, VoteReply, VoteRequest,
};

use crate::codec::{self, ENTRIES, WAY};
use crate::error::WireError;
use crate::handshake::{self, Hello, Said, WIRE_VERSIONS};
use crate::proto::{self, Frame};
use crate::{convert, lane};

fn envelope(message: Message) -> Envelope {
    Envelope { group: GroupId(0), from: NodeId(1), to: NodeId(2), term: Term(7), message }
}

fn identity(node: u64) -> Identity {
    Identity {
        cluster: ClusterId(1 << 100),
        group: GroupId(0),
        node: NodeId(node),
        store: StoreId(9),
        incarnation: Incarnation { number: 3, nonce: 4 },
    }
}

fn frame(message: Message) -> Frame {
    convert::to_frame(envelope(message)).unwrap()
}

fn read(bytes: &[u8]) -> Result<Said, WireError> {
    let frame = Frame::decode(bytes).map_err(|error| WireError::Stream(error.to_string()))?;
    handshake::read(frame)
}

fn refusals() -> [Refusal; 8] {
    let node = NodeId(1);
    [
        Refusal::WrongCluster { ours: ClusterId(1), theirs: ClusterId(2) },
        Refusal::WrongGroup { ours: GroupId(1), theirs: GroupId(2) },
        Refusal::WrongNode { expected: node, claimed: NodeId(2) },
        Refusal::StoreReplaced { node, known: StoreId(2), offered: StoreId(3) },
        Refusal::RolledBack { node, known: 2, offered: 3 },
        Refusal::WireVersion { ours: (1, 2), theirs: (3, 4) },
        Refusal::NotReady,
        Refusal::NotCertified { claimed: NodeId(3) },
    ]
}

/// As version 1 says it.
fn greeting() -> Hello {
    Hello { versions: (1, 1), identity: identity(1), to: NodeId(2), listen: String::new() }
}

fn any_message() -> impl Strategy<Value = Message> {
    let log_id = || (any::<u64>(), any::<u64>()).prop_map(|(t, i)| LogId::new(t, i));
    let data = || prop::collection::vec(any::<u8>(), 0..1500).prop_map(Bytes::from);
    let kind = prop_oneof![Just(EntryKind::Noop), Just(EntryKind::Commands), Just(EntryKind::Session)];
    let entry = (any::<u64>(), kind, data());
    // What a later version has added is often not said.
    let some = || prop_oneof![Just(0), any::<u64>()];
    prop_oneof![
        (any::<bool>(), any::<bool>(), log_id(), some()).prop_map(|(pre, transfer, last, told)| {
            Message::Vote(VoteRequest { pre, transfer, last, told })
        }),
        (any::<bool>(), any::<u64>(), 0..3).prop_map(|(pre, asked, ballot)| {
            let ballot = [Ballot::Granted, Ballot::Denied, Ballot::Vetoed][ballot as usize];
            Message::VoteReply(VoteReply { pre, asked: Term(asked), ballot })
        }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(commit, round)| Message::Heartbeat(Heartbeat { commit: Index(commit), round })),
        (any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>(), any::<bool>(), some(), some()).prop_map(
            |(round, m, l, probation, slow, micros, priority)| {
                let (matched, last, promise) = (Index(m), Index(l), Duration::from_micros(micros));
                let priority = (priority as u8).cast_signed();
                Message::HeartbeatReply(HeartbeatReply {
                    round,
                    matched,
                    last,
                    probation,
                    slow,
                    promise,
                    priority,
                })
            }
        ),
        (any::<u32>(), any::<u64>(), any::<u64>(), prop::collection::vec(entry, 0..8)).prop_map(
            |(index, term, commit, entries)| {
                let prev = LogId { term: Term(term), index: Index(u64::from(index)) };
                let entries = (1..).zip(entries).map(|(at, (term, kind, data))| Entry {
                    id: LogId { term: Term(term), index: Index(prev.index.0 + at) },
                    kind,
                    data,
                });
                Message::Append(Append { prev, commit: Index(commit), entries: entries.collect() })
            }
        ),
        any::<u64>().prop_map(|m| Message::AppendReply(AppendReply::Matched { matched: Index(m) })),
        (any::<u64>(), log_id(), any::<u64>()).prop_map(|(prev, hint, last)| {
            let (prev, last) = (Index(prev), Index(last));
            Message::AppendReply(AppendReply::Rejected { prev, hint, last })
        }),
        (log_id(), any::<u128>(), data(), any::<u64>(), data()).prop_map(|(upto, snapshot, m, o, data)| {
            let (membership, offset, total, checksum) = (m, o, o, 9);
            Message::Snapshot(SnapshotChunk { upto, snapshot, membership, offset, total, checksum, data })
        }),
        (any::<u128>(), any::<u64>(), any::<bool>()).prop_map(|(snapshot, received, installed)| {
            Message::SnapshotReply(SnapshotReply { snapshot, received, installed })
        }),
        some().prop_map(|round| Message::TimeoutNow(TimeoutNow { round })),
        any::<u64>().prop_map(|id| Message::ReadIndex(ReadIndex { id })),
        (any::<u64>(), any::<Option<u64>>()).prop_map(|(id, index)| {
            Message::ReadIndexReply(ReadIndexReply { id, index: index.map(Index) })
        }),
        any::<u64>().prop_map(|i| Message::Notice(Notice::Removed { since: Index(i) })),
        any::<u64>().prop_map(|i| Message::Notice(Notice::RolledBack { acknowledged: Index(i) })),
    ]
}

proptest! {
    #[test]
    fn every_message_comes_back(message in any_message()) {
        let sent = envelope(message);
        let bytes = frame(sent.message.clone()).encode_to_vec();
        // What a queue counts is never less than what passes.
        prop_assert!(bytes.len() as u64 <= lane::cost_bytes(&sent) + 1024);
        prop_assert_eq!(read(&bytes), Ok(Said::Message(sent)));
    }

    /// Whatever a flipped bit changes in what a message says is noticed.
    #[test]
    fn no_flipped_bit_changes_a_message(message in any_message(), at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let sent = Said::Message(envelope(message.clone()));
        let mut bytes = frame(message).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        // A number of a field that nobody knows, of a default value, changes nothing.
        if let Ok(said) = read(&bytes) {
            // A refusal or a ready that a bit makes of it is out of turn, and ends the stream.
            prop_assert!(said == sent || !matches!(said, Said::Message(_)), "{:?}", said);
        }
    }

    #[test]
    fn garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&garbage);
        let _ = codec::count(&garbage, &WAY);
    }
}

/// One message of each kind.
fn samples() -> Vec<Message> {
    let entry = |index, data: &'static [u8]| Entry {
        id: LogId::new(6, index),
        kind: EntryKind::Commands,
        data: Bytes::from_static(data),
    };
    let chunk = SnapshotChunk {
        upto: LogId::new(3, 4),
        snapshot: 5,
        membership: Bytes::from_static(b"m"),
        offset: 6,
        total: 7,
        checksum: 8,
        data: Bytes::from_static(b"data"),
    };
    let (index, last) = (Index(300), Index(9));
    let reply =
        HeartbeatReply { round: 5, matched: index, last, probation: true, ..HeartbeatReply::default() };
    let append = Append {
        prev: LogId::new(6, 300),
        commit: Index(299),
        entries: [entry(301, b"ab"), entry(302, b"")].into(),
    };
    let vote = |ballot| VoteReply { pre: true, asked: Term(8), ballot };
    vec![
        Message::Vote(VoteRequest { pre: true, transfer: true, last: LogId::new(6, 300), told: 0 }),
        Message::VoteReply(vote(Ballot::Granted)),
        Message::VoteReply(vote(Ballot::Denied)),
        Message::VoteReply(vote(Ballot::Vetoed)),
        Message::Heartbeat(Heartbeat { commit: index, round: 5 }),
        Message::HeartbeatReply(reply),
        Message::Append(append),
        Message::AppendReply(AppendReply::Matched { matched: index }),
        Message::AppendReply(AppendReply::Rejected { prev: index, hint: LogId::new(2, 1), last }),
        Message::Snapshot(chunk),
        Message::SnapshotReply(SnapshotReply { snapshot: 5, received: 6, installed: true }),
        Message::TimeoutNow(TimeoutNow { round: 0 }),
        Message::Notice(Notice::Removed { since: Index(0) }),
        Message::Notice(Notice::RolledBack { acknowledged: index }),
    ]
}

/// Everything that wire version 1 can say, byte by byte: never edit, only add versions.
const GOLDEN: &str = include_str!("golden_v1.txt");
/// What version 2 says otherwise, and what it has added: never edit, only add versions.
const GOLDEN_2: &str = include_str!("golden_v2.txt");

/// A greeting of version 2.
fn greeting_of_version_2() -> Hello {
    Hello { versions: (1, 2), listen: "10.0.0.1:7101".to_owned(), ..greeting() }
}

/// What version 2 has added: a message of each kind that has more to say, and of each new kind.
fn samples_of_version_2() -> Vec<Message> {
    let (index, last) = (Index(300), Index(9));
    let promise = Duration::from_micros(300_000);
    let reply = HeartbeatReply { round: 5, matched: index, last, promise, ..HeartbeatReply::default() };
    vec![
        Message::Vote(VoteRequest { pre: false, transfer: true, last: LogId::new(6, 300), told: 7 }),
        Message::HeartbeatReply(reply),
        Message::HeartbeatReply(HeartbeatReply { slow: true, priority: -3, ..reply }),
        Message::TimeoutNow(TimeoutNow { round: 300 }),
        Message::ReadIndex(ReadIndex { id: 300 }),
        Message::ReadIndexReply(ReadIndexReply { id: 300, index: Some(index) }),
        Message::ReadIndexReply(ReadIndexReply { id: 301, index: None }),
    ]
}

fn golden_frames_of_version_2() -> Vec<Frame> {
    let hello = handshake::hello((1, 2), identity(1), NodeId(2), "10.0.0.1:7101");
    let welcome = handshake::welcome((1, 2), identity(2), &greeting_of_version_2());
    [hello, welcome].into_iter().chain(samples_of_version_2().into_iter().map(frame)).collect()
}

fn golden_frames() -> Vec<Frame> {
    let hello = handshake::hello((1, 1), identity(1), NodeId(2), "10.0.0.1:7101");
    let welcome = handshake::welcome((1, 1), identity(2), &greeting());
    let greetings = [hello, welcome, handshake::ready()].into_iter();
    let refused = refusals().into_iter().map(|why| handshake::refused(&why));
    greetings.chain(refused).chain(samples().into_iter().map(frame)).collect()
}

#[test]
fn golden_bytes() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (frames, golden) in [(golden_frames(), GOLDEN), (golden_frames_of_version_2(), GOLDEN_2)] {
        let written: Vec<String> = frames.iter().map(|frame| hex(frame.encode_to_vec())).collect();
        assert_eq!(written, golden.lines().collect::<Vec<_>>(), "{}", written.join("\n"));
    }
}

/// T11: this version reads the bytes that version 1 has written, and those that it writes itself.
#[test]
fn golden_bytes_are_read() {
    let bytes = |line: &str| -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
        (0..line.len()).step_by(2).map(digit).collect()
    };
    let said: Vec<Said> =
        GOLDEN.lines().chain(GOLDEN_2.lines()).map(|line| read(&bytes(line)).unwrap()).collect();
    let mut expected =
        vec![Said::Hello(greeting()), Said::Welcome { version: 1, identity: identity(2) }, Said::Ready];
    expected.extend(refusals().map(Said::Refused));
    expected.extend(samples().into_iter().map(|message| Said::Message(envelope(message))));
    let welcome = Said::Welcome { version: 2, identity: identity(2) };
    expected.extend([Said::Hello(greeting_of_version_2()), welcome]);
    expected.extend(samples_of_version_2().into_iter().map(|message| Said::Message(envelope(message))));
    assert_eq!(said, expected);
}

/// T11: a node that also speaks the next version is welcome, in ours, and one of the version before in its own;
/// what a later one adds is passed over.
#[test]
fn versions_before_and_after_interoperate() {
    for (versions, spoken) in [((1, 1), 1), ((1, 2), 2), ((1, 3), 2), ((2, 9), 2)] {
        let other = Hello { versions, ..greeting() };
        assert_eq!(handshake::check_hello(WIRE_VERSIONS, identity(2), &other), Ok(identity(1)));
        let welcome = handshake::welcome(WIRE_VERSIONS, identity(2), &other);
        assert_eq!(handshake::read(welcome), Ok(Said::Welcome { version: spoken, identity: identity(2) }));
    }
    let sent = Message::Heartbeat(Heartbeat { commit: Index(4), round: 5 });
    let mut bytes = frame(sent.clone()).encode_to_vec();
    // Field 100, a number.
    bytes.extend([0xa0, 0x06, 0x07]);
    assert_eq!(read(&bytes), Ok(Said::Message(envelope(sent))));
}

#[test]
fn whoever_does_not_belong_is_refused_by_name() {
    let good = greeting();
    let check = |local| handshake::check_hello(WIRE_VERSIONS, local, &good);
    let foreign = Identity { cluster: ClusterId(5), ..identity(2) };
    assert!(matches!(check(foreign), Err(Refusal::WrongCluster { .. })));
    let other_group = Identity { group: GroupId(1), ..identity(2) };
    assert!(matches!(check(other_group), Err(Refusal::WrongGroup { .. })));
    assert!(matches!(check(identity(3)), Err(Refusal::WrongNode { .. })), "not the one meant");
    assert!(matches!(check(identity(1)), Err(Refusal::WrongNode { .. })), "its own name");
    for versions in [(0, 0), (3, 4), (1, 0)] {
        let strange = Hello { versions, ..good.clone() };
        let refused = handshake::check_hello(WIRE_VERSIONS, identity(2), &strange);
        assert!(matches!(refused, Err(Refusal::WireVersion { .. })), "{versions:?}");
    }
    let refused = handshake::check_welcome(WIRE_VERSIONS, identity(1), NodeId(2), 1, identity(3));
    assert_eq!(refused, Err(Refusal::WrongNode { expected: NodeId(2), claimed: NodeId(3) }));
    let refused = handshake::check_welcome(WIRE_VERSIONS, identity(1), NodeId(2), 3, identity(2));
    assert!(matches!(refused, Err(Refusal::WireVersion { .. })));
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let malformed = |frame: Frame| match handshake::read(frame) {
        Err(WireError::Malformed(what)) => what,
        other => panic!("{other:?}"),
    };
    let message = |kind| proto::Message { kind, ..proto::Message::default() };
    let kind = |kind| Frame { kind: Some(proto::frame::Kind::Message(message(Some(kind)))), checksum: 0 };
    assert_eq!(malformed(Frame::default()), "a frame of no known kind");
    let empty = Frame { kind: Some(proto::frame::Kind::Message(message(None))), checksum: 0 };
    assert_eq!(malformed(empty), "a message of no known kind");
    for ballot in [0, 4, -1] {
        let reply = proto::VoteReply { pre: false, asked: 1, ballot };
        assert_eq!(malformed(kind(proto::message::Kind::VoteReply(reply))), "an unknown ballot");
    }
    for number in [4, 255, 256, -1] {
        let entry = proto::Entry { term: 1, kind: number, data: Bytes::new() };
        let append = proto::Append { prev: None, commit: 0, entries: vec![entry] };
        assert_eq!(malformed(kind(proto::message::Kind::Append(append))), "an unknown kind of entry");
    }
    let reply =
        proto::SnapshotReply { snapshot: Bytes::from_static(b"short"), received: 0, installed: false };
    assert_eq!(malformed(kind(proto::message::Kind::SnapshotReply(reply))), "an id of not 16 bytes");
    let beat = proto::HeartbeatReply { priority: 128, ..proto::HeartbeatReply::default() };
    assert_eq!(malformed(kind(proto::message::Kind::HeartbeatReply(beat))), "a priority out of range");
    let hello = proto::Hello { to: 1, ..proto::Hello::default() };
    let frame = Frame { kind: Some(proto::frame::Kind::Hello(hello)), checksum: 0 };
    assert_eq!(malformed(frame), "no wire versions");
}

#[test]
fn an_address_that_is_too_long_is_not_given_and_one_that_was_changed_not_taken() {
    let long = "a".repeat(handshake::ADDRESS_BYTES + 1);
    let hello = |listen: &str| handshake::hello(WIRE_VERSIONS, identity(1), NodeId(2), listen);
    let with = |listen: &str, checksum| match hello("10.0.0.1:7101") {
        Frame { kind: Some(proto::frame::Kind::Hello(inner)), checksum: outer } => {
            let inner = proto::Hello { listen: listen.to_owned(), listen_checksum: checksum, ..inner };
            handshake::read(Frame { kind: Some(proto::frame::Kind::Hello(inner)), checksum: outer })
        }
        other => panic!("{other:?}"),
    };
    assert!(matches!(handshake::read(hello(&long)), Ok(Said::Hello(hello)) if hello.listen.is_empty()));
    let too_long = with(&long, crate::checksum::of_listen(&long));
    assert_eq!(too_long, Err(WireError::Malformed("an address that is too long")));
    assert_eq!(with("10.0.0.2:7101", crate::checksum::of_listen("10.0.0.1:7101")), Err(WireError::Checksum));
}

#[test]
fn another_checksum_is_refused() {
    let frames = golden_frames().into_iter().chain(golden_frames_of_version_2());
    let frames = frames.filter(|frame| frame.checksum != 0);
    for mut frame in frames {
        frame.checksum ^= 1;
        assert_eq!(handshake::read(frame), Err(WireError::Checksum));
    }
}

/// An append of a few megabytes can announce entries that take gigabytes.
#[test]
fn more_entries_than_an_append_may_have_are_counted_before_room_is_made() {
    let noop = Entry { id: LogId::new(0, 0), kind: EntryKind::Noop, data: Bytes::new() };
    let append = |count: u64| {
        let entries = vec![noop.clone(); usize::try_from(count).unwrap()];
        Message::Append(Append { prev: LogId::ZERO, commit: Index(0), entries: entries.into() })
    };
    for count in [0, 1, 300] {
        assert_eq!(codec::count(&frame(append(count)).encode_to_vec(), &WAY), count);
    }
    assert!(!lane::is_sendable(&envelope(append(ENTRIES + 1)), u64::MAX));
    assert!(lane::is_sendable(&envelope(append(ENTRIES)), u64::MAX));
    assert_eq!(codec::count(&frame(append(ENTRIES + 1)).encode_to_vec(), &WAY), ENTRIES + 1);
    // In two parts, which protobuf puts together.
    let mut twice = frame(append(5)).encode_to_vec();
    twice.extend(frame(append(6)).encode_to_vec());
    assert_eq!(codec::count(&twice, &WAY), 11);
}

/// A group, which protobuf has given up and prost skips, ended the count: what came behind it was made room for
/// without a bound.
#[test]
fn entries_behind_a_group_are_counted() {
    let noop = Entry { id: LogId::new(0, 0), kind: EntryKind::Noop, data: Bytes::new() };
    let entries = vec![noop; usize::try_from(ENTRIES + 1).unwrap()];
    let append =
        frame(Message::Append(Append { prev: LogId::ZERO, commit: Index(0), entries: entries.into() }));
    // Field 100, begun and ended.
    let group = [0xa3, 0x06, 0xa4, 0x06];
    let bytes = [&group[..], &append.encode_to_vec()].concat();
    assert_eq!(Frame::decode(&bytes[..]), Ok(append));
    assert_eq!(codec::frame(&bytes[..]), Err(WireError::TooMany { entries: ENTRIES + 1, limit: ENTRIES }));
}

#[test]
fn payloads_are_not_copied() {
    let data = Bytes::from(vec![7; 100_000]);
    let at = data.as_ptr();
    let entry = Entry { id: LogId::new(7, 1), kind: EntryKind::Commands, data };
    let append = Append { prev: LogId::ZERO, commit: Index(0), entries: [entry].into() };
    let frame = frame(Message::Append(append));
    let payload = |frame: &Frame| match &frame.kind {
        Some(proto::frame::Kind::Message(proto::Message {
            kind: Some(proto::message::Kind::Append(append)),
            ..
        })) => append.entries[0].data.as_ptr(),
        other => panic!("{other:?}"),
    };
    assert_eq!(payload(&frame), at, "the frame has the entry's own bytes");
    let wire = Bytes::from(frame.encode_to_vec());
    let read = Frame::decode(wire.clone()).unwrap();
    assert!(wire.as_ptr_range().contains(&payload(&read)), "a slice of what was read");
    let at = payload(&read);
    let Ok(Said::Message(envelope)) = handshake::read(read) else { panic!() };
    let Message::Append(append) = envelope.message else { panic!() };
    assert_eq!(append.entries[0].data.as_ptr(), at);
}
