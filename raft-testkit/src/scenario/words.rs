//! The words of one command, taken one after the other.

use core::time::Duration;
use std::collections::VecDeque;

use raft_core::ids::{LogId, NodeId};
use raft_core::message::Lane;

/// What is left of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words(VecDeque<String>);

type Parsed<T> = Result<T, String>;

impl Words {
    /// Splits a line at spaces, except within quotes; a `#` outside of quotes begins a comment.
    pub(super) fn split(line: &str) -> Parsed<Self> {
        let mut words = VecDeque::new();
        let mut word = String::new();
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                '#' if !quoted => break,
                c if c.is_whitespace() && !quoted => {
                    if !word.is_empty() {
                        words.push_back(core::mem::take(&mut word));
                    }
                    continue;
                }
                _ => {}
            }
            word.push(c);
        }
        if quoted {
            return Err("a quote is not closed".into());
        }
        if !word.is_empty() {
            words.push_back(word);
        }
        Ok(Self(words))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn next(&mut self, what: &str) -> Parsed<String> {
        self.0.pop_front().ok_or_else(|| format!("{what} is missing"))
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Parsed<()> {
        self.0.front().map_or(Ok(()), |word| Err(format!("unexpected: {word}")))
    }

    /// Takes the next word if it is this one.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let is = self.0.front().is_some_and(|next| next == word);
        if is {
            self.0.pop_front();
        }
        is
    }

    /// Demands this word.
    pub(super) fn expect(&mut self, word: &str) -> Parsed<()> {
        if self.take(word) { Ok(()) } else { Err(format!("expected `{word}`")) }
    }

    /// A number; `max` is the greatest.
    pub(super) fn number(&mut self, what: &str) -> Parsed<u64> {
        number(&self.next(what)?)
    }

    pub(super) fn node(&mut self) -> Parsed<NodeId> {
        self.number("a node").map(NodeId)
    }

    /// The number after `key`, if that word comes next; else `default`.
    pub(super) fn keyed(&mut self, key: &str, default: u64) -> Parsed<u64> {
        if self.take(key) { self.number(key) } else { Ok(default) }
    }

    /// `term.index`
    pub(super) fn log_id(&mut self) -> Parsed<LogId> {
        log_id(&self.next("a log id")?)
    }

    /// All log ids that follow.
    pub(super) fn log_ids(&mut self) -> Vec<LogId> {
        let mut ids = Vec::new();
        while let Some(id) = self.0.front().and_then(|word| log_id(word).ok()) {
            self.0.pop_front();
            ids.push(id);
        }
        ids
    }

    /// `from->to`, if it comes next.
    pub(super) fn pair(&mut self) -> Parsed<Option<(NodeId, NodeId)>> {
        let Some((from, to)) = self.0.front().and_then(|word| word.split_once("->")) else {
            return Ok(None);
        };
        let pair = (NodeId(number(from)?), NodeId(number(to)?));
        self.0.pop_front();
        Ok(Some(pair))
    }

    pub(super) fn lane(&mut self) -> Option<Lane> {
        if self.take("control") {
            Some(Lane::Control)
        } else if self.take("bulk") {
            Some(Lane::Bulk)
        } else {
            None
        }
    }

    /// `50ms`, `2s`, `heartbeat`, `3 election-timeout`
    pub(super) fn duration(&mut self) -> Parsed<Duration> {
        let word = self.next("a duration")?;
        let (count, unit) = match word.parse::<u32>() {
            Ok(count) => (count, self.next("a unit")?),
            Err(_) => {
                let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
                let (count, unit) = word.split_at(digits);
                (count.parse().unwrap_or(1), unit.to_owned())
            }
        };
        let one = match unit.as_str() {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "heartbeat" | "heartbeats" => Duration::from_millis(50),
            "election-timeout" | "election-timeouts" => Duration::from_millis(300),
            _ => return Err(format!("not a duration: {word}")),
        };
        Ok(one * count)
    }
}

pub(super) fn number(word: &str) -> Parsed<u64> {
    if word == "max" {
        return Ok(u64::MAX);
    }
    word.parse().map_err(|_| format!("not a number: {word}"))
}

fn log_id(word: &str) -> Parsed<LogId> {
    let (term, index) = word.split_once('.').ok_or_else(|| format!("not a log id: {word}"))?;
    Ok(LogId::new(number(term)?, number(index)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_comments() {
        let mut words = Words::split("propose 1 \"a # b\" # told").unwrap();
        assert_eq!(words.next("").unwrap(), "propose");
        assert_eq!(words.node(), Ok(NodeId(1)));
        assert_eq!(words.next("").unwrap(), "\"a # b\"");
        assert!(words.is_empty());
        assert!(Words::split("x \"y").is_err());
    }

    #[test]
    fn durations_and_pairs() {
        let mut words = Words::split("50ms 2s heartbeat 3 election-timeout 1->2 bulk max").unwrap();
        let millis: Vec<u128> = (0..4).map(|_| words.duration().unwrap().as_millis()).collect();
        assert_eq!(millis, [50, 2000, 50, 900]);
        assert_eq!(words.pair(), Ok(Some((NodeId(1), NodeId(2)))));
        assert_eq!(words.lane(), Some(Lane::Bulk));
        assert_eq!(words.number("n"), Ok(u64::MAX));
        assert_eq!(words.number("n"), Err("n is missing".into()));
    }
}
