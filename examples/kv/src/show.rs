//! Commands as they stand in the log, for people and for programs.

use raft_core::session::{self, Mark, Stamped};
use serde_json::{Value, json};

use crate::command::{COMMANDS, Op};
use crate::log_codec::{Logged, decode};

fn name(op: Op) -> &'static str {
    COMMANDS.iter().find(|spec| spec.op == op).map_or("?", |spec| spec.name)
}

/// On one line; long arguments are cut.
pub(crate) fn text(command: &[u8]) -> String {
    let line = |op: Op, args: &[&[u8]]| {
        let args = args.iter().map(|arg| {
            let cut = if arg.len() > 64 { "..." } else { "" };
            format!(" \"{}{cut}\"", arg.get(..64).unwrap_or(arg).escape_ascii())
        });
        name(op).to_owned() + &args.collect::<String>()
    };
    let mut args = Vec::new();
    match decode(command, &mut args) {
        Ok(Logged::Command(op)) => line(op, &args),
        Ok(Logged::Transaction { watched, commands }) => {
            let lines: Vec<_> = commands.iter().map(|(op, args)| line(*op, args)).collect();
            format!("multi watching {}: {}", watched.len(), lines.join("; "))
        }
        Err(error) => error.to_string(),
    }
}

/// The same, with its number in its session.
pub(crate) fn numbered(mark: Option<Mark>, command: &[u8]) -> String {
    let number = mark.map_or_else(String::new, |Mark { session, sequence, acknowledged_below }| {
        format!("session {session} seq {sequence} ack {acknowledged_below}: ")
    });
    number + &text(command)
}

/// What an entry does to a session.
pub(crate) fn session_entry(data: &[u8]) -> String {
    match Stamped::decode(data) {
        Ok(Stamped { time, op }) => match op {
            session::Op::Open { timeout, .. } => {
                format!("at {time} open, timeout {} ms", timeout.as_millis())
            }
            session::Op::KeepAlive { session, acknowledged_below } => {
                format!("at {time} keep {session} alive, ack {acknowledged_below}")
            }
            session::Op::Close { session } => format!("at {time} close {session}"),
        },
        Err(error) => format!("{} bytes: {error}", data.len()),
    }
}

/// Whole. Bytes are escaped as in Rust's string literals, so that nothing is lost.
pub(crate) fn value(command: &[u8]) -> Value {
    let escaped = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let one = |op: Op, args: &[&[u8]]| json!({ "name": name(op), "args": args.iter().map(|arg| escaped(arg)).collect::<Vec<_>>() });
    let mut args = Vec::new();
    match decode(command, &mut args) {
        Ok(Logged::Command(op)) => one(op, &args),
        Ok(Logged::Transaction { watched, commands }) => json!({
            "watched": watched
                .iter()
                .map(|(key, version)| json!({ "key": escaped(key), "version": version }))
                .collect::<Vec<_>>(),
            "commands": commands.iter().map(|(op, args)| one(*op, args)).collect::<Vec<_>>(),
        }),
        Err(_) => json!({ "unknown": escaped(command) }),
    }
}

/// The same, with its number in its session.
pub(crate) fn numbered_value(mark: Option<Mark>, command: &[u8]) -> Value {
    let mut value = value(command);
    if let (Some(mark), Some(object)) = (mark, value.as_object_mut()) {
        let Mark { session, sequence, acknowledged_below } = mark;
        object.insert("session".into(), session.0.into());
        object.insert("seq".into(), sequence.into());
        object.insert("ack".into(), acknowledged_below.into());
    }
    value
}
