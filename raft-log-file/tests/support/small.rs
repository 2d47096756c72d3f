//! Journals whose segments hold six batches, looked at as files.

use raft_core::backend::Verdict;
use raft_log_file::{Case, Finding, Options, verify};

use super::{Image, MemVfs, Model, open, options};

pub const BLOCK: usize = 4096;
pub const FIRST: &str = "seg-0000000000000001.log";
pub const SECOND: &str = "seg-0000000000000002.log";

/// Eight blocks: the header, six batches, a seal.
pub fn eight() -> Options {
    options().segment_bytes(8 * BLOCK as u64)
}

pub fn findings(image: &Image) -> Vec<Finding> {
    verify(&MemVfs::of(image)).unwrap().findings
}

pub fn cases(image: &Image) -> Vec<Case> {
    findings(image).iter().map(|finding| finding.case).collect()
}

/// What an opening says and holds, and leaves. A second one must find the same, and no damage.
pub fn recover(image: &Image) -> (Verdict, Model, Image) {
    let vfs = MemVfs::of(image);
    let store = open(&vfs, eight()).unwrap();
    let (verdict, found) = (store.load().unwrap().verdict, Model::of(&store));
    drop(store);
    let recovered = vfs.image();
    let store = open(&vfs, eight()).unwrap();
    assert_eq!(store.load().unwrap().verdict, Verdict::Clean);
    assert_eq!(Model::of(&store), found);
    (verdict, found, recovered)
}
