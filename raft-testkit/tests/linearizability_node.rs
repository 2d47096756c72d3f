//! Clients of three nodes while leaders are cut off and hand over: what they saw has a linear order. The same
//! clients with one step left out of their reads are found out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{Command, Fatal, Responses, SnapshotReader, SnapshotSource, StateMachine};
use raft_core::error::Outcome;
use raft_core::ids::{ClusterId, GroupId, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::status::RoleKind;
use raft_core::{Config, Node, NodeHandle};
use raft_testkit::conformance::Random;
use raft_testkit::linearizability::{
    History, HistoryRecorder, Kv, KvCommand, KvInput, KvOutput, Limits, Outcome as End, Verdict, check,
};
use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork};

const CLUSTER: ClusterId = ClusterId(9);

type Input = KvInput<u64>;
type Recorder = HistoryRecorder<Input, KvOutput>;

/// How reads are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    AfterBarrier,
    /// From whatever this node has executed so far.
    AsTheyCome,
}

/// A store of registers that its node's readers can look into.
#[derive(Clone, Default)]
struct Registers(Arc<Mutex<BTreeMap<u64, Option<Bytes>>>>);

struct Machine {
    registers: Registers,
    applied: LogId,
}

#[async_trait]
impl StateMachine for Machine {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        Ok(self.applied)
    }

    async fn apply(
        &mut self,
        batch: &[Command],
        through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal> {
        let mut registers = self.registers.0.lock().unwrap();
        for command in batch {
            let input = decode(&command.data);
            let register = registers.entry(input.key).or_default();
            let (next, answer) = input.command.execute(register.as_ref());
            *register = next;
            responses.push(encode_answer(&answer));
        }
        self.applied = through;
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Err(Fatal("no snapshots here".into()))
    }

    async fn install(&mut self, _: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        Err(Fatal("no snapshots here".into()))
    }
}

/// A command as words; values have no spaces.
fn encode(input: &Input) -> Bytes {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let words = match &input.command {
        KvCommand::Get => "get".to_owned(),
        KvCommand::Put(value) => format!("put {}", text(value)),
        KvCommand::Cas { expected: Some(expected), new } => format!("cas {} {}", text(new), text(expected)),
        KvCommand::Cas { expected: None, new } => format!("cas {}", text(new)),
        KvCommand::Append(value) => format!("append {}", text(value)),
        KvCommand::Incr(by) => format!("incr {by}"),
        KvCommand::Del => "del".to_owned(),
    };
    format!("{} {words}", input.key).into()
}

fn decode(data: &[u8]) -> Input {
    let text = core::str::from_utf8(data).unwrap();
    let mut words = text.split(' ');
    let key: u64 = words.next().unwrap().parse().unwrap();
    let kind = words.next().unwrap();
    let mut value = || words.next().map(|word| Bytes::copy_from_slice(word.as_bytes()));
    let command = match kind {
        "get" => KvCommand::Get,
        "put" => KvCommand::Put(value().unwrap()),
        "cas" => KvCommand::Cas { new: value().unwrap(), expected: value() },
        "append" => KvCommand::Append(value().unwrap()),
        "incr" => KvCommand::Incr(core::str::from_utf8(&value().unwrap()).unwrap().parse().unwrap()),
        "del" => KvCommand::Del,
        _ => panic!("{text}"),
    };
    Input::new(key, command)
}

/// A tag, then a number.
fn encode_answer(answer: &KvOutput) -> Bytes {
    let (tag, number) = match answer {
        KvOutput::Done => (0, 0),
        KvOutput::Swapped(yes) => (1, i64::from(*yes)),
        KvOutput::Length(length) => (2, *length as i64),
        KvOutput::Number(number) => (3, *number),
        KvOutput::Existed(yes) => (4, i64::from(*yes)),
        KvOutput::NotANumber => (5, 0),
        KvOutput::Value(_) => panic!("reads do not go through the log"),
    };
    let mut out = vec![tag];
    out.extend_from_slice(&i64::to_le_bytes(number));
    out.into()
}

fn decode_answer(data: &[u8]) -> KvOutput {
    let (&tag, number) = data.split_first().unwrap();
    let number = i64::from_le_bytes(number.try_into().unwrap());
    match tag {
        0 => KvOutput::Done,
        1 => KvOutput::Swapped(number == 1),
        2 => KvOutput::Length(number as u64),
        3 => KvOutput::Number(number),
        4 => KvOutput::Existed(number == 1),
        _ => KvOutput::NotANumber,
    }
}

#[derive(Clone)]
struct Cluster {
    network: MemoryNetwork,
    nodes: Vec<(NodeHandle, Registers)>,
}

impl Cluster {
    async fn of(size: u64) -> Self {
        let members = (1..=size).map(|id| Member::new(NodeId(id), format!("memory-{id}")));
        let membership = Membership::of_voters(members).unwrap();
        let network = MemoryNetwork::new();
        let mut nodes = Vec::new();
        for id in (1..=size).map(NodeId) {
            let registers = Registers::default();
            let journal =
                MemoryJournal::create(&MemoryDisk::new(), CLUSTER, GroupId(0), id, Some(&membership))
                    .unwrap();
            let machine = Machine { registers: registers.clone(), applied: LogId::ZERO };
            let node = Node::builder(Config::new(id, CLUSTER))
                .journal(journal)
                .transport(network.transport(id))
                .state_machine(machine)
                .start()
                .await
                .unwrap();
            nodes.push((node, registers));
        }
        Self { network, nodes }
    }

    /// A node that leads, for all it knows.
    async fn leader(&self) -> NodeHandle {
        loop {
            if let Some((node, _)) =
                self.nodes.iter().find(|(node, _)| node.status().role == RoleKind::Leader)
            {
                return node.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Cuts leaders off, lets them hand over, and heals.
    async fn trouble(&self, random: &mut Random, rounds: u64) {
        for _ in 0..rounds {
            tokio::time::sleep(Duration::from_millis(200 + random.below(800))).await;
            let leader = self.leader().await;
            match random.below(4) {
                0 => drop(leader.transfer_leadership(None).await),
                1 => {
                    let other = NodeId(1 + random.below(self.nodes.len() as u64));
                    self.network.cut_one_way(leader.id(), other);
                }
                _ => self.network.isolate(leader.id()),
            }
            tokio::time::sleep(Duration::from_millis(500 + random.below(3000))).await;
            self.network.heal_all();
        }
    }
}

fn command(random: &mut Random, client: u64, number: u64) -> KvCommand {
    let value = |random: &mut Random| Bytes::from(random.below(4).to_string());
    match random.below(10) {
        0..4 => KvCommand::Get,
        4 => KvCommand::Put(value(random)),
        5 => KvCommand::Cas { expected: random.one_in(2).then(|| value(random)), new: value(random) },
        6 => KvCommand::Append(format!("c{client}.{number},").into()),
        7 | 8 => KvCommand::Incr(1),
        _ => KvCommand::Del,
    }
}

/// Asks one thing after the other of whatever node it believes in, until told to stop.
async fn client(
    cluster: Cluster,
    recorder: Recorder,
    number: u64,
    seed: u64,
    reads: Reads,
    stop: Arc<AtomicBool>,
) {
    let mut random = Random::new(seed * 1000 + number);
    let mut at = number as usize % cluster.nodes.len();
    for count in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(random.below(60))).await;
        let input = Input::new(random.below(3), command(&mut random, number, count));
        let (node, registers) = &cluster.nodes[at];
        let id = recorder.invoke(number, input.clone());
        let patience = Duration::from_millis(100 + random.below(1500));
        if input.command == KvCommand::Get {
            let barrier = async {
                reads == Reads::AsTheyCome
                    || matches!(tokio::time::timeout(patience, node.read_barrier()).await, Ok(Ok(_)))
            };
            if barrier.await {
                let value = registers.0.lock().unwrap().get(&input.key).cloned().flatten();
                recorder.complete(id, KvOutput::Value(value)).unwrap();
            } else {
                recorder.fail(id).unwrap();
                at = random.below(cluster.nodes.len() as u64) as usize;
            }
            continue;
        }
        match tokio::time::timeout(patience, node.propose(encode(&input))).await {
            Ok(Ok(applied)) => recorder.complete(id, decode_answer(&applied.response)).unwrap(),
            Ok(Err(error)) => {
                if error.outcome() == Outcome::NotApplied {
                    recorder.fail(id).unwrap();
                }
                at = random.below(cluster.nodes.len() as u64) as usize;
            }
            Err(_) => at = random.below(cluster.nodes.len() as u64) as usize,
        }
    }
}

async fn run(seed: u64, reads: Reads) -> History<Input, KvOutput> {
    let cluster = Cluster::of(3).await;
    let recorder = Recorder::new();
    let stop = Arc::new(AtomicBool::new(false));
    cluster.leader().await;
    let clients: Vec<_> = (0..6)
        .map(|number| {
            tokio::spawn(client(cluster.clone(), recorder.clone(), number, seed, reads, stop.clone()))
        })
        .collect();
    cluster.trouble(&mut Random::new(seed), 6).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    for (node, _) in &cluster.nodes {
        node.shutdown().await.unwrap();
    }
    recorder.take()
}

fn verdict(history: &History<Input, KvOutput>) -> Verdict<u64> {
    check(&Kv::default(), history, Limits::steps(2_000_000))
}

#[tokio::test(start_paused = true)]
async fn clients_see_one_copy_while_leaders_change() {
    let mut open = 0;
    for seed in 0..4 {
        let history = run(seed, Reads::AfterBarrier).await;
        let outcomes = || history.operations().iter().map(|operation| &operation.outcome);
        let done = outcomes().filter(|outcome| matches!(outcome, End::Completed { .. })).count();
        assert!(done > 200, "seed {seed}: only {done} operations completed");
        open += outcomes().filter(|outcome| **outcome == End::Unknown).count();
        match verdict(&history) {
            Verdict::Ok => {}
            Verdict::Illegal(why) => panic!("seed {seed}:\n{why}"),
            unknown => panic!("seed {seed}: {unknown:?}"),
        }
    }
    assert!(open > 0, "no client was ever left without an answer");
}

#[tokio::test(start_paused = true)]
async fn reads_without_a_barrier_are_found_out() {
    let history = run(1, Reads::AsTheyCome).await;
    let Verdict::Illegal(why) = verdict(&history) else { panic!("stale reads were not noticed") };
    println!("{why}");
    assert_eq!(
        history.get(why.stuck).map(|operation| &operation.input.command),
        Some(&KvCommand::Get),
        "{why}"
    );
}
