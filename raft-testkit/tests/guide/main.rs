//! The code of the guides, held to what they say.

#[path = "channels.rs"]
#[allow(missing_docs, unreachable_pub, private_interfaces, reason = "a guide shows what matters")]
mod channels;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use channels::Exchange;
use raft_core::backend::Transport;
use raft_core::ids::NodeId;
use raft_testkit::conformance::transport::TransportBackend;

#[derive(Default)]
struct Mine {
    exchange: Exchange,
    addresses: AtomicU64,
}

impl TransportBackend for Mine {
    fn address(&self) -> String {
        format!("desk-{}", self.addresses.fetch_add(1, Ordering::Relaxed))
    }

    fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
        self.exchange.transport(address)
    }
}

raft_testkit::transport_conformance! {
    backend: Mine::default(),
    skip: {
        t01_flipped_bit_is_never_delivered => "messages are never bytes here",
        t01_cut_message_is_not_delivered => "messages are never bytes here",
        t04_reconnecting_backs_off => "nobody can take a connection and close it",
        t05_broken_connection_is_reported => "a connection breaks only with its ends",
        t05_half_open_connection_is_lost => "a connection breaks only with its ends",
        t07_nonsense_closes_that_connection_only => "messages are never bytes here",
        t07_announced_length_takes_no_memory => "messages are never bytes here",
        t07_silent_connection_is_closed => "a connection is made with its handshake",
        t07_connections_are_limited => "each peer has one connection",
        t11_previous_version_interoperates => "messages are never bytes here",
        t11_no_common_version_is_refused => "messages are never bytes here",
    },
}
