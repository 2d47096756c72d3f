//! SQLite (rusqlite, bundled) as a journal: WAL, synchronous=FULL, one thread.
//!   journal-rusqlite append <file> <batch> <secs> | fill <file> <n> | open <file> | read <file>
use rusqlite::{params, Connection};
use std::time::Instant;

fn payload(seed: &mut u64) -> [u8; 256] {
    let mut d = [0u8; 256];
    for c in d.chunks_mut(8) {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        c.copy_from_slice(&seed.to_le_bytes());
    }
    d
}
fn open(p: &str) -> Connection {
    let c = Connection::open(p).unwrap();
    c.pragma_update(None, "journal_mode", "WAL").unwrap();
    c.pragma_update(None, "synchronous", "FULL").unwrap();
    c.execute_batch("CREATE TABLE IF NOT EXISTS log(idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, data BLOB NOT NULL)").unwrap();
    c
}
fn wipe(p: &str) {
    for s in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{p}{s}"));
    }
}
fn put(c: &mut Connection, from: i64, n: i64, seed: &mut u64) {
    let t = c.transaction().unwrap();
    {
        let mut st = t.prepare_cached("INSERT INTO log(idx,term,data) VALUES(?1,?2,?3)").unwrap();
        for i in 0..n {
            st.execute(params![from + i, 1i64, &payload(seed)[..]]).unwrap();
        }
    }
    t.commit().unwrap();
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let mut seed = 88172645463325252u64;
    match a[1].as_str() {
        "append" => {
            wipe(&a[2]);
            let mut c = open(&a[2]);
            let (b, secs): (i64, f64) = (a[3].parse().unwrap(), a[4].parse().unwrap());
            let (mut i, mut lat) = (1i64, Vec::new());
            let t = Instant::now();
            while t.elapsed().as_secs_f64() < secs {
                let t0 = Instant::now();
                put(&mut c, i, b, &mut seed);
                lat.push(t0.elapsed().as_nanos() as u64);
                i += b;
            }
            let el = t.elapsed().as_secs_f64();
            lat.sort_unstable();
            println!("{{\"per_s\":{:.0},\"syncs\":{},\"p50_us\":{:.1},\"p99_us\":{:.1}}}", (i - 1) as f64 / el, lat.len(),
                lat[lat.len() / 2] as f64 / 1e3, lat[lat.len() * 99 / 100] as f64 / 1e3);
        }
        "fill" => {
            wipe(&a[2]);
            let mut c = open(&a[2]);
            let n: i64 = a[3].parse().unwrap();
            let t = Instant::now();
            for i in 0..n / 1000 {
                put(&mut c, i * 1000 + 1, 1000, &mut seed);
            }
            println!("{{\"seconds\":{:.3}}}", t.elapsed().as_secs_f64());
            std::mem::forget(c); // leave the WAL as a crash would
        }
        "open" => {
            let t = Instant::now();
            let c = open(&a[2]);
            let m: i64 = c.query_row("SELECT max(idx) FROM log", [], |r| r.get(0)).unwrap();
            let f: i64 = c.query_row("SELECT min(idx) FROM log", [], |r| r.get(0)).unwrap();
            println!("{{\"ms\":{:.2},\"entries\":{}}}", t.elapsed().as_secs_f64() * 1e3, m - f + 1);
            std::mem::forget(c);
        }
        "read" => {
            let c = open(&a[2]);
            let t = Instant::now();
            let mut st = c.prepare("SELECT idx,term,data FROM log ORDER BY idx").unwrap();
            let (mut n, mut sum) = (0u64, 0u64);
            let mut rows = st.query([]).unwrap();
            while let Some(r) = rows.next().unwrap() {
                let d: Vec<u8> = r.get(2).unwrap();
                let _i: i64 = r.get(0).unwrap();
                let _t: i64 = r.get(1).unwrap();
                n += 1;
                sum += d.len() as u64;
            }
            println!("{{\"entries\":{n},\"bytes\":{sum},\"per_s\":{:.0}}}", n as f64 / t.elapsed().as_secs_f64());
        }
        _ => panic!(),
    }
}
