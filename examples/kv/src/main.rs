//! raft-kv.
#![allow(dead_code)]
mod command;
mod log_codec;
mod machine;
mod resp;
mod store;
fn main() {}
