//! T1 to T11 on loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use raft_core::backend::Transport;
use raft_core::ids::NodeId;
use raft_net_tcp::{Options, TcpTransport};
use raft_testkit::conformance::Unsupported;
use raft_testkit::conformance::transport::{TcpWire, TransportBackend, Wire, WireVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

struct Loopback;

/// Few connections are filled quickly; nobody here is slower than this, unless it is the point.
fn options() -> Options {
    let mut options = Options::default();
    options.connections = 16;
    options.handshake_timeout = Duration::from_secs(2);
    options.write_timeout = Duration::from_secs(2);
    options
}

#[async_trait]
impl TransportBackend for Loopback {
    fn address(&self) -> String {
        // Each address has a host of its own, by process and number: no other test is given it.
        static NUMBER: AtomicU16 = AtomicU16::new(0);
        let [c, d] = NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let b = 1 + (std::process::id() % 250) as u8;
        let host = Ipv4Addr::new(127, b, c, d.max(1));
        let free = TcpListener::bind(SocketAddr::from((host, 0))).unwrap();
        free.local_addr().unwrap().to_string()
    }

    fn transport(&self, _: NodeId, address: &str) -> Arc<dyn Transport> {
        Arc::new(TcpTransport::new(address.parse().unwrap(), options()))
    }

    fn wire(&self) -> Result<Arc<dyn Wire>, Unsupported> {
        Ok(TcpWire::shared())
    }

    fn oversized_announcement(&self) -> Result<Vec<u8>, Unsupported> {
        // Length, checksum, length of the head, kind: an append.
        let mut header = vec![0; 16];
        header[..4].copy_from_slice(&0x7fff_fff0_u32.to_le_bytes());
        header[8] = 40;
        header[12] = 5;
        Ok(header)
    }

    fn peak_bytes(&self) -> Option<u64> {
        Some(ALLOCATOR.max_allocated() as u64)
    }

    fn connection_limit(&self) -> Result<usize, Unsupported> {
        Ok(options().connections)
    }

    fn transport_of_version(
        &self,
        _: NodeId,
        address: &str,
        version: WireVersion,
    ) -> Result<Arc<dyn Transport>, Unsupported> {
        Ok(Arc::new(TcpTransport::new(address.parse().unwrap(), of_version(options(), version))))
    }

    async fn send_nonsense(&self, address: &str) -> Result<(), Unsupported> {
        let cases: [Vec<u8>; 4] =
            [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0; 100], vec![0xff; 100_000], Vec::new()];
        for bytes in cases {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // It may be closed before all of it is written.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        Ok(())
    }
}

fn of_version(mut options: Options, version: WireVersion) -> Options {
    let newest = raft_net_tcp::WIRE_VERSIONS.1;
    options.wire_versions = match version {
        WireVersion::Previous => (newest - 1, newest - 1),
        WireVersion::Unknown => (newest + 1, newest + 1),
    };
    options
}

raft_testkit::transport_conformance! {
    backend: Loopback,
}

/// The same with TLS between all nodes.
#[cfg(feature = "tls")]
mod over_tls {
    use super::*;

    use raft_core::ids::ClusterId;
    use raft_core::tls::{Pem, TlsIdentity, node_name};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use tokio_rustls::rustls::time_provider::DefaultTimeProvider;

    /// Those that the suite speaks of.
    const CLUSTERS: [u128; 2] = [0x7e57, 0xbad];

    struct OverTls;

    /// A certificate for this node, whatever cluster of the suite it is in.
    fn certificate(node: NodeId) -> TlsIdentity {
        static AUTHORITY: std::sync::LazyLock<(Issuer<'static, KeyPair>, Vec<u8>)> =
            std::sync::LazyLock::new(|| {
                let key = KeyPair::generate().unwrap();
                let mut params = CertificateParams::new(Vec::new()).unwrap();
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                let pem = params.self_signed(&key).unwrap().pem().into_bytes();
                (Issuer::new(params, key), pem)
            });
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> =
            CLUSTERS.iter().map(|cluster| node_name(ClusterId(*cluster), node)).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &AUTHORITY.0).unwrap();
        let pem = Pem {
            chain: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            ca: AUTHORITY.1.clone(),
        };
        TlsIdentity::new(&pem, Arc::new(DefaultTimeProvider)).unwrap()
    }

    #[async_trait]
    impl TransportBackend for OverTls {
        fn address(&self) -> String {
            Loopback.address()
        }

        fn transport(&self, node: NodeId, address: &str) -> Arc<dyn Transport> {
            let transport = TcpTransport::new(address.parse().unwrap(), options());
            Arc::new(transport.with_tls(certificate(node)))
        }

        fn wire(&self) -> Result<Arc<dyn Wire>, Unsupported> {
            Loopback.wire()
        }

        fn peak_bytes(&self) -> Option<u64> {
            Loopback.peak_bytes()
        }

        fn connection_limit(&self) -> Result<usize, Unsupported> {
            Loopback.connection_limit()
        }

        fn transport_of_version(
            &self,
            node: NodeId,
            address: &str,
            version: WireVersion,
        ) -> Result<Arc<dyn Transport>, Unsupported> {
            let transport = TcpTransport::new(address.parse().unwrap(), of_version(options(), version));
            Ok(Arc::new(transport.with_tls(certificate(node))))
        }

        async fn send_nonsense(&self, address: &str) -> Result<(), Unsupported> {
            Loopback.send_nonsense(address).await
        }
    }

    raft_testkit::transport_conformance! {
        backend: OverTls,
        skip: {
            t07_announced_length_takes_no_memory => "what is announced can only be said inside of TLS, after the handshake",
            t06_wrong_node_is_refused => "its certificate gives it away before it is told anything: tests/tls.rs",
        },
    }
}
