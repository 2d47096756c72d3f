//! The code of the guide (`docs/guide`), whole and tested. `cargo xtask tidy` sees to it that each block there is
//! a part of this.

pub mod outcomes;
pub mod service;
pub mod stacks;
pub mod tally;

/// The examples in the README of each crate that is published: they run as tests of this package, which depends on all of them.
#[cfg(doctest)]
mod readmes {
    #[doc = include_str!("../../../raft-core/README.md")]
    mod core {}
    #[doc = include_str!("../../../raft-log-file/README.md")]
    mod log_file {}
    #[doc = include_str!("../../../raft-log-sqlite/README.md")]
    mod log_sqlite {}
    #[doc = include_str!("../../../raft-net-grpc/README.md")]
    mod net_grpc {}
    #[doc = include_str!("../../../raft-net-tcp/README.md")]
    mod net_tcp {}
    #[doc = include_str!("../../../raft-testkit/README.md")]
    mod testkit {}
}
