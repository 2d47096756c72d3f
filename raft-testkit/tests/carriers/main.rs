//! The transport suite over a small transport that is honest, and over the fifteen lies that it can
//! tell: each must be noticed by its clause.

mod carrier;
mod codec;
mod lies;
mod lines;
mod queue;
mod skips;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use raft_core::backend::Transport;
use raft_core::ids::NodeId;
use raft_core::message::Message;
use raft_testkit::conformance::transport::{CLAUSES, TransportBackend, Wire, WireVersion, run};
use raft_testkit::conformance::{Unsupported, report_mutant};

use carrier::{CONNECTIONS, Carrier};
use lies::{Lie, TABLE};
use lines::Lines;

#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

/// The wire versions of a transport of today.
const VERSIONS: (u16, u16) = (1, 2);

#[derive(Default)]
struct Carriers {
    lines: Lines,
    addresses: AtomicU64,
    lie: Option<Lie>,
}

impl Carriers {
    fn make(&self, address: &str, versions: (u16, u16)) -> Arc<dyn Transport> {
        let (lines, address) = (self.lines.clone(), address.to_owned());
        Arc::new(Carrier { lines, address, lie: self.lie, versions, running: Mutex::default() })
    }
}

impl TransportBackend for Carriers {
    fn address(&self) -> String {
        format!("line-{}", self.addresses.fetch_add(1, Ordering::Relaxed))
    }

    fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
        self.make(address, VERSIONS)
    }

    fn wire(&self) -> Result<Arc<dyn Wire>, Unsupported> {
        Ok(Arc::new(self.lines.clone()))
    }

    fn oversized_announcement(&self) -> Result<Vec<u8>, Unsupported> {
        Ok(0x7fff_ffff_u64.to_le_bytes().to_vec())
    }

    fn peak_bytes(&self) -> Option<u64> {
        Some(ALLOCATOR.max_allocated() as u64)
    }

    fn connection_limit(&self) -> Result<usize, Unsupported> {
        Ok(CONNECTIONS)
    }

    fn transport_of_version(
        &self,
        _: NodeId,
        address: &str,
        version: WireVersion,
    ) -> Result<Arc<dyn Transport>, Unsupported> {
        let versions = match version {
            WireVersion::Previous => (1, 1),
            WireVersion::Unknown => (9, 9),
        };
        Ok(self.make(address, versions))
    }

    /// Its versions differ by their number only.
    fn said_to_previous(&self, message: Message) -> Option<Message> {
        Some(message)
    }
}

/// Time is paused: where nobody has anything left to do, the next deadline comes at once.
#[tokio::test(start_paused = true)]
async fn an_honest_transport_passes_every_clause() {
    for clause in CLAUSES {
        eprintln!("{}", clause.name);
        let result = run(&Carriers::default(), clause.name).await;
        assert!(result.is_ok(), "{}", result.unwrap_err());
    }
}

#[tokio::test(start_paused = true)]
async fn every_lie_is_noticed_by_its_clause() {
    let mut escaped = Vec::new();
    for (lie, clause, words) in TABLE {
        eprintln!("{lie:?}");
        let result = run(&Carriers { lie: Some(*lie), ..Carriers::default() }, clause).await;
        if !report_mutant("transport", lie, clause, words, &result) {
            escaped.push((lie, clause, words, result.err()));
        }
    }
    assert!(escaped.is_empty(), "not noticed: {escaped:#?}");
    assert_eq!(TABLE.len(), 15);
}
