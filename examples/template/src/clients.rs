//! What clients speak: `set KEY VALUE`, `remove KEY`, `get KEY`, a line each, and a line for an answer.

use std::io;
use std::time::Duration;

use raft_core::error::{Outcome, ProposeError};
use raft_core::node::typed::TypedError;
use raft_core::{NodeHandle, ReadPolicy, TypedNode};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::machine::{Answer, Ask, Machine};

/// The attribute of a member that says where its clients go.
pub const CLIENTS: &str = "clients";

/// No line is longer, in bytes.
const LINE_BYTES: u64 = 64 << 10;
/// Connections at once.
const CONNECTIONS: usize = 1024;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

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
    loop {
        let mut line = Vec::new();
        (&mut reader).take(LINE_BYTES).read_until(b'\n', &mut line).await?;
        if line.pop() != Some(b'\n') {
            // The end, or a line that has none.
            return Ok(());
        }
        let mut said = answer(&String::from_utf8_lossy(&line), &node, &machine).await;
        said.push('\n');
        writer.write_all(said.as_bytes()).await?;
    }
}

/// What is said to a line.
async fn answer(line: &str, node: &NodeHandle, machine: &Machine) -> String {
    let words: Vec<&str> = line.trim().splitn(3, ' ').collect();
    match words[..] {
        ["get", key] => read(node, machine, key).await,
        ["set", key, value] => write(node, Ask::Set(key.into(), value.into())).await,
        ["remove", key] => write(node, Ask::Remove(key.into())).await,
        _ => "error: set KEY VALUE, remove KEY or get KEY".into(),
    }
}

/// Any node answers, with all that was acknowledged anywhere before.
async fn read(node: &NodeHandle, machine: &Machine, key: &str) -> String {
    match tokio::time::timeout(PATIENCE, node.read_barrier_with(ReadPolicy::Follower)).await {
        Ok(Ok(_)) => machine.value(key).map_or_else(|| "none".into(), |value| format!("value {value}")),
        // A read changes nothing: it may always be asked again.
        Ok(Err(_)) | Err(_) => "later".into(),
    }
}

/// Three things can become of a write: done, not done, or nobody can tell.
async fn write(node: &NodeHandle, ask: Ask) -> String {
    let typed = TypedNode::<Ask, Answer>::new(node.clone());
    match tokio::time::timeout(PATIENCE, typed.propose(&ask)).await {
        Ok(Ok(_)) => "ok".into(),
        Ok(Err(TypedError::Propose(ProposeError::NotLeader { leader: Some(leader) }))) => {
            let at = leader.attributes.get(CLIENTS).unwrap_or(&leader.address);
            format!("moved {at}")
        }
        Ok(Err(TypedError::Propose(error))) if error.outcome() == Outcome::NotApplied => "later".into(),
        // It may have been done, or may yet be. Where a second time does harm, use a session: see the guide.
        Ok(Err(_)) | Err(_) => "unknown".into(),
    }
}
