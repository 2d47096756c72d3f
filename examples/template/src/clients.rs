//! What clients speak: `set KEY VALUE`, `remove KEY`, `get KEY`, a line each, and a line for an answer.

use std::io;
use std::time::Duration;

use raft_core::error::{Outcome, ProposeError};
use raft_core::node::typed::TypedError;
use raft_core::{NodeHandle, ReadPolicy, TypedNode};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::machine::{Answer, Ask, Machine, Senseless};

/// The attribute of a member that says where its clients go.
pub const CLIENTS: &str = "clients";

/// No line is longer, in bytes.
const LINE_BYTES: u64 = 64 << 10;
/// Connections at once.
const CONNECTIONS: usize = 1024;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// A client that takes longer to say a line, or to take an answer, is cut off: others need its connection.
const IDLE: Duration = Duration::from_secs(60);

/// Serves clients until it is dropped.
pub async fn serve(listener: TcpListener, node: NodeHandle, machine: Machine) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, node.clone(), machine.clone()));
                }
                // Out of descriptors, most likely: let some be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
}

async fn connection(mut stream: TcpStream, node: NodeHandle, machine: Machine) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    while let Some(line) = next_line(&mut reader).await? {
        let mut said = answer(&line, &node, &machine).await;
        said.push('\n');
        timeout(IDLE, writer.write_all(said.as_bytes())).await??;
    }
    Ok(())
}

/// `None` at the end, and for a line that has none.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    timeout(IDLE, reader.take(LINE_BYTES).read_until(b'\n', &mut line)).await??;
    Ok((line.pop() == Some(b'\n')).then_some(line))
}

/// What is said to a line.
async fn answer(line: &[u8], node: &NodeHandle, machine: &Machine) -> String {
    // Values are strings: what was acknowledged must be what was sent.
    let Ok(line) = std::str::from_utf8(line) else { return "error: not UTF-8".into() };
    // As telnet ends a line.
    let line = line.strip_suffix('\r').unwrap_or(line);
    let words: Vec<&str> = line.splitn(3, ' ').collect();
    match words[..] {
        ["get", key] => read(node, machine, key).await,
        ["set", key, value] => write(node, Ask::Set(key.into(), value.into())).await,
        ["remove", key] => write(node, Ask::Remove(key.into())).await,
        _ => "error: set KEY VALUE, remove KEY or get KEY".into(),
    }
}

/// Any node answers, with all that was acknowledged anywhere before.
async fn read(node: &NodeHandle, machine: &Machine, key: &str) -> String {
    match timeout(PATIENCE, node.read_barrier_with(ReadPolicy::Follower)).await {
        Ok(Ok(_)) => machine.value(key).map_or_else(|| "none".into(), |value| format!("value {value}")),
        // A read changes nothing: it may always be asked again.
        Ok(Err(_)) | Err(_) => "later".into(),
    }
}

async fn write(node: &NodeHandle, ask: Ask) -> String {
    let typed = TypedNode::<Ask, Answer>::new(node.clone());
    outcome(timeout(PATIENCE, typed.propose(&ask)).await)
}

/// Three things can become of a write: done, not done, or nobody can tell.
fn outcome(result: Result<Result<Answer, TypedError>, Elapsed>) -> String {
    match result {
        Ok(Ok(Ok(_))) => "ok".into(),
        // Executed on every node, and refused by each. Add what you refuse to `machine.rs`.
        Ok(Ok(Err(Senseless))) => "error: refused".into(),
        Ok(Err(TypedError::Propose(ProposeError::NotLeader { leader: Some(leader) }))) => {
            let at = leader.attributes.get(CLIENTS).unwrap_or(&leader.address);
            format!("moved {at}")
        }
        Ok(Err(TypedError::Propose(error))) if error.outcome() == Outcome::NotApplied => "later".into(),
        // It may have been done, or may yet be. Where a second time does harm, use a session: see the guide.
        Ok(Err(_)) | Err(_) => "unknown".into(),
    }
}

#[cfg(test)]
mod tests {
    use raft_core::ids::{NodeId, Term};
    use raft_core::membership::Member;

    use super::*;

    #[test]
    fn a_write_is_ok_only_if_it_was_done() {
        assert_eq!(outcome(Ok(Ok(Ok(None)))), "ok");
        assert_eq!(outcome(Ok(Ok(Err(Senseless)))), "error: refused");
        let failed = |error| outcome(Ok(Err(TypedError::Propose(error))));
        let leader = Some(Member::new(NodeId(2), "b:7402").with(CLIENTS, "b:7502"));
        assert_eq!(failed(ProposeError::NotLeader { leader }), "moved b:7502");
        assert_eq!(failed(ProposeError::NotLeader { leader: None }), "later");
        assert_eq!(failed(ProposeError::Unknown { term: Term(1) }), "unknown");
    }

    #[tokio::test]
    async fn lines_are_taken_one_by_one_and_only_whole_ones() {
        let mut said = &b"get a\n\nget"[..];
        assert_eq!(next_line(&mut said).await.unwrap().as_deref(), Some(&b"get a"[..]));
        assert_eq!(next_line(&mut said).await.unwrap().as_deref(), Some(&b""[..]));
        assert_eq!(next_line(&mut said).await.unwrap(), None);
        assert_eq!(next_line(&mut &vec![b'a'; 1 << 20][..]).await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_cut_off() {
        let (_client, served) = tokio::io::duplex(64);
        let error = next_line(&mut BufReader::new(served)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
