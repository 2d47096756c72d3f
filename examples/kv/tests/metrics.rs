//! `/metrics`: what is answered, what `docs/metrics.md` says of it, and what the dashboard draws, are the same.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::{Cluster, until};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");
const DASHBOARD: &str = include_str!("../../../docs/grafana-dashboard.json");

/// What is answered: the kinds by name, and the value of each line by all that stands before it.
struct Answer {
    kinds: BTreeMap<String, String>,
    described: BTreeSet<String>,
    values: BTreeMap<String, f64>,
}

fn metrics(address: SocketAddr) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 OK") && head.contains("text/plain; version=0.0.4"), "{head}");
    let mut answer = Answer { kinds: BTreeMap::new(), described: BTreeSet::new(), values: BTreeMap::new() };
    for line in body.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(answer.kinds.insert(name.into(), kind.into()), None, "{name} is there twice");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            answer.described.insert(rest.split(' ').next().unwrap().to_owned());
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(
                answer.values.insert(name.into(), value.parse().unwrap()),
                None,
                "{name} is there twice"
            );
        }
    }
    answer
}

impl Answer {
    #[track_caller]
    fn value(&self, line: &str) -> f64 {
        *self.values.get(line).unwrap_or_else(|| panic!("no {line} among {:#?}", self.values))
    }
}

/// What is documented: kinds by name.
fn documented() -> BTreeMap<String, String> {
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `raft_"));
    let row = |row: &str| {
        let cells: Vec<&str> = row.split(" | ").collect();
        assert_eq!(cells.len(), 5, "{row}");
        assert!(
            cells[2..=2].iter().chain(&cells[4..]).all(|cell| !cell.trim_matches([' ', '|']).is_empty()),
            "{row}"
        );
        (format!("raft_{}", cells[0].trim_end_matches('`')), cells[1].to_owned())
    };
    let all: Vec<_> = rows.map(row).collect();
    let count = all.len();
    let all: BTreeMap<_, _> = all.into_iter().collect();
    assert_eq!(all.len(), count, "a name is documented twice");
    all
}

#[test]
fn what_is_answered_is_what_is_documented() {
    let mut cluster = Cluster::start_http(3, &[]);
    let (leader, follower) = cluster.leader_and_follower();
    let mut client = cluster.nodes[leader].connect();
    assert_eq!(client.call("SET k v"), "OK");
    assert_eq!(client.call("GET k"), "v");
    let [one, other] = [leader, follower].map(|at| cluster.nodes[at].http.unwrap());
    let answer = metrics(one);
    let documented = documented();
    assert_eq!(answer.kinds, documented);
    assert_eq!(answer.described, documented.into_keys().collect(), "not all have their meaning");

    // What they say is so.
    let id = cluster.nodes[leader].id as f64;
    assert_eq!(answer.value("raft_role{state=\"leader\"}"), 1.0);
    assert_eq!(answer.value("raft_role{state=\"follower\"}"), 0.0);
    assert_eq!(answer.value("raft_leader_id"), id);
    assert_eq!(answer.value("raft_voters"), 3.0);
    assert_eq!(answer.value("raft_kv_commands_total{kind=\"write\"}"), 1.0);
    // Who waited for a leader has read too.
    assert!(answer.value("raft_kv_commands_total{kind=\"read\"}") >= 1.0);
    assert_eq!(answer.value("raft_kv_proposal_seconds_count"), 1.0);
    assert_eq!(answer.value("raft_kv_proposal_seconds_bucket{le=\"+Inf\"}"), 1.0);
    assert!(answer.value("raft_commit_seconds_count") >= 1.0);
    assert!(answer.value("raft_journal_write_seconds_sum") > 0.0);
    assert_eq!(answer.value("raft_uncommitted_limit_bytes"), f64::from(64 << 20));
    assert!(answer.value("raft_log_commit_index") >= 2.0);
    let peer = cluster.nodes[follower].id;
    assert_eq!(answer.value(&format!("raft_peer_progress{{peer=\"{peer}\",state=\"replicate\"}}")), 1.0);
    // Asked again, nothing is counted twice.
    assert_eq!(metrics(one).value("raft_kv_proposal_seconds_count"), 1.0);

    // What only a leader knows is absent elsewhere, and goes with its leadership.
    let only_leaders = |name: &str| {
        name.starts_with("raft_peer_")
            || ["raft_quorum_contact_age_seconds", "raft_lease_left_seconds"].contains(&name)
    };
    let missing = |answer: &Answer| -> Vec<String> {
        let all = documented_names();
        all.into_iter().filter(|name| !answer.kinds.contains_key(name)).collect()
    };
    let absent = missing(&metrics(other));
    assert!(absent.len() > 5 && absent.iter().all(|name| only_leaders(name)), "{absent:?}");
    assert_eq!(client.call(&format!("RAFT TRANSFER {peer}")), "OK");
    until("it still speaks of its peers", || missing(&metrics(one)) == absent);
}

fn documented_names() -> Vec<String> {
    documented().into_keys().collect()
}

#[test]
fn the_dashboard_draws_what_there_is() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let documented = documented();
    let mut ids = BTreeSet::new();
    let mut drawn = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have one id");
        let title = panel["title"].as_str().unwrap();
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            let words = expression.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
            let names: Vec<_> = words.filter(|word| word.starts_with("raft_")).collect();
            assert!(!names.is_empty(), "{title}: {expression}");
            for name in names {
                let base = name.strip_suffix("_bucket").unwrap_or(name);
                let kind = documented.get(base).unwrap_or_else(|| panic!("{title}: nobody documents {name}"));
                assert_eq!(kind == "histogram", name != base, "{title}: {name} is a {kind}");
                let is_rate =
                    ["rate(", "increase("].iter().any(|f| expression.contains(&format!("{f}{name}")));
                assert_eq!(kind != "gauge", is_rate, "{title}: {name} is a {kind}");
                drawn += 1;
            }
        }
    }
    assert!(drawn > 40, "{drawn} are drawn");
}
