//! Certificates and keys as PEM.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// What a node needs, each as the bytes of a PEM file.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// The node's certificate, and what is between it and the CA, if anything; its own comes first.
    pub chain: Vec<u8>,
    /// Its key: PKCS #8, PKCS #1 or SEC 1.
    pub key: Vec<u8>,
    /// The certificate of the CA that all nodes' certificates are signed by. Several while one CA replaces
    /// another.
    pub ca: Vec<u8>,
}

impl fmt::Debug for Pem {
    /// A key is never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pem")
    }
}

pub(super) struct Parsed {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) ca: Vec<CertificateDer<'static>>,
}

impl Pem {
    pub(super) fn parse(&self) -> Result<Parsed, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| failed("the key", &error))?;
        Ok(Parsed {
            chain: certificates("the certificate", &self.chain)?,
            key,
            ca: certificates("the certificate of the CA", &self.ca)?,
        })
    }
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| failed(what, &error))?;
    if all.is_empty() { Err(TlsError::Empty { what }) } else { Ok(all) }
}

fn failed(what: &'static str, error: &pem::Error) -> TlsError {
    match error {
        pem::Error::NoItemsFound => TlsError::Empty { what },
        // Says nothing of what it has read: that may be a key.
        _ => TlsError::Pem { what, cause: Arc::from("it is not PEM, or it is damaged") },
    }
}
