//! T1 to T10 of [`Transport`], as far as they can be seen at its two ends.
//!
//! A backend crate implements [`TransportBackend`] for its transport and writes
//! [`transport_conformance!`](crate::transport_conformance) in one of its tests. [`CLAUSES`] lists what
//! is then run; [`names`] has the same as an index.
//!
//! Nothing is timed: the suite awaits what is reported to a [`TestInbox`](crate::memory::TestInbox).

mod table;

mod delivery;
mod end;
mod events;
mod handshake;
mod lanes;
mod lifecycle;
mod peers;

use std::sync::Arc;

use async_trait::async_trait;
use raft_core::backend::Transport;
use raft_core::ids::NodeId;

use super::Unsupported;

pub use table::{CLAUSES, names, run};

/// What a backend author provides so that the suite can test a transport.
#[async_trait]
pub trait TransportBackend: Send + Sync {
    /// A fresh address: nobody listens there, and nobody else is given it.
    fn address(&self) -> String;

    /// A transport that listens at this address once it is started.
    fn transport(&self, node: NodeId, address: &str) -> Arc<dyn Transport>;

    /// Connects to this address and sends nonsense of every kind that the format allows to tell from
    /// sense; returns when all of it is sent, or was turned away.
    ///
    /// # Errors
    /// [`Unsupported`]: then skip `t07_nonsense_closes_that_connection_only` with a reason.
    async fn send_nonsense(&self, _address: &str) -> Result<(), Unsupported> {
        Err(Unsupported)
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
///     skip: { t07_nonsense_closes_that_connection_only => "messages are never bytes here" },
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
                $crate::conformance::run_test(stringify!($name), TRANSPORT_SKIPS, || async {
                    $crate::conformance::transport::run(&$backend, stringify!($name)).await
                });
            }
        )*
    };
}
