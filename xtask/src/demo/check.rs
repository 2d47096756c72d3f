//! What must hold at the end: every acknowledged write can be read from the leader, and all nodes have
//! the same keys with the same values - compared one by one, not by a count or a digest.

use std::collections::BTreeMap;

use super::load::{self, Totals};
use crate::content::{self, Compared, Content, text};
use crate::servers::Servers;
use crate::util::Failure;

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

pub(crate) fn run(servers: &mut Servers, totals: &Totals) -> Result<Found, Failure> {
    let leader = servers.wait_for_leader()?;
    let mut found = Found::default();
    let wanted: Vec<Vec<u8>> = totals.acked.iter().map(|write| load::key(*write)).collect();
    let mut client = content::connect(servers, leader)?;
    // Linearizable: the leader answers only after it has made sure that it leads.
    let read = content::values(&mut client, &wanted)?;
    for (write, value) in totals.acked.iter().zip(&read) {
        if value.as_deref() != Some(&load::value(*write, totals.value_bytes)) {
            found.lost += 1;
            let what = if value.is_some() { "has another value" } else { "is gone" };
            complain(&mut found, format!("LOST: {} was acknowledged and {what}", text(&load::key(*write))));
        }
    }
    let Compared { content, differences } = content::compare(servers, leader)?;
    found.keys = content.len();
    phantoms(&mut found, &content, totals);
    found.nodes_agree = differences.is_empty();
    for difference in differences {
        complain(&mut found, difference);
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

#[cfg(test)]
mod tests {
    use super::*;

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
