//! Exactly-once sessions over whole nodes, on a paused clock: a command that is sent again is executed once,
//! through lost answers, lost leaders and restarts, and the table is the same everywhere.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft_core::backend::{Journal, StateMachine};
use raft_core::entry::EntryKind;
use raft_core::error::{Outcome, ProposeError};
use raft_core::ids::{ClusterId, GroupId, Index, NodeId, SessionId};
use raft_core::membership::{Member, Membership};
use raft_core::node::SessionError;
use raft_core::session::{Mark, SessionRefusal, is_marked};
use raft_core::status::{RoleKind, Status};
use raft_core::{Config, Node, NodeHandle, Session, TypedNode};
use raft_testkit::memory::{
    MemoryDisk, MemoryJournal, MemoryNetwork, MemorySnapshotDisk, MemorySnapshots, Recorder,
};

const CLUSTER: ClusterId = ClusterId(5);

struct Cluster {
    network: MemoryNetwork,
    disks: Vec<MemoryDisk>,
    snapshots: Vec<MemorySnapshotDisk>,
    recorders: Vec<Recorder>,
    nodes: Vec<NodeHandle>,
    config: Config,
}

impl Cluster {
    async fn of(size: u64) -> Self {
        Self::with(size, Config::new(NodeId(1), CLUSTER)).await
    }

    async fn with(size: u64, config: Config) -> Self {
        let members = (1..=size).map(|id| Member::new(NodeId(id), format!("memory-{id}")));
        let membership = Membership::of_voters(members).unwrap();
        let mut cluster = Self {
            network: MemoryNetwork::new(),
            disks: Vec::new(),
            snapshots: (0..size).map(|_| MemorySnapshotDisk::new()).collect(),
            recorders: Vec::new(),
            nodes: Vec::new(),
            config,
        };
        for id in (1..=size).map(NodeId) {
            let disk = MemoryDisk::new();
            let journal = MemoryJournal::create(&disk, CLUSTER, GroupId(0), id, Some(&membership)).unwrap();
            let recorder = Recorder::new();
            let node = cluster.start(id, journal, recorder.machine()).await;
            cluster.disks.push(disk);
            cluster.recorders.push(recorder);
            cluster.nodes.push(node);
        }
        cluster
    }

    async fn start(&self, id: NodeId, journal: impl Journal, machine: impl StateMachine) -> NodeHandle {
        let mut config = self.config.clone();
        config.id = id;
        let transport = self.network.transport(id);
        let snapshots = MemorySnapshots::open(&self.snapshots[id.0 as usize - 1]);
        let node = Node::builder(config).journal(journal).transport(transport).state_machine(machine);
        node.snapshots(Arc::new(snapshots)).start().await.unwrap()
    }

    /// Stops a node and starts it again, with the state machine that it had or one that lost everything.
    async fn restart(&mut self, id: NodeId, keeps: bool) {
        let at = id.0 as usize - 1;
        self.nodes[at].shutdown().await.unwrap();
        if !keeps {
            self.recorders[at] = Recorder::new();
        }
        let journal = MemoryJournal::open(&self.disks[at], CLUSTER, GroupId(0), id).unwrap();
        let node = self.start(id, journal, self.recorders[at].machine()).await;
        self.nodes[at] = node;
    }

    /// Who leads, once a node other than `but` does.
    async fn leader_but(&self, but: Option<NodeId>) -> NodeHandle {
        for node in self.nodes.iter().cycle() {
            if Some(node.id()) == but {
                continue;
            }
            let known = |status: &Status| status.leader.as_ref().is_some_and(|leader| Some(leader.id) != but);
            let status = node.watch().until(known).await.unwrap();
            let leader = self.nodes[status.leader.as_ref().unwrap().id.0 as usize - 1].clone();
            if leader.status().role == RoleKind::Leader {
                return leader;
            }
        }
        unreachable!()
    }

    async fn leader(&self) -> NodeHandle {
        self.leader_but(None).await
    }

    /// The leader's words reach everybody and no answer reaches it: what it has sent is committed by the next
    /// one, and whoever waits here learns nothing.
    fn deafen(&self, leader: &NodeHandle) {
        for node in &self.nodes {
            if node.id() != leader.id() {
                self.network.cut_one_way(node.id(), leader.id());
            }
        }
    }

    /// How often each node has executed a command, once it has applied up to `index`.
    async fn executions(&self, command: &str, index: Index) -> Vec<usize> {
        let mut counts = Vec::new();
        for recorder in &self.recorders {
            let recorded = recorder.applied(index).await;
            counts.push(recorded.commands.iter().filter(|one| one.data == command.as_bytes()).count());
        }
        counts
    }
}

/// So much time passes on the paused clock, and everybody does what is due in it.
async fn pass(span: Duration) {
    tokio::time::sleep(span).await;
}

fn mark(session: &Session, sequence: u64, acknowledged_below: u64) -> Option<Mark> {
    Some(Mark { session: session.id(), sequence, acknowledged_below })
}

#[tokio::test(start_paused = true)]
async fn p47_redisraft_28_a_retry_after_unknown_is_executed_once() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let session = leader.open_session(None).await.unwrap();
    session.propose("before").await.unwrap();

    cluster.deafen(&leader);
    let mut call = session.call("once").unwrap();
    let error = call.send(&leader).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    assert!(call.may_be_applied() && error.may_be_sent_again());

    let next = cluster.leader_but(Some(leader.id())).await;
    let applied = call.send(&next).await.unwrap();
    assert_eq!(applied.response, "once");
    cluster.network.heal_all();
    let last = next.propose("after").await.unwrap().id.index;
    assert!(applied.id.index < last);
    assert_eq!(cluster.executions("once", last).await, [1, 1, 1]);
}

/// The control: what the test above does, without a session, is executed twice.
#[tokio::test(start_paused = true)]
async fn without_a_session_the_same_retry_is_executed_twice() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    leader.propose("before").await.unwrap();
    cluster.deafen(&leader);
    let error = leader.propose("once").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    let next = cluster.leader_but(Some(leader.id())).await;
    next.propose("once").await.unwrap();
    cluster.network.heal_all();
    let last = next.propose("after").await.unwrap().id.index;
    assert_eq!(cluster.executions("once", last).await, [2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn copies_of_a_command_get_one_answer_in_one_entry_and_in_others() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let session = leader.open_session(None).await.unwrap();
    let one = (mark(&session, 1, 0), Bytes::from_static(b"one"));
    let two = (mark(&session, 2, 0), Bytes::from_static(b"two"));
    let plain = (None, Bytes::from_static(b"plain"));
    let batch = vec![one.clone(), plain.clone(), one.clone(), two.clone(), plain];
    let answers = leader.propose_marked(batch).await.unwrap();
    let texts: Vec<_> = answers.iter().map(|answer| answer.as_ref().unwrap().response.clone()).collect();
    assert_eq!(texts, ["one", "plain", "one", "two", "plain"]);
    let first = answers[0].clone().unwrap();
    assert_eq!(answers[2], answers[0], "the answer of the execution, with its place");
    assert_eq!(first.position, 0);
    assert_eq!(answers[3].as_ref().unwrap().position, 3);

    // A later entry; another command under a number that was given is that command all the same.
    let other = (mark(&session, 1, 0), Bytes::from_static(b"other"));
    let answers = leader.propose_marked(vec![two, other]).await.unwrap();
    assert_eq!(answers[1], Ok(first));
    let last = leader.propose("end").await.unwrap().id.index;
    assert_eq!(cluster.executions("one", last).await, [1, 1, 1]);
    assert_eq!(cluster.executions("two", last).await, [1, 1, 1]);
    assert_eq!(cluster.executions("plain", last).await, [2, 2, 2]);
    assert_eq!(cluster.executions("other", last).await, [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_not_executed_again() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    let session = leader.open_session(None).await.unwrap();
    for number in 1..=3 {
        assert_eq!(session.next_sequence(), number);
        session.propose("x").await.unwrap();
    }
    // Each ended, so the fourth says that it needs no answers below itself.
    session.propose("y").await.unwrap();
    let late = vec![(mark(&session, 2, 0), Bytes::from_static(b"x"))];
    let refusal = leader.propose_marked(late).await.unwrap().remove(0).unwrap_err();
    let session = session.id();
    assert_eq!(refusal, SessionRefusal::Acknowledged { session, sequence: 2, below: 4 });
    assert_eq!(refusal.outcome(), Outcome::NotApplied);
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_session_may_be_under_way_together_up_to_its_window() {
    let mut config = Config::new(NodeId(1), CLUSTER);
    config.sessions.window = 4;
    let cluster = Cluster::with(3, config).await;
    let leader = cluster.leader().await;
    let session = leader.open_session(None).await.unwrap();
    let mut calls: Vec<_> = (0..4).map(|number| session.call(number.to_string()).unwrap()).collect();
    let full = session.call("one too many").unwrap_err();
    assert_eq!(full, SessionError::WindowFull { session: session.id(), open: 4 });

    // In any order, the last first: the others are executed when they come.
    calls.reverse();
    for call in &mut calls {
        let expected = (call.sequence() - 1).to_string();
        assert_eq!(call.send(&leader).await.unwrap().response, expected);
    }
    // Those who do not keep to it are refused by all nodes, and may come again.
    let far = vec![(mark(&session, 9, 5), Bytes::from_static(b"far"))];
    let refusal = leader.propose_marked(far).await.unwrap().remove(0).unwrap_err();
    let id = session.id();
    assert_eq!(refusal, SessionRefusal::OutsideWindow { session: id, sequence: 9, below: 5, window: 4 });
    assert!(SessionError::from(refusal).may_be_sent_again());
    session.propose("goes on").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_not_used_expires_on_all_nodes_at_the_same_entry() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let idle = leader.open_session(Some(Duration::from_secs(10))).await.unwrap();
    let used = leader.open_session(Some(Duration::from_secs(10))).await.unwrap();
    let kept = leader.open_session(Some(Duration::from_secs(10))).await.unwrap();
    for _ in 0..4 {
        pass(Duration::from_secs(4)).await;
        cluster.leader().await;
        used.propose("used").await.unwrap();
        kept.keep_alive().await.unwrap();
    }
    let late = idle.propose("late").await.unwrap_err();
    assert_eq!(late.error, SessionError::Refused(SessionRefusal::NotOpen { session: idle.id() }));
    assert!(!late.error.may_be_sent_again());
    assert!(!late.call.unwrap().may_be_applied());
    kept.propose("kept").await.unwrap();
    kept.close().await.unwrap();
    let closed = kept.keep_alive().await.unwrap_err();
    assert_eq!(closed, SessionError::Refused(SessionRefusal::NotOpen { session: kept.id() }));
    let last = leader.propose("end").await.unwrap().id.index;
    assert_eq!(cluster.executions("late", last).await, [0, 0, 0]);
    assert_eq!(cluster.executions("kept", last).await, [1, 1, 1]);
    for node in &cluster.nodes {
        assert_eq!(node.sessions().0, 1, "node {}", node.id());
    }
}

/// A leader is killed while the entry by whose stamp a session expires is on its way. If the entry got to the others, the
/// session has expired under the next leader too, on all nodes; if it did not, the session is open there, answers from
/// its memory, and expires in its time. Either way a copy of what it had executed is never executed again, and after
/// the expiry it is refused by name.
#[tokio::test(start_paused = true)]
async fn a_leader_killed_at_an_expiry_leaves_it_done_or_undone_for_all() {
    for gets_there in [true, false] {
        let cluster = Cluster::of(3).await;
        let leader = cluster.leader().await;
        let idle = leader.open_session(Some(Duration::from_secs(10))).await.unwrap();
        let other = leader.open_session(Some(Duration::from_secs(100))).await.unwrap();
        let command = vec![(mark(&idle, 1, 0), Bytes::from_static(b"once"))];
        let first = leader.propose_marked(command.clone()).await.unwrap().remove(0).unwrap();
        pass(Duration::from_secs(11)).await;
        let leader = cluster.leader().await;
        if gets_there {
            cluster.deafen(&leader);
        } else {
            cluster.network.isolate(leader.id());
        }
        let expiry = leader.keep_session_alive(other.id(), 0).await.unwrap_err();
        assert_eq!(expiry.outcome(), Outcome::Unknown, "{expiry}");
        cluster.network.kill(leader.id());
        let next = cluster.leader_but(Some(leader.id())).await;
        let again = next.propose_marked(command.clone()).await.unwrap().remove(0);
        if gets_there {
            assert_eq!(again, Err(SessionRefusal::NotOpen { session: idle.id() }));
        } else {
            assert_eq!(again, Ok(first), "from memory");
            pass(Duration::from_secs(11)).await;
            let late = next.propose_marked(command.clone()).await.unwrap().remove(0);
            assert_eq!(late, Err(SessionRefusal::NotOpen { session: idle.id() }));
        }
        let last = next.propose("end").await.unwrap().id.index;
        for node in cluster.nodes.iter().filter(|node| node.id() != leader.id()) {
            let recorded = cluster.recorders[node.id().0 as usize - 1].applied(last).await;
            let times = recorded.commands.iter().filter(|one| one.data == "once").count();
            assert_eq!(times, 1, "node {}", node.id());
            assert_eq!(node.sessions().0, 1, "node {}", node.id());
        }
    }
}

/// The time without a leader, and that of a new leader's clock, do not count; and it never goes back.
#[tokio::test(start_paused = true)]
async fn log_time_goes_on_from_the_last_stamp_under_another_leader() {
    let mut cluster = Cluster::of(3).await;
    let first = cluster.leader().await;
    let session = first.open_session(Some(Duration::from_secs(60))).await.unwrap();
    pass(Duration::from_secs(20)).await;
    cluster.leader().await.keep_session_alive(session.id(), 0).await.unwrap();
    // An hour without a quorum.
    let first = cluster.leader().await;
    for node in &cluster.nodes {
        cluster.network.isolate(node.id());
    }
    first.watch().until(|status| status.role != RoleKind::Leader).await.unwrap();
    pass(Duration::from_secs(3600)).await;
    cluster.network.heal_all();
    let next = cluster.leader().await;
    Session::resume(next.clone(), session.id(), 1).propose("alive").await.unwrap();
    // All of them started again: it goes on with what stands in the log.
    for id in 1..=3 {
        cluster.restart(NodeId(id), false).await;
    }
    let next = cluster.leader().await;
    let session = Session::resume(next.clone(), session.id(), 2);
    session.propose("still alive").await.unwrap();
    pass(Duration::from_secs(61)).await;
    let next = cluster.leader().await;
    let late = Session::resume(next, session.id(), 3).propose("late").await.unwrap_err();
    assert_eq!(late.error, SessionError::Refused(SessionRefusal::NotOpen { session: session.id() }));
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_without_a_disk_has_the_answers_again_after_a_restart() {
    let mut cluster = Cluster::of(1).await;
    let session = cluster.leader().await.open_session(None).await.unwrap();
    let command = vec![(mark(&session, 1, 0), Bytes::from_static(b"one"))];
    let first = cluster.leader().await.propose_marked(command.clone()).await.unwrap().remove(0).unwrap();
    cluster.restart(NodeId(1), false).await;
    let leader = cluster.leader().await;
    let again = leader.propose_marked(command).await.unwrap().remove(0).unwrap();
    assert_eq!(again, first);
    let last = leader.propose("end").await.unwrap().id.index;
    assert_eq!(cluster.executions("one", last).await, [1]);
}

/// It knows from the log what was executed, though not what was answered: nothing is doubled, and it decides as
/// the nodes that were not restarted.
#[tokio::test(start_paused = true)]
async fn a_state_machine_that_kept_its_state_executes_nothing_twice_after_a_restart() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let session = leader.open_session(None).await.unwrap();
    let one = vec![(mark(&session, 1, 0), Bytes::from_static(b"one"))];
    let applied = leader.propose_marked(one.clone()).await.unwrap().remove(0).unwrap();
    let restarted = NodeId(leader.id().0 % 3 + 1);
    cluster.recorders[restarted.0 as usize - 1].applied(applied.id.index).await;
    cluster.restart(restarted, true).await;
    let poke = leader.propose("it is back").await.unwrap().id.index;
    cluster.recorders[restarted.0 as usize - 1].applied(poke).await;
    leader.transfer_leadership(Some(restarted)).await.unwrap();

    let leader = cluster.nodes[restarted.0 as usize - 1].clone();
    let refusal = leader.propose_marked(one).await.unwrap().remove(0).unwrap_err();
    let (id, at) = (session.id(), applied.id);
    assert_eq!(refusal, SessionRefusal::AnswerNotKept { session: id, sequence: 1, at });
    assert_eq!(refusal.outcome(), Outcome::Applied);
    let two = vec![(mark(&session, 2, 0), Bytes::from_static(b"two"))];
    assert_eq!(leader.propose_marked(two).await.unwrap().remove(0).unwrap().response, "two");
    let last = leader.propose("end").await.unwrap().id.index;
    assert_eq!(cluster.executions("one", last).await, [1, 1, 1]);
    assert_eq!(cluster.executions("two", last).await, [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn bounds_are_refusals_that_say_so() {
    let mut config = Config::new(NodeId(1), CLUSTER);
    (config.sessions.sessions, config.sessions.records) = (2, 3);
    config.sessions.answer_bytes = 160;
    config.command_limit_bytes = 1000;
    let cluster = Cluster::with(1, config).await;
    let leader = cluster.leader().await;
    let one = leader.open_session(None).await.unwrap();
    let two = leader.open_session(None).await.unwrap();
    let error = leader.open_session(None).await.unwrap_err();
    assert_eq!(error, SessionError::Refused(SessionRefusal::TooMany { sessions: 2, limit: 2 }));

    let mut calls: Vec<_> = (0..3).map(|_| one.call("x").unwrap()).collect();
    for call in &mut calls[1..] {
        call.send(&leader).await.unwrap();
    }
    two.propose("fills it").await.unwrap();
    let full = two.call("y").unwrap().send(&leader).await;
    // What was answered is acknowledged with the next command: there is room again.
    assert_eq!(full.unwrap().response, "y");
    let error = calls[0].send(&leader).await.unwrap_err();
    assert_eq!(error, SessionError::Refused(SessionRefusal::Full { records: 3, limit: 3 }));
    assert!(error.may_be_sent_again() && !calls[0].may_be_applied());
    two.keep_alive().await.unwrap();
    calls[0].send(&leader).await.unwrap();

    // An answer that is too large to keep is given once; then only that it was executed is known.
    one.keep_alive().await.unwrap();
    let large = (mark(&one, 4, 4), Bytes::from(vec![b'z'; 11]));
    let answer = leader.propose_marked(vec![large.clone()]).await.unwrap().remove(0).unwrap();
    assert_eq!(answer.response.len(), 11);
    let refusal = leader.propose_marked(vec![large]).await.unwrap().remove(0).unwrap_err();
    assert!(matches!(refusal, SessionRefusal::AnswerNotKept { sequence: 4, .. }), "{refusal}");

    let mut large = one.call(vec![0; 1001]).unwrap();
    let error = large.send(&leader).await.unwrap_err();
    let limit = ProposeError::TooLarge { bytes: 1001, limit_bytes: 1000 };
    assert_eq!(error, SessionError::Propose(limit));
    assert!(!error.may_be_sent_again() && !large.may_be_applied());
}

#[tokio::test(start_paused = true)]
async fn a_follower_says_who_leads_and_the_call_goes_there() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.nodes.iter().find(|node| node.id() != leader.id()).unwrap();
    follower.watch().until(|status| status.leader.is_some()).await;
    let error = follower.open_session(None).await.unwrap_err();
    assert!(matches!(&error, SessionError::Propose(ProposeError::NotLeader { leader: Some(_) })), "{error}");
    let opened = leader.open_session(None).await.unwrap();
    let session = Session::resume(follower.clone(), opened.id(), 1);
    let failed = session.propose("x").await.unwrap_err();
    assert_eq!(failed.error.outcome(), Outcome::NotApplied);
    let mut call = failed.call.unwrap();
    assert!(!call.may_be_applied());
    assert_eq!(call.send(&leader).await.unwrap().response, "x");
    let nobody = Session::resume(leader.clone(), SessionId(77_777), 1).propose("x").await.unwrap_err();
    assert_eq!(nobody.to_string(), "session 77777 is not open: it has expired, was closed, or never was");
}

/// Commands without a session are what they were, byte for byte, also where others have one.
#[tokio::test(start_paused = true)]
async fn commands_without_a_session_stay_as_they_are() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    let session = leader.open_session(None).await.unwrap();
    let (plain, marked) = tokio::join!(leader.propose("plain"), session.propose("marked"));
    let (plain, marked) = (plain.unwrap().id, marked.unwrap().id);
    assert_ne!(plain, marked, "they do not share an entry");
    leader.shutdown().await.unwrap();
    let journal = MemoryJournal::open(&cluster.disks[0], CLUSTER, GroupId(0), NodeId(1)).unwrap();
    let entries = journal.reader().entries(Index(1)..marked.index.max(plain.index).next(), u64::MAX).await;
    for entry in entries.unwrap().into_iter().filter(|entry| entry.kind == EntryKind::Commands) {
        if entry.id == plain {
            assert_eq!(entry.data, &b"\0\x01\0\0\0\x05\0\0\0plain"[..]);
        } else {
            assert!(is_marked(&entry.data));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn types_over_a_session() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    let node = TypedNode::<String, String>::new(leader.clone());
    let session = node.open_session(None).await.unwrap();
    let mut call = session.call(&"hello".to_owned()).unwrap();
    assert_eq!(call.send(&leader).await.unwrap(), "hello");
    session.session().close().await.unwrap();
    assert!(session.call(&"late".to_owned()).unwrap().send(&leader).await.is_err());
}

/// A node that stops answers for sessions as for all else.
#[tokio::test(start_paused = true)]
async fn a_node_that_stops_leaves_no_session_waiting() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    let session = leader.open_session(None).await.unwrap();
    cluster.disks[0].hold_writes();
    let (open, command, stop) = tokio::join!(leader.open_session(None), session.propose("x"), async {
        cluster.disks[0].write_is_held().await;
        tokio::task::yield_now().await;
        cluster.disks[0].release_writes();
        leader.shutdown().await
    });
    stop.unwrap();
    for outcome in [open.err().map(|e| e.outcome()), command.err().map(|failed| failed.error.outcome())] {
        assert_ne!(outcome, Some(Outcome::Applied));
    }
    let error = leader.open_session(None).await.unwrap_err();
    assert_eq!(error, SessionError::Propose(ProposeError::ShuttingDown));
    let failed = session.propose("late").await.unwrap_err();
    assert_eq!(failed.error, SessionError::Propose(ProposeError::ShuttingDown));
}

/// No snapshot but those that are asked for, and nothing is kept of the log that one covers.
fn sparing() -> Config {
    let mut config = Config::new(NodeId(1), CLUSTER);
    (config.snapshot_every_entries, config.snapshot_every_bytes) = (0, 0);
    (config.snapshot_keep_entries, config.snapshot_keep_bytes) = (0, 0);
    config
}

/// Takes a snapshot; the log begins after it then.
async fn compact(node: &NodeHandle) {
    let upto = node.snapshot().await.unwrap().upto.index;
    node.watch().until(|status| status.first_index > upto).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_installed_snapshot_brings_the_sessions_and_their_answers() {
    let cluster = Cluster::with(3, sparing()).await;
    let leader = cluster.leader().await;
    let session = leader.open_session(None).await.unwrap();
    let one = vec![(mark(&session, 1, 0), Bytes::from_static(b"one"))];
    let behind = cluster.nodes.iter().find(|node| node.id() != leader.id()).unwrap().clone();
    cluster.network.isolate(behind.id());
    let first = leader.propose_marked(one.clone()).await.unwrap().remove(0).unwrap();
    for number in 0..20_u8 {
        leader.propose(vec![number]).await.unwrap();
    }
    compact(&leader).await;
    assert!(leader.status().first_index > first.id.index, "the command is in no log any more");
    cluster.network.heal_all();
    let last = leader.propose("after").await.unwrap().id.index;
    behind.watch().until(|status| status.applied_index >= last).await.unwrap();
    assert!(behind.status().first_index > first.id.index, "it came as a snapshot");
    assert_eq!(behind.sessions(), leader.sessions());

    leader.transfer_leadership(Some(behind.id())).await.unwrap();
    let again = behind.propose_marked(one).await.unwrap().remove(0).unwrap();
    assert_eq!(again, first);
    let two = vec![(mark(&session, 2, 0), Bytes::from_static(b"two"))];
    assert_eq!(behind.propose_marked(two).await.unwrap().remove(0).unwrap().response, "two");
    let last = behind.propose("end").await.unwrap().id.index;
    assert_eq!(cluster.executions("one", last).await, [1, 1, 1]);
    assert_eq!(cluster.executions("two", last).await, [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_sessions_come_from_the_snapshot_and_the_log_behind_it() {
    for keeps in [false, true] {
        let mut cluster = Cluster::with(1, sparing()).await;
        let leader = cluster.leader().await;
        let session = leader.open_session(None).await.unwrap();
        let command = |sequence: u64| (mark(&session, sequence, 0), Bytes::from(sequence.to_string()));
        let before = leader.propose_marked(vec![command(1)]).await.unwrap().remove(0).unwrap();
        compact(&leader).await;
        let after = leader.propose_marked(vec![command(2)]).await.unwrap().remove(0).unwrap();
        cluster.restart(NodeId(1), keeps).await;

        let leader = cluster.leader().await;
        let commands = vec![command(1), command(2), command(3)];
        let mut answers = leader.propose_marked(commands).await.unwrap();
        assert_eq!(answers.pop().unwrap().unwrap().response, "3");
        let (id, at) = (session.id(), after.id);
        let lost = SessionRefusal::AnswerNotKept { session: id, sequence: 2, at };
        assert_eq!(answers.pop().unwrap(), if keeps { Err(lost) } else { Ok(after) });
        assert_eq!(answers.pop().unwrap(), Ok(before));
        let last = leader.propose("end").await.unwrap().id.index;
        for command in ["1", "2", "3"] {
            assert_eq!(cluster.executions(command, last).await, [1], "{command}");
        }
    }
}
