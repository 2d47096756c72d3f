//! A leader that is taken away under load, and how long its successor took.

use std::time::{Duration, Instant};

use crate::guard::Signal;
use crate::servers::{PATIENCE, Servers};
use crate::util::Failure;

/// Clients whose acknowledgements are watched meanwhile.
pub(crate) trait Watched {
    /// Waits for the next acknowledgement of a write that is sent after now, and returns now. `frozen` does not
    /// answer until the watch ends.
    fn begin_watch(&self, frozen: Option<usize>) -> Instant;

    /// When that acknowledgement came.
    fn first_ack(&self) -> Option<Instant>;

    /// Watches no longer.
    fn end_watch(&self);
}

/// One leader that was taken away.
pub(crate) struct Failover {
    /// Since the clients began.
    pub(crate) at: Duration,
    pub(crate) node: usize,
    /// The node that led afterwards.
    pub(crate) successor: usize,
    /// From the kill to the next acknowledgement of a write that was sent after it.
    pub(crate) took: Duration,
    /// From the restart (or thaw) until the node had caught up.
    pub(crate) back: Duration,
}

impl Failover {
    /// On one line, for people.
    pub(crate) fn line(&self, freeze: bool) -> String {
        format!(
            "{:>7.2} s  node {} {}: node {} leads, next write acknowledged after {} ms; back after {} ms",
            self.at.as_secs_f64(),
            self.node,
            if freeze { "frozen" } else { "killed" },
            self.successor,
            self.took.as_millis(),
            self.back.as_millis(),
        )
    }
}

/// Kills the leader (`kill -9`), or freezes it, waits until writes go on, brings it back and waits until it has caught
/// up.
pub(crate) fn run(
    servers: &mut Servers,
    load: &dyn Watched,
    freeze: bool,
    start: Instant,
) -> Result<Failover, Failure> {
    let victim = servers.wait_for_leader()?;
    if freeze {
        servers.signal(victim, Signal::Stop)?;
    } else {
        servers.kill(victim)?;
    }
    let killed = load.begin_watch(freeze.then_some(victim));
    let deadline = Instant::now() + PATIENCE;
    let acked = loop {
        if let Some(acked) = load.first_ack() {
            break acked;
        }
        servers.check_alive()?;
        if Instant::now() > deadline {
            return Err(Failure::new(format!("no write was acknowledged within {PATIENCE:?} of the kill")));
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let others = |at: &usize| *at != victim;
    let leads = |at: &usize| servers.info(*at).is_some_and(|info| info.leads());
    let successor = (0..servers.all.len()).filter(others).find(leads);
    let restarted = Instant::now();
    if freeze {
        servers.signal(victim, Signal::Continue)?;
    } else {
        servers.launch(victim)?;
    }
    load.end_watch();
    let leader = servers.wait_for_leader()?;
    let reached = servers.info(leader).and_then(|info| info.number("commit-index")).unwrap_or(0);
    servers.wait_applied(victim, reached)?;
    Ok(Failover {
        at: killed.saturating_duration_since(start),
        node: servers.all[victim].id,
        successor: servers.all[successor.unwrap_or(leader)].id,
        took: acked.saturating_duration_since(killed),
        back: restarted.elapsed(),
    })
}
