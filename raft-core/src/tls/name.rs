//! The names by which certificates are bound to nodes.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use rustls::pki_types::CertificateDer;

use crate::ids::{ClusterId, NodeId};

/// The subject alternative name (a DNS name) of a node's certificate: `node-7.` and the cluster id as 32
/// hexadecimal digits, then `.raft`. The cluster is part of it, so that two clusters may have one CA.
#[must_use]
pub fn node_name(cluster: ClusterId, node: NodeId) -> String {
    alloc::format!("node-{}.{:032x}.raft", node.0, cluster.0)
}

/// The DNS names among the subject alternative names of a certificate; none if it cannot be read.
#[must_use]
pub fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    match webpki::EndEntityCert::try_from(certificate) {
        Ok(certificate) => certificate.valid_dns_names().map(ToOwned::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}
