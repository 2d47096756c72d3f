//! Sessions: the bytes of their entries, of marked commands and of the table, and any entries in any order.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code, reason = "parts of the driver")]

#[path = "../../xtask/fuzz/mod.rs"]
mod fuzz;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use fuzz::{Allowance, Input, Target};
use raft_core::entry::pack;
use raft_core::ids::{Index, LogId, SessionId};
use raft_core::session::{
    Decision, Limits, LogTime, Mark, Op, Packed, Place, Stamped, Table, is_marked, pack_marked, unpack_any,
};

fuzz::targets! {
    session_op = SESSION_OP;
    marked = MARKED;
    session_table = SESSION_TABLE;
    sessions = SESSIONS;
}

/// The data of a session entry.
const SESSION_OP: Target = Target {
    name: "session-op",
    run: |input| {
        if let Ok(stamped) = Stamped::decode(input) {
            // There is one way to write it.
            assert_eq!(stamped.encode(), input);
        }
    },
    seeds: || {
        let time = LogTime::from_nanos(5);
        let ops = [
            Op::Open { timeout: Duration::from_secs(60), limits: Limits::DEFAULT },
            Op::KeepAlive { session: SessionId(3), acknowledged_below: 9 },
            Op::Close { session: SessionId(3) },
        ];
        ops.into_iter().map(|op| Stamped { time, op }.encode().to_vec()).collect()
    },
    words: &[b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\x01\x01", b"\x01\x02", b"\x01\x03"],
    allowance: Allowance::new(1 << 10, 1),
    longest: 128,
    plain: 20_000,
};

/// The data of an entry with commands of sessions.
const MARKED: Target = Target {
    name: "marked",
    run: |input| {
        let data = Bytes::copy_from_slice(input);
        let Ok(Packed { time, commands }) = unpack_any(&data) else { return };
        // There is one way to pack.
        match time {
            Some(time) => assert_eq!(pack_marked(time, &commands), data),
            None => {
                assert!(!is_marked(&data) && commands.iter().all(|(mark, _)| mark.is_none()));
                assert_eq!(pack(&commands.into_iter().map(|(_, data)| data).collect::<Vec<_>>()), data);
            }
        }
    },
    seeds: || {
        let mark = |session, sequence| {
            Some(Mark { session: SessionId(session), sequence, acknowledged_below: sequence })
        };
        let time = LogTime::from_nanos(1 << 40);
        let some = [(mark(7, 1), Bytes::from_static(b"incr a")), (None, Bytes::from_static(b"get a"))];
        vec![
            pack_marked(time, &[]).to_vec(),
            pack_marked(time, &some).to_vec(),
            pack_marked(time, &[(mark(u64::MAX, u64::MAX), Bytes::new())]).to_vec(),
            pack(&[Bytes::from_static(b"set a 1")]).to_vec(),
        ]
    },
    words: &[b"\xff\xff\xff\xff", b"\0\0\0\0\0\0\0\0", b"\x01\0\0\0"],
    allowance: Allowance::new(8 << 10, 64),
    longest: 1024,
    plain: 20_000,
};

/// A table from a snapshot.
const SESSION_TABLE: Target = Target {
    name: "session-table",
    run: |input| {
        let Ok(mut table) = Table::decode(input) else { return };
        // There is one way to write it, and what is read can be used.
        assert_eq!(table.encode(), input);
        let ids: Vec<_> = table.ids().collect();
        for id in ids {
            let mark = Mark { session: id, sequence: 1, acknowledged_below: 1 };
            let at = Place { id: LogId::new(1, u64::MAX), position: 0 };
            if table.decide(mark, at) == Decision::Execute {
                table.answered(mark, b"answer");
            }
        }
        table.advance(LogTime::from_nanos(u64::MAX));
        assert_eq!((table.len(), table.records(), table.bytes()), (0, 0, 0));
    },
    seeds: || {
        let mut some = World::default();
        for step in [0, 0, 3, 19, 35, 3, 51, 3, 67, 2] {
            some.step(&mut Input(&[step, 1, 9, step]));
        }
        vec![Table::new().encode(), some.table.encode()]
    },
    words: &[b"\xff\xff\xff\xff", b"\x01\0\0\0", b"\0\0\0\0\0\0\0\0"],
    allowance: Allowance::new(16 << 10, 64),
    longest: 1024,
    plain: 20_000,
};

/// Whatever the log says: nothing is executed twice, all bounds hold, and the table travels.
const SESSIONS: Target = Target {
    name: "sessions",
    run: |input| {
        let mut input = Input(input);
        let mut world = World::default();
        while !input.is_empty() {
            world.step(&mut input);
        }
        assert_eq!(Table::decode(&world.table.encode()), Ok(world.table));
    },
    seeds: || {
        let mut long = Vec::new();
        for byte in 0..120_u8 {
            long.extend_from_slice(&[byte.wrapping_mul(37), byte % 7, byte % 5, byte]);
        }
        vec![vec![0, 1, 3, 2, 1, 0], long]
    },
    words: &[],
    allowance: Allowance::new(64 << 10, 2 << 10),
    longest: 1024,
    plain: 5_000,
};

#[derive(Default)]
struct World {
    table: Table,
    index: u64,
    executed: BTreeSet<(SessionId, u64)>,
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        self.index += 1;
        let mut limits = Limits::DEFAULT;
        (limits.sessions, limits.window, limits.records, limits.answer_bytes) = (3, 4, 6, 256);
        let stamp = u64::from(input.byte()) >> 4;
        self.table.advance(LogTime::from_nanos(self.table.time().as_nanos().saturating_sub(2) + stamp));
        let session = SessionId(input.below(12) as u64);
        let op = match input.below(8) {
            0 | 1 => Op::Open { timeout: Duration::from_nanos(u64::from(input.byte())), limits },
            2 => Op::KeepAlive { session, acknowledged_below: input.below(8) as u64 },
            3 => Op::Close { session },
            _ => {
                let (sequence, acknowledged_below) = (input.below(8) as u64, input.below(8) as u64);
                let mark = Mark { session, sequence, acknowledged_below };
                let at = Place { id: LogId::new(1, self.index), position: 0 };
                if self.table.decide(mark, at) == Decision::Execute {
                    assert!(self.executed.insert((session, sequence)), "{mark:?} is executed twice");
                    self.table.answered(mark, input.bytes(20));
                }
                self.check();
                return;
            }
        };
        // A refusal changes nothing that is looked at here.
        let _ = self.table.execute(Index(self.index), op);
        self.check();
    }

    fn check(&self) {
        assert!(self.table.len() <= 3 && self.table.records() <= 6);
        let rest = 3 * Table::SESSION_BYTES + 6 * Table::RECORD_BYTES;
        assert!(self.table.bytes() <= rest + 256, "{} bytes", self.table.bytes());
    }
}
