//! What the world has to do, and when.

use std::sync::{Arc, Mutex};

use raft_core::backend::Refusal;
use raft_core::error::FatalReason;
use raft_core::message::PeerEvent;

use super::executor::{Core, Nanos, lock};
use super::network::Parcel;

/// Something to do at a moment.
#[derive(Debug)]
pub(crate) enum What {
    /// A message arrives.
    Deliver(Box<Parcel>),
    /// A connection that may be cut is looked at.
    KeepAlive {
        /// From whom nothing may come.
        from: usize,
        /// To whom.
        to: usize,
        /// The connection.
        epoch: u64,
    },
    /// The others notice that a machine is gone.
    Silent {
        /// The machine.
        node: usize,
        /// Who notices.
        peer: usize,
        /// The connection.
        epoch: u64,
    },
    /// A node is told of a connection.
    Report {
        /// Who is told.
        node: usize,
        /// The other end.
        peer: usize,
        /// What.
        event: PeerEvent,
        /// In which life.
        life: u64,
    },
    /// Two nodes try to connect.
    Dial {
        /// One.
        a: usize,
        /// The other.
        b: usize,
    },
    /// One end of a handshake has decided.
    Shaken {
        /// Who.
        node: usize,
        /// About whom.
        peer: usize,
        /// The connection.
        epoch: u64,
        /// What.
        answer: Result<(), Refusal>,
    },
    /// A handshake takes too long.
    ShakeTimeout {
        /// One end.
        a: usize,
        /// The other.
        b: usize,
        /// The connection.
        epoch: u64,
    },
    /// A member that was lost comes back.
    Rejoin(usize),
    /// A fault of the plan.
    Fault(usize),
    /// A node is cut off.
    CutOff {
        /// Which.
        node: usize,
        /// For how long.
        for_: Nanos,
        /// But for these.
        friends: u64,
    },
    /// Nodes of different sides cannot reach each other.
    Apart {
        /// By bits.
        sides: u64,
        /// From side 0 to side 1, and back.
        ways: [bool; 2],
        /// For how long.
        for_: Nanos,
    },
    /// A node is made to campaign.
    Rival(usize),
    /// All others take a node's process for dead.
    TakenForDead(usize),
    /// The end of one.
    Mend(Mend),
    /// A node is started.
    Boot {
        /// Which.
        node: usize,
        /// If this is still its last life.
        life: u64,
    },
    /// A node has come up, or has stopped.
    Ended {
        /// Which.
        node: usize,
        /// In which life.
        life: u64,
        /// Why.
        end: Result<(), Arc<FatalReason>>,
    },
    /// A node is killed.
    KillNow {
        /// Which.
        node: usize,
        /// In which life.
        life: u64,
    },
    /// Faults stop.
    Calm,
    /// Is all well again?
    Look,
}

/// The end of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mend {
    /// A process goes on.
    Unpause(usize),
    /// Something gets through again, for each bit `from * 8 + to`.
    Uncut(u64),
    /// A disk is as fast as ever.
    Fast(usize),
    /// A disk has space again.
    Space(usize),
}

#[derive(Default)]
struct Slab {
    items: Vec<Option<What>>,
    free: Vec<usize>,
}

/// The list.
#[derive(Clone)]
pub(crate) struct Agenda {
    core: Arc<Core>,
    slab: Arc<Mutex<Slab>>,
}

impl Agenda {
    /// An empty one.
    #[must_use]
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, slab: Arc::default() }
    }

    /// The executor.
    #[must_use]
    pub(crate) const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The time.
    #[must_use]
    pub(crate) fn now(&self) -> Nanos {
        self.core.now()
    }

    /// To be done at a moment.
    pub(crate) fn at(&self, at: Nanos, what: What) {
        let number = {
            let mut slab = lock(&self.slab);
            match slab.free.pop() {
                Some(free) => {
                    slab.items[free] = Some(what);
                    free
                }
                None => {
                    slab.items.push(Some(what));
                    slab.items.len() - 1
                }
            }
        };
        self.core.event_at(at, number as u64);
    }

    /// To be done after a while.
    pub(crate) fn after(&self, nanos: Nanos, what: What) {
        self.at(self.now() + nanos, what);
    }

    /// What the executor says it is time for.
    #[must_use]
    pub(crate) fn take(&self, number: u64) -> Option<What> {
        let mut slab = lock(&self.slab);
        let what = slab.items.get_mut(number as usize)?.take();
        slab.free.push(number as usize);
        what
    }
}
