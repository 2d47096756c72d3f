//! Free ports of the loopback interface.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
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
    let (locks, mut random) = (locks()?, random());
    let mut found = Vec::new();
    for _ in 0..1000 + 100 * count {
        if found.len() == count {
            return Ok(found);
        }
        let Ok(port) = u16::try_from(random.between(LOW, HIGH)) else { continue };
        if let Some(lock) = take(&locks, port) {
            TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
            found.push(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
    }
    Err(Failure::new(format!("no {count} free ports between {LOW} and {HIGH} on loopback"))
        .next("see who holds them: ss -ltnp"))
}

/// The first digits of ten ports in a row on which nobody listens: 1234 for 12340 to 12349.
pub(crate) fn ten() -> Result<u16, Failure> {
    let (locks, mut random) = (locks()?, random());
    for _ in 0..1000 {
        let Ok(first) = u16::try_from(random.between(LOW / 10, HIGH / 10)) else { continue };
        let found: Vec<File> = (0..10).map_while(|digit| take(&locks, first * 10 + digit)).collect();
        if found.len() == 10 {
            TAKEN.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
            return Ok(first);
        }
    }
    Err(Failure::new(format!("no ten free ports in a row between {LOW} and {HIGH} on loopback"))
        .next("see who holds them: ss -ltnp"))
}

fn locks() -> Result<PathBuf, Failure> {
    let locks = std::env::temp_dir().join("raft-kv-test-ports");
    std::fs::create_dir_all(&locks).context(|| format!("cannot create {}", locks.display()))?;
    Ok(locks)
}

fn random() -> Random {
    let nanos = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.subsec_nanos());
    Random::new(u64::from(std::process::id()) << 32 | u64::from(nanos))
}

/// The lock on a port, if neither it nor the port is in use.
fn take(locks: &Path, port: u16) -> Option<File> {
    let lock = File::create(locks.join(port.to_string())).ok()?;
    let free = lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    free.then_some(lock)
}

#[cfg(test)]
mod tests {
    #[test]
    fn ten_are_taken_together() {
        let (one, other) = (super::ten().unwrap(), super::ten().unwrap());
        assert_ne!(one, other);
    }

    #[test]
    fn all_differ() {
        let mut ports = super::free(16).unwrap();
        ports.sort();
        ports.dedup();
        assert_eq!(ports.len(), 16);
    }
}
