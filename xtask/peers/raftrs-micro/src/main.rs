//! raft-rs 0.7 alone: three RawNodes with MemStorage, one thread, no I/O, 256 B payloads.
//!   raftrs-micro <batch> <entries> [sync|async]
//! Prints entries committed (applied by all three) a second and allocations an entry.
use protobuf::Message as _;
use raft::eraftpb::{ConfState, Entry, Message, MessageType};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

struct Counting;
static ALLOCS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 {
        ALLOCS.fetch_add(1, Relaxed);
        BYTES.fetch_add(l.size() as u64, Relaxed);
        System.alloc(l)
    }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) {
        System.dealloc(p, l)
    }
    unsafe fn realloc(&self, p: *mut u8, l: Layout, n: usize) -> *mut u8 {
        ALLOCS.fetch_add(1, Relaxed);
        BYTES.fetch_add(n as u64, Relaxed);
        System.realloc(p, l, n)
    }
}
#[global_allocator]
static A: Counting = Counting;

struct N {
    raw: RawNode<MemStorage>,
    applied: u64,
    compacted: u64,
}

fn drive(nodes: &mut [N], wire: &mut Vec<Message>, codec: bool) {
    loop {
        let mut busy = false;
        for n in nodes.iter_mut() {
            while n.raw.has_ready() {
                busy = true;
                let mut rd = n.raw.ready();
                wire.extend(rd.take_messages());
                let ce = rd.take_committed_entries();
                if let Some(e) = ce.last() {
                    n.applied = e.index;
                }
                let es = rd.take_entries();
                if !es.is_empty() {
                    n.raw.mut_store().wl().append(&es).unwrap();
                }
                if let Some(hs) = rd.hs() {
                    n.raw.mut_store().wl().set_hardstate(hs.clone());
                }
                wire.extend(rd.take_persisted_messages());
                let mut lr = n.raw.advance(rd);
                if let Some(c) = lr.commit_index() {
                    n.raw.mut_store().wl().mut_hard_state().set_commit(c);
                }
                wire.extend(lr.take_messages());
                let ce = lr.take_committed_entries();
                if let Some(e) = ce.last() {
                    n.applied = e.index;
                }
                n.raw.advance_apply();
                if n.applied > n.compacted + 8192 {
                    n.compacted = n.applied - 1024;
                    let c = n.compacted;
                    n.raw.mut_store().wl().compact(c).unwrap();
                }
            }
        }
        if wire.is_empty() && !busy {
            return;
        }
        for m in std::mem::take(wire) {
            let to = m.to as usize - 1;
            if codec {
                let b = m.write_to_bytes().unwrap();
                let m2 = Message::parse_from_bytes(&b).unwrap();
                let _ = nodes[to].raw.step(m2);
            } else {
                let _ = nodes[to].raw.step(m);
            }
        }
    }
}

fn main() {
    let a: Vec<String> = std::env::args().collect();
    let batch: usize = a[1].parse().unwrap();
    let total: usize = a[2].parse().unwrap();
    let codec = a.get(3).map_or(false, |s| s == "codec");
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let mut nodes: Vec<N> = (1..=3u64)
        .map(|id| {
            let st = MemStorage::new_with_conf_state(ConfState::from((vec![1, 2, 3], vec![])));
            let cfg = Config { id, election_tick: 10, heartbeat_tick: 3, max_size_per_msg: 1 << 20, max_inflight_msgs: 256, ..Default::default() };
            N { raw: RawNode::new(&cfg, st, &logger).unwrap(), applied: 0, compacted: 0 }
        })
        .collect();
    let mut wire = Vec::new();
    nodes[0].raw.campaign().unwrap();
    drive(&mut nodes, &mut wire, codec);
    assert_eq!(nodes[0].raw.raft.state, StateRole::Leader);
    let payload = bytes::Bytes::from(vec![7u8; 256]);
    let mut run = |nodes: &mut Vec<N>, n: usize| {
        let mut done = 0;
        while done < n {
            let mut m = Message::default();
            m.set_msg_type(MessageType::MsgPropose);
            m.from = 1;
            for _ in 0..batch {
                let mut e = Entry::default();
                e.data = bytes::Bytes::copy_from_slice(&payload);
                m.mut_entries().push(e);
            }
            nodes[0].raw.step(m).unwrap();
            drive(nodes, &mut wire, codec);
            done += batch;
        }
    };
    run(&mut nodes, (total / 10).max(batch));
    let (a0, b0) = (ALLOCS.load(Relaxed), BYTES.load(Relaxed));
    let first = nodes[2].applied;
    let t = Instant::now();
    run(&mut nodes, total);
    let el = t.elapsed().as_secs_f64();
    let n = (nodes[2].applied - first) as f64;
    println!(
        "{{\"batch\":{batch},\"codec\":{codec},\"entries\":{n},\"per_s\":{:.0},\"allocations_per_entry\":{:.3},\"bytes_per_entry\":{:.0}}}",
        n / el, (ALLOCS.load(Relaxed) - a0) as f64 / n, (BYTES.load(Relaxed) - b0) as f64 / n
    );
}
