//! What a shell sees of `cargo xtask tidy`.

use std::process::{Command, Output};

/// The top of a workspace in which tidy finds a great deal: nothing that it asks for is there.
fn tidy(in_workspace: &std::path::Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("tidy").env("CARGO_MANIFEST_DIR", in_workspace.join("xtask")).output().unwrap()
}

#[test]
fn it_ends_with_one_where_it_finds_something_and_with_none_here() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(path), text).unwrap();
    };
    write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = []\n");
    write("examples/custom-journal/Cargo.toml", "[workspace]\n");
    write("examples/template/Cargo.toml", "[workspace]\n");
    write("README.md", "\n[a](gone.md)\n");
    let output = tidy(dir.path());
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("README.md:2: the link to gone.md leads nowhere"), "{said}");
    assert!(said.lines().last().is_some_and(|line| line.starts_with("tidy: findings=")), "{said}");

    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = tidy(here);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!((output.status.code(), said.trim_end()), (Some(0), "tidy: findings=0"));
}
