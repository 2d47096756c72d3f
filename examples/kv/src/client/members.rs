//! `RAFT ADD-LEARNER`, `PROMOTE`, `DEMOTE`, `REMOVE`, `REPLACE`, `UPDATE`, `CHANGE` and `PLAN`: who belongs to
//! the cluster.

use std::time::Duration;

use bytes::Bytes;
use raft_core::ids::NodeId;
use raft_core::membership::{Change, Member};
use raft_core::raft::ChangeOptions;

use super::local::upper;
use crate::refusal;
use crate::resp::Reply;
use crate::server::Server;
use crate::settings;

/// How long `WAIT` without a number waits for new voters to catch up.
const WAIT: Duration = Duration::from_secs(60);

/// What is asked for: all of it is one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) changes: Vec<Change>,
    pub(crate) options: ChangeOptions,
}

/// Answers if this is a command about members; whether it is.
pub(super) async fn command(server: &Server, args: &[Bytes], reply: &mut Reply) -> bool {
    let name = upper(args.first());
    let wish = match name.as_slice() {
        b"PLAN" | b"CHANGE" => parse(args.get(1..).unwrap_or_default()),
        b"ADD-LEARNER" | b"PROMOTE" | b"DEMOTE" | b"REMOVE" | b"REPLACE" | b"UPDATE" => match parse(args) {
            Ok(wish) if wish.changes.len() > 1 => Err(String::from("several at once are RAFT CHANGE ...")),
            other => other,
        },
        _ => return false,
    };
    match wish {
        Err(what) => reply.error(&format!("ERR {what}")),
        Ok(wish) if name == b"PLAN" => plan(server, wish, reply).await,
        Ok(Wish { changes, options }) => match server.node.change_membership(changes, options).await {
            Ok(_) => reply.ok(),
            Err(error) => reply.error(&refusal::of_change(&error, server.me())),
        },
    }
    true
}

/// What it would come to, and what speaks against it. Changes nothing.
async fn plan(server: &Server, wish: Wish, reply: &mut Reply) {
    match server.node.plan_membership(wish.changes).await {
        Ok((plan, objections)) => {
            let mut text = plan.to_string();
            for objection in objections {
                text += &format!("refused now: {objection}\n");
            }
            reply.bulk(text.as_bytes());
        }
        Err(error) => reply.error(&refusal::of_change(&error, server.me())),
    }
}

/// `ADD-LEARNER id peer@client`, `PROMOTE id`, `DEMOTE id`, `REMOVE id`, `REPLACE old new peer@client`,
/// `UPDATE id peer@client`, one or several, then `WAIT [ms]` and `FORCE` in any order.
pub(crate) fn parse(words: &[Bytes]) -> Result<Wish, String> {
    let mut words = Words(words);
    let mut wish = Wish { changes: Vec::new(), options: ChangeOptions::default() };
    while let Some(word) = words.next() {
        let change = match upper(Some(word)).as_slice() {
            b"ADD-LEARNER" => Change::AddLearner(words.member()?),
            b"PROMOTE" => Change::Promote(words.id()?),
            b"DEMOTE" => Change::Demote(words.id()?),
            b"REMOVE" => Change::Remove(words.id()?),
            b"REPLACE" => Change::Replace { old: words.id()?, new: words.member()? },
            b"UPDATE" => Change::Update(words.member()?),
            b"FORCE" => {
                wish.options = wish.options.force(true);
                continue;
            }
            b"WAIT" => {
                let span = words.number().map_or(WAIT, Duration::from_millis);
                wish.options = wish.options.wait(span);
                continue;
            }
            _ => return Err(format!("'{}' is no change of members", String::from_utf8_lossy(word))),
        };
        wish.changes.push(change);
    }
    if wish.changes.is_empty() {
        return Err(String::from("no change of members is named"));
    }
    Ok(wish)
}

/// The words that are left.
struct Words<'a>(&'a [Bytes]);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a Bytes> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// The next word, if it is a number.
    fn number(&mut self) -> Option<u64> {
        let number = std::str::from_utf8(self.0.first()?).ok()?.parse().ok()?;
        self.0 = &self.0[1..];
        Some(number)
    }

    fn id(&mut self) -> Result<NodeId, String> {
        match self.number() {
            Some(0) => Err(String::from("a node id must not be 0")),
            Some(id) => Ok(NodeId(id)),
            None => Err(String::from("the node id is not a number")),
        }
    }

    fn member(&mut self) -> Result<Member, String> {
        let id = self.id()?;
        let addresses = self.next().and_then(|word| std::str::from_utf8(word).ok()).unwrap_or_default();
        settings::member(id, addresses)
            .map_err(|_| format!("'{addresses}' is not PEER-HOST:PORT@CLIENT-HOST:PORT"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::CLIENT;

    fn wish(text: &str) -> Result<Wish, String> {
        let words: Vec<Bytes> = text.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        parse(&words)
    }

    #[test]
    fn one_or_several_changes_and_how() {
        let four = Member::new(NodeId(4), "127.0.0.1:7104").with(CLIENT, "127.0.0.1:7004");
        let one = wish("add-learner 4 127.0.0.1:7104@127.0.0.1:7004").unwrap();
        assert_eq!(one.changes, [Change::AddLearner(four.clone())]);
        assert_eq!(one.options, ChangeOptions::default());
        let all =
            wish("REPLACE 2 4 127.0.0.1:7104@127.0.0.1:7004 PROMOTE 5 DEMOTE 3 WAIT 500 FORCE").unwrap();
        let replace = Change::Replace { old: NodeId(2), new: four };
        assert_eq!(all.changes, [replace, Change::Promote(NodeId(5)), Change::Demote(NodeId(3))]);
        assert_eq!(all.options, ChangeOptions::default().force(true).wait(Duration::from_millis(500)));
        let patient = wish("PROMOTE 5 WAIT FORCE").unwrap();
        assert_eq!(patient.options, ChangeOptions::default().force(true).wait(WAIT));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, what) in [
            ("PROMOTE x", "the node id is not a number"),
            ("PROMOTE", "the node id is not a number"),
            ("REMOVE 0", "a node id must not be 0"),
            ("ADD-LEARNER 4", "'' is not PEER-HOST:PORT@CLIENT-HOST:PORT"),
            ("ADD-LEARNER 4 here", "'here' is not PEER-HOST:PORT@CLIENT-HOST:PORT"),
            ("REMOVE 4 SOON", "'SOON' is no change of members"),
            ("FORCE", "no change of members is named"),
        ] {
            assert_eq!(wish(text), Err(what.into()), "{text}");
        }
    }
}
