//! Any message survives its bytes; those of each version are pinned.

use super::*;
use proptest::prelude::*;

const LIMIT: u64 = 1 << 20;

fn bytes(envelope: Envelope) -> BytesMut {
    let mut out = Outgoing::default();
    encode(envelope, &mut out);
    flat(&mut out)
}

fn flat(out: &mut Outgoing) -> BytesMut {
    let mut all = BytesMut::new();
    while !out.is_empty() {
        let mut slices = Vec::new();
        out.slices(&mut slices, 3);
        let count: usize = slices.iter().map(|slice| slice.len()).sum();
        slices.iter().for_each(|slice| all.put_slice(slice));
        // Short writes end anywhere.
        let taken = (count / 2).max(1);
        all.truncate(all.len() - (count - taken));
        out.advance(taken);
    }
    all
}

fn envelope(message: Message) -> Envelope {
    Envelope { group: GroupId(0), from: NodeId(1), to: NodeId(2), term: Term(7), message }
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
                let reply = HeartbeatReply { round, matched, last, probation, slow, promise, priority };
                Message::HeartbeatReply(reply)
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
    fn every_message_comes_back(messages in prop::collection::vec(any_message(), 1..5)) {
        let sent: Vec<Envelope> = messages.into_iter().map(envelope).collect();
        let mut out = Outgoing::default();
        sent.iter().for_each(|envelope| encode(envelope.clone(), &mut out));
        let total = out.len();
        let mut wire = flat(&mut out);
        prop_assert_eq!(wire.len(), total);
        for envelope in sent {
            prop_assert_eq!(decode(&mut wire, LIMIT), Ok(Some(envelope)));
        }
        prop_assert_eq!(decode(&mut wire, LIMIT), Ok(None));
    }

    #[test]
    fn any_flipped_bit_is_noticed(message in any_message(), at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let good = bytes(envelope(message));
        let mut bad = good.clone();
        let at = at.index(bad.len());
        bad[at] ^= 1_u8 << bit;
        // A longer length waits for more; everything else is refused.
        let outcome = decode(&mut bad, LIMIT);
        prop_assert!(matches!(outcome, Err(_) | Ok(None)), "{:?}", outcome);
        prop_assert!(at < 4 || outcome.is_err());
    }

    #[test]
    fn garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&mut BytesMut::from(&garbage[..]), LIMIT);
    }

    #[test]
    fn a_cut_frame_waits(message in any_message(), at in any::<prop::sample::Index>()) {
        let mut wire = bytes(envelope(message));
        wire.truncate(at.index(wire.len()));
        prop_assert_eq!(decode(&mut wire, LIMIT), Ok(None));
    }
}

#[test]
fn a_claimed_length_of_two_gibibytes_allocates_nothing() {
    let mut wire = BytesMut::from(&[0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0][..]);
    let capacity = wire.capacity();
    assert_eq!(decode(&mut wire, LIMIT), Err(WireError::TooLarge { bytes: 0x7fff_ffff, limit: LIMIT }));
    assert_eq!(wire.capacity(), capacity);
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

/// Each version byte by byte, without length and checksum: never edit, only add versions.
const GOLDEN: [&str; 2] = [include_str!("../golden_frames_v1.txt"), include_str!("../golden_frames_v2.txt")];

#[test]
fn golden_bytes() {
    let hex = |wire: &[u8]| wire.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (golden, samples) in GOLDEN.into_iter().zip([samples(), samples_of_version_2()]) {
        let written: Vec<String> = samples.into_iter().map(|m| hex(&bytes(envelope(m))[8..])).collect();
        assert_eq!(written, golden.lines().collect::<Vec<_>>(), "{}", written.join("\n"));
    }
}

/// T11: what is said to a peer of version 1 has a kind that version 1 knows, whatever is asked for.
#[test]
fn version_1_is_told_nothing_that_it_does_not_know() {
    for message in samples().into_iter().chain(samples_of_version_2()) {
        if let Some(message) = message.for_version(1) {
            assert!((1..=10).contains(&bytes(envelope(message))[12]));
        }
    }
}

#[test]
fn length_and_checksum_stand_in_front() {
    let wire = bytes(envelope(Message::TimeoutNow(TimeoutNow { round: 0 })));
    assert_eq!(wire[..4], u32::try_from(wire.len() - 8).unwrap().to_le_bytes());
    assert_eq!(wire[4..8], crc32c::crc32c(&wire[8..]).to_le_bytes());
}

#[test]
fn more_entries_than_a_sender_may_send_are_refused_and_no_fewer() {
    let noop = Entry { id: LogId::new(1, 1), kind: EntryKind::Noop, data: Bytes::new() };
    // Also where the frames, and so the appends of a leader, may be large.
    for limit in [LIMIT, 64 << 20] {
        let most = usize::try_from(limit / Entry::OVERHEAD_BYTES).unwrap();
        for (count, passes) in [(most - 2, true), (most, true), (most + 1, false)] {
            let entries = vec![noop.clone(); count].into();
            let append = envelope(Message::Append(Append { prev: LogId::ZERO, commit: Index(0), entries }));
            let sendable = crate::lane::cost_bytes(&append) <= limit;
            assert!(passes || !sendable, "{count} entries");
            match decode(&mut bytes(append), limit) {
                Ok(Some(_)) => assert!(passes, "{count} entries"),
                Err(WireError::TooLarge { .. }) => assert!(!passes, "{count} entries"),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn large_payloads_are_not_copied() {
    let data = Bytes::from(vec![7; 100_000]);
    let at = data.as_ptr();
    let entry = Entry { id: LogId::new(7, 1), kind: EntryKind::Commands, data };
    let append = Append { prev: LogId::ZERO, commit: Index(0), entries: [entry].into() };
    let mut out = Outgoing::default();
    encode(envelope(Message::Append(append)), &mut out);
    let mut slices = Vec::new();
    out.slices(&mut slices, 9);
    assert_eq!(slices.iter().map(|slice| slice.as_ptr()).filter(|piece| *piece == at).count(), 1);
}
