//! The clients of a run.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use raft_core::error::{Outcome, ProposeError};
use raft_core::ids::SessionId;
use raft_core::node::SessionError;
use raft_core::session::{Mark, SessionRefusal};
use raft_core::status::RoleKind;
use raft_core::{NodeHandle, ReadPolicy};

use super::coverage::Point;
use super::executor::{Core, Nanos, Owner, lock};
use super::features::{ReadPlan, SessionPlan};
use super::machine::{Registers, Request, encode};
use super::oracle::{Answer, Known, Oracle};
use super::plan::LoadPlan;
use super::rng::Rng;

/// A running node, as clients and operators have it.
#[derive(Clone)]
pub(crate) struct LiveNode {
    /// In which life.
    pub(crate) life: u64,
    /// Its handle.
    pub(crate) handle: NodeHandle,
    /// Its state.
    pub(crate) registers: Arc<Mutex<Registers>>,
}

/// What clients share.
pub(crate) struct Town {
    /// The executor.
    pub(crate) core: Arc<Core>,
    /// Who watches.
    pub(crate) oracle: Arc<Oracle>,
    /// The nodes that run.
    pub(crate) nodes: Mutex<Vec<Option<LiveNode>>>,
    /// The load.
    pub(crate) load: LoadPlan,
    /// How clients read.
    pub(crate) reads: ReadPlan,
    /// Whether they have sessions.
    pub(crate) sessions: Option<SessionPlan>,
    /// Clients shall end.
    pub(crate) closing: AtomicBool,
    /// The election timeout.
    pub(crate) timeout: Nanos,
    /// Clients that have not.
    pub(crate) busy: AtomicU64,
    /// Answers that nobody waits for any more, and that are due all the same.
    pub(crate) due: AtomicU64,
}

impl Town {
    fn live(&self, node: usize) -> Option<LiveNode> {
        lock(&self.nodes).get(node).cloned().flatten()
    }

    fn size(&self) -> u64 {
        lock(&self.nodes).len() as u64
    }
}

/// Election timeouts after which a node that does not lead has ended what it was asked for.
const TOO_LONG: Nanos = 6;

/// What a node is asked for.
type Call<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Lets a call take so long and no longer. Then it is cancelled, or goes on with nobody waiting for it: it
/// must end in either case.
async fn within<T: Send + 'static>(
    town: &Arc<Town>,
    (node, life): (usize, u64),
    nanos: Nanos,
    mut call: Call<T>,
    (cancel, of_leader): (bool, bool),
) -> Option<T> {
    {
        let mut patience = pin!(town.core.sleep(nanos));
        let mut answer = None;
        poll_fn(|context| {
            if let Poll::Ready(ready) = call.as_mut().poll(context) {
                answer = Some(ready);
                return Poll::Ready(());
            }
            patience.as_mut().poll(context)
        })
        .await;
        if answer.is_some() {
            return answer;
        }
    }
    if !cancel {
        town.due.fetch_add(1, Ordering::Relaxed);
        let mine = Arc::clone(town);
        town.core.spawn(Owner { node: usize::MAX, life: 0 }, async move {
            loop {
                let ended = {
                    let mut patience = pin!(mine.core.sleep(mine.timeout));
                    poll_fn(|context| {
                        if call.as_mut().poll(context).is_ready() {
                            return Poll::Ready(true);
                        }
                        patience.as_mut().poll(context).map(|()| false)
                    })
                    .await
                };
                if ended {
                    break;
                }
                // A follower that lies behind may take its time; but whoever has not led for so long can promise nothing any more, and must say so; but a
                // process that stands still says nothing.
                let (still, not_led) = mine.oracle.since(node);
                let lives = mine.live(node).is_some_and(|now| now.life == life);
                if of_leader && lives && still < mine.timeout && not_led > TOO_LONG * mine.timeout {
                    let what = "a proposal or read has no answer; its node leads no more".to_owned();
                    mine.oracle.violated("liveness", Some(node), what);
                }
            }
            mine.due.fetch_sub(1, Ordering::Relaxed);
        });
    }
    None
}

/// Starts a client.
pub(crate) fn start(town: &Arc<Town>, number: u64, rng: Rng) {
    let mine = Arc::clone(town);
    town.busy.fetch_add(1, Ordering::Relaxed);
    // Clients die with nobody: their owner is beyond the nodes.
    let owner = Owner { node: usize::MAX, life: number };
    town.core.spawn(owner, async move {
        let session = Sessioned::No;
        let mut client = Client { town: Arc::clone(&mine), number, rng, hint: None, bursts: 0, session };
        if client.town.sessions.is_some_and(|plan| client.rng.chance(plan.clients_per_mille)) {
            client.session = Sessioned::Wanted;
        }
        client.run().await;
        mine.busy.fetch_sub(1, Ordering::Relaxed);
    });
}

struct Client {
    town: Arc<Town>,
    number: u64,
    rng: Rng,
    /// Who led when last asked.
    hint: Option<usize>,
    bursts: u64,
    session: Sessioned,
}

/// Whether a client has a session.
#[derive(Clone, Copy, Debug)]
enum Sessioned {
    /// It wants none.
    No,
    /// It opens one before its next write.
    Wanted,
    /// It has one; its next command gets this number.
    Open(SessionId, u64),
}

/// What an attempt to write came to.
enum Attempt {
    /// It was answered.
    Answered(Answer),
    /// It was not; it may be made again, and may have been executed or not.
    Again(bool),
    /// It makes no sense to try again; it may have been executed by this attempt, or certainly not.
    Over(bool),
}

impl Client {
    async fn run(&mut self) {
        loop {
            let wait = self.rng.below(self.town.load.think + 1);
            self.town.core.sleep(wait).await;
            if self.town.closing.load(Ordering::Relaxed) {
                return;
            }
            if self.rng.chance(self.town.load.burst_per_mille) {
                self.burst();
            }
            let request = self.draw();
            self.ask(request).await;
        }
    }

    /// Many at once, each as a client of its own.
    fn burst(&mut self) {
        for _ in 0..self.rng.between(2, 30) {
            self.bursts += 1;
            let number = self.number * 1_000_000 + self.bursts;
            let rng = Rng::stream(self.rng.next(), 3);
            let (town, hint) = (Arc::clone(&self.town), self.hint);
            town.busy.fetch_add(1, Ordering::Relaxed);
            let owner = Owner { node: usize::MAX, life: number };
            self.town.core.spawn(owner, async move {
                let session = Sessioned::No;
                let mut client = Self { town: Arc::clone(&town), number, rng, hint, bursts: 0, session };
                let request = client.draw();
                client.ask(request).await;
                town.busy.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    fn draw(&mut self) -> Request {
        let key = self.rng.below(self.town.load.keys) as u32;
        if self.rng.chance(self.town.load.reads_per_mille) {
            return Request::Get { key };
        }
        // Every value is written once, so that a read says which write it saw.
        let value = self.rng.next() | 1;
        match self.rng.below(10) {
            0 | 1 => Request::Cas { key, expected: self.rng.below(2) * value, value },
            2 => Request::Add { key, value },
            _ => Request::Put { key, value },
        }
    }

    async fn ask(&mut self, request: Request) {
        let anywhere = self.rng.chance(self.town.load.anywhere_per_mille);
        let node = match self.hint.filter(|_| !anywhere) {
            Some(hint) => hint,
            None => self.rng.below(self.town.size()) as usize,
        };
        let Some(live) = self.town.live(node) else {
            self.hint = None;
            return;
        };
        let (operation, floor) = self.town.oracle.asked(self.number, request);
        let patience = self.rng.between(self.town.load.patience / 4, self.town.load.patience);
        let answer = if let Request::Get { key } = request {
            self.read(node, &live, key, patience).await
        } else if let Some((session, sequence)) = self.in_session(node, &live, patience).await {
            self.write_once((node, live), (session, sequence), operation, request, patience).await
        } else {
            self.write(node, &live, operation, floor, request, patience).await
        };
        self.town.oracle.answered(self.number, operation, floor, answer);
    }

    async fn read(&mut self, node: usize, live: &LiveNode, key: u32, patience: Nanos) -> Answer {
        let handle = live.handle.clone();
        let anywhere = self.rng.chance(self.town.reads.anywhere_per_mille);
        let policy = if anywhere { ReadPolicy::Follower } else { ReadPolicy::Leader };
        let call = Box::pin(async move { handle.read_barrier_with(policy).await });
        let how = (self.rng.chance(100), !anywhere);
        let barrier = within(&self.town, (node, live.life), patience, call, how).await;
        let Some(Ok(index)) = barrier else {
            self.town.oracle.hit(Point::ReadFailed);
            self.hint = None;
            return Answer::NotApplied;
        };
        // Whoever died meanwhile has answered nobody.
        let alive = self.town.live(node).is_some_and(|now| now.life == live.life);
        if !alive {
            return Answer::NotApplied;
        }
        let status = live.handle.status();
        if status.role == RoleKind::Leader {
            self.hint = Some(node);
            if status.peers.iter().any(|peer| peer.spare) {
                self.town.oracle.hit(Point::Spared);
            }
            if status.lease_left.is_some_and(|left| !left.is_zero()) {
                self.town.oracle.hit(Point::ReadUnderLease);
            }
        } else if anywhere {
            self.town.oracle.hit(Point::ReadByFollower);
        }
        let registers = lock(&live.registers);
        let through = registers.through.index;
        if through < index {
            drop(registers);
            let what = format!("a read of index {index} is let through at {through}");
            self.town.oracle.violated("stale-read", Some(node), what);
            return Answer::NotApplied;
        }
        Answer::Read { through, value: registers.get(key) }
    }

    /// The client's session and the number of its next command, if it has one or gets one now.
    async fn in_session(
        &mut self,
        node: usize,
        live: &LiveNode,
        patience: Nanos,
    ) -> Option<(SessionId, u64)> {
        if let Sessioned::Wanted = self.session {
            let (handle, plan) = (live.handle.clone(), self.town.sessions?);
            let timeout = Duration::from_nanos(plan.timeout);
            let call = Box::pin(async move { handle.open_session(Some(timeout)).await });
            let opened =
                within(&self.town, (node, live.life), patience, call, (self.rng.chance(100), true)).await;
            match opened {
                Some(Ok(session)) => {
                    self.town.oracle.hit(Point::SessionOpened);
                    self.session = Sessioned::Open(session.id(), 1);
                }
                Some(Err(SessionError::Refused(_))) => self.town.oracle.hit(Point::SessionFull),
                _ => {}
            }
        }
        let Sessioned::Open(id, sequence) = self.session else { return None };
        self.session = Sessioned::Open(id, sequence + 1);
        Some((id, sequence))
    }

    /// Sends a command until it is answered, through whomever, or until patience ends. It takes effect once.
    async fn write_once(
        &mut self,
        first: (usize, LiveNode),
        (session, sequence): (SessionId, u64),
        operation: u64,
        request: Request,
        patience: Nanos,
    ) -> Answer {
        let command = encode(operation, &request, self.rng.below(self.town.load.extra + 1) as usize);
        // Whoever goes on to the next number needs no answers to those before.
        let mark = Mark { session, sequence, acknowledged_below: sequence };
        let until = self.town.core.now() + 4 * patience;
        let (mut may_be_done, mut attempts) = (false, 0_u32);
        let mut to = Some(first);
        while self.town.core.now() < until {
            if let Some((node, live)) = to.take() {
                attempts += 1;
                let attempt = self.attempt(node, &live, mark, command.clone(), patience / 2).await;
                match attempt {
                    Attempt::Answered(answer) => {
                        if attempts > 1 && may_be_done {
                            self.town.oracle.hit(Point::SessionAnswersAgain);
                        }
                        return answer;
                    }
                    Attempt::Again(may) => may_be_done |= may,
                    Attempt::Over(may) => {
                        may_be_done |= may;
                        break;
                    }
                }
                self.town.oracle.hit(Point::SessionRetried);
            }
            let wait = self.rng.between(1_000_000, self.town.timeout);
            self.town.core.sleep(wait).await;
            let node = self.hint.unwrap_or_else(|| self.rng.below(self.town.size()) as usize);
            to = self.town.live(node).map(|live| (node, live));
            if to.is_none() {
                self.hint = None;
            }
        }
        if may_be_done { Answer::Unknown } else { Answer::NotApplied }
    }

    async fn attempt(
        &mut self,
        node: usize,
        live: &LiveNode,
        mark: Mark,
        command: Bytes,
        patience: Nanos,
    ) -> Attempt {
        let handle = live.handle.clone();
        let call = Box::pin(async move { handle.propose_marked(vec![(Some(mark), command)]).await });
        let result =
            within(&self.town, (node, live.life), patience, call, (self.rng.chance(100), true)).await;
        self.hint = None;
        match result.map(|result| result.map(|mut answers| answers.pop())) {
            None => Attempt::Again(true),
            Some(Err(error)) => {
                self.hint = hint_of(&error, node);
                Attempt::Again(error.outcome() != Outcome::NotApplied)
            }
            Some(Ok(None)) => {
                let what = "no answer to a command".to_owned();
                self.town.oracle.violated("wrong-answer", Some(node), what);
                Attempt::Over(true)
            }
            Some(Ok(Some(Ok(applied)))) => {
                self.hint = Some(node);
                let value = applied.response.as_ref().try_into().map_or(u64::MAX, u64::from_le_bytes);
                Attempt::Answered(Answer::Done { id: applied.id, position: applied.position, value })
            }
            Some(Ok(Some(Err(refusal)))) => {
                self.hint = Some(node);
                match refusal {
                    SessionRefusal::NotOpen { .. } => {
                        self.town.oracle.hit(Point::SessionExpired);
                        self.session = Sessioned::Wanted;
                        Attempt::Over(false)
                    }
                    SessionRefusal::AnswerNotKept { .. } => {
                        self.town.oracle.hit(Point::AnswerNotKept);
                        Attempt::Over(true)
                    }
                    SessionRefusal::Full { .. } | SessionRefusal::OutsideWindow { .. } => {
                        self.town.oracle.hit(Point::SessionFull);
                        Attempt::Again(false)
                    }
                    _ => Attempt::Over(false),
                }
            }
        }
    }

    async fn write(
        &mut self,
        node: usize,
        live: &LiveNode,
        operation: u64,
        _floor: Known,
        request: Request,
        patience: Nanos,
    ) -> Answer {
        let load = self.town.load;
        let most = if load.big > 0 && self.rng.chance(60) { load.big } else { load.extra };
        let command = encode(operation, &request, self.rng.below(most + 1) as usize);
        let handle = live.handle.clone();
        let call = Box::pin(async move { handle.propose(command).await });
        let result =
            within(&self.town, (node, live.life), patience, call, (self.rng.chance(100), true)).await;
        match result {
            None => {
                self.hint = None;
                Answer::Unknown
            }
            Some(Ok(applied)) => {
                self.hint = Some(node);
                let value = applied.response.as_ref().try_into().map_or(u64::MAX, u64::from_le_bytes);
                Answer::Done { id: applied.id, position: applied.position, value }
            }
            Some(Err(error)) => {
                let cover = match &error {
                    ProposeError::NotLeader { .. } => Some(Point::NotLeader),
                    ProposeError::Superseded { .. } => Some(Point::Superseded),
                    ProposeError::Overloaded { .. } => Some(Point::Overloaded),
                    _ => None,
                };
                if let Some(point) = cover {
                    self.town.oracle.hit(point);
                }
                self.hint = hint_of(&error, node);
                match error.outcome() {
                    Outcome::NotApplied => Answer::NotApplied,
                    Outcome::Unknown | Outcome::Applied => Answer::Unknown,
                }
            }
        }
    }
}

/// Whom to ask next.
fn hint_of(error: &ProposeError, node: usize) -> Option<usize> {
    match error {
        ProposeError::NotLeader { leader: Some(leader) } => (leader.id.0 as usize).checked_sub(1),
        ProposeError::Transferring { to } => (to.0 as usize).checked_sub(1),
        ProposeError::Overloaded { .. } => Some(node),
        _ => None,
    }
}

/// Writes until a write succeeds.
pub(crate) fn probe(town: &Arc<Town>, rng: Rng) {
    let mine = Arc::clone(town);
    town.busy.fetch_add(1, Ordering::Relaxed);
    town.core.spawn(Owner { node: usize::MAX, life: u64::MAX }, async move {
        let (number, session) = (u64::MAX, Sessioned::No);
        let mut client = Client { town: Arc::clone(&mine), number, rng, hint: None, bursts: 0, session };
        loop {
            let before = mine.oracle.totals().writes;
            let value = client.rng.next();
            client.ask(Request::Put { key: 0, value }).await;
            if mine.oracle.totals().writes > before {
                break;
            }
            mine.core.sleep(20 * super::executor::MS).await;
        }
        mine.busy.fetch_sub(1, Ordering::Relaxed);
    });
}
