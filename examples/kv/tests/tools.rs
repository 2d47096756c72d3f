//! The tools and clients that people use. They must be installed: run with `--run-ignored all` (nextest)
//! or `-- --ignored`.

mod common;

use std::process::Command;

use common::Cluster;

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
#[ignore = "needs redis-cli and redis-benchmark"]
fn redis_cli_follows_and_redis_benchmark_runs_through() {
    let mut cluster = Cluster::start(3);
    let (leader, _) = cluster.leader_and_follower();
    for node in &cluster.nodes {
        let port = node.client.port().to_string();
        let key = format!("key-{}", node.id);
        assert_eq!(output("redis-cli", &["-c", "-p", &port, "set", &key, "v"]).trim(), "OK");
        assert_eq!(output("redis-cli", &["-c", "-3", "-p", &port, "get", &key]).trim(), "v");
    }
    let port = cluster.nodes[leader].client.port().to_string();
    let said = output("redis-benchmark", &["-p", &port, "-t", "set", "-P", "16", "-n", "5000", "-q"]);
    assert!(said.contains("SET: ") && said.contains("requests per second"), "{said}");
    assert!(!said.contains("rror"), "{said}");
}

const PYTHON: &str = "
import os, signal, sys, time
from redis.cluster import RedisCluster
pids = {int(port): int(pid) for port, pid in (pair.split('=') for pair in sys.argv[1:])}
client = RedisCluster(host='127.0.0.1', port=min(pids))
def through(number):
    deadline = time.time() + 60
    while True:
        try:
            return client.set(f'key-{number}', number)
        except Exception as error:
            if time.time() > deadline:
                raise
for number in range(100):
    through(number)
os.kill(pids[client.get_primaries()[0].port], signal.SIGKILL)
for number in range(100, 200):
    through(number)
assert [int(client.get(f'key-{number}')) for number in range(200)] == list(range(200))
pipeline = client.pipeline()
for number in range(10):
    pipeline.incr('n')
assert pipeline.execute() == list(range(1, 11))
print('all is there')
";

#[test]
#[ignore = "needs python3 with redis-py"]
fn redis_py_reads_and_writes_through_a_leader_kill() {
    let mut cluster = Cluster::start(3);
    cluster.leader_and_follower();
    let pairs: Vec<_> =
        cluster.nodes.iter().map(|node| format!("{}={}", node.client.port(), node.pid())).collect();
    let mut args = vec!["-c", PYTHON];
    args.extend(pairs.iter().map(String::as_str));
    assert_eq!(output("python3", &args).trim(), "all is there");
}

/// What follows the client of the README.
const COUNTS: &str = "
import os, signal, sys
pids = {int(port): int(pid) for port, pid in (pair.split('=') for pair in sys.argv[1:])}
once = Once([('127.0.0.1', port) for port in pids])
answers = [once.do('INCR', 'n') for _ in range(100)]
os.kill(pids[once.node.connection_pool.connection_kwargs['port']], signal.SIGKILL)
answers += [once.do('INCR', 'n') for _ in range(100)]
assert answers == list(range(1, 201)), answers
print('each once')
";

#[test]
#[ignore = "needs python3 with redis-py"]
fn the_client_in_the_readme_counts_each_once_through_a_leader_kill() {
    let readme = include_str!("../README.md");
    let (_, rest) = readme.split_once("```python\n").unwrap();
    let (client, _) = rest.split_once("```").unwrap();
    let mut cluster = Cluster::start(3);
    cluster.leader_and_follower();
    let pairs = cluster.nodes.iter().map(|node| format!("{}={}", node.client.port(), node.pid()));
    let mut args = vec!["-c".to_owned(), format!("{client}{COUNTS}")];
    args.extend(pairs);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    assert_eq!(output("python3", &args).trim(), "each once");
}
