//! Which clauses a transport has to skip that leaves out a function.

#[path = "../skips/offer.rs"]
mod offer;

use std::sync::Arc;

use raft_core::backend::Transport;
use raft_core::ids::NodeId;
use raft_core::message::Message;
use raft_testkit::conformance::Unsupported;
use raft_testkit::conformance::transport::{CLAUSES, TransportBackend, Wire, WireVersion, run};

use super::Carriers;
use offer::{Offer, is_documented, needs};

struct Partial(Carriers, Offer);

impl AsRef<Offer> for Partial {
    fn as_ref(&self) -> &Offer {
        &self.1
    }
}

#[async_trait::async_trait]
impl TransportBackend for Partial {
    fn address(&self) -> String {
        self.0.address()
    }

    fn transport(&self, node: NodeId, address: &str) -> Arc<dyn Transport> {
        self.0.transport(node, address)
    }

    fn wire(&self) -> Result<Arc<dyn Wire>, Unsupported> {
        self.1.ask("TransportBackend::wire")?;
        self.0.wire()
    }

    async fn send_nonsense(&self, address: &str) -> Result<(), Unsupported> {
        self.1.ask("TransportBackend::send_nonsense")?;
        self.0.send_nonsense(address).await
    }

    fn oversized_announcement(&self) -> Result<Vec<u8>, Unsupported> {
        self.1.ask("TransportBackend::oversized_announcement")?;
        self.0.oversized_announcement()
    }

    fn peak_bytes(&self) -> Option<u64> {
        self.1.ask("TransportBackend::peak_bytes").ok()?;
        self.0.peak_bytes()
    }

    fn connection_limit(&self) -> Result<usize, Unsupported> {
        self.1.ask("TransportBackend::connection_limit")?;
        self.0.connection_limit()
    }

    fn transport_of_version(
        &self,
        node: NodeId,
        address: &str,
        version: WireVersion,
    ) -> Result<Arc<dyn Transport>, Unsupported> {
        self.1.ask("TransportBackend::transport_of_version")?;
        self.0.transport_of_version(node, address, version)
    }

    fn said_to_previous(&self, message: Message) -> Option<Message> {
        self.0.said_to_previous(message)
    }
}

#[tokio::test(start_paused = true)]
async fn the_table_says_what_a_transport_without_a_function_skips() {
    let make = |offer| Partial(Carriers::default(), offer);
    let found = needs(CLAUSES, make, async |backend, name| run(backend, name).await).await;
    is_documented("A transport", include_str!("../../src/conformance/transport/mod.rs"), &found, &[]);
}
