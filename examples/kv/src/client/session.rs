//! What a connection remembers, and how its commands become turns.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use raft_core::ids::SessionId;
use raft_core::session::Mark;

use super::Output;
use super::exactly_once::{is_numbered, take_number};
use super::turn::Turn;
use crate::backup::Stream;
use crate::command::{Kind, Op, Spec, find};
use crate::resp::{Protocol, Reply, Requests, translate, translate_from};
use crate::server::Server;

/// Commands of one turn at most.
const TURN_COMMANDS: usize = 4096;

/// Commands that a transaction may hold, in bytes.
const QUEUE_BYTES: usize = 16 << 20;

/// The commands of a transaction so far.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) commands: Vec<(Op, Vec<Bytes>)>,
    pub(crate) slot: u16,
    bytes: usize,
    /// A command was refused: `EXEC` will refuse them all.
    refused: bool,
}

/// What a follower does with reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reads {
    /// It names the leader.
    #[default]
    Moved,
    /// It asks the leader how far it must have applied, and answers then (`RAFT READS FOLLOWER`).
    Current,
    /// It answers with what it has (`READONLY`).
    Stale,
}

/// What a connection remembers.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) server: Arc<Server>,
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    pub(crate) authenticated: bool,
    /// What a follower does with its reads.
    pub(crate) reads: Reads,
    pub(crate) queue: Option<Queue>,
    pub(crate) watched: Vec<(Bytes, u64)>,
    /// Numbered commands that do not name a session are of this one.
    pub(crate) session: Option<SessionId>,
    /// A backup that it fetches.
    pub(crate) backup: Option<Box<Stream>>,
    /// It asked to go.
    pub(crate) quits: bool,
}

impl Session {
    /// A connection that has just been made.
    pub(crate) fn new(server: Arc<Server>, id: u64, address: String) -> Self {
        let authenticated = server.password.is_none();
        Self {
            server,
            id,
            address,
            name: String::new(),
            protocol: Protocol::Resp2,
            authenticated,
            reads: Reads::default(),
            queue: None,
            watched: Vec::new(),
            session: None,
            backup: None,
            quits: false,
        }
    }

    /// Serves all whole commands that have arrived. `false` if the connection must end.
    pub(crate) async fn serve(&mut self, requests: &mut Requests, output: &mut Output) -> io::Result<bool> {
        let mut turn = Turn::default();
        loop {
            let args = match requests.next(self.limits()) {
                Ok(Some(args)) => args,
                Ok(None) => break,
                Err(error) => {
                    turn.finish(self, output).await?;
                    self.answer(output, |reply| reply.error(&format!("ERR Protocol error: {error}")));
                    return Ok(false);
                }
            };
            self.take(args, &mut turn, output).await?;
            if self.quits {
                return Ok(false);
            }
            if turn.len() >= TURN_COMMANDS {
                turn.finish(self, output).await?;
            }
        }
        turn.finish(self, output).await?;
        Ok(true)
    }

    /// Makes one reply now.
    pub(crate) fn answer(&self, output: &mut Output, make: impl FnOnce(&mut Reply)) {
        // In its place among the others: most need no translation.
        let mut reply = Reply::after(std::mem::take(&mut output.buffer));
        let from = reply.len();
        make(&mut reply);
        output.buffer = reply.into_bytes();
        translate_from(&mut output.buffer, from, self.protocol);
    }

    async fn take(&mut self, args: Vec<Bytes>, turn: &mut Turn, output: &mut Output) -> io::Result<()> {
        let Some((name, rest)) = args.split_first() else { return Ok(()) };
        let spec = match find(name) {
            None => Err(unknown(name, rest)),
            Some(spec) if !spec.takes(args.len()) => Err(wrong_number(spec)),
            Some(spec) => Ok(spec),
        };
        let stranger = !self.authenticated
            && spec
                .as_ref()
                .is_ok_and(|spec| !matches!(spec.op, Op::Auth | Op::Hello | Op::Quit | Op::Reset));
        if stranger {
            turn.answer(|reply| reply.error("NOAUTH Authentication required."));
            return Ok(());
        }
        let spec = match spec {
            Ok(spec) => spec,
            Err(error) => {
                if let Some(queue) = &mut self.queue {
                    queue.refused = true;
                }
                if is_http(name) {
                    // A browser that was led here must not reach the commands in its body.
                    self.quits = true;
                }
                turn.answer(|reply| reply.error(&error));
                if self.quits {
                    turn.finish(self, output).await?;
                }
                return Ok(());
            }
        };
        if spec.op == Op::Raft && is_numbered(&args) {
            self.take_numbered(&args, turn);
            return Ok(());
        }
        if self.queue.is_some() {
            self.take_queued(spec, args, None, turn);
            return Ok(());
        }
        match (spec.kind, spec.op) {
            (Kind::Write | Kind::Read, _) => turn.add(spec, args, None),
            (_, Op::Ping) => turn.answer(|reply| match (args.get(1), args.len()) {
                (None, _) => reply.simple("PONG"),
                (Some(text), 2) => reply.bulk(text),
                _ => reply.error(&wrong_number(spec)),
            }),
            (_, Op::Echo) => turn.answer(|reply| reply.bulk(args.get(1).map_or(&[], AsRef::as_ref))),
            (_, Op::Multi) => {
                self.queue = Some(Queue::default());
                turn.answer(Reply::ok);
            }
            (_, Op::Exec) => turn.answer(|reply| reply.error("ERR EXEC without MULTI")),
            (_, Op::Discard) => turn.answer(|reply| reply.error("ERR DISCARD without MULTI")),
            (_, Op::Unwatch) => {
                self.watched.clear();
                turn.answer(Reply::ok);
            }
            (_, op) => {
                // Everything else comes after what came before.
                turn.finish(self, output).await?;
                let mut reply = Reply::default();
                // Seldom, and some of them await much: not in the memory of every connection.
                Box::pin(self.local(op, &args, &mut reply)).await;
                // `HELLO` answers in the protocol that it has chosen.
                translate(&reply.into_bytes(), self.protocol, &mut output.buffer);
                output.relieve().await?;
            }
        }
        Ok(())
    }

    /// `RAFT SEQ n ...`: a command that writes, or the `EXEC` of a transaction, under its number.
    fn take_numbered(&mut self, args: &[Bytes], turn: &mut Turn) {
        let numbered = take_number(args, self.session).map_err(str::to_owned);
        let found = numbered.and_then(|(mark, args)| {
            let Some((name, rest)) = args.split_first() else { return Err(String::new()) };
            match find(name) {
                None => Err(unknown(name, rest)),
                Some(spec) if !spec.takes(args.len()) => Err(wrong_number(spec)),
                Some(spec) if spec.op == Op::Exec => Ok((spec, mark, args)),
                Some(spec) if spec.kind == Kind::Write && self.queue.is_none() => Ok((spec, mark, args)),
                Some(Spec { kind: Kind::Write, .. }) => {
                    Err("ERR in a transaction the number belongs to EXEC".to_owned())
                }
                Some(_) => Err("ERR only commands that write, and EXEC, have numbers".to_owned()),
            }
        });
        match found {
            Ok((spec, mark, args)) if self.queue.is_some() => self.take_queued(spec, args, Some(mark), turn),
            Ok((spec, mark, args)) if spec.kind == Kind::Write => turn.add(spec, args, Some(mark)),
            Ok(_) => turn.answer(|reply| reply.error("ERR EXEC without MULTI")),
            Err(error) => {
                if let Some(queue) = &mut self.queue {
                    queue.refused = true;
                }
                turn.answer(|reply| reply.error(&error));
            }
        }
    }

    /// Between `MULTI` and `EXEC`.
    fn take_queued(
        &mut self,
        spec: &'static Spec,
        mut args: Vec<Bytes>,
        mark: Option<Mark>,
        turn: &mut Turn,
    ) {
        let leads = self.server.leads();
        let Some(queue) = &mut self.queue else { return };
        match (spec.kind, spec.op) {
            (_, Op::Exec) => {
                let queue = self.queue.take().unwrap_or_default();
                let watched = std::mem::take(&mut self.watched);
                if queue.refused {
                    turn.answer(|reply| {
                        reply.error("EXECABORT Transaction discarded because of previous errors.");
                    });
                } else if queue.commands.is_empty() && watched.is_empty() {
                    turn.answer(|reply| reply.array(0));
                } else {
                    turn.add_transaction(&watched, &queue, mark);
                }
            }
            (_, Op::Discard) => {
                self.queue = None;
                self.watched.clear();
                turn.answer(Reply::ok);
            }
            (_, Op::Multi) => turn.answer(|reply| reply.error("ERR MULTI calls can not be nested")),
            (_, Op::Watch) => turn.answer(|reply| reply.error("ERR WATCH inside MULTI is not allowed")),
            (_, Op::Quit | Op::Reset) => {
                self.queue = None;
                self.watched.clear();
                if spec.op == Op::Quit {
                    self.quits = true;
                    turn.answer(Reply::ok);
                } else {
                    turn.answer(|reply| reply.simple("RESET"));
                }
            }
            (Kind::Local, _) => {
                queue.refused = true;
                turn.answer(|reply| reply.error("ERR Command not allowed inside a transaction"));
            }
            _ => {
                queue.bytes += args.iter().map(|arg| arg.len() + 16).sum::<usize>();
                if queue.bytes > QUEUE_BYTES {
                    queue.refused = true;
                    queue.commands.clear();
                    turn.answer(|reply| reply.error("ERR the transaction is too large"));
                    return;
                }
                if let Some(key) = spec.keys(&args).next() {
                    queue.slot = super::cluster::slot(key);
                }
                if !leads {
                    queue.refused = true;
                    let leader = self.server.node.status().leader.clone();
                    let error = raft_core::error::ReadError::NotLeader { leader };
                    let slot = queue.slot;
                    let me = self.server.me();
                    turn.answer(|reply| reply.error(&crate::refusal::of_read(&error, me, slot)));
                    return;
                }
                args.remove(0);
                queue.commands.push((spec.op, args));
                turn.answer(|reply| reply.simple("QUEUED"));
            }
        }
    }
}

/// Redis' sentence for a command that it does not know.
fn unknown(name: &[u8], args: &[Bytes]) -> String {
    let short = |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..128).unwrap_or(bytes)).into_owned();
    let args: String = args.iter().take(8).map(|arg| format!("'{}' ", short(arg))).collect();
    format!("ERR unknown command '{}', with args beginning with: {args}", short(name))
}

/// Redis' sentence for too many or too few arguments.
pub(crate) fn wrong_number(spec: &Spec) -> String {
    let help = if spec.op == Op::Raft { "; RAFT HELP lists what there is" } else { "" };
    format!("ERR wrong number of arguments for '{}' command{help}", spec.name)
}

fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_raft_alone_is_told_where_the_list_is() {
        assert!(
            wrong_number(find(b"raft").unwrap()).ends_with("'raft' command; RAFT HELP lists what there is")
        );
        assert!(wrong_number(find(b"get").unwrap()).ends_with("'get' command"));
    }
}
