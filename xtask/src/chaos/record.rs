//! What clients asked and were told: written down as it happens, in the format of `raft-history`, and
//! counted for the checks that need no search.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::content::Content;
use crate::util::resp::Reply;
use crate::util::{Context, Failure};

/// A command of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Get,
    Put(String),
    /// `None`: the key must hold nothing.
    Cas(Option<String>, String),
    Append(String),
    Incr,
    Del,
}

impl Command {
    pub(super) const fn is_read(&self) -> bool {
        matches!(self, Self::Get)
    }

    /// As raft-kv takes it.
    pub(super) fn words<'a>(&'a self, key: &'a str) -> Vec<&'a [u8]> {
        let words = match self {
            Self::Get => vec!["GET", key],
            Self::Put(value) => vec!["SET", key, value],
            Self::Cas(None, value) => vec!["SETNX", key, value],
            Self::Cas(Some(expected), value) => vec!["CAS", key, expected, value],
            Self::Append(value) => vec!["APPEND", key, value],
            Self::Incr => vec!["INCR", key],
            Self::Del => vec!["DEL", key],
        };
        words.into_iter().map(str::as_bytes).collect()
    }

    /// What the history says for a reply; `None` if the command has no such reply.
    pub(super) fn output(&self, reply: &Reply) -> Option<Value> {
        match (self, reply) {
            (Self::Get, Reply::Bulk(None)) => Some(Value::Null),
            (Self::Get, Reply::Bulk(Some(_))) => Some(Value::String(reply.text())),
            (Self::Put(_), Reply::Simple(text)) if text == "OK" => Some(json!(true)),
            (Self::Cas(..) | Self::Del, Reply::Integer(0 | 1)) => Some(json!(*reply == Reply::Integer(1))),
            (Self::Append(_) | Self::Incr, Reply::Integer(number)) => Some(json!(number)),
            _ => None,
        }
    }

    fn line(&self) -> Value {
        match self {
            Self::Get => json!({ "command": "get" }),
            Self::Put(value) => json!({ "command": "put", "value": value }),
            Self::Cas(expected, value) => json!({ "command": "cas", "expected": expected, "value": value }),
            Self::Append(value) => json!({ "command": "append", "value": value }),
            Self::Incr => json!({ "command": "incr", "by": 1 }),
            Self::Del => json!({ "command": "del" }),
        }
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) client: usize,
    pub(super) key: String,
    pub(super) command: Command,
    pub(super) invoked: u64,
    /// When it was answered, and how; `None`: nobody knows what became of it.
    pub(super) answer: Option<(u64, Value)>,
}

/// How many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) operations: u64,
    /// Writes that were acknowledged.
    pub(super) acked: u64,
    /// Writes of which nobody knows whether they happened.
    pub(super) unknown: u64,
}

/// What must be found at the end, without regard to order.
#[derive(Debug, Default)]
struct Tally {
    counts: Counts,
    /// What was appended: acknowledged or not.
    appended: BTreeMap<String, BTreeMap<String, bool>>,
    /// Increments: acknowledged, unknown.
    increments: BTreeMap<String, (i64, i64)>,
    keys: BTreeSet<String>,
    /// Replies that make no sense, and errors of the file.
    complaints: Vec<String>,
}

/// The record of one run, shared by all clients.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    inner: Mutex<(BufWriter<File>, Tally)>,
}

impl Record {
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).context(|| format!("cannot write {}", path.display()))?;
        let inner = Mutex::new((BufWriter::new(file), Tally::default()));
        Ok(Self { path: path.to_path_buf(), inner })
    }

    fn inner(&self) -> MutexGuard<'_, (BufWriter<File>, Tally)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, with everything in it.
    pub(super) fn file(&self) -> Result<&Path, Failure> {
        self.inner().0.flush().context(|| format!("cannot write {}", self.path.display()))?;
        Ok(&self.path)
    }

    /// Adds an operation that has ended for its client.
    pub(super) fn add(&self, operation: &Operation) {
        let Operation { client, key, command, invoked, answer } = operation;
        let mut line = command.line();
        line["client"] = json!(client);
        line["key"] = json!(key);
        line["invoked"] = json!(invoked);
        if let Some((completed, output)) = answer {
            line["completed"] = json!(completed);
            line["output"] = output.clone();
        }
        let mut inner = self.inner();
        let (file, tally) = &mut *inner;
        if let Err(error) = writeln!(file, "{line}") {
            tally.complain(format!("the history is not complete: {error}"));
        }
        tally.add(operation);
    }

    /// A server gave an answer that the command does not have.
    pub(super) fn complain(&self, what: String) {
        self.inner().1.complain(what);
    }

    pub(super) fn counts(&self) -> Counts {
        self.inner().1.counts
    }

    /// All keys that were named.
    pub(super) fn keys(&self) -> Vec<String> {
        self.inner().1.keys.iter().cloned().collect()
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        self.inner().1.complaints.clone()
    }

    /// Acknowledged appends and increments that are not there, and what is there that nobody sent.
    pub(super) fn lost(&self, content: &Content) -> Vec<String> {
        self.inner().1.lost(content)
    }
}

impl Tally {
    fn complain(&mut self, what: String) {
        if self.complaints.len() < 20 {
            self.complaints.push(what);
        }
    }

    fn add(&mut self, operation: &Operation) {
        let Operation { key, command, answer, .. } = operation;
        let acked = answer.is_some();
        self.counts.operations += 1;
        if !command.is_read() {
            self.counts.acked += u64::from(acked);
            self.counts.unknown += u64::from(!acked);
        }
        if !self.keys.contains(key) {
            self.keys.insert(key.clone());
        }
        match command {
            Command::Append(value) => {
                self.appended.entry(key.clone()).or_default().insert(value.clone(), acked);
            }
            Command::Incr => {
                let (sure, maybe) = self.increments.entry(key.clone()).or_default();
                *if acked { sure } else { maybe } += 1;
            }
            Command::Get | Command::Put(_) | Command::Cas(..) | Command::Del => {}
        }
    }

    fn lost(&self, content: &Content) -> Vec<String> {
        let value = |key: &str| content.get(key.as_bytes()).map(|value| String::from_utf8_lossy(value));
        let mut lost = Vec::new();
        for (key, appended) in &self.appended {
            let mut found: BTreeMap<String, usize> = BTreeMap::new();
            for token in value(key).unwrap_or_default().split_inclusive(';') {
                *found.entry(token.to_owned()).or_default() += 1;
            }
            for (token, acked) in appended {
                match found.remove(token) {
                    None if *acked => lost.push(format!("LOST: {key}: {token} was appended")),
                    None | Some(1) => {}
                    Some(times) => lost.push(format!("PHANTOM: {key}: {token} was appended {times} times")),
                }
            }
            lost.extend(found.keys().map(|token| format!("PHANTOM: {key}: nobody appended {token}")));
        }
        for (key, (sure, maybe)) in &self.increments {
            let number = value(key).map_or(Ok(0), |text| text.parse::<i64>()).unwrap_or(-1);
            if number < *sure {
                lost.push(format!("LOST: {key} is {number} after {sure} acknowledged increments"));
            } else if number > sure + maybe {
                lost.push(format!("PHANTOM: {key} is {number} after {} increments", sure + maybe));
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(key: &str, command: Command, answer: Option<Value>) -> Operation {
        let answer = answer.map(|output| (2, output));
        Operation { client: 1, key: key.into(), command, invoked: 1, answer }
    }

    #[test]
    fn what_is_lost_and_what_nobody_sent_is_found() {
        let mut tally = Tally::default();
        tally.add(&operation("t", Command::Append("a;".into()), Some(json!(2))));
        tally.add(&operation("t", Command::Append("b;".into()), None));
        tally.add(&operation("n", Command::Incr, Some(json!(1))));
        tally.add(&operation("n", Command::Incr, None));
        let lost = |t: &str, n: &str| {
            let pair = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
            tally.lost(&[pair("t", t), pair("n", n)].into())
        };
        for (t, n) in [("a;", "1"), ("a;b;", "2"), ("b;a;", "1")] {
            assert_eq!(lost(t, n), [""; 0]);
        }
        assert_eq!(lost("b;", "1"), ["LOST: t: a; was appended"]);
        assert_eq!(lost("a;a;", "1"), ["PHANTOM: t: a; was appended 2 times"]);
        assert_eq!(lost("a;c;", "1"), ["PHANTOM: t: nobody appended c;"]);
        assert_eq!(lost("a;", "0"), ["LOST: n is 0 after 1 acknowledged increments"]);
        assert_eq!(lost("a;", "3"), ["PHANTOM: n is 3 after 2 increments"]);
        assert_eq!(tally.lost(&Content::new()).len(), 2);
        assert_eq!(tally.counts, Counts { operations: 4, acked: 2, unknown: 2 });
    }

    #[test]
    fn lines_are_those_of_the_checker() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::create(&dir.path().join("history")).unwrap();
        record.add(&operation("k", Command::Cas(None, "a".into()), Some(json!(true))));
        record.add(&operation("k", Command::Get, None));
        let text = std::fs::read_to_string(record.file().unwrap()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            lines,
            [
                json!({"client": 1, "key": "k", "command": "cas", "expected": null, "value": "a", "invoked": 1,
                    "completed": 2, "output": true}),
                json!({"client": 1, "key": "k", "command": "get", "invoked": 1}),
            ]
        );
    }

    #[test]
    fn only_a_reply_that_the_command_has_is_one() {
        let ok = Reply::Simple("OK".into());
        assert_eq!(Command::Put("a".into()).output(&ok), Some(json!(true)));
        assert_eq!(Command::Get.output(&Reply::Bulk(None)), Some(Value::Null));
        assert_eq!(Command::Get.output(&ok), None);
        assert_eq!(Command::Del.output(&Reply::Integer(0)), Some(json!(false)));
        assert_eq!(Command::Del.output(&Reply::Integer(2)), None);
    }
}
