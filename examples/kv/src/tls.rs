//! Certificates: read from their files, for peers and for clients, and replaced while the server runs.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use raft_core::ids::{ClusterId, NodeId};
use raft_core::tls::{Pem, TlsError, TlsIdentity};
use tokio::signal::unix::Signal;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use tokio_rustls::rustls::time_provider::DefaultTimeProvider;

use crate::settings::TlsFiles;

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(1);

/// Why the certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// A file cannot be read.
    #[error("{flag}: cannot read {}: {cause}", path.display())]
    File {
        /// Whose file.
        flag: &'static str,
        /// Its name.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// They are not what they must be for this node.
    #[error("--tls-cert, --tls-key, --tls-ca: {0}")]
    Content(#[from] TlsError),
    /// They are not what they must be for the client port.
    #[error("--tls-cert, --tls-key, --tls-ca: {0}")]
    Clients(String),
}

/// What a file looks like from outside: when it was written, its size, and which it is.
type Stamp = Option<(SystemTime, u64, u64)>;

/// What all three look like from outside.
fn stamps(files: &TlsFiles) -> [Stamp; 3] {
    [&files.cert, &files.key, &files.ca].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    })
}

fn read(files: &TlsFiles) -> Result<Pem, Unusable> {
    let read = |flag, path: &Path| {
        std::fs::read(path).map_err(|cause| Unusable::File { flag, path: path.to_owned(), cause })
    };
    Ok(Pem {
        chain: read("--tls-cert", &files.cert)?,
        key: read("--tls-key", &files.key)?,
        ca: read("--tls-ca", &files.ca)?,
    })
}

/// For the client port. A client may show a certificate, which must then be of the CA; it need not. As for
/// peers: TLS 1.3 only, and no session is resumed, so that each connection meets the newest certificates.
fn for_clients(pem: &Pem) -> Result<TlsAcceptor, Unusable> {
    let wrong = |error: &dyn std::fmt::Display| Unusable::Clients(error.to_string());
    let certificates = |bytes: &[u8]| {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
        all.map_err(|error| wrong(&error))
    };
    let mut roots = rustls::RootCertStore::empty();
    for ca in certificates(&pem.ca)? {
        roots.add(ca).map_err(|error| wrong(&error))?;
    }
    let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|error| wrong(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| wrong(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| wrong(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&pem.chain)?, key)
        .map_err(|error| wrong(&error))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The certificates in use.
pub(crate) struct Certificates {
    files: TlsFiles,
    cluster: ClusterId,
    id: NodeId,
    identity: TlsIdentity,
    clients: RwLock<TlsAcceptor>,
    /// What the files looked like before they were first read.
    first: [Stamp; 3],
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Unusable`]; also if the certificate is for another node or another cluster.
    pub(crate) fn new(files: &TlsFiles, cluster: ClusterId, id: NodeId) -> Result<Self, Unusable> {
        let first = stamps(files);
        let pem = read(files)?;
        let identity = TlsIdentity::new(&pem, Arc::new(DefaultTimeProvider))?;
        identity.check_own(cluster, id)?;
        let clients = RwLock::new(for_clients(&pem)?);
        Ok(Self { files: files.clone(), cluster, id, identity, clients, first })
    }

    /// For the transport. It follows what is loaded later.
    pub(crate) fn identity(&self) -> TlsIdentity {
        self.identity.clone()
    }

    /// For the next client.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.clients.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again, for connections from now on. After an error everything stays as it is.
    fn reload(&self) -> Result<(), Unusable> {
        let pem = read(&self.files)?;
        TlsIdentity::new(&pem, Arc::new(DefaultTimeProvider))?.check_own(self.cluster, self.id)?;
        let clients = for_clients(&pem)?;
        self.identity.reload(&pem)?;
        *self.clients.write().unwrap_or_else(PoisonError::into_inner) = clients;
        Ok(())
    }

    /// Loads what the files hold whenever SIGHUP comes or they have changed. Never ends.
    pub(crate) async fn follow(self: Arc<Self>, mut hangup: Signal) {
        let mut loaded = self.first;
        let mut seen = loaded;
        loop {
            let told = tokio::select! {
                Some(()) = hangup.recv() => true,
                () = tokio::time::sleep(POLL) => false,
            };
            // A disk that hangs must not hold up the node.
            let this = Arc::clone(&self);
            let Ok(now) = tokio::task::spawn_blocking(move || stamps(&this.files)).await else { return };
            // They are replaced one by one: they must have rested for as long as a poll.
            let rested = now == seen;
            seen = now;
            if !told && (!rested || now == loaded) {
                continue;
            }
            loaded = now;
            let this = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || this.reload()).await {
                Ok(Ok(())) => tracing::info!("new certificates: connections from now on use them"),
                Ok(Err(error)) => tracing::warn!(%error, "the certificates stay the old ones"),
                Err(_) => return,
            }
        }
    }
}
