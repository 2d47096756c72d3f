//! Who a node is, proved by certificates: what all transports share. Feature `tls`.
//!
//! Like rustls itself this does no I/O: PEM bytes come in, configurations for both sides of a connection go
//! out, and the time at which a certificate is judged comes from a [`TimeProvider`] of the caller's.
//!
//! * TLS is always mutual: both sides show a certificate that the cluster's CA has signed. TLS 1.3 only.
//! * A certificate is bound to one node of one cluster by its subject alternative name, see [`node_name`].
//!   The dialling side demands the name of the node that it dials; the listening side demands the name of
//!   the node that the handshake claims to speak for ([`TlsIdentity::check_peer`]).
//! * Sessions are not resumed: every connection is judged by the certificates and the CA of that moment.
//! * [`TlsIdentity::reload`] puts new certificates in the place of the old, for all connections made from
//!   then on. Those that are open go on.
//!
//! The provider of cryptography is ring, named explicitly: nothing global is set or read.

mod name;
mod pem;

use alloc::sync::Arc;
use alloc::vec::Vec;
use std::io;
use std::sync::{PoisonError, RwLock};

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig, version};

pub use name::{names_of, node_name};
pub use pem::Pem;

use crate::backend::Refusal;
use crate::ids::{ClusterId, NodeId};

/// Why certificates cannot be used.
///
/// ```
/// use std::sync::Arc;
///
/// use raft_core::tls::{Pem, TlsError, TlsIdentity};
/// use rustls::time_provider::DefaultTimeProvider;
///
/// // The files are there and somebody forgot to fill them.
/// let pem = Pem { chain: Vec::new(), key: Vec::new(), ca: Vec::new() };
/// let error = TlsIdentity::new(&pem, Arc::new(DefaultTimeProvider)).unwrap_err();
/// assert_eq!(error, TlsError::Empty { what: "the key" });
/// assert_eq!(error.to_string(), "the key: there is none in it");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Not PEM, or damaged.
    #[error("{what}: {cause}")]
    Pem {
        /// Which of the three.
        what: &'static str,
        /// What is wrong with it.
        cause: Arc<str>,
    },
    /// There is no certificate, or no key, where one is needed.
    #[error("{what}: there is none in it")]
    Empty {
        /// Which of the three.
        what: &'static str,
    },
    /// The key does not fit the certificate, or either is of a kind that is not known.
    #[error("the certificate and its key cannot be used: {0}")]
    Unusable(Arc<str>),
    /// The certificate was made for somebody else.
    #[error("the certificate is not for {expected}; it is for {found:?}")]
    NotOurs {
        /// The name that it needs.
        expected: Arc<str>,
        /// The names that it has.
        found: Vec<Arc<str>>,
    },
}

struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    own: CertificateDer<'static>,
}

struct Shared {
    time: Arc<dyn TimeProvider>,
    configs: RwLock<Configs>,
}

/// A node's certificate, key and CA. Cheap to clone; clones see each other's [`reload`](Self::reload).
///
/// Both sides of a connection are made from one, here in memory and up to the first message:
///
/// ```
/// # use std::sync::Arc;
/// # use raft_core::ids::{ClusterId, NodeId};
/// # use raft_core::tls::{Pem, TlsIdentity, node_name};
/// # use rustls::time_provider::DefaultTimeProvider;
/// # let (cluster, node) = (ClusterId(0x3b1f), NodeId(7));
/// # let made = rcgen::generate_simple_self_signed([node_name(cluster, node)]).unwrap();
/// # let chain = made.cert.pem().into_bytes();
/// # let pem = Pem { ca: chain.clone(), key: made.signing_key.serialize_pem().into(), chain };
/// use rustls::{ClientConnection, ServerConnection};
///
/// let identity = TlsIdentity::new(&pem, Arc::new(DefaultTimeProvider))?;
/// let name = TlsIdentity::server_name(cluster, node)?;
/// let mut dials = ClientConnection::new(identity.client(), name)?;
/// let mut listens = ServerConnection::new(identity.server())?;
/// let mut wire = Vec::new();
/// dials.write_tls(&mut wire)?;
/// listens.read_tls(&mut &wire[..])?;
/// listens.process_new_packets()?;
/// assert!(listens.wants_write(), "it answers");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TlsIdentity(Arc<Shared>);

impl core::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TlsIdentity")
    }
}

impl TlsIdentity {
    /// From PEM bytes. `time` says when now is; `rustls::time_provider::DefaultTimeProvider` asks the system.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use raft_core::ids::{ClusterId, NodeId};
    /// use raft_core::tls::{Pem, TlsError, TlsIdentity, node_name};
    /// use rustls::time_provider::DefaultTimeProvider;
    ///
    /// // A cluster of one node may do with a certificate that it has signed itself.
    /// let name = node_name(ClusterId(0x3b1f), NodeId(7));
    /// let made = rcgen::generate_simple_self_signed([name]).unwrap();
    /// let (own, key) = (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes());
    /// let pem = Pem { ca: own.clone(), chain: own, key };
    /// assert!(TlsIdentity::new(&pem, Arc::new(DefaultTimeProvider)).is_ok());
    /// let other = rcgen::generate_simple_self_signed(["else".to_string()]).unwrap();
    /// let swapped = Pem { key: other.signing_key.serialize_pem().into(), ..pem };
    /// let error = TlsIdentity::new(&swapped, Arc::new(DefaultTimeProvider)).unwrap_err();
    /// assert!(matches!(error, TlsError::Unusable(_)));
    /// ```
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn new(pem: &Pem, time: Arc<dyn TimeProvider>) -> Result<Self, TlsError> {
        let configs = configs(pem, &time)?;
        Ok(Self(Arc::new(Shared { time, configs: RwLock::new(configs) })))
    }

    /// Other certificates for all connections made from now on. After an error the old ones stay.
    ///
    /// Before the old certificate expires, without a restart:
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use raft_core::ids::{ClusterId, NodeId};
    /// # use raft_core::tls::{Pem, TlsError, TlsIdentity, node_name};
    /// # use rustls::time_provider::DefaultTimeProvider;
    /// # let (cluster, node) = (ClusterId(0x3b1f), NodeId(7));
    /// # let sign = |name: String| {
    /// #     let made = rcgen::generate_simple_self_signed([name]).unwrap();
    /// #     let chain = made.cert.pem().into_bytes();
    /// #     Pem { ca: chain.clone(), key: made.signing_key.serialize_pem().into(), chain }
    /// # };
    /// # let (old, new) = (sign("node-7.example".into()), sign(node_name(cluster, node)));
    /// let identity = TlsIdentity::new(&old, Arc::new(DefaultTimeProvider))?;
    /// // The transport has a clone. The old certificate is not of this node, the new one is.
    /// let of_the_transport = identity.clone();
    /// assert!(of_the_transport.check_own(cluster, node).is_err());
    /// identity.reload(&new)?;
    /// of_the_transport.check_own(cluster, node)?;
    /// // A file that was written half does no harm.
    /// assert!(identity.reload(&Pem { chain: Vec::new(), ..new }).is_err());
    /// of_the_transport.check_own(cluster, node)?;
    /// # Ok::<(), TlsError>(())
    /// ```
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn reload(&self, pem: &Pem) -> Result<(), TlsError> {
        let configs = configs(pem, &self.0.time)?;
        *self.0.configs.write().unwrap_or_else(PoisonError::into_inner) = configs;
        Ok(())
    }

    fn with<T>(&self, get: impl FnOnce(&Configs) -> T) -> T {
        get(&self.0.configs.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// For the listening side of the next connection.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use raft_core::ids::{ClusterId, NodeId};
    /// # use raft_core::tls::{Pem, TlsError, TlsIdentity, node_name};
    /// # use rustls::time_provider::DefaultTimeProvider;
    /// # let made = rcgen::generate_simple_self_signed([node_name(ClusterId(1), NodeId(7))]).unwrap();
    /// # let chain = made.cert.pem().into_bytes();
    /// # let pem = Pem { ca: chain.clone(), key: made.signing_key.serialize_pem().into(), chain };
    /// let identity = TlsIdentity::new(&pem, Arc::new(DefaultTimeProvider))?;
    /// // A transport adds what only it needs, to a copy.
    /// let mut config = (*identity.server()).clone();
    /// config.alpn_protocols = vec![b"h2".to_vec()];
    /// assert!(identity.server().alpn_protocols.is_empty());
    /// // No connection is resumed: each shows its certificates.
    /// assert_eq!(config.send_tls13_tickets, 0);
    /// # Ok::<(), TlsError>(())
    /// ```
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        self.with(|configs| Arc::clone(&configs.server))
    }

    /// For the dialling side of the next connection.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use raft_core::ids::{ClusterId, NodeId};
    /// # use raft_core::tls::{Pem, TlsIdentity, node_name};
    /// # use rustls::time_provider::DefaultTimeProvider;
    /// # let (cluster, node) = (ClusterId(0x3b1f), NodeId(7));
    /// # let made = rcgen::generate_simple_self_signed([node_name(cluster, node)]).unwrap();
    /// # let chain = made.cert.pem().into_bytes();
    /// # let pem = Pem { ca: chain.clone(), key: made.signing_key.serialize_pem().into(), chain };
    /// let identity = TlsIdentity::new(&pem, Arc::new(DefaultTimeProvider))?;
    /// // A new one after a reload: asked for anew for each connection.
    /// let before = identity.client();
    /// identity.reload(&pem)?;
    /// assert!(!Arc::ptr_eq(&before, &identity.client()));
    /// let name = TlsIdentity::server_name(cluster, node)?;
    /// assert!(rustls::ClientConnection::new(identity.client(), name)?.wants_write());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        self.with(|configs| Arc::clone(&configs.client))
    }

    /// The name that the dialled node must have a certificate for.
    ///
    /// ```
    /// use raft_core::ids::{ClusterId, NodeId};
    /// use raft_core::tls::TlsIdentity;
    ///
    /// let name = TlsIdentity::server_name(ClusterId(0x3b1f), NodeId(7))?;
    /// assert_eq!(name.to_str(), "node-7.00000000000000000000000000003b1f.raft");
    /// # Ok::<(), raft_core::backend::Refusal>(())
    /// ```
    ///
    /// # Errors
    /// Never, in fact: every [`node_name`] is a DNS name. As [`Refusal::NotCertified`].
    pub fn server_name(cluster: ClusterId, node: NodeId) -> Result<ServerName<'static>, Refusal> {
        ServerName::try_from(node_name(cluster, node)).map_err(|_| Refusal::NotCertified { claimed: node })
    }

    /// Whether the own certificate is for this node: better known at the start than from every peer's
    /// refusal.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use raft_core::ids::{ClusterId, NodeId};
    /// # use raft_core::tls::{Pem, TlsError, TlsIdentity, node_name};
    /// # use rustls::time_provider::DefaultTimeProvider;
    /// # let cluster = ClusterId(0x3b1f);
    /// # let made = rcgen::generate_simple_self_signed([node_name(cluster, NodeId(7))]).unwrap();
    /// # let chain = made.cert.pem().into_bytes();
    /// # let pem = Pem { ca: chain.clone(), key: made.signing_key.serialize_pem().into(), chain };
    /// let identity = TlsIdentity::new(&pem, Arc::new(DefaultTimeProvider))?;
    /// identity.check_own(cluster, NodeId(7))?;
    /// // The files of node 7 were copied to the machine of node 8.
    /// let error = identity.check_own(cluster, NodeId(8)).unwrap_err();
    /// assert!(error.to_string().starts_with("the certificate is not for node-8."), "{error}");
    /// # Ok::<(), TlsError>(())
    /// ```
    ///
    /// # Errors
    /// [`TlsError::NotOurs`]
    pub fn check_own(&self, cluster: ClusterId, node: NodeId) -> Result<(), TlsError> {
        let expected = node_name(cluster, node);
        let found = self.with(|configs| names_of(&configs.own));
        if found.contains(&expected) {
            return Ok(());
        }
        let found = found.into_iter().map(Arc::from).collect();
        Err(TlsError::NotOurs { expected: expected.into(), found })
    }

    /// Whether the peer of a connection, who has shown these certificates, may speak for a node (T6).
    ///
    /// ```
    /// use raft_core::backend::Refusal;
    /// use raft_core::ids::{ClusterId, NodeId};
    /// use raft_core::tls::{TlsIdentity, node_name};
    ///
    /// let cluster = ClusterId(0x3b1f);
    /// let made = rcgen::generate_simple_self_signed([node_name(cluster, NodeId(7))]).unwrap();
    /// let shown = [made.cert.der().clone()];
    /// TlsIdentity::check_peer(Some(&shown), cluster, NodeId(7))?;
    /// // A node of this cluster, with a good certificate, that says it is another one.
    /// let refused = Err(Refusal::NotCertified { claimed: NodeId(8) });
    /// assert_eq!(TlsIdentity::check_peer(Some(&shown), cluster, NodeId(8)), refused);
    /// assert_eq!(TlsIdentity::check_peer(None, cluster, NodeId(8)), refused);
    /// # Ok::<(), Refusal>(())
    /// ```
    ///
    /// # Errors
    /// [`Refusal::NotCertified`]
    pub fn check_peer(
        certificates: Option<&[CertificateDer<'_>]>,
        cluster: ClusterId,
        claimed: NodeId,
    ) -> Result<(), Refusal> {
        let own = certificates.and_then(<[_]>::first);
        let holds = own.is_some_and(|own| names_of(own).contains(&node_name(cluster, claimed)));
        if holds { Ok(()) } else { Err(Refusal::NotCertified { claimed }) }
    }
}

/// Why a connection could not be secured, without the second in which that was found out: a peer whose
/// certificate has expired fails in the same way each time, and is logged once.
///
/// ```
/// use std::io;
/// use std::time::Duration;
///
/// use raft_core::tls::timeless;
/// use rustls::CertificateError;
/// use rustls::pki_types::UnixTime;
///
/// let second = |second| UnixTime::since_unix_epoch(Duration::from_secs(second));
/// let failed = |now| {
///     let why = CertificateError::ExpiredContext { time: second(now), not_after: second(100) };
///     io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(why))
/// };
/// // A peer is dialled again and again: it is the same each time, and is told so.
/// assert_ne!(failed(160).to_string(), failed(161).to_string());
/// assert_eq!(timeless(failed(160)).to_string(), timeless(failed(161)).to_string());
/// ```
#[must_use]
pub fn timeless(error: io::Error) -> io::Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let without = match cause {
        Some(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. })) => {
            CertificateError::Expired
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { .. })) => {
            CertificateError::NotValidYet
        }
        _ => return error,
    };
    io::Error::new(error.kind(), rustls::Error::InvalidCertificate(without))
}

fn configs(pem: &Pem, time: &Arc<dyn TimeProvider>) -> Result<Configs, TlsError> {
    let parsed = pem.parse()?;
    let unusable = |error: &dyn core::fmt::Display| TlsError::Unusable(alloc::format!("{error}").into());
    let mut roots = RootCertStore::empty();
    for ca in parsed.ca {
        roots.add(ca).map_err(|error| unusable(&error))?;
    }
    let roots = Arc::new(roots);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = &[&version::TLS13];
    let own = parsed.chain.first().cloned().ok_or(TlsError::Empty { what: "the certificate" })?;

    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
        .build()
        .map_err(|error| unusable(&error))?;
    let mut server = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::clone(time))
        .with_protocol_versions(versions)
        .map_err(|error| unusable(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(parsed.chain.clone(), parsed.key.clone_key())
        .map_err(|error| unusable(&error))?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;

    let mut client = ClientConfig::builder_with_details(provider, Arc::clone(time))
        .with_protocol_versions(versions)
        .map_err(|error| unusable(&error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(parsed.chain, parsed.key)
        .map_err(|error| unusable(&error))?;
    client.resumption = Resumption::disabled();
    Ok(Configs { server: Arc::new(server), client: Arc::new(client), own })
}

#[cfg(test)]
mod tests;
