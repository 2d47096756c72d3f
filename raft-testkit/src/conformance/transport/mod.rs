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
///
/// # Examples
/// ```
/// use raft_testkit::conformance::transport::WireVersion;
///
/// /// The lowest and the highest version that a transport under test offers.
/// const fn offered(newest: u16, version: Option<WireVersion>) -> (u16, u16) {
///     match version {
///         None => (1, newest),
///         Some(WireVersion::Previous) => (newest - 1, newest - 1),
///         Some(WireVersion::Unknown) => (newest + 100, newest + 100),
///     }
/// }
/// assert_eq!(offered(2, Some(WireVersion::Previous)), (1, 1));
/// assert!(offered(2, Some(WireVersion::Unknown)).0 > offered(2, None).1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireVersion {
    /// The one before the newest, and no other.
    Previous,
    /// One that the newest has never heard of, and no other.
    Unknown,
}

/// What a backend author provides so that the suite can test a transport.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use raft_core::backend::Transport;
/// use raft_core::ids::NodeId;
/// use raft_testkit::conformance::transport::{TransportBackend, run};
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
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// assert_eq!(run(&Mine::default(), "t05_dead_peer_is_gone").await, Ok(()));
/// # }
/// ```
#[async_trait]
pub trait TransportBackend: Send + Sync {
    /// A fresh address: nobody listens there, and nobody else is given it.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use std::sync::atomic::{AtomicU64, Ordering};
    /// #
    /// # use raft_core::backend::Transport;
    /// # use raft_core::ids::NodeId;
    /// # use raft_testkit::conformance::transport::{TransportBackend, run};
    /// # use raft_testkit::memory::MemoryNetwork;
    /// #
    /// # #[derive(Default)]
    /// # struct Mine {
    /// #     network: MemoryNetwork,
    /// #     addresses: AtomicU64,
    /// # }
    /// #
    /// # impl TransportBackend for Mine {
    /// #     fn address(&self) -> String {
    /// #         format!("memory:{}", self.addresses.fetch_add(1, Ordering::Relaxed))
    /// #     }
    /// #
    /// #     fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
    /// #         self.network.transport_at(address)
    /// #     }
    /// # }
    /// # fn main() {
    /// let backend = Mine::default();
    /// let (one, two) = (backend.address(), backend.address());
    /// assert_ne!(one, two);
    /// # }
    /// ```
    fn address(&self) -> String;

    /// A transport that listens at this address once it is started.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use std::sync::atomic::{AtomicU64, Ordering};
    /// #
    /// # use raft_core::backend::Transport;
    /// # use raft_core::ids::NodeId;
    /// # use raft_testkit::conformance::transport::{TransportBackend, run};
    /// # use raft_testkit::memory::MemoryNetwork;
    /// #
    /// # #[derive(Default)]
    /// # struct Mine {
    /// #     network: MemoryNetwork,
    /// #     addresses: AtomicU64,
    /// # }
    /// #
    /// # impl TransportBackend for Mine {
    /// #     fn address(&self) -> String {
    /// #         format!("memory:{}", self.addresses.fetch_add(1, Ordering::Relaxed))
    /// #     }
    /// #
    /// #     fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
    /// #         self.network.transport_at(address)
    /// #     }
    /// # }
    /// # use raft_core::backend::TransportError;
    /// # use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, StoreId};
    /// # use raft_testkit::memory::TestInbox;
    /// # fn identity() -> Identity {
    /// #     let incarnation = Incarnation { number: 1, nonce: 7 };
    /// #     let (cluster, group) = (ClusterId(1), GroupId(0));
    /// #     Identity { cluster, group, node: NodeId(0), store: StoreId(5), incarnation }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let backend = Mine::default();
    /// let (address, inbox) = (backend.address(), TestInbox::new());
    /// let identity = Identity { node: NodeId(1), ..identity() };
    /// let first = backend.transport(NodeId(1), &address);
    /// first.start(identity, inbox.inbox()).await?;
    /// // It listens there from now on, and nobody else can.
    /// let second = backend.transport(NodeId(1), &address);
    /// let refused = second.start(identity, inbox.inbox()).await;
    /// assert_eq!(refused, Err(TransportError::AddressInUse { address }));
    /// # Ok(())
    /// # }
    /// ```
    fn transport(&self, node: NodeId, address: &str) -> Arc<dyn Transport>;

    /// How to get at the bytes beneath the transport: [`TcpWire::shared`] where it uses TCP.
    ///
    /// # Errors
    /// [`Unsupported`]: then skip the clauses about bytes with a reason.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use raft_core::backend::Transport;
    /// # use raft_core::ids::NodeId;
    /// # use raft_core::message::Message;
    /// # use raft_testkit::conformance::Unsupported;
    /// # use raft_testkit::conformance::transport::{TcpWire, TransportBackend, Wire, WireVersion};
    /// # use raft_testkit::memory::MemoryNetwork;
    /// # struct Mine;
    /// impl TransportBackend for Mine {
    /// #     fn address(&self) -> String {
    /// #         "memory:0".into()
    /// #     }
    /// #     fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
    /// #         MemoryNetwork::new().transport_at(address)
    /// #     }
    ///     fn wire(&self) -> Result<Arc<dyn Wire>, Unsupported> {
    ///         Ok(TcpWire::shared())
    ///     }
    ///     // ...
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // The suite stands between two transports with it, here as whoever dials.
    /// let wire = Mine.wire().unwrap();
    /// let listener = wire.listen("127.0.0.1:0").await;
    /// assert!(listener.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    fn wire(&self) -> Result<Arc<dyn Wire>, Unsupported> {
        Err(Unsupported("TransportBackend::wire"))
    }

    /// Connects to this address and sends nonsense of every kind that the format allows to tell from
    /// sense; returns when all of it is sent, or was turned away. Without an answer here the suite sends
    /// some of its own over the [`wire`](Self::wire).
    ///
    /// # Errors
    /// [`Unsupported`]
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use raft_core::backend::Transport;
    /// # use raft_core::ids::NodeId;
    /// # use raft_core::message::Message;
    /// # use raft_testkit::conformance::Unsupported;
    /// # use raft_testkit::conformance::transport::{TcpWire, TransportBackend, Wire, WireVersion};
    /// # use raft_testkit::memory::MemoryNetwork;
    /// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// # use tokio::net::{TcpListener, TcpStream};
    /// # struct Mine;
    /// #[async_trait::async_trait]
    /// impl TransportBackend for Mine {
    /// #     fn address(&self) -> String {
    /// #         "memory:0".into()
    /// #     }
    /// #     fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
    /// #         MemoryNetwork::new().transport_at(address)
    /// #     }
    ///     async fn send_nonsense(&self, address: &str) -> Result<(), Unsupported> {
    ///         let mut stream = TcpStream::connect(address).await.map_err(|_| Unsupported("a connection"))?;
    ///         // Whoever hangs up before all is sent has turned it away.
    ///         let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
    ///         Ok(())
    ///     }
    ///     // ...
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let address = listener.local_addr()?.to_string();
    /// let (sent, accepted) = tokio::join!(Mine.send_nonsense(&address), listener.accept());
    /// assert_eq!(sent, Ok(()));
    /// let mut seen = String::new();
    /// accepted?.0.read_to_string(&mut seen).await?;
    /// assert_eq!(seen, "GET / HTTP/1.1\r\n\r\n");
    /// # Ok(())
    /// # }
    /// ```
    async fn send_nonsense(&self, _address: &str) -> Result<(), Unsupported> {
        Err(Unsupported("TransportBackend::send_nonsense"))
    }

    /// The first bytes of a bulk message that announces more than the transport takes, such as 2 GiB, as
    /// they come after a handshake.
    ///
    /// # Errors
    /// [`Unsupported`]: then skip `t07_announced_length_takes_no_memory` with a reason.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use raft_core::backend::Transport;
    /// # use raft_core::ids::NodeId;
    /// # use raft_core::message::Message;
    /// # use raft_testkit::conformance::Unsupported;
    /// # use raft_testkit::conformance::transport::{TcpWire, TransportBackend, Wire, WireVersion};
    /// # use raft_testkit::memory::MemoryNetwork;
    /// # struct Mine;
    /// impl TransportBackend for Mine {
    /// #     fn address(&self) -> String {
    /// #         "memory:0".into()
    /// #     }
    /// #     fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
    /// #         MemoryNetwork::new().transport_at(address)
    /// #     }
    ///     fn oversized_announcement(&self) -> Result<Vec<u8>, Unsupported> {
    ///         // A frame of this format begins with its length.
    ///         Ok((2_u32 << 30).to_be_bytes().to_vec())
    ///     }
    ///     // ...
    /// }
    ///
    /// # fn main() {
    /// assert_eq!(Mine.oversized_announcement().unwrap(), [0x80, 0, 0, 0]);
    /// # }
    /// ```
    fn oversized_announcement(&self) -> Result<Vec<u8>, Unsupported> {
        Err(Unsupported("TransportBackend::oversized_announcement"))
    }

    /// The most that this process had ever allocated at once, in bytes, where the test binary counts it
    /// (as `cap` does). Without it the suite sees only that announcements are turned away.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use std::sync::atomic::{AtomicU64, Ordering};
    /// #
    /// # use raft_core::backend::Transport;
    /// # use raft_core::ids::NodeId;
    /// # use raft_testkit::conformance::transport::{TransportBackend, run};
    /// # use raft_testkit::memory::MemoryNetwork;
    /// #
    /// # #[derive(Default)]
    /// # struct Mine {
    /// #     network: MemoryNetwork,
    /// #     addresses: AtomicU64,
    /// # }
    /// #
    /// # impl TransportBackend for Mine {
    /// #     fn address(&self) -> String {
    /// #         format!("memory:{}", self.addresses.fetch_add(1, Ordering::Relaxed))
    /// #     }
    /// #
    /// #     fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
    /// #         self.network.transport_at(address)
    /// #     }
    /// # }
    /// # fn main() {
    /// // Nobody counts allocations here: the suite sees only that announcements are turned away.
    /// assert_eq!(Mine::default().peak_bytes(), None);
    /// # }
    /// ```
    fn peak_bytes(&self) -> Option<u64> {
        None
    }

    /// How many incoming connections the transports take at once; at least 4. Small is quick.
    ///
    /// # Errors
    /// [`Unsupported`]: then skip `t07_connections_are_limited` with a reason.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use raft_core::backend::Transport;
    /// # use raft_core::ids::NodeId;
    /// # use raft_core::message::Message;
    /// # use raft_testkit::conformance::Unsupported;
    /// # use raft_testkit::conformance::transport::{TcpWire, TransportBackend, Wire, WireVersion};
    /// # use raft_testkit::memory::MemoryNetwork;
    /// const LIMIT: usize = 8;
    /// # struct Mine;
    /// impl TransportBackend for Mine {
    /// #     fn address(&self) -> String {
    /// #         "memory:0".into()
    /// #     }
    /// #     fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
    /// #         MemoryNetwork::new().transport_at(address)
    /// #     }
    ///     fn connection_limit(&self) -> Result<usize, Unsupported> {
    ///         // What `transport` has configured.
    ///         Ok(LIMIT)
    ///     }
    ///     // ...
    /// }
    ///
    /// # fn main() {
    /// assert!(Mine.connection_limit().unwrap() >= 4);
    /// # }
    /// ```
    fn connection_limit(&self) -> Result<usize, Unsupported> {
        Err(Unsupported("TransportBackend::connection_limit"))
    }

    /// A transport that speaks another wire version only.
    ///
    /// # Errors
    /// [`Unsupported`]: then skip the clauses of T11 with a reason.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use raft_core::backend::Transport;
    /// # use raft_core::ids::NodeId;
    /// # use raft_core::message::Message;
    /// # use raft_testkit::conformance::Unsupported;
    /// # use raft_testkit::conformance::transport::{TcpWire, TransportBackend, Wire, WireVersion};
    /// # use raft_testkit::memory::MemoryNetwork;
    /// # use raft_testkit::conformance::transport::run;
    /// # struct Mine;
    /// impl TransportBackend for Mine {
    /// #     fn address(&self) -> String {
    /// #         "memory:0".into()
    /// #     }
    /// #     fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
    /// #         MemoryNetwork::new().transport_at(address)
    /// #     }
    ///     // Where messages are never bytes, nothing has a version: the clauses of T11 are skipped.
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let old = Mine.transport_of_version(NodeId(1), "memory:1", WireVersion::Previous);
    /// assert!(matches!(old, Err(Unsupported(_))));
    /// assert!(run(&Mine, "t11_no_common_version_is_refused").await.is_err());
    /// # }
    /// ```
    fn transport_of_version(
        &self,
        _node: NodeId,
        _address: &str,
        _version: WireVersion,
    ) -> Result<Arc<dyn Transport>, Unsupported> {
        Err(Unsupported("TransportBackend::transport_of_version"))
    }

    /// What a peer of the previous wire version is told when this is sent to it; `None` if nothing.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use std::sync::atomic::{AtomicU64, Ordering};
    /// #
    /// # use raft_core::backend::Transport;
    /// # use raft_core::ids::NodeId;
    /// # use raft_testkit::conformance::transport::{TransportBackend, run};
    /// # use raft_testkit::memory::MemoryNetwork;
    /// #
    /// # #[derive(Default)]
    /// # struct Mine {
    /// #     network: MemoryNetwork,
    /// #     addresses: AtomicU64,
    /// # }
    /// #
    /// # impl TransportBackend for Mine {
    /// #     fn address(&self) -> String {
    /// #         format!("memory:{}", self.addresses.fetch_add(1, Ordering::Relaxed))
    /// #     }
    /// #
    /// #     fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
    /// #         self.network.transport_at(address)
    /// #     }
    /// # }
    /// # fn main() {
    /// use raft_core::ids::Index;
    /// use raft_core::message::{Heartbeat, Message};
    ///
    /// // What both versions have arrives as it was sent.
    /// let beat = Message::Heartbeat(Heartbeat { commit: Index(9), round: 4 });
    /// assert_eq!(Mine::default().said_to_previous(beat.clone()), Some(beat));
    /// # }
    /// ```
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
    (backend: $backend:expr, skip: { $($skip:ident => $reason:literal),* $(,)? } $(,)?) => {
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
        /// What is skipped, for the test runner to count and to name.
        mod skipped_transport_clauses {
            $(
                #[test]
                #[ignore = $reason]
                fn $skip() {
                    eprintln!("skipped: {}", $reason);
                }
            )*
        }
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
