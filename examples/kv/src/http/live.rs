//! `/events`: server-sent events. First `past` (the last minutes, what has happened), then `status` once a second, and
//! at once when something happens, and `news` as there is any.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use raft_core::node::{DurationCounts, Timings};
use raft_core::status::Status;
use raft_core::{Config, NodeHandle, Settings};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;

use super::timeline::{Kind, Timeline};
use super::{Http, status};
use crate::health::{Level, health};
use crate::traffic::{Counted, Traffic};

/// How often the state is shown where nothing happens.
const PERIOD: Duration = Duration::from_secs(1);

/// How old the settings may be that are shown.
const ASK_AFTER: Duration = Duration::from_secs(10);

/// How many seconds of rates are kept.
const KEPT: usize = 300;

/// Milliseconds since 1970 by the system's clock.
pub(super) fn unix_millis() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// How long it is to the next whole second. Who wakes a little early gets the one after that.
const fn to_next_second(millis: u64) -> Duration {
    let left = 1000 - millis % 1000;
    Duration::from_millis(if left < 200 { left + 1000 } else { left })
}

/// What was counted until then.
struct Before {
    at: Instant,
    traffic: Counted,
    proposals: DurationCounts,
    timings: Timings,
}

#[derive(Default)]
struct Past {
    timeline: Timeline,
    samples: VecDeque<Value>,
}

/// What is shown to all who look, and to nobody.
pub(crate) struct Live {
    past: Mutex<Past>,
    /// Something has happened.
    happened: Notify,
    /// The settings as they were not long ago.
    config: Mutex<Option<Config>>,
    /// The newest state, as one event.
    now: watch::Sender<Arc<str>>,
}

impl Default for Live {
    fn default() -> Self {
        let (past, config) = (Mutex::default(), Mutex::default());
        Self { past, happened: Notify::new(), config, now: watch::Sender::new("".into()) }
    }
}

impl Live {
    /// Held for a copy, never across an await.
    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened; whoever looks sees it at once.
    pub(super) fn note(&self, kind: Kind, status: &Status, text: String, gap_ms: Option<u64>) {
        self.past().timeline.add(kind, status.term.0, text, gap_ms);
        self.happened.notify_one();
    }

    /// What comes first: all there is.
    fn first(&self, seen: &mut u64) -> String {
        let past = self.past();
        let (news, last) = past.timeline.after(0);
        *seen = last;
        // A browser that loses the connection comes back after a second.
        format!("retry: 1000\nevent: past\ndata: {}\n\n", json!({ "samples": past.samples, "news": news }))
    }

    /// What comes next to somebody who has seen so much.
    fn next(&self, now: &str, seen: &mut u64) -> String {
        let (news, last) = self.past().timeline.after(*seen);
        *seen = last;
        let mut text = String::with_capacity(now.len() + 64);
        if !news.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(text, "event: news\ndata: {}\n\n", Value::from(news));
        }
        text + now
    }
}

/// One event with the state in it.
fn event(state: &Http, status: &Status) -> Arc<str> {
    format!("event: status\ndata: {}\n\n", status::document(state, status)).into()
}

/// Microseconds of a quantile, if there was anything.
fn micros(counts: &DurationCounts, part: f64) -> Option<u64> {
    counts.quantile(part).map(|duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// Rates of the time since then.
fn sample(before: &mut Before, traffic: &Traffic, timings: Timings) -> Value {
    let now = Instant::now();
    let seconds = now.duration_since(before.at).as_secs_f64().max(0.001);
    let (counted, proposals) = (traffic.counted(), traffic.proposals.counts());
    let rate = |now: u64, then: u64| (now.saturating_sub(then) as f64 / seconds).round();
    let then = before.traffic;
    let took = proposals.since(&before.proposals);
    let writes = timings.journal_write.since(&before.timings.journal_write);
    let value = json!({
        "at_ms": unix_millis(),
        "writes": rate(counted.writes, then.writes),
        "reads": rate(counted.reads, then.reads),
        "failed": rate(counted.refused + counted.unknown, then.refused + then.unknown),
        "p50_us": micros(&took, 0.5),
        "p99_us": micros(&took, 0.99),
        "journal_p99_us": micros(&writes, 0.99),
    });
    *before = Before { at: now, traffic: counted, proposals, timings };
    value
}

/// Counts rates every second, and shows what there is to who looks.
pub(super) async fn tick(state: Arc<Http>) {
    let (server, live) = (&state.server, &state.live);
    let traffic = &server.traffic;
    let mut before = Before {
        at: Instant::now(),
        traffic: traffic.as_ref().map_or_else(Counted::default, Traffic::counted),
        proposals: DurationCounts::default(),
        timings: server.node.timings(),
    };
    let mut level = Level::Green;
    let mut asked: Option<Instant> = None;
    let mut next = tokio::time::Instant::now();
    loop {
        let is_due = tokio::select! {
            biased;
            () = tokio::time::sleep_until(next) => true,
            () = live.happened.notified() => false,
        };
        if is_due {
            // All nodes at whole seconds of their clocks: what they tell can then be laid side by side.
            next = tokio::time::Instant::now() + to_next_second(unix_millis());
        }
        if is_due && asked.is_none_or(|asked| asked.elapsed() > ASK_AFTER) {
            live.ask(&server.node).await;
            if let Some(config) = live.config() {
                state.metrics.publish(&state, &config);
            }
            asked = Some(Instant::now());
        }
        let status = server.node.status();
        if is_due && let Some(traffic) = traffic {
            let sample = sample(&mut before, traffic, server.node.timings());
            let mut past = live.past();
            if past.samples.len() == KEPT {
                past.samples.pop_front();
            }
            past.samples.push_back(sample);
        }
        let judged = health(server, &status);
        if judged.level != level {
            level = judged.level;
            let why = judged.reasons.first().map_or_else(String::new, |why| format!(": {why}"));
            live.note(Kind::Health, &status, format!("health is {}{why}", level.name()), None);
        }
        if live.now.receiver_count() > 0 {
            live.now.send_replace(event(&state, &status));
        }
    }
}

impl Live {
    /// The settings as they were not long ago.
    pub(super) fn config(&self) -> Option<Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for the settings.
    async fn ask(&self, node: &NodeHandle) {
        // One that hangs is shown as it was.
        let asked = tokio::time::timeout(PERIOD, node.reconfigure(Settings::default())).await;
        let Ok(Ok(config)) = asked else { return };
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Some(config);
    }

    /// The newest sample.
    pub(super) fn sample(&self) -> Value {
        self.past().samples.back().cloned().unwrap_or_default()
    }
}

pub(super) async fn events(State(state): State<Arc<Http>>) -> Response {
    // Before the past is taken: what happens from here on is in one of the two.
    let later = WatchStream::from_changes(state.live.now.subscribe());
    let mut seen = 0;
    let first = state.live.first(&mut seen) + &event(&state, &state.server.node.status());
    let later = later.map(move |now| state.live.next(&now, &mut seen));
    let all = tokio_stream::once(first).chain(later).map(|text| Ok::<_, Infallible>(Bytes::from(text)));
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))];
    (kind, Body::from_stream(all)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_taken_at_whole_seconds_and_never_twice_at_one() {
        for (millis, wait) in [(5000, 1000), (5001, 999), (5800, 200), (5801, 1199), (5999, 1001)] {
            assert_eq!(to_next_second(millis), Duration::from_millis(wait), "{millis}");
        }
    }
}
