//! Each rule, broken on purpose in a small tree: it is found, with its file, its line and what to do instead.

use std::path::PathBuf;

use super::{check, formats};

/// A workspace in a temporary folder, the smallest that is tidy.
struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let tree = Self { dir: tempfile::tempdir().unwrap() };
        let crates = ["raft-core", "raft-log-file", "raft-log-sqlite", "raft-net-tcp", "raft-testkit"];
        tree.write(
            "Cargo.toml",
            &format!(
                "[workspace]\nresolver = \"3\"\nmembers = {crates:?}\nexclude = [\"examples\"]\n\
                 [workspace.lints.rust]\nunsafe_code = \"forbid\"\n"
            ),
        );
        for name in crates {
            tree.write(&format!("{name}/Cargo.toml"), &manifest(name, ""));
            tree.write(&format!("{name}/src/lib.rs"), "//! Nothing.\n");
        }
        tree.write("raft-core/src/backend/mod.rs", "pub trait Journal {}\npub trait Runtime {}\n");
        tree.write("examples/custom-journal/Cargo.toml", OUTSIDE);
        tree.write("examples/template/Cargo.toml", OUTSIDE);
        tree.write("examples/custom-journal/src/lib.rs", "fn f() { let a = 1; }\n");
        tree.write("ARCHITECTURE.md", "# One page\n`raft-core/src/lib.rs`\n");
        tree.write("README.md", "# Read\n[the page](ARCHITECTURE.md#one-page)\n```rust\nlet a = 1;\n```\n");
        let mut summary = String::new();
        for format in formats::FORMATS {
            for source in format.sources {
                tree.write(source, "const A: u8 = 1;\n");
            }
            tree.write(format.document, "# Format\n");
            summary += &format!("[a]({})\n", format.document.strip_prefix("docs/").unwrap());
        }
        tree.write("docs/SUMMARY.md", &summary);
        formats::bless(tree.dir.path()).unwrap();
        assert_eq!(tree.findings(), [""; 0], "the tree is tidy before it is broken");
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        std::fs::write(self.path(path), text).unwrap();
    }

    fn findings(&self) -> Vec<String> {
        // Cargo shows paths without links; a temporary folder may have one above it.
        let root = self.dir.path().canonicalize().unwrap();
        check(&root).unwrap().iter().map(ToString::to_string).collect()
    }
}

/// Of a package that is no member.
const OUTSIDE: &str = "[workspace]\n[package]\nname = \"custom-journal\"\nversion = \"1.0.0\"\n\
                       [lints.rust]\nunsafe_code = \"forbid\"\n[dependencies]\n";

fn manifest(name: &str, more: &str) -> String {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2024\"\n[lints]\nworkspace = true\n{more}"
    )
}

/// A file of the tree, what stands there now, and the beginning of what is found.
type Broken = (&'static str, String, &'static str);

/// Breaks a tidy tree in one place after the other, and puts each back.
#[track_caller]
fn each_is_found(broken: &[Broken]) {
    let tree = Tree::new();
    for (path, text, expected) in broken {
        let before = std::fs::read_to_string(tree.path(path)).ok();
        tree.write(path, text);
        let found = tree.findings();
        assert!(found.len() == 1 && found[0].starts_with(expected), "{path}: {text}\n{found:#?}\n{expected}");
        match before {
            Some(before) => tree.write(path, &before),
            None => std::fs::remove_file(tree.path(path)).unwrap(),
        }
    }
    assert_eq!(tree.findings(), [""; 0]);
}

#[test]
fn a_crate_that_knows_another_is_found() {
    let on = |name: &str, section: &str, other: &str| {
        manifest(name, &format!("[{section}]\n{other} = {{ path = \"../{other}\" }}\n"))
    };
    each_is_found(&[
        (
            "raft-core/Cargo.toml",
            on("raft-core", "dev-dependencies", "raft-testkit"),
            "raft-core/Cargo.toml:8: must not depend on raft-testkit; it may know: []",
        ),
        (
            "raft-log-file/Cargo.toml",
            on("raft-log-file", "dependencies", "raft-net-tcp"),
            "raft-log-file/Cargo.toml:8: must not depend on raft-net-tcp; it may know: [\"raft-core\"]",
        ),
        (
            "raft-net-tcp/Cargo.toml",
            on("raft-net-tcp", "dependencies", "raft-testkit"),
            "raft-net-tcp/Cargo.toml:8: must not depend on raft-testkit; it may know: [\"raft-core\"], in tests [\"raft-testkit\"]",
        ),
        (
            "raft-testkit/Cargo.toml",
            on("raft-testkit", "dependencies", "raft-net-tcp"),
            "raft-testkit/Cargo.toml:8: must not depend on raft-net-tcp; it may know: [\"raft-core\", \"raft-log-file\"]",
        ),
        (
            "examples/custom-journal/Cargo.toml",
            format!("{OUTSIDE}raft-testkit = {{ path = \"../../raft-testkit\" }}\n"),
            "examples/custom-journal/Cargo.toml:8: may depend on raft-core, in tests on raft-testkit",
        ),
        (
            "examples/custom-journal/Cargo.toml",
            OUTSIDE.replace("[workspace]\n", ""),
            "examples/custom-journal/Cargo.toml: must say [workspace]",
        ),
        (
            "examples/custom-journal/Cargo.toml",
            OUTSIDE.replace("forbid", "warn"),
            "examples/custom-journal/Cargo.toml: [lints.rust] must say: unsafe_code = \"forbid\"",
        ),
    ]);
}

#[test]
fn a_module_that_knows_one_above_it_is_found() {
    let uses = |path: &'static str, line: &str, found: &'static str| (path, format!("\n{line}\n"), found);
    each_is_found(&[
        uses(
            "raft-core/src/ids.rs",
            "use crate::raft::Raft;",
            "raft-core/src/ids.rs:2: ids must not know raft: hand it in",
        ),
        uses(
            "raft-core/src/membership/quorum.rs",
            "use crate::log::Log;",
            "raft-core/src/membership/quorum.rs:2: membership must not know log: hand it in",
        ),
        uses(
            "raft-core/src/raft/mod.rs",
            "use crate::backend::{Vote, Journal};",
            "raft-core/src/raft/mod.rs:2: raft may use the journal's data, not backend::Journal",
        ),
        uses(
            "raft-core/src/log/mod.rs",
            "fn f(r: &impl crate::backend::Runtime) {}",
            "raft-core/src/log/mod.rs:2: log may use the journal's data, not backend::Runtime",
        ),
        uses(
            "raft-core/src/raft/mod.rs",
            "use crate::backend::*;",
            "raft-core/src/raft/mod.rs:2: raft may use the journal's data, not backend::*",
        ),
    ]);
}

/// One for each ban: a ban that is dropped from the list, or whose folder is mistyped, fails here.
#[test]
fn a_banned_word_is_found() {
    let anywhere = [
        "use std::fs;",
        "use std::net::TcpStream;",
        "use std::env;",
        "use std::thread;",
        "use std::process::exit;",
        "use std::time::Instant;",
        "use std::time::SystemTime;",
        "use tokio::time;",
        "use tokio::spawn;",
        "use tokio::task;",
        "fn f() { spawn_blocking(g); }",
        "use std::collections::HashMap;",
        "use std::collections::HashSet;",
        "fn f() { println!(); }",
        "fn f() { eprintln!(); }",
        "fn f() { tokio::select! { a = b => {} } }",
    ];
    let protocol = ["async fn f() {}", "fn f() { g().await }", "fn f(a: &dyn A) {}", "use tracing::info;"];
    let broken = |path: &'static str, found: &'static str, line: &str| (path, format!("\n{line}\n"), found);
    let node = |line: &&str| broken("raft-core/src/node/x.rs", "raft-core/src/node/x.rs:2: `", line);
    let raft = |line: &&str| broken("raft-core/src/raft/x.rs", "raft-core/src/raft/x.rs:2: `", line);
    let all: Vec<Broken> = anywhere.iter().map(node).chain(protocol.iter().map(raft)).collect();
    each_is_found(&all);
    each_is_found(&[
        broken(
            "raft-core/src/lib.rs",
            "raft-core/src/lib.rs:2: `HashMap` has no place here; use BTreeMap or a sorted Vec",
            "use std::collections::HashMap;",
        ),
        broken(
            "raft-net-tcp/src/lib.rs",
            "raft-net-tcp/src/lib.rs:2: only ASCII outside",
            "let \u{3b1} = 1;",
        ),
    ]);
    assert_eq!(super::words::bans(), anywhere.len() - 1 + protocol.len(), "a ban has no line above");
}

#[test]
fn a_package_that_allows_unsafe_code_is_found() {
    let tree = Tree::new();
    let workspace = std::fs::read_to_string(tree.path("Cargo.toml")).unwrap();
    each_is_found(&[
        (
            "raft-net-tcp/Cargo.toml",
            manifest("raft-net-tcp", "").replace("[lints]\nworkspace = true\n", ""),
            "raft-net-tcp/Cargo.toml: must say: [lints] workspace = true",
        ),
        (
            "Cargo.toml",
            workspace.replace("forbid", "deny"),
            "Cargo.toml: [workspace.lints.rust] must say: unsafe_code = \"forbid\"",
        ),
        (
            "raft-log-sqlite/Cargo.toml",
            manifest("raft-log-sqlite", "").replace("[lints]\nworkspace = true\n", "[lints.rust]\n"),
            "raft-log-sqlite/Cargo.toml: its lints must be those of the workspace, but for unsafe_code = \"deny\"",
        ),
        (
            "raft-log-sqlite/src/lib.rs",
            String::from("#[allow(unsafe_code)]\nmod a;\n"),
            "raft-log-sqlite/src/lib.rs:1: unsafe code may stand in raft-log-sqlite/src/direct.rs alone, 1 time",
        ),
        (
            "raft-log-sqlite/src/direct.rs",
            String::from("// unsafe\nfn a() { unsafe { f() } }\nfn b() { unsafe { f() } }\n"),
            "raft-log-sqlite/src/direct.rs:3: unsafe code may stand in",
        ),
    ]);
    // As it is: other lints would be found.
    let denies = "[lints.rust]\nunsafe_code = \"deny\"\n";
    let text = manifest("raft-log-sqlite", "").replace("[lints]\nworkspace = true\n", denies);
    tree.write("raft-log-sqlite/Cargo.toml", &text);
    tree.write("raft-log-sqlite/src/direct.rs", "#[expect(unsafe_code)]\nfn a() { unsafe { f() } }\n");
    assert_eq!(tree.findings(), [""; 0]);
}

#[test]
fn a_bound_that_the_page_of_limits_does_not_name_is_found() {
    each_is_found(&[
        (
            "raft-core/src/config.rs",
            String::from("pub struct Config {\n    pub window_bytes: u64,\n    pub scrub_period: u64,\n}\n"),
            "raft-core/src/config.rs:2: docs/limits.md does not name `window_bytes`",
        ),
        (
            "raft-log-file/src/options.rs",
            String::from("    pub tail_bytes: usize,\n    fill_bytes: u64,\n"),
            "raft-log-file/src/options.rs:1: docs/limits.md does not name `tail_bytes`",
        ),
    ]);
}

#[test]
fn a_document_that_points_to_nothing_is_found() {
    let page = |more: &str| format!("# One page\n{more}\n");
    each_is_found(&[
        (
            "ARCHITECTURE.md",
            page("[a](gone.md)"),
            "ARCHITECTURE.md:2: the link to gone.md leads nowhere: mend",
        ),
        (
            "ARCHITECTURE.md",
            page("[a](#gone)"),
            "ARCHITECTURE.md:2: the link to #gone leads to no heading: take",
        ),
        (
            "ARCHITECTURE.md",
            String::from("# Two\n"),
            "README.md:2: the link to ARCHITECTURE.md#one-page leads to no heading",
        ),
        (
            "ARCHITECTURE.md",
            page("`raft-core/src/gone.rs`"),
            "ARCHITECTURE.md:2: raft-core/src/gone.rs does not exist: name",
        ),
        ("ARCHITECTURE.md", page("`gone.rs`"), "ARCHITECTURE.md:2: gone.rs does not exist: name what"),
        (
            "docs/guide/new.md",
            page(""),
            "docs/guide/new.md: must stand in docs/SUMMARY.md once; it stands there 0 times",
        ),
        (
            "README.md",
            String::from("```rust\nlet b = 1;\n```\n[the page](ARCHITECTURE.md#one-page)"),
            "README.md:1: this block must be copied from an example, which compiles",
        ),
    ]);
}

/// Of every format: its source changes without its document, the document loses its line, or goes; a source goes.
#[test]
fn a_format_that_changes_without_its_document_is_found() {
    let tree = Tree::new();
    for format in formats::FORMATS {
        let document = format.document;
        let (text, source) = (std::fs::read_to_string(tree.path(document)).unwrap(), format.sources[0]);
        let code = std::fs::read_to_string(tree.path(source)).unwrap();
        let found = |what: &str| {
            let found = tree.findings();
            assert!(found.contains(&format!("{document}: {what}")), "{found:#?}");
        };
        let changed = "the source of this format has changed: check that the document still says what the code does, \
                       then run `cargo xtask tidy --bless`";
        for source in format.sources {
            tree.write(source, "const A: u8 = 2;\n");
            found(changed);
            tree.write(source, "// Why.\nconst A: u8 = 1;\n");
        }
        std::fs::remove_file(tree.path(source)).unwrap();
        found(&format!("its source {source} is gone; tell xtask/src/tidy/formats.rs where it went"));
        tree.write(source, &code);
        let mark = text.lines().last().unwrap();
        tree.write(document, "# Format\n");
        found(&format!("needs a line `{mark}`; `cargo xtask tidy --bless` writes it"));
        tree.write(document, &text);
    }
    let gone = formats::FORMATS[0].document;
    std::fs::remove_file(tree.path(gone)).unwrap();
    let found = tree.findings();
    assert!(
        found
            .iter()
            .any(|found| found.starts_with(&format!("{gone}: "))
                && found.contains("describe the format there"))
    );
}
