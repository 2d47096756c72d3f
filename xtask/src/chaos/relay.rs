//! A network between the nodes that needs no rights: nodes dial a relay in this process instead of each
//! other. Bytes from one node to another can be held back, delayed, or their connections broken.
//!
//! There is one listener for each node that is dialled. Who dials is found in the tables of the system:
//! which process has the socket at the other end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::servers::{self, Place};
use crate::util::{Context, Failure, ports};

/// A link: from, to; nodes by their place in the cluster.
pub(super) type Link = (usize, usize);

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// A process that has just been started may dial before its number is told.
const OWNER_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct State {
    cut: BTreeSet<Link>,
    delay: BTreeMap<Link, Duration>,
    /// The process of each node.
    processes: Vec<Option<u32>>,
    /// Both ends of what is connected, by the link of the node that dialled.
    connections: Vec<(Link, TcpStream, TcpStream)>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    healed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until bytes may go over all of these links; how long they then still take.
    fn wait_open(&self, links: &[Link]) -> Duration {
        let mut state = self.state();
        while links.iter().any(|link| state.cut.contains(link)) {
            state = self.healed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        links.iter().filter_map(|link| state.delay.get(link)).max().copied().unwrap_or_default()
    }
}

/// The relay.
#[derive(Debug)]
pub(super) struct Relay {
    shared: Arc<Shared>,
    places: Vec<Place>,
}

impl Relay {
    /// Listens for that many nodes.
    pub(super) fn start(nodes: usize) -> Result<Self, Failure> {
        if !Path::new("/proc/net/tcp").exists() {
            return Err(Failure::new("a relay needs /proc/net/tcp to know who dials"));
        }
        let mut places = servers::loopback(nodes)?;
        let state = State { processes: vec![None; nodes], ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), healed: Condvar::new() });
        for ((to, place), address) in places.iter_mut().enumerate().zip(ports::free(nodes)?) {
            place.dialled = address;
            let listener = TcpListener::bind(address).context(|| format!("cannot listen on {address}"))?;
            let (shared, server) = (Arc::clone(&shared), place.peer);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || carry(&shared, stream, to, server, address));
                }
            });
        }
        Ok(Self { shared, places })
    }

    pub(super) fn places(&self) -> Vec<Place> {
        self.places.clone()
    }

    /// A node has a process now.
    pub(super) fn runs(&self, node: usize, process: Option<u32>) {
        if let Some(place) = self.shared.state().processes.get_mut(node) {
            *place = process;
        }
    }

    pub(super) fn cut(&self, links: &[Link]) {
        self.shared.state().cut.extend(links);
    }

    pub(super) fn slow(&self, links: &[Link], by: Duration) {
        self.shared.state().delay.extend(links.iter().map(|link| (*link, by)));
    }

    /// Everything goes again. What was held back arrives now, or its connections break.
    pub(super) fn heal(&self, breaks: bool) {
        let mut state = self.shared.state();
        let cut = std::mem::take(&mut state.cut);
        state.delay.clear();
        if breaks {
            for ((from, to), one, other) in &state.connections {
                if cut.contains(&(*from, *to)) || cut.contains(&(*to, *from)) {
                    // One that has ended already is as good.
                    let _ = one.shutdown(Shutdown::Both);
                    let _ = other.shutdown(Shutdown::Both);
                }
            }
        }
        drop(state);
        self.shared.healed.notify_all();
    }
}

/// Carries one connection to the node `to`.
fn carry(shared: &Arc<Shared>, dialler: TcpStream, to: usize, server: SocketAddr, here: SocketAddr) {
    let Ok(address) = dialler.peer_addr() else { return };
    let Some(from) = owner(shared, address, here) else { return };
    // A connection comes to be only where bytes can go both ways.
    shared.wait_open(&[(from, to), (to, from)]);
    let Ok(listener) = TcpStream::connect_timeout(&server, Duration::from_secs(2)) else { return };
    if dialler.set_nodelay(true).and_then(|()| listener.set_nodelay(true)).is_err() {
        return;
    }
    let pair = |stream: &TcpStream| Some((stream.try_clone().ok()?, stream.try_clone().ok()?));
    let (Some((a, b)), Some((c, d))) = (pair(&dialler), pair(&listener)) else { return };
    shared.state().connections.push(((from, to), dialler, listener));
    let back = Arc::clone(shared);
    let other = std::thread::spawn(move || pump(&back, d, b, (to, from)));
    pump(shared, a, c, (from, to));
    // A half that waits for a cut to end keeps the connection listed: it can still be broken.
    let _ = other.join();
    let gone = |stream: &TcpStream| stream.peer_addr().ok() == Some(address);
    shared.state().connections.retain(|(link, one, _)| *link != (from, to) || !gone(one));
}

/// Copies bytes of one direction until it ends.
fn pump(shared: &Shared, mut source: TcpStream, mut sink: TcpStream, link: Link) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = source.read(&mut piece).unwrap_or(0);
        // The end of a connection does not get through a cut either.
        std::thread::sleep(shared.wait_open(&[link]));
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        if sink.write_all(bytes).is_err() {
            // The other end is gone: the source must hear of it.
            let _ = source.shutdown(Shutdown::Both);
            break;
        }
    }
    let _ = sink.shutdown(Shutdown::Write);
}

/// The node whose process has the socket that dialled.
fn owner(shared: &Shared, dialler: SocketAddr, here: SocketAddr) -> Option<usize> {
    let deadline = Instant::now() + OWNER_PATIENCE;
    while Instant::now() < deadline {
        let processes = shared.state().processes.clone();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        if let Some(inode) = inode(&table, dialler, here) {
            let has = |process: &Option<u32>| process.is_some_and(|process| has_socket(process, inode));
            if let Some(node) = processes.iter().position(has) {
                return Some(node);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// The inode of the socket with these ends; both are IPv4.
fn inode(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let hex = |address: SocketAddr| match address {
        SocketAddr::V4(address) => {
            Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
        }
        SocketAddr::V6(_) => None,
    };
    let (local, remote) = (hex(local)?, hex(remote)?);
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let same = words.get(1) == Some(&local.as_str()) && words.get(2) == Some(&remote.as_str());
        words.get(9).filter(|_| same)?.parse().ok().filter(|inode| *inode != 0)
    })
}

fn has_socket(process: u32, inode: u64) -> bool {
    let name = format!("socket:[{inode}]");
    let files = std::fs::read_dir(format!("/proc/{process}/fd"));
    files
        .into_iter()
        .flatten()
        .flatten()
        .any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Node 0 is this process; it dials node 1, which echoes.
    fn connected() -> (Relay, TcpStream) {
        let relay = Relay::start(2).unwrap();
        relay.runs(0, Some(std::process::id()));
        let places = relay.places();
        let listener = TcpListener::bind(places[1].peer).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut other = stream.try_clone().unwrap();
            let _ = std::io::copy(&mut stream, &mut other);
        });
        let stream = TcpStream::connect(places[1].dialled).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        (relay, stream)
    }

    fn echo(stream: &mut TcpStream, byte: u8) -> Option<u8> {
        let mut answer = [0];
        stream.write_all(&[byte]).ok()?;
        stream.read_exact(&mut answer).ok().map(|()| answer[0])
    }

    #[test]
    fn bytes_pass_wait_for_the_end_of_a_cut_or_are_lost_with_their_connection() {
        let (relay, mut stream) = connected();
        assert_eq!(echo(&mut stream, 1), Some(1));
        for links in [[(0, 1)], [(1, 0)]] {
            relay.cut(&links);
            stream.write_all(&[2]).unwrap();
            stream.set_nonblocking(true).unwrap();
            for _ in 0..50 {
                assert!(stream.read(&mut [0]).is_err(), "nothing comes through");
                std::thread::yield_now();
            }
            stream.set_nonblocking(false).unwrap();
            relay.heal(false);
            let mut late = [0];
            stream.read_exact(&mut late).unwrap();
            assert_eq!(late, [2]);
        }
        relay.cut(&[(0, 1)]);
        relay.heal(true);
        assert_eq!(echo(&mut stream, 3), None);
    }

    #[test]
    fn an_inode_is_found_by_both_ends() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:2EE1 0100007F:2EE2 01 00000000:00000000 00:00000000 00000000     0        0 41 1\n\
            1: 0100007F:2EE2 0100007F:2EE1 01 00000000:00000000 00:00000000 00000000     0        0 42 1\n";
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        if cfg!(target_endian = "little") {
            assert_eq!(inode(table, address(0x2ee2), address(0x2ee1)), Some(42));
            assert_eq!(inode(table, address(0x2ee1), address(0x2ee3)), None);
        }
    }
}
