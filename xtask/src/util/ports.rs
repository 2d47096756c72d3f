//! Free ports of the loopback interface.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::util::{Context, Failure};

/// `count` different addresses on which nobody listens. Another program may take one before it is
/// used: the server then says that the address is in use, and the command fails with its words.
pub(crate) fn free(count: usize) -> Result<Vec<SocketAddr>, Failure> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()
        .context(|| String::from("no free port on loopback"))?;
    listeners.iter().map(|l| l.local_addr().context(|| String::from("no address"))).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_differ() {
        let mut ports = super::free(16).unwrap();
        ports.sort();
        ports.dedup();
        assert_eq!(ports.len(), 16);
    }
}
