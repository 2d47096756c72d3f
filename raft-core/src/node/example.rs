// A recorder for the examples of `metrics.rs`, which includes it in hidden lines: it keeps what it was given last.
// It is no module of the crate.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

#[derive(Default)]
pub struct Kept {
    values: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    meanings: Mutex<BTreeMap<String, String>>,
}

/// Counts durations.
struct Count(Arc<AtomicU64>);

impl HistogramFn for Count {
    fn record(&self, _seconds: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Kept {
    fn value(&self, name: String) -> Arc<AtomicU64> {
        Arc::clone(self.values.lock().unwrap().entry(name).or_default())
    }

    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        self.value(key.name().to_owned() + &labels.collect::<String>())
    }

    /// A gauge, by its name and its labels, as in `queue_bytes shard=a`.
    pub fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.value(name.into()).load(Ordering::Relaxed))
    }

    /// A counter, or how many durations there were.
    pub fn count(&self, name: &str) -> u64 {
        self.value(name.into()).load(Ordering::Relaxed)
    }

    /// What it was told that a metric means.
    pub fn meaning(&self, name: &str) -> Option<String> {
        self.meanings.lock().unwrap().get(name).cloned()
    }

    fn describe(&self, name: &KeyName, meaning: &SharedString) {
        self.meanings.lock().unwrap().insert(name.as_str().into(), meaning.to_string());
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, meaning: SharedString) {
        self.describe(&name, &meaning);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, meaning: SharedString) {
        self.describe(&name, &meaning);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, meaning: SharedString) {
        self.describe(&name, &meaning);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Count(self.of(key))))
    }
}
