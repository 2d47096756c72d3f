//! A leader holds commands for callers who were just answered: what begins a hold, what ends it, and what goes before
//! what. On a paused clock, a thousand times slower than a disk: commands take a quarter of a second, callers come back
//! after a sixteenth.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use raft_core::backend::{Command, Fatal, Responses, SnapshotReader, SnapshotSource, StateMachine};
use raft_core::error::ProposeError;
use raft_core::ids::{ClusterId, GroupId, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::RoleKind;
use raft_core::{Config, Node, NodeHandle, Settings};
use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork, Recorder, RecordingMachine};
use tokio::time::Instant;

const CLUSTER: ClusterId = ClusterId(11);

/// What the state machine takes for whatever it is given.
const WORK: Duration = Duration::from_millis(250);

/// Between an answer and the caller's next command.
const BACK: Duration = Duration::from_millis(60);

/// A hold is never longer, whatever is usual.
const LIMIT: Duration = Duration::from_secs(1);

const CALLERS: usize = 16;

fn config(id: u64) -> Config {
    let mut config = Config::new(NodeId(id), CLUSTER);
    config.heartbeat_interval = Duration::from_secs(20);
    config.election_timeout = Duration::from_secs(200);
    config.gather_limit = LIMIT;
    config
}

struct Slow(RecordingMachine);

#[async_trait]
impl StateMachine for Slow {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        self.0.last_applied().await
    }

    async fn apply(
        &mut self,
        batch: &[Command],
        through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal> {
        tokio::time::sleep(WORK).await;
        self.0.apply(batch, through, responses).await
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        self.0.snapshot().await
    }

    async fn install(&mut self, snapshot: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        self.0.install(snapshot).await
    }
}

/// Nodes of which the first leads.
async fn start(count: u64, config: impl Fn(u64) -> Config) -> Vec<NodeHandle> {
    let members = (1..=count).map(|id| Member::new(NodeId(id), format!("memory-{id}")));
    let membership = Membership::of_voters(members).unwrap();
    let network = MemoryNetwork::new();
    let mut nodes = Vec::new();
    for id in 1..=count {
        let journal =
            MemoryJournal::create(&MemoryDisk::new(), CLUSTER, GroupId(0), NodeId(id), Some(&membership));
        let node = Node::builder(config(id))
            .journal(journal.unwrap())
            .transport(network.transport(NodeId(id)))
            .state_machine(Slow(Recorder::new().machine()))
            .start();
        nodes.push(node.await.unwrap());
    }
    nodes[0].campaign();
    let leads = |status: &raft_core::status::Status| {
        status.role == RoleKind::Leader && status.applied_index == status.last.index
    };
    nodes[0].watch().until(leads).await.unwrap();
    nodes
}

/// What became of the commands of one caller.
#[derive(Default)]
struct Answered {
    ids: Vec<LogId>,
    longest: Duration,
}

/// Callers in a closed loop, with so many commands each: each command waits for the answer of the one before. They begin at
/// times of their own.
async fn call(node: &NodeHandle, commands: usize) -> Vec<Answered> {
    let calls: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let node = node.clone();
            tokio::spawn(async move {
                let mut answered = Answered::default();
                tokio::time::sleep(Duration::from_millis(caller as u64 * 15)).await;
                for _ in 0..commands {
                    let begun = Instant::now();
                    answered.ids.push(node.propose(vec![7; 100]).await.unwrap().id);
                    answered.longest = answered.longest.max(begun.elapsed());
                    tokio::time::sleep(BACK).await;
                }
                answered
            })
        })
        .collect();
    let mut all = Vec::new();
    for call in calls {
        all.push(call.await.unwrap());
    }
    all
}

/// How many commands each entry has, in the order of the log.
fn entries(answered: &[Answered]) -> Vec<usize> {
    let mut entries = BTreeMap::new();
    for id in answered.iter().flat_map(|answered| &answered.ids) {
        *entries.entry(*id).or_default() += 1;
    }
    entries.into_values().collect()
}

fn mean(entries: &[usize]) -> usize {
    entries.iter().sum::<usize>() / entries.len()
}

/// Until the node holds, and then as many callers as are wanted are back while the others stay away: what those propose
/// is held.
async fn some_are_back(node: &NodeHandle, back: usize) -> Vec<tokio::task::JoinHandle<Outcome>> {
    let answered = call(node, 600).await;
    let last = &entries(&answered)[entries(&answered).len() - 20..];
    assert!(mean(last) >= CALLERS * 9 / 10, "they go together: {last:?}");
    // All at once, so that all are answered at once, and then only some of them come back.
    let all: Vec<_> = (0..CALLERS).map(|_| propose(node)).collect();
    for call in all {
        call.await.unwrap().unwrap();
    }
    let log = node.status().last.index;
    let held: Vec<_> = (0..back).map(|_| propose(node)).collect();
    // The time of a status is up to some milliseconds ago.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(node.status().last.index, log, "they are held");
    held
}

type Outcome = Result<LogId, ProposeError>;

fn propose(node: &NodeHandle) -> tokio::task::JoinHandle<Outcome> {
    let node = node.clone();
    tokio::spawn(async move { Ok(node.propose(vec![8; 100]).await?.id) })
}

#[tokio::test(start_paused = true)]
async fn callers_in_a_closed_loop_go_together_unless_that_is_turned_off() {
    for (limit, together) in [(LIMIT, true), (Duration::ZERO, false)] {
        let limited = |id| {
            let mut config = config(id);
            config.gather_limit = limit;
            config
        };
        let nodes = start(1, limited).await;
        let answered = call(&nodes[0], 600).await;
        let entries = entries(&answered);
        let last = &entries[entries.len() / 2..];
        assert_eq!(nodes[0].timings().hold.count() > 0, together);
        if together {
            assert!(mean(last) >= CALLERS * 3 / 4, "{last:?}");
        } else {
            assert!(mean(last) <= CALLERS * 2 / 3, "{last:?}");
        }
        let longest = answered.iter().map(|answered| answered.longest).max().unwrap();
        assert!(longest <= 2 * (WORK + BACK), "{longest:?}");
    }
}

/// The one who stays away is waited for until the last answer is as old as a commit takes, by the node's own timer: nothing
/// else happens in the meantime.
#[tokio::test(start_paused = true)]
async fn a_hold_ends_in_time() {
    let nodes = start(1, config).await;
    let held = some_are_back(&nodes[0], CALLERS - 1).await;
    let (since, before) = (Instant::now(), nodes[0].timings().hold);
    let mut ids = Vec::new();
    for call in held {
        ids.push(call.await.unwrap().unwrap());
    }
    let took = since.elapsed();
    assert!(took >= WORK, "{took:?}: the work alone");
    assert!(took <= 2 * WORK, "{took:?}: held for what is left of the time of a commit, and then the work");
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}: in one entry");
    let hold = nodes[0].timings().hold.since(&before);
    assert_eq!(hold.count(), 1);
    assert!(
        hold.sum() >= Duration::from_millis(50) && hold.sum() <= WORK + Duration::from_millis(20),
        "{hold:?}"
    );
}

/// It is cut off by its own limit, and by half a heartbeat interval: followers hear of a commit by the next message.
#[tokio::test(start_paused = true)]
async fn a_hold_is_no_longer_than_its_limit_and_half_a_heartbeat_interval() {
    let most = Duration::from_millis(200);
    for (heartbeat_interval, gather_limit) in [(2 * most, LIMIT), (LIMIT * 20, most)] {
        let short = |id| {
            let mut config = config(id);
            (config.heartbeat_interval, config.gather_limit) = (heartbeat_interval, gather_limit);
            config
        };
        let nodes = start(1, short).await;
        let held = some_are_back(&nodes[0], CALLERS - 1).await;
        let since = Instant::now();
        for call in held {
            call.await.unwrap().unwrap();
        }
        // All were answered 50 ms ago; a commit takes 250 ms or more, and no more than 200 are waited.
        let took = since.elapsed();
        assert!(took <= WORK + Duration::from_millis(160), "{took:?}");
    }
}

/// The last one who was missing is back: nobody waits any longer.
#[tokio::test(start_paused = true)]
async fn a_hold_ends_when_all_are_back() {
    let nodes = start(1, config).await;
    let mut held = some_are_back(&nodes[0], CALLERS - 1).await;
    let since = Instant::now();
    held.push(propose(&nodes[0]));
    let mut ids = Vec::new();
    for call in held {
        ids.push(call.await.unwrap().unwrap());
    }
    assert!(since.elapsed() <= WORK + Duration::from_millis(10), "{:?}", since.elapsed());
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}: in one entry");
}

/// Settings that change are for what is held already too.
#[tokio::test(start_paused = true)]
async fn a_hold_ends_when_it_is_turned_off() {
    let nodes = start(1, config).await;
    let held = some_are_back(&nodes[0], CALLERS - 1).await;
    let since = Instant::now();
    let off = Settings { gather_limit: Some(Duration::ZERO), ..Settings::default() };
    nodes[0].reconfigure(off).await.unwrap();
    for call in held {
        call.await.unwrap().unwrap();
    }
    assert!(since.elapsed() <= WORK + Duration::from_millis(10), "{:?}", since.elapsed());
}

/// Who is told to stop, or to hand over, does first what came before.
#[tokio::test(start_paused = true)]
async fn what_is_held_goes_before_a_stop_and_before_a_transfer() {
    for stops in [true, false] {
        let nodes = start(3, config).await;
        let held = some_are_back(&nodes[0], CALLERS - 1).await;
        let log = nodes[0].status().last.index;
        if stops {
            nodes[0].shutdown().await.unwrap();
        } else {
            assert_eq!(nodes[0].transfer_leadership(Some(NodeId(2))).await.unwrap(), NodeId(2));
        }
        for call in held {
            assert_eq!(call.await.unwrap().unwrap().index.0, log.0 + 1);
        }
    }
}

/// A session is opened after what came before it.
#[tokio::test(start_paused = true)]
async fn what_is_held_goes_before_a_session() {
    let nodes = start(1, config).await;
    let held = some_are_back(&nodes[0], CALLERS - 1).await;
    let log = nodes[0].status().last.index;
    let session = nodes[0].open_session(None).await.unwrap();
    for call in held {
        assert_eq!(call.await.unwrap().unwrap().index.0, log.0 + 1);
    }
    drop(session);
}

/// A hold fills no more than half of the queue: the rest is for those who come meanwhile.
#[tokio::test(start_paused = true)]
async fn a_hold_ends_when_half_of_the_queue_is_full() {
    let nodes = start(1, config).await;
    let held = some_are_back(&nodes[0], CALLERS / 2).await;
    let since = Instant::now();
    let small = Settings { uncommitted_limit_bytes: Some(2 * 1024), ..Settings::default() };
    nodes[0].reconfigure(small).await.unwrap();
    for call in held {
        call.await.unwrap().unwrap();
    }
    assert!(since.elapsed() <= WORK + Duration::from_millis(10), "{:?}", since.elapsed());
}
