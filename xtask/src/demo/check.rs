//! What must hold at the end: every acknowledged write can be read from the leader, and all nodes have
//! the same keys with the same values - compared one by one, not by a count or a digest.

use std::collections::BTreeMap;
use std::time::Duration;

use super::load::{self, Totals};
use crate::servers::Servers;
use crate::util::resp::{Client, Reply};
use crate::util::{Context, Failure};

/// What was found.
#[derive(Default)]
pub(crate) struct Found {
    /// Acknowledged writes that are not there, or with another value.
    pub(crate) lost: usize,
    /// Whether all nodes have the same keys and values.
    pub(crate) nodes_agree: bool,
    /// How many keys each has.
    pub(crate) keys: usize,
    /// What is wrong, in words; the first few of each kind.
    pub(crate) complaints: Vec<String>,
}

/// Keys that are asked for in one command.
const BATCH: usize = 500;

/// Commands that are under way at once.
const DEPTH: usize = 8;

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) fn run(servers: &mut Servers, totals: &Totals) -> Result<Found, Failure> {
    let leader = servers.wait_for_leader()?;
    let mut found = Found::default();
    let wanted: Vec<Vec<u8>> = totals.acked.iter().map(|write| load::key(*write)).collect();
    let mut client = connect(servers, leader)?;
    // Linearizable: the leader answers only after it has made sure that it leads.
    let read = values(&mut client, &wanted)?;
    for (write, value) in totals.acked.iter().zip(&read) {
        if value.as_deref() != Some(&load::value(*write, totals.value_bytes)) {
            found.lost += 1;
            let what = if value.is_some() { "has another value" } else { "is gone" };
            complain(&mut found, format!("LOST: {} was acknowledged and {what}", text(&load::key(*write))));
        }
    }
    let reference = content(servers, leader, false)?;
    found.keys = reference.len();
    phantoms(&mut found, &reference, totals);
    found.nodes_agree = true;
    let last = servers.info(leader).and_then(|info| info.number("commit-index"));
    let last = last.ok_or_else(|| Failure::new("the leader does not tell its commit index"))?;
    for at in (0..servers.all.len()).filter(|at| *at != leader) {
        servers.wait_applied(at, last)?;
        let other = content(servers, at, true)?;
        if other != reference {
            found.nodes_agree = false;
            let (a, b) = (servers.all[leader].id, servers.all[at].id);
            for difference in differences(&reference, &other, a, b) {
                complain(&mut found, difference);
            }
        }
    }
    Ok(found)
}

/// Whatever is there must have been sent, and as it was sent, whether it was acknowledged or not.
fn phantoms(found: &mut Found, reference: &Content, totals: &Totals) {
    let sent = totals.acked.iter().chain(&totals.unknown);
    let sent: BTreeMap<Vec<u8>, load::Write> = sent.map(|write| (load::key(*write), *write)).collect();
    for (key, value) in reference {
        let write = sent.get(key);
        if write.is_none_or(|write| *value != load::value(*write, totals.value_bytes)) {
            // Nothing of ours can be trusted then.
            found.lost += 1;
            complain(found, format!("PHANTOM: {} was never written like that", text(key)));
        }
    }
}

fn complain(found: &mut Found, what: String) {
    if found.complaints.len() < 20 {
        found.complaints.push(what);
    }
}

fn differences(left: &Content, right: &Content, a: usize, b: usize) -> Vec<String> {
    let mut out = Vec::new();
    for (key, value) in left {
        match right.get(key) {
            None => out.push(format!("DIFFER: node {a} has {}, node {b} has not", text(key))),
            Some(other) if other != value => out.push(format!("DIFFER: {} on nodes {a} and {b}", text(key))),
            Some(_) => {}
        }
    }
    let more = right.keys().filter(|key| !left.contains_key(*key));
    out.extend(more.map(|key| format!("DIFFER: node {b} has {}, node {a} has not", text(key))));
    out
}

fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

fn connect(servers: &Servers, at: usize) -> Result<Client, Failure> {
    let server = &servers.all[at];
    Client::connect(server.address, Duration::from_secs(30))
        .context(|| format!("cannot reach node {}", server.id))
}

/// Everything that a node has; from a follower what it has applied, on request.
fn content(servers: &Servers, at: usize, follower: bool) -> Result<Content, Failure> {
    let mut client = connect(servers, at)?;
    let node = servers.all[at].id;
    if follower {
        expect_ok(&client.call(&[b"READONLY"]).context(|| String::from("READONLY"))?)?;
    }
    let mut keys = Vec::new();
    let mut cursor = b"0".to_vec();
    loop {
        let reply = client.call(&[b"SCAN", &cursor, b"COUNT", b"5000"]).context(|| String::from("SCAN"))?;
        let Reply::Array(parts) = &reply else { return Err(unexpected("SCAN", &reply)) };
        let [Reply::Bulk(Some(next)), Reply::Array(some)] = &parts[..] else {
            return Err(unexpected("SCAN", &reply));
        };
        for key in some {
            let Reply::Bulk(Some(key)) = key else { return Err(unexpected("SCAN", key)) };
            keys.push(key.clone());
        }
        cursor.clone_from(next);
        if cursor == b"0" {
            break;
        }
    }
    // A scan may show a key twice, but nothing is written any more: it shows each that is there.
    keys.sort();
    keys.dedup();
    let size = client.call(&[b"DBSIZE"]).context(|| String::from("DBSIZE"))?;
    if size != Reply::Integer(i64::try_from(keys.len()).unwrap_or(i64::MAX)) {
        let size = size.text();
        return Err(Failure::new(format!("node {node} shows {} keys and says it has {size}", keys.len())));
    }
    let values = values(&mut client, &keys)?;
    let pairs = keys.into_iter().zip(values);
    Ok(pairs.map(|(key, value)| (key, value.unwrap_or_default())).collect())
}

/// The values of these keys, in their order.
fn values(client: &mut Client, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
    let mut values = Vec::with_capacity(keys.len());
    for group in keys.chunks(BATCH * DEPTH) {
        let commands: Vec<Vec<&[u8]>> = group
            .chunks(BATCH)
            .map(|some| [&b"MGET"[..]].into_iter().chain(some.iter().map(Vec::as_slice)).collect())
            .collect();
        client.send(commands.iter().map(Vec::as_slice)).context(|| String::from("MGET"))?;
        for _ in &commands {
            let reply = client.receive().context(|| String::from("MGET"))?;
            let Reply::Array(some) = reply else { return Err(unexpected("MGET", &reply)) };
            for value in some {
                let Reply::Bulk(value) = value else { return Err(unexpected("MGET", &value)) };
                values.push(value);
            }
        }
    }
    if values.len() == keys.len() {
        Ok(values)
    } else {
        Err(Failure::new("MGET answered another number of values"))
    }
}

fn expect_ok(reply: &Reply) -> Result<(), Failure> {
    if *reply == Reply::Simple("OK".into()) { Ok(()) } else { Err(unexpected("READONLY", reply)) }
}

fn unexpected(command: &str, reply: &Reply) -> Failure {
    Failure::new(format!("{command} answered {}", format!("{reply:?}").chars().take(200).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_found() {
        let content = |pairs: &[(&str, &str)]| -> Content {
            pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
        };
        let left = content(&[("a", "1"), ("b", "2"), ("c", "3")]);
        assert!(differences(&left, &left, 1, 2).is_empty());
        let right = content(&[("a", "1"), ("b", "x"), ("d", "4")]);
        assert_eq!(
            differences(&left, &right, 1, 2),
            [
                "DIFFER: b on nodes 1 and 2",
                "DIFFER: node 1 has c, node 2 has not",
                "DIFFER: node 2 has d, node 1 has not"
            ]
        );
    }

    #[test]
    fn phantoms_are_found_and_unknown_writes_are_none() {
        let totals =
            Totals { acked: vec![(0, 0)], unknown: vec![(0, 1)], value_bytes: 32, ..Totals::default() };
        let mut content: Content =
            [(0, 0), (0, 1)].into_iter().map(|write| (load::key(write), load::value(write, 32))).collect();
        let mut found = Found::default();
        phantoms(&mut found, &content, &totals);
        assert_eq!(found.lost, 0);
        content.insert(load::key((0, 2)), load::value((0, 2), 32));
        content.insert(load::key((0, 1)), b"other".to_vec());
        phantoms(&mut found, &content, &totals);
        assert_eq!((found.lost, found.complaints.len()), (2, 2));
    }
}
