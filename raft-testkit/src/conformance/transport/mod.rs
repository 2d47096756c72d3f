//! T1 to T11 of [`Transport`], as far as they can be seen at its two ends.
//!
//! A backend crate implements [`TransportBackend`] for its transport and writes
//! [`transport_conformance!`](crate::transport_conformance) in one of its tests. [`CLAUSES`] lists what
//! is then run; [`names`] has the same as an index.
//!
//! Nothing is timed: the suite awaits what is reported to a [`TestInbox`](crate::memory::TestInbox).

mod table;

mod damage;
mod delivery;
mod end;
mod events;
mod handshake;
mod lanes;
mod lifecycle;
mod limits;
mod peers;
mod relay;
mod versions;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use raft_core::backend::Transport;
use raft_core::ids::NodeId;
use raft_core::message::Message;

use super::Unsupported;

pub use table::{CLAUSES, names, run};
pub use wire::{ByteStream, TcpWire, Wire, WireListener};

/// Which wire version a transport is to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireVersion {
    /// The one before the newest, and no other.
    Previous,
    /// One that the newest has never heard of, and no other.
    Unknown,
}

/// What a backend author provides so that the suite can test a transport.
#[async_trait]
pub trait TransportBackend: Send + Sync {
    /// A fresh address: nobody listens there, and nobody else is given it.
    fn address(&self) -> String;

    /// A transport that listens at this address once it is started.
    fn transport(&self, node: NodeId, address: &str) -> Arc<dyn Transport>;

    /// How to get at the bytes beneath the transport: [`TcpWire::shared`] where it uses TCP.
    ///
    /// # Errors
    /// [`Unsupported`]: then skip the clauses about bytes with a reason.
    fn wire(&self) -> Result<Arc<dyn Wire>, Unsupported> {
        Err(Unsupported)
    }

    /// Connects to this address and sends nonsense of every kind that the format allows to tell from
    /// sense; returns when all of it is sent, or was turned away. Without an answer here the suite sends
    /// some of its own over the [`wire`](Self::wire).
    ///
    /// # Errors
    /// [`Unsupported`]
    async fn send_nonsense(&self, _address: &str) -> Result<(), Unsupported> {
        Err(Unsupported)
    }

    /// The first bytes of a bulk message that announces more than the transport takes, such as 2 GiB, as
    /// they come after a handshake.
    ///
    /// # Errors
    /// [`Unsupported`]: then skip `t07_announced_length_takes_no_memory` with a reason.
    fn oversized_announcement(&self) -> Result<Vec<u8>, Unsupported> {
        Err(Unsupported)
    }

    /// The most that this process had ever allocated at once, in bytes, where the test binary counts it
    /// (as `cap` does). Without it the suite sees only that announcements are turned away.
    fn peak_bytes(&self) -> Option<u64> {
        None
    }

    /// How many incoming connections the transports take at once; at least 4. Small is quick.
    ///
    /// # Errors
    /// [`Unsupported`]: then skip `t07_connections_are_limited` with a reason.
    fn connection_limit(&self) -> Result<usize, Unsupported> {
        Err(Unsupported)
    }

    /// A transport that speaks another wire version only.
    ///
    /// # Errors
    /// [`Unsupported`]: then skip the clauses of T11 with a reason.
    fn transport_of_version(
        &self,
        _node: NodeId,
        _address: &str,
        _version: WireVersion,
    ) -> Result<Arc<dyn Transport>, Unsupported> {
        Err(Unsupported)
    }

    /// What a peer of the previous wire version is told when this is sent to it; `None` if nothing.
    fn said_to_previous(&self, message: Message) -> Option<Message> {
        message.for_version(1)
    }
}

/// The transport conformance suite: expands to one `#[test]` per clause.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use raft_core::backend::Transport;
/// use raft_core::ids::NodeId;
/// use raft_testkit::conformance::transport::TransportBackend;
/// use raft_testkit::memory::MemoryNetwork;
///
/// #[derive(Default)]
/// struct Mine {
///     network: MemoryNetwork,
///     addresses: AtomicU64,
/// }
///
/// impl TransportBackend for Mine {
///     fn address(&self) -> String {
///         format!("memory:{}", self.addresses.fetch_add(1, Ordering::Relaxed))
///     }
///
///     fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
///         self.network.transport_at(address)
///     }
/// }
///
/// raft_testkit::transport_conformance! {
///     backend: Mine::default(),
///     skip: {
///         t01_flipped_bit_is_never_delivered => "messages are never bytes here",
///         t01_cut_message_is_not_delivered => "messages are never bytes here",
///         t04_reconnecting_backs_off => "there are no attempts: a peer is there or not",
///         t05_broken_connection_is_reported => "a connection breaks only with its ends",
///         t05_half_open_connection_is_lost => "a connection breaks only with its ends",
///         t07_nonsense_closes_that_connection_only => "messages are never bytes here",
///         t07_announced_length_takes_no_memory => "messages are never bytes here",
///         t07_silent_connection_is_closed => "a connection is made with its handshake",
///         t07_connections_are_limited => "a connection is made with its handshake",
///         t11_previous_version_interoperates => "messages are never bytes here",
///         t11_no_common_version_is_refused => "messages are never bytes here",
///     },
/// }
/// # fn main() {}
/// ```
///
/// `backend` is evaluated once for each test. A name in `skip` that is no clause does not compile.
#[macro_export]
macro_rules! transport_conformance {
    (backend: $backend:expr $(,)?) => {
        $crate::transport_conformance! { backend: $backend, skip: {} }
    };
    (backend: $backend:expr, skip: { $($skip:ident => $reason:expr),* $(,)? } $(,)?) => {
        const TRANSPORT_SUBJECT: $crate::conformance::Subject = $crate::conformance::Subject {
            suite: "transport",
            backend: concat!(env!("CARGO_PKG_NAME"), " / ", module_path!()),
            partly: &[],
        };
        const TRANSPORT_SKIPS: &[(&str, &str)] =
            &[$(($crate::conformance::transport::names::$skip, $reason)),*];
        #[test]
        fn t00_clauses_are_run() {
            $crate::conformance::check_suite($crate::conformance::transport::CLAUSES, TRANSPORT_SKIPS);
        }
        $crate::__transport_clauses! { __transport_tests { $backend } }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_tests {
    ({ $backend:expr } $($name:ident $module:ident $sentence:literal)*) => {
        $(
            #[doc = $sentence]
            #[test]
            fn $name() {
                $crate::conformance::run_test(TRANSPORT_SUBJECT, stringify!($name), TRANSPORT_SKIPS, || async {
                    $crate::conformance::transport::run(&$backend, stringify!($name)).await
                });
            }
        )*
    };
}
