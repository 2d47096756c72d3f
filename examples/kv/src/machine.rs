//! The data as the node's state machine.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{Command, Fatal, Responses, SnapshotReader, SnapshotSource, StateMachine};
use raft_core::ids::LogId;

use crate::command::Kind;
use crate::log_codec::{Logged, decode, first_argument};
use crate::resp::Reply;
use crate::snapshot::{self, Encoder};
use crate::store::{Store, WARM, aside};

/// Replies to one call of `apply` that are kept, in bytes. Beyond it reads that came through the log are
/// refused: a pipeline of reads of large values must not fill the memory.
const REPLIES_LIMIT_BYTES: usize = 64 << 20;

/// The data, shared by the applier, which alone changes it, and the connections, which read.
///
/// All of them run on one thread: the lock is never waited for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<Mutex<Store>>);

impl Shared {
    /// The data. Never held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Applies what is committed.
#[derive(Debug)]
pub(crate) struct Machine {
    data: Shared,
}

impl Machine {
    /// Over empty data.
    pub(crate) const fn new(data: Shared) -> Self {
        Self { data }
    }
}

#[async_trait]
impl StateMachine for Machine {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        // It is in memory only: a start begins from nothing.
        Ok(self.data.lock().applied)
    }

    async fn apply(
        &mut self,
        batch: &[Command],
        through: LogId,
        responses: &mut Responses,
    ) -> Result<(), Fatal> {
        let mut store = self.data.lock();
        let wanted = responses.wanted();
        let mut args = Vec::new();
        // One buffer for all replies; each response is a part of it.
        let mut reply = Reply::default();
        let mut ends = Vec::with_capacity(if wanted { batch.len() } else { 0 });
        for (at, command) in batch.iter().enumerate() {
            if at.is_multiple_of(WARM) {
                let soon = batch.get(at..).unwrap_or_default().iter().take(WARM);
                store.warm(soon.filter_map(|command| first_argument(&command.data)));
            }
            let logged = decode(&command.data, &mut args).map_err(|error| {
                Fatal(format!("command {} of entry {}: {error}", command.position, command.id))
            })?;
            match logged {
                Logged::Command(op) if op.kind() == Kind::Read => {
                    if wanted && reply.len() > REPLIES_LIMIT_BYTES {
                        reply.error("BUSY the replies to this pipeline are too large, ask again");
                    } else if wanted {
                        store.read(op, &args, &mut reply);
                    }
                }
                Logged::Command(op) => store.execute(op, &args, &mut reply),
                Logged::Transaction { watched, commands } => {
                    store.transact(&watched, commands.into_iter(), &mut reply);
                }
            }
            if wanted {
                ends.push(reply.len());
            } else {
                reply.truncate(0);
                responses.push(Bytes::new());
            }
        }
        let replies = Bytes::from(reply.into_bytes());
        let mut from = 0;
        for end in ends {
            responses.push(replies.slice(from..end));
            from = end;
        }
        store.applied = through;
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Ok(Box::new(Encoder::new(self.data.lock().clone())))
    }

    async fn install(&mut self, snapshot: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        let upto = snapshot.meta().upto;
        let mut data = snapshot::read(snapshot).await.map_err(|error| Fatal(error.to_string()))?;
        data.applied = upto;
        let old = std::mem::replace(&mut *self.data.lock(), data);
        aside(old);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Op;
    use crate::log_codec::{put_command, put_transaction};

    fn command(position: u32, op: Op, args: &[&str]) -> Command {
        let mut data = bytes::BytesMut::new();
        put_command(&mut data, op, args);
        Command::new(LogId::new(1, 1), position, data.freeze())
    }

    async fn apply(machine: &mut Machine, batch: &[Command], mut responses: Responses) -> Vec<Bytes> {
        machine.apply(batch, LogId::new(1, 1), &mut responses).await.unwrap();
        assert_eq!(responses.count(), batch.len());
        responses.into_kept()
    }

    #[tokio::test]
    async fn each_command_has_its_response_and_followers_reach_the_same_data() {
        let mut transaction = bytes::BytesMut::new();
        put_transaction(&mut transaction, &[("w", 5)], &[(Op::Set, vec!["k", "never"])]);
        let batch = [
            command(0, Op::Set, &["k", "1"]),
            command(1, Op::Incr, &["k"]),
            command(2, Op::Get, &["k"]),
            command(3, Op::LPush, &["k", "x"]),
            Command::new(LogId::new(1, 1), 4, transaction.freeze()),
            command(5, Op::Del, &["none"]),
        ];
        let mut leader = Machine::new(Shared::default());
        let responses = apply(&mut leader, &batch, Responses::kept(batch.len())).await;
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        assert_eq!(responses, ["+OK\r\n", ":2\r\n", "$1\r\n2\r\n", wrong, "*-1\r\n", ":0\r\n"]);

        let mut follower = Machine::new(Shared::default());
        assert!(apply(&mut follower, &batch, Responses::discarded()).await.is_empty());
        for machine in [&leader, &follower] {
            let mut reply = Reply::default();
            machine.data.lock().read(Op::Get, &[b"k"], &mut reply);
            assert_eq!(reply.into_bytes(), b"$1\r\n2\r\n");
        }
        let version = |machine: &Machine| machine.data.lock().version(b"k");
        assert_eq!(version(&leader), version(&follower), "what WATCH compares is the same everywhere");
    }

    #[tokio::test]
    async fn bytes_that_are_no_command_stop_the_node() {
        let mut machine = Machine::new(Shared::default());
        let batch = [Command::new(LogId::new(1, 7), 0, Bytes::from_static(b"\x09"))];
        let fatal = machine.apply(&batch, LogId::new(1, 7), &mut Responses::kept(1)).await.unwrap_err();
        assert_eq!(fatal.0, "command 0 of entry 1.7: the bytes are not a command of this program");
    }

    /// The contract of state machines, clause by clause.
    mod contract {
        use raft_testkit::conformance::Random;
        use raft_testkit::conformance::state_machine::StateMachineBackend;

        use super::super::*;
        use crate::command::Op;
        use crate::log_codec::{put_command, put_transaction};

        struct Machines;

        /// Few keys, so that commands meet each other, and find other kinds of values.
        fn draw(random: &mut Random) -> (Op, Vec<String>) {
            let key = format!("k{}", random.below(6));
            let (field, number) = (format!("f{}", random.below(5)), random.below(40).to_string());
            match random.below(16) {
                0 => (Op::Set, vec![key, number]),
                1 => (Op::Incr, vec![key]),
                2 => (Op::Append, vec![key, number]),
                3 => (Op::Cas, vec![key, number, field]),
                4 => (Op::RPush, vec![key, number]),
                5 => (Op::LPop, vec![key]),
                6 => (Op::LRange, vec![key, "0".into(), "-1".into()]),
                7 => (Op::HSet, vec![key, field, number]),
                8 => (Op::HIncrBy, vec![key, field, number]),
                9 => (Op::HGetAll, vec![key]),
                10 => (Op::SAdd, vec![key, field, number]),
                11 => (Op::SMembers, vec![key]),
                12 => (Op::Del, vec![key]),
                13 => (Op::Keys, vec!["*".into()]),
                14 => (Op::GetSet, vec![key, number]),
                _ => (Op::Get, vec![key]),
            }
        }

        impl StateMachineBackend for Machines {
            type Machine = Machine;

            fn machine(&self) -> Machine {
                Machine::new(Shared::default())
            }

            fn command(&self, random: &mut Random) -> Bytes {
                let mut data = bytes::BytesMut::new();
                if random.one_in(6) {
                    let commands = [draw(random), draw(random)];
                    let watched = [(format!("k{}", random.below(6)), random.below(30))];
                    put_transaction(&mut data, &watched, &commands);
                } else {
                    let (op, args) = draw(random);
                    put_command(&mut data, op, &args);
                }
                data.freeze()
            }
        }

        raft_testkit::state_machine_conformance! {
            backend: Machines,
        }
    }
}
