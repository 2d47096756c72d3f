//! The machine: what it is, and what programs here are bounded by; for RESP, what one thread that does nothing else gets.

use serde_json::{Value, json};

use super::Args;
use super::peers::{ALONE, Tools};
use super::results::{Point, Results};
use crate::util::{Context, Failure};

/// Syncs of files that were written before, by one and by three at once, and round trips over loopback.
pub(super) fn measure(args: &Args, tools: &Tools, results: &mut Results) -> Result<(), Failure> {
    let seconds = args.seconds().min(2.0).to_string();
    let dir = tempfile::tempdir().context(|| String::from("no temporary folder"))?;
    for _ in 0..args.rounds() {
        for (threads, bytes) in [(1, 256), (1, 1024), (3, 256)] {
            let arguments = [
                String::from("fsync"),
                dir.path().display().to_string(),
                String::from("overwrite"),
                bytes.to_string(),
                threads.to_string(),
                seconds.clone(),
            ];
            results.add(Point::new("disk", "sync", threads, bytes), tools.ask("physical", &arguments)?);
        }
        let ping = tools.ask("physical", &[String::from("ping-std"), seconds.clone()])?;
        results.add(Point::new("loopback", "round trip", 1, 64), ping);
    }
    Ok(())
}

/// What it is, for the report.
pub(super) fn describe(results: &Results) -> Value {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let of = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    json!({
        "processor": of(&read("/proc/cpuinfo"), "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": of(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load": read("/proc/loadavg").trim(),
        "sync_p50_us": results.median(&Point::new("disk", "sync", 1, 256), "p50_us"),
        "sync_by_three_p50_us": results.median(&Point::new("disk", "sync", 3, 256), "p50_us"),
        "resp_alone_writes_per_s": results.median(&Point::new(ALONE, "write", 256, 256), "per_s"),
        "resp_alone_reads_per_s": results.median(&Point::new(ALONE, "read", 256, 256), "per_s"),
        "round_trip_p50_us": results.median(&Point::new("loopback", "round trip", 1, 64), "p50_us"),
    })
}
