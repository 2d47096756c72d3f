//! The files in `deploy/`, and the configuration that the guide shows, are held to the program: each call in them is one that
//! it takes, and each exit code one that it gives.

use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;

use crate::Arguments;
use crate::exit::Exit;
use crate::settings::{CLIENT, HTTP, Settings};

const UNIT: &str = include_str!("../deploy/raft-kv@.service");
const CONTAINER: &str = include_str!("../deploy/Containerfile");
const COMPOSE: &str = include_str!("../deploy/compose.yaml");
const CHAPTER: &str = include_str!("../../../docs/guide/deploy.md");

/// What stands behind `key` in the one line that begins with it.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let mut found = text.lines().filter_map(|line| line.strip_prefix(key));
    let value = found.next().unwrap_or_else(|| panic!("no {key}"));
    assert_eq!(found.next(), None, "{key} twice");
    value
}

fn parsed(call: &str) -> Arguments {
    Arguments::try_parse_from(call.split_whitespace()).unwrap_or_else(|error| panic!("{call}: {error}"))
}

#[test]
fn the_unit_starts_a_node_and_knows_which_ends_are_final() {
    let call = value(UNIT, "ExecStart=/usr/local/bin/").replace("%i", "1");
    let Arguments::Serve(flags) = parsed(&call) else { panic!("{call}") };
    assert_eq!(flags.config.as_deref(), Some("/etc/raft-kv/1.toml".as_ref()));
    let state = value(UNIT, "StateDirectory=").replace("%i", "1");
    assert_eq!(flags.data, Some(format!("/var/lib/{state}").into()));
    let codes: Vec<u8> =
        value(UNIT, "RestartPreventExitStatus=").split(' ').map(|code| code.parse().unwrap()).collect();
    // A failure may be over, and a port may become free.
    assert_eq!(codes, [Exit::USAGE, Exit::DATA]);
    for (code, what) in [(Exit::OTHER, "failure"), (Exit::ADDRESS, "address in use")] {
        assert!(UNIT.contains(&format!("{what} ({code})")), "{what}");
    }
    let patience = Duration::from_secs(value(UNIT, "TimeoutStopSec=").parse().unwrap());
    assert!(patience > 2 * crate::serve::STOP, "{patience:?}");
    let files: usize = value(UNIT, "LimitNOFILE=").parse().unwrap();
    assert!(files > 2 * crate::settings::MAX_CLIENTS, "{files}");
}

#[test]
fn the_three_nodes_of_the_compose_file_are_one_cluster_that_its_ports_lead_to() {
    let calls: Vec<&str> = COMPOSE.lines().filter_map(|line| line.trim().strip_prefix("command: ")).collect();
    let nodes: Vec<Settings> = calls
        .iter()
        .map(|call| match parsed(&format!("raft-kv {call}")) {
            Arguments::Serve(flags) => Settings::new(*flags).unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(nodes.iter().map(|node| node.id.0).collect::<Vec<_>>(), [1, 2, 3]);
    for node in &nodes {
        assert_eq!((node.cluster, &node.initial), (nodes[0].cluster, &nodes[0].initial));
        let member = &node.initial.as_ref().unwrap().members[&node.id];
        assert_eq!(member.address, format!("node{}:{}", node.id, node.peer_listen.port()));
        assert!(COMPOSE.contains(&format!("\n  node{}:\n", node.id)));
        assert!(COMPOSE.contains(&format!("[\"data{}:{}\"]", node.id, node.data.display())));
        for (name, at) in [(CLIENT, node.listen), (HTTP, node.http.unwrap())] {
            let port = at.port();
            assert_eq!(member.attributes[name], format!("127.0.0.1:{port}"));
            assert!(COMPOSE.contains(&format!("\"127.0.0.1:{port}:{port}\"")), "{port} is not open");
        }
        assert!(COMPOSE.contains(&format!("HTTP_PORT: \"{}\"", node.http.unwrap().port())));
    }
}

#[test]
fn the_configuration_of_the_chapter_has_tls_and_a_page_that_only_its_machine_sees() {
    let (_, rest) = CHAPTER.split_once("```toml\n").unwrap();
    let (file, _) = rest.split_once("```").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("1.toml");
    let settings = |text: &str| {
        std::fs::write(&config, text).unwrap();
        let call = format!("raft-kv serve --config {} --data /var/lib/raft-kv/1", config.display());
        let Arguments::Serve(flags) = parsed(&call) else { panic!("{call}") };
        Settings::new(*flags)
    };
    let node = settings(file).unwrap();
    assert!(node.tls.is_some() && node.http.unwrap().ip().is_loopback());
    assert!(!node.listen.ip().is_loopback() && !node.peer_listen.ip().is_loopback());
    // As the chapter says of `http` elsewhere.
    let open = file.replace("127.0.0.1:7201", "10.0.0.1:7201");
    assert!(settings(&open).unwrap_err().to_string().contains("--http 10.0.0.1:7201"));
    let node = settings(&format!("{open}insecure = true\n")).unwrap();
    assert!(node.tls.is_some() && !node.http.unwrap().ip().is_loopback());
}

#[test]
fn the_image_is_built_by_a_compiler_that_can_and_shows_help() {
    let rust = format!("docker.io/library/rust:{}-bookworm AS build", env!("CARGO_PKG_RUST_VERSION"));
    assert!(CONTAINER.contains(&rust), "{rust}");
    let list = |key| serde_json::from_str::<Vec<String>>(value(CONTAINER, key)).unwrap();
    let call = [list("ENTRYPOINT "), list("CMD ")].concat();
    let shown = Arguments::try_parse_from(&call).unwrap_err();
    assert_eq!(shown.kind(), ErrorKind::DisplayHelp, "{call:?}");
    assert!(value(CONTAINER, "USER ") != "root");
}
