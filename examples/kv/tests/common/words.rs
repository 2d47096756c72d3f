//! What is read out of the words of a request, for the fuzz targets `wishes` and `numbered`: said again it is the same,
//! and what cannot be read is refused with one sentence.

use bytes::Bytes;
use raft_core::ids::{NodeId, SessionId};
use raft_core::membership::{Change, Member};

use crate::client::exactly_once::{is_numbered, take_number};
use crate::client::members::{Wish, parse};
use crate::resp::{Protocol, Reply, translate};
use crate::settings::{CLIENT, HTTP};

pub(crate) const WISHES: &[&[u8]] = &[
    b"ADD-LEARNER ",
    b"PROMOTE ",
    b"DEMOTE ",
    b"REMOVE ",
    b"REPLACE ",
    b"UPDATE ",
    b" WAIT",
    b" WAIT 18446744073709551615",
    b" FORCE",
    b"18446744073709551616",
    b"a:1@b:2",
    b"a:1@b:2@c:3",
    b"[::1]:7000@[::1]:7001",
    b"@",
];

pub(crate) const NUMBERED: &[&[u8]] =
    &[b"raft seq ", b" session ", b" ack ", b"18446744073709551615", b"18446744073709551616", b" 0", b"+1"];

/// Inputs that are typed.
pub(crate) fn lines(lines: &[&str]) -> Vec<Vec<u8>> {
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}

/// A request whose words stand between spaces: they may hold anything else.
fn split(bytes: &[u8]) -> Vec<Bytes> {
    bytes.split(|byte| *byte == b' ').map(Bytes::copy_from_slice).collect()
}

pub(crate) fn wishes(input: &[u8]) {
    match parse(&split(input)) {
        Ok(wish) => {
            assert!(!wish.changes.is_empty());
            assert_eq!(parse(&split(said(&wish).as_bytes())), Ok(wish));
        }
        Err(what) => is_a_sentence(&format!("ERR {what}")),
    }
}

/// The same wish in other words.
fn said(wish: &Wish) -> String {
    let member = |member: &Member| {
        assert_ne!(member.id, NodeId(0));
        let http = member.attributes.get(HTTP).map_or_else(String::new, |http| format!("@{http}"));
        format!("{} {}@{}{http}", member.id, member.address, member.attributes[CLIENT])
    };
    let mut words: Vec<String> = Vec::new();
    if wish.options.force {
        words.push("force".into());
    }
    for change in &wish.changes {
        words.push(match change {
            Change::AddLearner(new) => format!("add-learner {}", member(new)),
            Change::Promote(id) => format!("promote {id}"),
            Change::Demote(id) => format!("demote {id}"),
            Change::Remove(id) => format!("remove {id}"),
            Change::Replace { old, new } => format!("replace {old} {}", member(new)),
            Change::Update(moved) => format!("update {}", member(moved)),
            other => panic!("no word asks for {other:?}"),
        });
    }
    if let Some(span) = wish.options.wait {
        words.push(format!("wait {}", span.as_millis()));
    }
    words.join(" ")
}

pub(crate) fn numbered(input: &[u8]) {
    let Some((used, rest)) = input.split_first() else { return };
    let used = Some(SessionId(u64::from(*used)));
    let args = split(rest);
    if !is_numbered(&args) {
        return;
    }
    match take_number(&args, used) {
        Ok((mark, command)) => {
            assert_ne!(mark.session, SessionId(0));
            assert!(!command.is_empty() && args.ends_with(&command));
            let (session, below) = (mark.session.0, mark.acknowledged_below);
            let mut again =
                split(format!("x SEQ {} ack {below} Session {session}", mark.sequence).as_bytes());
            again.extend(command.iter().cloned());
            // Who names a session needs none before.
            assert_eq!(take_number(&again, None), Ok((mark, command)));
        }
        Err(what) => is_a_sentence(what),
    }
}

/// What is answered is one reply, whatever it repeats of what was said.
fn is_a_sentence(text: &str) {
    let mut reply = Reply::default();
    reply.error(text);
    let reply = reply.into_bytes();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut out = Vec::new();
        translate(&reply, protocol, &mut out);
        assert_eq!(crate::replies(&out, protocol), Some(1), "{text:?}");
    }
}
