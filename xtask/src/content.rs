//! What the nodes of a cluster hold, key by key, and where they differ.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::servers::Servers;
use crate::util::resp::{Client, Reply};
use crate::util::{Context, Failure};

/// Keys that are asked for in one command.
const BATCH: usize = 500;

/// Commands that are under way at once.
const DEPTH: usize = 8;

/// Keys with their values.
pub(crate) type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the nodes hold.
pub(crate) struct Compared {
    /// What the leader has.
    pub(crate) content: Content,
    /// Where the others differ from it, in words.
    pub(crate) differences: Vec<String>,
}

/// Reads everything from all nodes, once each has applied what the leader has committed. Nobody may write
/// meanwhile.
pub(crate) fn compare(servers: &mut Servers, leader: usize) -> Result<Compared, Failure> {
    let content = read(servers, leader, false)?;
    let last = servers.wait_settled(leader)?;
    let mut different = Vec::new();
    for at in (0..servers.all.len()).filter(|at| *at != leader) {
        servers.wait_applied(at, last)?;
        let other = read(servers, at, true)?;
        different.extend(differences(&content, &other, servers.all[leader].id, servers.all[at].id));
    }
    Ok(Compared { content, differences: different })
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

/// A key for people.
pub(crate) fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// A client that is patient.
pub(crate) fn connect(servers: &Servers, at: usize) -> Result<Client, Failure> {
    let server = &servers.all[at];
    Client::connect(server.address, Duration::from_secs(30))
        .context(|| format!("cannot reach node {}", server.id))
}

/// Everything that a node has; from a follower what it has applied, on request.
fn read(servers: &Servers, at: usize, follower: bool) -> Result<Content, Failure> {
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
pub(crate) fn values(client: &mut Client, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
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
}
