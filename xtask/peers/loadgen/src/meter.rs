//! What the clients of one run have seen.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Shared by all clients of a run.
#[derive(Default)]
pub struct Meter {
    stop: AtomicBool,
    counts: AtomicBool,
    done: AtomicU64,
    failed: AtomicU64,
    latencies: Mutex<Vec<Histogram<u64>>>,
}

/// One client's, or one connection's.
pub struct Own<'a> {
    meter: &'a Meter,
    latencies: Histogram<u64>,
}

impl Meter {
    pub fn own(&self) -> Own<'_> {
        let latencies = Histogram::new_with_bounds(1, 120_000_000, 3).expect("bounds that are allowed");
        Own { meter: self, latencies }
    }

    pub fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    pub fn count(&self, on: bool) {
        self.counts.store(on, Relaxed);
    }

    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Of all clients that have ended, in microseconds.
    pub fn latencies(&self) -> Histogram<u64> {
        let mut all = self.own().latencies.clone();
        for one in self.latencies.lock().expect("no client panics").iter() {
            all.add(one).expect("the same bounds");
        }
        all
    }
}

impl Own<'_> {
    /// A request was answered well.
    pub fn done(&mut self, took: Duration) {
        if self.meter.counts.load(Relaxed) {
            self.meter.done.fetch_add(1, Relaxed);
            self.latencies.saturating_record(took.as_micros() as u64);
        }
    }

    pub fn failed(&self) {
        self.meter.failed.fetch_add(1, Relaxed);
    }
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        let mine = self.latencies.clone();
        if let Ok(mut all) = self.meter.latencies.lock() {
            all.push(mine);
        }
    }
}
