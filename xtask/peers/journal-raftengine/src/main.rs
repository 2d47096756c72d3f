//! raft-engine 0.4 as a journal, one thread, sync writes.
//!   journal-raftengine append <dir> <batch> <secs>
//!   journal-raftengine fill <dir> <n> [b]    (b = 1000 a batch, one sync at the end)
//!   journal-raftengine open <dir>            (recovery time)
//!   journal-raftengine read <dir>            (open, then read everything in order)
use raft::eraftpb::Entry;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use std::time::Instant;

#[derive(Clone)]
struct X;
impl MessageExt for X {
    type Entry = Entry;
    fn index(e: &Entry) -> u64 {
        e.index
    }
}
fn entries(from: u64, n: u64, seed: &mut u64) -> Vec<Entry> {
    (0..n)
        .map(|i| {
            let mut d = vec![0u8; 256];
            for c in d.chunks_mut(8) {
                *seed ^= *seed << 13;
                *seed ^= *seed >> 7;
                *seed ^= *seed << 17;
                c.copy_from_slice(&seed.to_le_bytes());
            }
            let mut e = Entry::default();
            e.index = from + i;
            e.term = 1;
            e.data = d.into();
            e
        })
        .collect()
}
fn open(dir: &str) -> Engine {
    Engine::open(Config { dir: dir.into(), purge_threshold: ReadableSize::gb(100), ..Default::default() }).unwrap()
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let mut seed = 88172645463325252u64;
    match a[1].as_str() {
        "append" => {
            let _ = std::fs::remove_dir_all(&a[2]);
            let e = open(&a[2]);
            let (b, secs): (u64, f64) = (a[3].parse().unwrap(), a[4].parse().unwrap());
            let pool = entries(1, 4096, &mut seed);
            let (mut i, mut lat) = (1u64, Vec::new());
            let t = Instant::now();
            let mut es = Vec::new();
            while t.elapsed().as_secs_f64() < secs {
                es.clear();
                for k in 0..b {
                    let mut x = pool[((i + k) % 4096) as usize].clone();
                    x.index = i + k;
                    es.push(x);
                }
                let t0 = Instant::now();
                let mut lb = LogBatch::default();
                lb.add_entries::<X>(1, &es).unwrap();
                e.write(&mut lb, true).unwrap();
                lat.push(t0.elapsed().as_nanos() as u64);
                i += b;
            }
            let el = t.elapsed().as_secs_f64();
            lat.sort_unstable();
            println!("{{\"per_s\":{:.0},\"syncs\":{},\"p50_us\":{:.1},\"p99_us\":{:.1}}}", (i - 1) as f64 / el, lat.len(),
                lat[lat.len() / 2] as f64 / 1e3, lat[lat.len() * 99 / 100] as f64 / 1e3);
        }
        "fill" => {
            let _ = std::fs::remove_dir_all(&a[2]);
            let e = open(&a[2]);
            let n: u64 = a[3].parse().unwrap();
            let t = Instant::now();
            let b: u64 = a.get(4).map_or(1000, |x| x.parse().unwrap());
            for i in 0..n / b {
                let mut lb = LogBatch::default();
                lb.add_entries::<X>(1, &entries(i * b + 1, b, &mut seed)).unwrap();
                e.write(&mut lb, false).unwrap();
            }
            e.sync().unwrap();
            println!("{{\"seconds\":{:.3}}}", t.elapsed().as_secs_f64());
        }
        "open" => {
            let t = Instant::now();
            let e = open(&a[2]);
            println!("{{\"ms\":{:.2}}}", t.elapsed().as_secs_f64() * 1e3);
            assert!(e.last_index(1).is_some());
        }
        "read" => {
            let e = open(&a[2]);
            let last = e.last_index(1).unwrap();
            for chunk in [1000u64] {
                let t = Instant::now();
                let (mut n, mut sum) = (0u64, 0u64);
                let mut i = 1;
                let mut v: Vec<Entry> = Vec::new();
                while i <= last {
                    v.clear();
                    let hi = (i + chunk).min(last + 1);
                    e.fetch_entries_to::<X>(1, i, hi, None, &mut v).unwrap();
                    n += v.len() as u64;
                    sum += v.iter().map(|e| e.data.len() as u64).sum::<u64>();
                    i = hi;
                }
                println!("{{\"entries\":{n},\"bytes\":{sum},\"per_s\":{:.0}}}", n as f64 / t.elapsed().as_secs_f64());
            }
        }
        _ => panic!(),
    }
}
