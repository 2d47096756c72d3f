//! The machine around a disk: how long it takes, and that a dead one goes no further. What waits for the disk
//! on a thread in life does it here in a task of the node, in virtual time.

use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::coverage::Point;
use super::disk::SimDisk;
use super::executor::{Core, Nanos, Owner, lock};
use super::features::Moment;
use super::oracle::Oracle;
use super::rng::Rng;

/// How long a disk takes; may change while it is used.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The least that a call takes.
    pub(crate) least: AtomicU64,
    /// The most.
    pub(crate) most: AtomicU64,
    /// Until when it hangs.
    pub(crate) hangs_until: AtomicU64,
}

impl Pace {
    fn draw(&self, rng: &mut Rng, now: Nanos) -> Nanos {
        let (least, most) = (self.least.load(Ordering::Relaxed), self.most.load(Ordering::Relaxed));
        let hangs = self.hangs_until.load(Ordering::Relaxed).saturating_sub(now);
        rng.between(least, most.max(least)) + hangs
    }
}

/// The disk of one life of a node.
pub(crate) struct Drive {
    /// The executor.
    pub(crate) core: Arc<Core>,
    /// Whose tasks wait for it.
    pub(crate) owner: Owner,
    /// The disk.
    pub(crate) disk: SimDisk,
    /// How fast that is.
    pub(crate) pace: Arc<Pace>,
    /// Its random numbers.
    pub(crate) rng: Mutex<Rng>,
    /// Waits for a moment.
    pub(crate) ambush: Arc<Mutex<Option<Ambush>>>,
    /// A disk that takes longer hangs: the election timeout.
    pub(crate) patience: Nanos,
    /// Who watches.
    pub(crate) oracle: Arc<Oracle>,
}

/// A machine is to die when this moment comes next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ambush {
    /// Whose; or anybody's.
    pub(crate) who: Option<usize>,
    /// The moment.
    pub(crate) moment: Moment,
    /// After so many calls from there.
    pub(crate) calls: u64,
}

impl Drive {
    /// The node, from 0.
    pub(crate) const fn node(&self) -> usize {
        self.owner.node
    }

    /// A call takes this long.
    pub(crate) async fn delay(&self) {
        let nanos = self.pace.draw(&mut lock(&self.rng), self.core.now());
        self.core.sleep(nanos).await;
        if nanos > self.patience {
            self.oracle.hit(Point::DiskHangs);
        }
    }

    /// The moment has come.
    pub(crate) fn reached(&self, moment: Moment) {
        let mut ambush = lock(&self.ambush);
        let mine =
            |ambush: &Ambush| ambush.moment == moment && ambush.who.is_none_or(|who| who == self.owner.node);
        if let Some(Ambush { calls, .. }) = ambush.take_if(|ambush| mine(ambush)) {
            self.disk.crash_in(calls);
        }
    }

    /// A dead machine goes no further; the world sees it before anything else of the node is polled.
    pub(crate) async fn alive(&self) {
        if self.disk.is_frozen() {
            pending::<()>().await;
        }
    }
}
