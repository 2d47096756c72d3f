//! Where a node that has dialled this one can be dialled itself.

use core::net::SocketAddr;
use std::string::{String, ToString};

/// Where a dialler can be dialled: where it says that it listens, or, if that names no host (`0.0.0.0`), where it
/// comes from, with that port.
#[must_use]
pub fn reachable(listen: String, from: Option<SocketAddr>) -> String {
    match (listen.parse::<SocketAddr>(), from) {
        (Ok(address), Some(from)) if address.ip().is_unspecified() => {
            SocketAddr::new(from.ip(), address.port()).to_string()
        }
        _ => listen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_host_gets_the_one_that_it_comes_from() {
        let from: SocketAddr = "10.0.0.7:41234".parse().unwrap();
        let of = |listen: &str| reachable(listen.into(), Some(from));
        assert_eq!(of("0.0.0.0:7101"), "10.0.0.7:7101");
        assert_eq!(of("[::]:7101"), "10.0.0.7:7101");
        for kept in ["10.0.0.8:7101", "node-2:7101", "0.0.0.0", ""] {
            assert_eq!(of(kept), kept);
        }
        assert_eq!(reachable("0.0.0.0:7101".into(), None), "0.0.0.0:7101");
    }
}
