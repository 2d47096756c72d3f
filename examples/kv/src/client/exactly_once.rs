//! `RAFT SESSION ...` and `RAFT SEQ n ...`: commands that are done once, however often a client sends them.

use std::time::Duration;

use bytes::Bytes;
use raft_core::ids::SessionId;
use raft_core::node::SessionError;
use raft_core::session::Mark;

use super::local::{unknown_subcommand, upper};
use super::session::Session;
use crate::refusal;
use crate::resp::Reply;

const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";

fn number(arg: &[u8]) -> Option<u64> {
    // `parse` takes a sign as well.
    let digits = !arg.is_empty() && arg.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(arg).ok().filter(|_| digits)?.parse().ok()
}

/// Whether a command is `RAFT SEQ ...`.
pub(crate) fn is_numbered(args: &[Bytes]) -> bool {
    args.get(1).is_some_and(|arg| arg.eq_ignore_ascii_case(b"seq"))
}

/// Takes `RAFT SEQ n [SESSION id] [ACK m]` off a command. `used` is the connection's session.
pub(crate) fn take_number(
    args: &[Bytes],
    used: Option<SessionId>,
) -> Result<(Mark, Vec<Bytes>), &'static str> {
    let mut rest = args.get(2..).unwrap_or_default();
    let mut next = || {
        let (first, after) = rest.split_first()?;
        rest = after;
        Some(first)
    };
    let sequence = next().and_then(|arg| number(arg)).ok_or(NOT_A_NUMBER)?;
    let (mut session, mut acknowledged_below) = (used, 0);
    loop {
        let option = upper(rest.first());
        let value = match (option.as_slice(), rest) {
            (b"SESSION" | b"ACK", [_, value, after @ ..]) => {
                rest = after;
                number(value).ok_or(NOT_A_NUMBER)?
            }
            _ => break,
        };
        match option.as_slice() {
            b"SESSION" => session = Some(SessionId(value)),
            _ => acknowledged_below = value,
        }
    }
    let session = session.filter(|id| id.0 > 0);
    let session = session.ok_or("ERR no session: say SESSION id, or RAFT SESSION USE id before")?;
    if rest.is_empty() {
        return Err("ERR wrong number of arguments for 'raft|seq' command");
    }
    Ok((Mark { session, sequence, acknowledged_below }, rest.to_vec()))
}

/// Answers `RAFT SESSION ...`.
pub(crate) async fn command(connection: &mut Session, args: &[Bytes], reply: &mut Reply) {
    let server = std::sync::Arc::clone(&connection.server);
    let node = &server.node;
    let done = |result: Result<(), SessionError>, reply: &mut Reply| match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(&refusal::of_session_error(&error, server.me(), 0)),
    };
    match (upper(args.get(2)).as_slice(), args.get(3..).unwrap_or_default()) {
        (b"OPEN", options) => {
            let timeout = match options {
                [] => None,
                [name, millis] if name.eq_ignore_ascii_case(b"timeout") => match number(millis) {
                    Some(millis) => Some(Duration::from_millis(millis)),
                    None => return reply.error(NOT_A_NUMBER),
                },
                _ => return reply.error("ERR syntax error"),
            };
            match node.open_session(timeout).await {
                Ok(session) => reply.integer(i64::try_from(session.id().0).unwrap_or(i64::MAX)),
                Err(error) => done(Err(error), reply),
            }
        }
        (b"USE", [id]) => match number(id) {
            Some(id) => {
                connection.session = Some(SessionId(id)).filter(|id| id.0 > 0);
                reply.ok();
            }
            None => reply.error(NOT_A_NUMBER),
        },
        (b"KEEPALIVE", [id, options @ ..]) => {
            let below = match options {
                [] => Some(0),
                [name, below] if name.eq_ignore_ascii_case(b"ack") => number(below),
                _ => return reply.error("ERR syntax error"),
            };
            match (number(id), below) {
                (Some(id), Some(below)) => done(node.keep_session_alive(SessionId(id), below).await, reply),
                _ => reply.error(NOT_A_NUMBER),
            }
        }
        (b"CLOSE", [id]) => match number(id) {
            Some(id) => done(node.close_session(SessionId(id)).await, reply),
            None => reply.error(NOT_A_NUMBER),
        },
        _ => unknown_subcommand("RAFT SESSION", args.get(2), reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, used: Option<u64>) -> Result<(u64, u64, u64, String), &'static str> {
        let args: Vec<Bytes> = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        assert!(is_numbered(&args));
        let (mark, rest) = take_number(&args, used.map(SessionId))?;
        let rest: Vec<_> = rest.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        Ok((mark.session.0, mark.sequence, mark.acknowledged_below, rest.join(" ")))
    }

    #[test]
    fn numbers_are_taken_off() {
        let ok = |session, sequence, below, rest: &str| Ok((session, sequence, below, rest.to_owned()));
        assert_eq!(parse("RAFT SEQ 5 INCR k", Some(9)), ok(9, 5, 0, "INCR k"));
        assert_eq!(parse("raft seq 5 ack 4 incr k", Some(9)), ok(9, 5, 4, "incr k"));
        assert_eq!(parse("raft seq 5 session 7 ack 4 set ack 1", Some(9)), ok(7, 5, 4, "set ack 1"));
        assert_eq!(parse("raft seq 5 ack 4 session 7 exec", None), ok(7, 5, 4, "exec"));
        let none = Err("ERR no session: say SESSION id, or RAFT SESSION USE id before");
        assert_eq!(parse("raft seq 5 incr k", None), none);
        assert_eq!(parse("raft seq 5 session 0 incr k", Some(9)), none);
        for line in ["raft seq x incr k", "raft seq +5 incr k", "raft seq 5 ack -1 incr k", "raft seq"] {
            assert_eq!(parse(line, Some(9)), Err(NOT_A_NUMBER), "{line}");
        }
        let short = Err("ERR wrong number of arguments for 'raft|seq' command");
        assert_eq!(parse("raft seq 5", Some(9)), short);
        assert_eq!(parse("raft seq 5 ack 3", Some(9)), short);
        // An option without a value is a command; it is not known, and that will be said.
        assert_eq!(parse("raft seq 5 ack", Some(9)), ok(9, 5, 0, "ack"));
    }
}
