//! What became of a write, and what may be done then.

use std::time::Duration;

use raft_core::error::{Outcome, ProposeError};
use raft_core::membership::Member;
use raft_core::node::{Session, SessionError};
use raft_core::{Applied, NodeHandle, ReadPolicy};

/// What a server tells its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done, and durable on a majority.
    Done(Vec<u8>),
    /// Not done: ask there.
    Moved(Member),
    /// Not done: send it again in a moment, here or elsewhere.
    Later,
    /// Not done, and never will be: it is too large, or this node has stopped for good.
    Refused(String),
    /// It may have been done, or may yet be.
    Unknown,
}

/// A write on behalf of a client, answered in words of one's own protocol.
pub async fn write(node: &NodeHandle, command: Vec<u8>) -> Reply {
    match node.propose(command).await {
        Ok(applied) => Reply::Done(applied.response.into()),
        Err(ProposeError::NotLeader { leader: Some(leader) }) => Reply::Moved(leader),
        Err(error @ (ProposeError::TooLarge { .. } | ProposeError::Fatal(_))) => {
            Reply::Refused(error.to_string())
        }
        Err(error) => match error.outcome() {
            Outcome::NotApplied => Reply::Later,
            _ => Reply::Unknown,
        },
    }
}

/// A linearizable read on any node: what `read` sees of the state machine has everything that was acknowledged
/// anywhere before this was called. A read changes nothing, so it is asked for again until it is answered.
///
/// # Errors
/// If the node has stopped.
pub async fn read<T>(node: &NodeHandle, read: impl Fn() -> T) -> Result<T, raft_core::error::ReadError> {
    use raft_core::error::ReadError;

    loop {
        match node.read_barrier_with(ReadPolicy::Follower).await {
            Ok(_) => return Ok(read()),
            Err(error @ (ReadError::ShuttingDown | ReadError::Fatal(_))) => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Sends a command through one node after the other until one of them answers. It is executed once, however often
/// that takes.
///
/// # Errors
/// [`SessionError`], if no further attempt makes sense.
pub async fn once(
    nodes: &[NodeHandle],
    session: &Session,
    command: Vec<u8>,
) -> Result<Applied, SessionError> {
    let mut call = session.call(command)?;
    loop {
        for node in nodes {
            match call.send(node).await {
                Ok(applied) => return Ok(applied),
                Err(error) if !error.may_be_sent_again() => return Err(error),
                Err(_) => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use raft_core::node::typed::{decode, encode};
    use raft_testkit::memory::MemoryNetwork;

    use super::*;
    use crate::tally::cluster::three;
    use crate::tally::{Answer, Ask};

    async fn leader(node: &NodeHandle) -> Member {
        let led = node.watch().until(|status| status.leader.is_some()).await.unwrap();
        led.leader.clone().unwrap()
    }

    fn vote(count: u64) -> Vec<u8> {
        encode(&Ask::Vote("ada".into(), count)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_is_done_or_moved() {
        let nodes = three(&MemoryNetwork::new()).await;
        let leads = leader(&nodes[0].0).await;
        for (node, _) in &nodes {
            assert_eq!(leader(node).await, leads);
            match write(node, vote(1)).await {
                Reply::Done(answer) if node.id() == leads.id => {
                    assert_eq!(decode::<Answer>(&answer).unwrap(), Ok(1));
                }
                other => assert_eq!(other, Reply::Moved(leads.clone())),
            }
        }
        let large = write(&nodes[0].0, vec![0; 17 << 20]).await;
        assert!(matches!(large, Reply::Refused(_)), "{large:?}");
        nodes[0].0.shutdown().await.unwrap();
        assert_eq!(write(&nodes[0].0, vote(1)).await, Reply::Later);
    }

    #[tokio::test(start_paused = true)]
    async fn through_the_loss_of_a_leader_it_counts_once() {
        let nodes = three(&MemoryNetwork::new()).await;
        let handles: Vec<NodeHandle> = nodes.iter().map(|(node, _)| node.clone()).collect();
        let first = leader(&handles[0]).await.id;
        let (leads, _) = nodes.iter().find(|(node, _)| node.id() == first).unwrap();
        leads.watch().until(|status| status.leader.is_some()).await.unwrap();
        let session = leads.open_session(None).await.unwrap();

        let (stopped, counted) = tokio::join!(leads.shutdown(), async {
            let mut counted = Vec::new();
            for _ in 0..10 {
                let applied = once(&handles, &session, vote(1)).await.unwrap();
                counted.push(decode::<Answer>(&applied.response).unwrap());
            }
            counted
        });
        stopped.unwrap();
        assert_eq!(counted, (1..=10).map(Ok).collect::<Vec<_>>());

        for (node, tally) in nodes.iter().filter(|(node, _)| node.id() != first) {
            assert_eq!(read(node, || tally.votes("ada")).await, Ok(10));
        }
    }
}
