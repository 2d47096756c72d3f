//! The code of the guide (`docs/guide`), whole and tested. `cargo xtask tidy` sees to it that each block there is
//! a part of this.

pub mod outcomes;
pub mod service;
pub mod stacks;
pub mod tally;
