//! Certificates of a cluster's CA, and the time at which they are judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use raft_core::ids::NodeId;
use raft_core::tls::{Pem, TlsIdentity, node_name};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::time_provider::TimeProvider;

use super::identity;

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem().into_bytes();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn sign(&self, params: &CertificateParams) -> Pem {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (chain, key) = (certificate.pem().into_bytes(), key.serialize_pem().into_bytes());
        Pem { chain, key, ca: self.pem.clone() }
    }

    /// What node `node` of the tests' cluster needs.
    pub(crate) fn node(&self, node: u64) -> Pem {
        self.sign(&params(node))
    }
}

pub(crate) fn params(node: u64) -> CertificateParams {
    CertificateParams::new([node_name(identity(node).cluster, NodeId(node))]).unwrap()
}

/// The system's time, a second later each time it is asked for: nobody may rely on two connections in one.
#[derive(Debug, Default)]
struct Ticking(AtomicU64);

impl TimeProvider for Ticking {
    fn current_time(&self) -> Option<UnixTime> {
        let passed = Duration::from_secs(self.0.fetch_add(1, Ordering::SeqCst));
        Some(UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + passed))
    }
}

pub(crate) fn tls(pem: &Pem) -> TlsIdentity {
    TlsIdentity::new(pem, Arc::new(Ticking::default())).unwrap()
}
