//! T1 to T10 on loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use async_trait::async_trait;
use raft_core::backend::Transport;
use raft_core::ids::NodeId;
use raft_net_tcp::{Options, TcpTransport};
use raft_testkit::conformance::Unsupported;
use raft_testkit::conformance::transport::TransportBackend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Loopback;

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
        Arc::new(TcpTransport::new(address.parse().unwrap(), Options::default()))
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

raft_testkit::transport_conformance! { backend: Loopback }
