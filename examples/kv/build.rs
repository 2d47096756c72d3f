//! Tells the program of which commit it is, where it is built in a clone of this repository. Elsewhere (a crate from a registry,
//! a tarball, a machine without git) it says nothing: no build fails for want of a commit.

#[path = "build/commit.rs"]
mod commit;

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    if let Some(build) = commit::of(Path::new(&folder)) {
        println!("cargo::rustc-env=RAFT_KV_COMMIT={}", build.commit);
        build.depends_on.iter().for_each(|path| println!("cargo::rerun-if-changed={}", path.display()));
    }
}
