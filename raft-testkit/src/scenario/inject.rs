//! Messages that nobody sent: impossible ones, hostile ones, very late ones.
//!
//! ```text
//! vote | pre-vote [transfer] last T.I
//! grant | deny | veto [pre] asked T
//! heartbeat round R commit C
//! heartbeat-reply round R matched M last L [probation]
//! append after T.I [T.I ...] commit C
//! ack M
//! reject prev P hint T.I last L
//! timeout-now
//! rolled-back M
//! ```

use core::time::Duration;

use bytes::Bytes;
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, Term};
use raft_core::message::{
    Append, AppendReply, Ballot, Heartbeat, HeartbeatReply, Message, Notice, ReadIndex, ReadIndexReply,
    TimeoutNow, VoteReply, VoteRequest,
};

use super::words::Words;

/// Reads a message.
pub(super) fn message(words: &mut Words) -> Result<Message, String> {
    let kind = words.next("a message")?;
    Ok(match kind.as_str() {
        "vote" | "pre-vote" => {
            let transfer = words.take("transfer");
            words.expect("last")?;
            let (pre, last) = (kind == "pre-vote", words.log_id()?);
            Message::Vote(VoteRequest { pre, transfer, last, told: words.keyed("told", 0)? })
        }
        "grant" | "deny" | "veto" => {
            let ballot = match kind.as_str() {
                "grant" => Ballot::Granted,
                "deny" => Ballot::Denied,
                _ => Ballot::Vetoed,
            };
            let pre = words.take("pre");
            Message::VoteReply(VoteReply { pre, asked: Term(words.keyed("asked", 0)?), ballot })
        }
        "heartbeat" => {
            let round = words.keyed("round", 1)?;
            Message::Heartbeat(Heartbeat { round, commit: Index(words.keyed("commit", 0)?) })
        }
        "heartbeat-reply" => Message::HeartbeatReply(HeartbeatReply {
            round: words.keyed("round", 0)?,
            matched: Index(words.keyed("matched", 0)?),
            last: Index(words.keyed("last", 0)?),
            probation: words.take("probation"),
            slow: words.take("slow"),
            promise: Duration::from_millis(words.keyed("promise", 0)?),
            priority: i8::try_from(words.keyed("priority", 0)?).map_err(|error| error.to_string())?,
        }),
        "append" => {
            words.expect("after")?;
            let prev = words.log_id()?;
            let ids = words.log_ids().into_iter();
            let entries = ids.map(|id| Entry { id, kind: EntryKind::Noop, data: Bytes::new() }).collect();
            Message::Append(Append { prev, entries, commit: Index(words.keyed("commit", 0)?) })
        }
        "ack" => Message::AppendReply(AppendReply::Matched { matched: Index(words.number("an index")?) }),
        "reject" => {
            let prev = Index(words.keyed("prev", 0)?);
            words.expect("hint")?;
            let hint = words.log_id()?;
            let last = Index(words.keyed("last", 0)?);
            Message::AppendReply(AppendReply::Rejected { prev, hint, last })
        }
        "timeout-now" => Message::TimeoutNow(TimeoutNow { round: words.keyed("round", 0)? }),
        "read-index" => Message::ReadIndex(ReadIndex { id: words.number("an id")? }),
        "read-index-reply" => {
            let id = words.number("an id")?;
            let index = if words.take("none") { None } else { Some(Index(words.number("an index")?)) };
            Message::ReadIndexReply(ReadIndexReply { id, index })
        }
        "rolled-back" => {
            Message::Notice(Notice::RolledBack { acknowledged: Index(words.number("an index")?) })
        }
        _ => return Err(format!("no such message: {kind}")),
    })
}
