//! What we want to reach, line by line.

use serde::Serialize;

use super::results::{Point, Results};

/// One line.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Ratio {
    /// What is compared.
    pub(super) name: String,
    pub(super) ours: f64,
    pub(super) theirs: f64,
    /// Ours over theirs.
    pub(super) ratio: f64,
    pub(super) goal: f64,
    /// Whether the goal is the least that will do, or the most.
    pub(super) at_least: bool,
    pub(super) met: bool,
}

/// All lines for which both sides were measured.
pub(super) fn judge(results: &Results) -> Vec<Ratio> {
    let mut judge = Judge { results, all: Vec::new() };
    judge.against_etcd();
    judge.against_redis();
    judge.against_raft_rs();
    judge.against_the_machine();
    judge.journals();
    judge.protocol();
    judge.stacks();
    judge.changes();
    judge.growth();
    judge.all
}

struct Judge<'a> {
    results: &'a Results,
    all: Vec<Ratio>,
}

const KV: &str = "raft-kv";
const THIN: &str = "raft-kv, thin";
const LIBRARY: &str = "library";

fn writes(system: &str, clients: usize, bytes: usize) -> Point {
    Point::new(system, "write", clients, bytes)
}

impl Judge<'_> {
    fn of(&self, point: &Point, figure: &str) -> Option<f64> {
        self.results.median(point, figure)
    }

    fn line(&mut self, name: String, ours: Option<f64>, theirs: Option<f64>, goal: f64, at_least: bool) {
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return };
        let ratio = if theirs == 0.0 { f64::NAN } else { ours / theirs };
        let met = if at_least { ratio >= goal } else { ratio <= goal };
        self.all.push(Ratio { name, ours, theirs, ratio, goal, at_least, met });
    }

    fn pair(&mut self, name: String, points: [&Point; 2], figure: &str, goal: f64, at_least: bool) {
        let (ours, theirs) = (self.of(points[0], figure), self.of(points[1], figure));
        self.line(name, ours, theirs, goal, at_least);
    }

    fn against_etcd(&mut self) {
        for (clients, goal) in [(1, 2.5), (16, 7.0), (64, 7.0), (256, 10.0), (1024, 10.0)] {
            let points = [&writes(KV, clients, 256), &writes("etcd", clients, 256)];
            self.pair(format!("writes/s, {clients} clients, against etcd"), points, "per_s", goal, true);
            if clients >= 16 {
                self.pair(format!("p99 us, {clients} clients, against etcd"), points, "p99_us", 0.2, false);
            }
            let name = format!("processor seconds a million writes, {clients} clients, against etcd");
            self.pair(name, points, "cpu_s_per_million", 0.1, false);
        }
        let points = [&writes(KV, 1024, 256), &writes("etcd", 1024, 256)];
        self.pair(String::from("peak memory of a node MiB, against etcd"), points, "peak_mib", 0.25, false);
        let points = [&Point::new(KV, "read", 256, 256), &Point::new("etcd", "read", 256, 256)];
        self.pair(
            String::from("linearizable reads/s, 256 clients, against etcd"),
            points,
            "per_s",
            10.0,
            true,
        );
    }

    fn against_redis(&mut self) {
        for clients in [1, 16, 64, 256, 1024] {
            let points = [&writes(KV, clients, 256), &writes("redis", clients, 256)];
            let name = format!("writes/s, {clients} clients, against redis with WAIT 1");
            self.pair(name, points, "per_s", 1.5, true);
        }
    }

    fn against_raft_rs(&mut self) {
        let widths = [(1, 256), (16, 256), (64, 256), (256, 256), (1024, 256), (256, 16), (256, 4096)];
        for (clients, bytes) in widths {
            let points = [&writes(LIBRARY, clients, bytes), &writes("raft-rs", clients, bytes)];
            let name =
                |what: &str| format!("{what} of the library, {clients} clients, {bytes} B, against raft-rs");
            self.pair(name("writes/s"), points, "per_s", if clients == 1 { 1.2 } else { 1.5 }, true);
            self.pair(name("p99 us"), points, "p99_us", 1.0, false);
            self.pair(name("processor seconds a million writes"), points, "cpu_s_per_million", 0.7, false);
        }
    }

    fn against_the_machine(&mut self) {
        let sync = self.of(&Point::new("disk", "sync", 3, 256), "p50_us");
        let trip = self.of(&Point::new("loopback", "round trip", 1, 64), "p50_us");
        let limit = sync.zip(trip).map(|(sync, trip)| sync + trip);
        let ours = self.of(&writes(THIN, 1, 256), "p50_us");
        let name = "p50 us of one client, against a sync among three and a round trip";
        self.line(name.to_owned(), ours, limit, 1.25, false);
        let bare = self.of(&Point::new("disk", "sync", 1, 1024), "p50_us");
        let ours = self.of(&Point::new("file", "append", 1, 1024), "p50_us");
        self.line(String::from("file journal, p50 us of 1 KiB, against a bare sync"), ours, bare, 1.1, false);
    }

    fn journals(&mut self) {
        for (batch, goal) in [(1, 1.0), (16, 1.3), (64, 1.3), (256, 1.2)] {
            let points =
                [&Point::new("file", "append", batch, 256), &Point::new("raft-engine", "append", batch, 256)];
            let name = format!("file journal, entries/s by {batch}, against raft-engine");
            self.pair(name, points, "per_s", goal, true);
        }
        for (batch, goal) in [(16, 0.8), (64, 0.8), (256, 0.8)] {
            let points =
                [&Point::new("sqlite", "append", batch, 256), &Point::new("rusqlite", "append", batch, 256)];
            let name = format!("SQLite journal, entries/s by {batch}, against rusqlite");
            self.pair(name, points, "per_s", goal, true);
        }
        for entries in [100_000, 1_000_000] {
            let points =
                [&Point::new("file", "read", entries, 256), &Point::new("raft-engine", "read", entries, 256)];
            let name = String::from("file journal, entries read back/s, against raft-engine");
            self.pair(name, points, "per_s", 1.0, true);
            let opened = self.of(&Point::new("file", "open", entries, 256), "ms");
            let gib = (entries * 256) as f64 / f64::from(1 << 30);
            let name = String::from("file journal, s to open a GiB of 256 B entries, against 1 s");
            self.line(name, opened.map(|ms| ms / 1e3 / gib), Some(1.0), 0.5, false);
        }
    }

    fn protocol(&mut self) {
        for (batch, allocations) in [(1, 1.0), (64, 0.1)] {
            let ours = Point::new("raft-core", "replicate", batch, 256);
            let theirs = Point::new("raft-rs", "replicate", batch, 256);
            let name = format!("core alone, entries/s by {batch}, against raft-rs");
            self.pair(name, [&ours, &theirs], "per_s", 3.0, true);
            let name = format!("core alone, allocations an entry by {batch}, against 1");
            let calls = self.of(&ours, "allocations_per_entry");
            self.line(name, calls, Some(1.0), allocations, false);
        }
    }

    fn stacks(&mut self) {
        for (stack, goal) in [("file/grpc", 0.6), ("sqlite/tcp", 0.5)] {
            for clients in [256, 1024] {
                let points =
                    [&writes(&format!("{THIN}, {stack}"), clients, 256), &writes(THIN, clients, 256)];
                let name = format!("writes/s, {clients} clients, {stack} against the first stack");
                self.pair(name, points, "per_s", goal, true);
            }
        }
    }

    fn changes(&mut self) {
        let point = |system: &str, what: &str| Point::new(system, what, 16, 256);
        let kills = self.results.all(&point(KV, "failover"), "ms");
        let most = kills.iter().copied().reduce(f64::max);
        let median = self.of(&point(KV, "failover"), "ms");
        self.line(String::from("failover, median ms, against 1 ms"), median, Some(1.0), 50.0, false);
        self.line(String::from("failover, most ms, against 1 ms"), most, Some(1.0), 300.0, false);
        for peer in ["etcd", "raft-rs"] {
            let theirs = self.of(&point(peer, "failover"), "ms");
            self.line(format!("failover, median ms, against {peer}"), median, theirs, 0.1, false);
        }
        let gap = self.of(&point(KV, "transfer"), "ms");
        self.line(
            String::from("hand-over, median ms without an answer, against 1 ms"),
            gap,
            Some(1.0),
            10.0,
            false,
        );
        let theirs = self.of(&point("etcd", "transfer"), "ms");
        self.line(
            String::from("hand-over, median ms without an answer, against etcd"),
            gap,
            theirs,
            1.0,
            false,
        );
    }

    /// What a write costs all nodes together may grow as their number does.
    fn growth(&mut self) {
        for nodes in [5, 7_u32] {
            for clients in [64, 1024] {
                let points =
                    [&writes(&format!("{THIN}, {nodes} nodes"), clients, 256), &writes(THIN, clients, 256)];
                let name =
                    format!("processor seconds a million writes, {clients} clients, {nodes} nodes against 3");
                self.pair(name, points, "cpu_s_per_million", f64::from(nodes) / 3.0, false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_needs_both_sides_and_knows_its_direction() {
        let mut results = Results::default();
        results.add(writes(KV, 16, 256), json!({ "per_s": 700, "p99_us": 30 }));
        assert!(judge(&results).is_empty());
        results.add(writes("etcd", 16, 256), json!({ "per_s": 100, "p99_us": 100 }));
        let lines = judge(&results);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].met && lines[0].at_least && (lines[0].ratio - 7.0).abs() < 1e-9);
        assert!(!lines[1].met && !lines[1].at_least && (lines[1].ratio - 0.3).abs() < 1e-9);
    }
}
