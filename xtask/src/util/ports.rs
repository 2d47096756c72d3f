//! Free ports of the loopback interface.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use crate::util::random::Random;
use crate::util::{Context, Failure};

/// Below those that systems give to outgoing connections: one of these would take the port of a server
/// while that is down, and even connect to itself.
const LOW: u64 = 12_000;
const HIGH: u64 = 32_000;

/// Ports of this process, as locked files: no other user of this folder takes one while its server is down.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// `count` different addresses on which nobody listens. Another program may take one before it is
/// used: the server then says that the address is in use, and the command fails with its words.
pub(crate) fn free(count: usize) -> Result<Vec<SocketAddr>, Failure> {
    let locks = std::env::temp_dir().join("raft-kv-test-ports");
    std::fs::create_dir_all(&locks).context(|| format!("cannot create {}", locks.display()))?;
    let nanos = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.subsec_nanos());
    let mut random = Random::new(u64::from(std::process::id()) << 32 | u64::from(nanos));
    let mut found = Vec::new();
    for _ in 0..1000 + 100 * count {
        if found.len() == count {
            return Ok(found);
        }
        let Ok(port) = u16::try_from(random.between(LOW, HIGH)) else { continue };
        let Ok(lock) = File::create(locks.join(port.to_string())) else { continue };
        if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
            found.push(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
    }
    Err(Failure::new(format!("no {count} free ports between {LOW} and {HIGH} on loopback")))
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
