//! Commands as they stand in the log, for people and for programs.

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
