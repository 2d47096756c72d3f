//! `raft-kv serve`: start, run, stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use raft_core::backend::{JournalError, OpenError, SnapshotError, Transport, TransportError, Verdict};
use raft_core::error::{ConfigError, FatalReason};
use raft_core::ids::NodeId;
use raft_core::node::{EntrySpans, Observer};
use raft_core::{Config, Node, NodeHandle};
use raft_log_file::Durability;
use raft_net_grpc::GrpcTransport;
use raft_net_tcp::TcpTransport;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::advice;
use crate::exit::Exit;
use crate::journal::{JournalKind, Opened, Place};
use crate::machine::{Machine, Shared};
use crate::refusal::Outside;
use crate::server::{Counts, Parts, Server};
use crate::settings::{Settings, TransportKind};
use crate::tls::Certificates;
use crate::{client, http, thin};

/// A stop may take so long before it is forced.
pub(crate) const STOP: Duration = Duration::from_secs(4);

/// And so long for the last replies.
const LAST_REPLIES: Duration = Duration::from_millis(500);

/// Runs a node until it is told to stop, or cannot go on.
///
/// # Errors
/// [`Exit`], with what to say and the exit code.
pub(crate) async fn run(settings: Settings) -> Result<(), Exit> {
    let mut config = Config::new(settings.id, settings.cluster);
    config.heartbeat_interval = settings.heartbeat_interval;
    config.election_timeout = settings.election_timeout;
    config.priority = settings.priority;
    config.lease = settings.lease;
    (config.snapshot_every_entries, config.snapshot_every_bytes) = settings.snapshot_every;
    config.snapshot_growth = settings.snapshot_growth;
    config.snapshot_keep_entries = settings.snapshot_keep;
    (config.scrub_period, config.scrub_bytes_per_second) = settings.scrub;
    config.validate().map_err(|error| Exit::usage(error.to_string(), advice::config(&error)))?;

    // Signals first: a stop during a long start is a stop too.
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let told = async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let mut told = std::pin::pin!(told);

    // Always: a node that has nothing to read again must not end of it.
    let hangup = signal(SignalKind::hangup()).map_err(no_signals)?;
    let (node, server) = tokio::select! {
        biased;
        signal = &mut told => {
            tracing::info!(signal, "stops before it serves");
            return Ok(());
        }
        started = start(&settings, config, hangup) => started?,
    };
    tokio::spawn(follow(node.clone()));
    tokio::select! {
        biased;
        signal = told => {
            tracing::info!(signal, "stops");
            stop(&node, &server).await
        }
        end = node.stopped() => match end {
            Ok(()) => Ok(()),
            Err(reason) => Err(fatal(&reason, node.id())),
        },
    }
}

/// A node without TLS is told to read its certificates again.
async fn nothing_to_reload(mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        tracing::info!("SIGHUP: there is no TLS, so nothing is read again");
    }
}

/// Opens everything, from what is most often wrong to what is changed for good.
async fn start(
    settings: &Settings,
    config: Config,
    hangup: Signal,
) -> Result<(NodeHandle, Arc<Server>), Exit> {
    let certificates = match &settings.tls {
        Some(files) => {
            let certificates = Certificates::new(files, settings.cluster, settings.id);
            Some(Arc::new(certificates.map_err(|error| Exit::usage(error.to_string(), advice::tls(&error)))?))
        }
        None => {
            tracing::warn!("no TLS: whoever reaches the ports of this node can read and change everything");
            None
        }
    };
    let clients = listen(settings.listen)?;
    let thin = match settings.sp {
        Some(address) => Some(listen(address)?),
        None => None,
    };
    let shown = match settings.http {
        Some(address) => Some(listen(address)?),
        None => None,
    };
    let Opened { mut journal, findings } = open(settings).await?;
    let state = journal.load().await.map_err(|error| journal_exit(&error))?;
    for finding in findings {
        tracing::warn!(finding, "the journal was not as it was written");
    }
    let snapshots = settings.journal.snapshots(&settings.data).await;
    let snapshots = snapshots.map_err(|error| {
        snapshot_exit(format!("the snapshots in {}: {error}", settings.data.display()), &error)
    })?;
    let data = Shared::default();
    let reader = journal.reader();
    let (transport, connections) = transport(settings, certificates.as_deref());
    let spans = settings.trace_every.map(|every| Arc::new(EntrySpans::new(every)));
    let mut builder = Node::builder(config);
    if let Some(spans) = &spans {
        builder = builder.observer(Arc::clone(spans) as Arc<dyn Observer>);
    }
    let node = builder
        .boxed_journal(journal)
        .snapshots(snapshots)
        .transport(transport)
        .state_machine(Machine::new(data.clone()))
        .start()
        .await
        .map_err(|reason| fatal(&reason, settings.id))?;
    let parts = Parts { node: node.clone(), data, reader, last: state.last.index, connections, spans };
    let server = Arc::new(Server::new(parts, settings));
    match &certificates {
        Some(certificates) => drop(tokio::spawn(Arc::clone(certificates).follow(hangup))),
        None => drop(tokio::spawn(nothing_to_reload(hangup))),
    }
    tokio::spawn(accept(Arc::clone(&server), clients, certificates));
    if let Some(listener) = thin {
        tokio::spawn(thin::listen(Arc::clone(&server), listener));
    }
    let verdict = match &state.verdict {
        Verdict::Clean => "clean".to_owned(),
        Verdict::TornTail { discarded_from } => {
            format!("torn tail cut from {discarded_from}, nothing acknowledged was lost")
        }
        Verdict::SuspectTail { from } => format!("suspect tail from {from}, on probation"),
        Verdict::Corrupt(corruption) => format!("damaged, on probation: {corruption}"),
        other => format!("{other:?}"),
    };
    if let Some(listener) = shown {
        let facts = facts(settings, &verdict);
        http::start(Arc::clone(&server), facts, listener)
            .map_err(|error| Exit::other(format!("--http: {error}"), advice::io(error.kind())))?;
    }
    let limbo = if state.last.index.0 == 0 {
        let (id, peer, client) = (settings.id, settings.peer_listen, settings.listen);
        format!(", in limbo: make it a member with RAFT ADD-LEARNER {id} {peer}@{client} on the leader")
    } else {
        String::new()
    };
    announce(&format!(
        "raft-kv: node {} serves clients at {} and peers at {}; cluster {}, log {}..={}, term {}, journal {verdict}{limbo}",
        settings.id,
        settings.listen,
        settings.peer_listen,
        settings.cluster,
        state.purged.index.next(),
        state.last.index,
        state.hard_state.term,
    ));
    Ok((node, server))
}

/// What the page says of this run.
fn facts(settings: &Settings, verdict: &str) -> http::Facts {
    http::Facts {
        data: settings.data.clone(),
        journal: settings.journal.name(),
        transport: match settings.transport {
            TransportKind::Tcp => "tcp",
            TransportKind::Grpc => "grpc",
        },
        durability: match settings.durability {
            Durability::Always => "always".into(),
            Durability::Interval(span) => format!("interval of {} ms", span.as_millis()),
            Durability::Never => "never".into(),
        },
        verdict: verdict.to_owned(),
        bounds: match settings.transport {
            TransportKind::Tcp => {
                let options = raft_net_tcp::Options::default();
                http::Bounds {
                    frame_bytes: options.frame_limit_bytes,
                    control_queue_bytes: options.control_queue_bytes,
                    bulk_queue_bytes: options.bulk_queue_bytes,
                    connections: options.connections,
                }
            }
            TransportKind::Grpc => {
                let options = raft_net_grpc::Options::default();
                http::Bounds {
                    frame_bytes: options.frame_limit_bytes,
                    control_queue_bytes: options.control_queue_bytes,
                    bulk_queue_bytes: options.bulk_queue_bytes,
                    connections: options.connections,
                }
            }
        },
    }
}

/// One line on stdout. Nobody may be reading it.
fn announce(line: &str) {
    use std::io::Write;
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// As many may connect at once as wait to be accepted; the system may allow fewer (`net.core.somaxconn`). Whoever comes beyond
/// it tries again, after a second.
const BACKLOG: u32 = 4096;

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port whose last connections linger may be used again at once; one that is listened on may not.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn listen(address: SocketAddr) -> Result<TcpListener, Exit> {
    bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            Exit::address(format!("address {address} is in use"), advice::ADDRESS_IN_USE)
        }
        _ => Exit::other(format!("cannot listen on {address}: {error}"), advice::io(error.kind())),
    })
}

/// How this node talks to the others, and what is counted of that.
fn transport(settings: &Settings, certificates: Option<&Certificates>) -> (Arc<dyn Transport>, Counts) {
    let identity = certificates.map(Certificates::identity);
    match settings.transport {
        TransportKind::Tcp => {
            let mut transport = TcpTransport::new(settings.peer_listen, raft_net_tcp::Options::default());
            if let Some(identity) = identity {
                transport = transport.with_tls(identity);
            }
            let transport = Arc::new(transport);
            (Arc::clone(&transport) as Arc<dyn Transport>, Box::new(move || transport.stats()))
        }
        TransportKind::Grpc => {
            let mut transport = GrpcTransport::new(settings.peer_listen, raft_net_grpc::Options::default());
            if let Some(identity) = identity {
                transport = transport.with_tls(identity);
            }
            let transport = Arc::new(transport);
            (Arc::clone(&transport) as Arc<dyn Transport>, Box::new(move || transport.stats()))
        }
    }
}

/// Opens the journal, or makes one where there is none.
async fn open(settings: &Settings) -> Result<Opened, Exit> {
    let Settings { data, cluster, id, .. } = settings;
    let other = JournalKind::found(data).into_iter().find(|found| *found != settings.journal);
    if let Some(found) = other {
        return Err(Exit::usage(
            format!(
                "the data folder {} holds a journal of the kind {}, not {}",
                data.display(),
                found.name(),
                settings.journal.name()
            ),
            format!("give its own --journal {}, or move it with raft-kv journal copy", found.name()),
        ));
    }
    let place = Place {
        dir: data,
        kind: settings.journal,
        cluster: *cluster,
        id: *id,
        durability: settings.durability,
        segment_bytes: settings.segment_bytes,
        inline_bytes: settings.inline_bytes,
    };
    let journal = match place.open().await {
        Err(OpenError::NotInitialised) => {
            // Before anything is locked: whatever stands in the way is named as the system names it.
            std::fs::create_dir_all(data).map_err(|error| {
                Exit::other(
                    format!("cannot use the data folder {}: {error}", data.display()),
                    advice::io(error.kind()),
                )
            })?;
            // A new log would forget what an old snapshot stands for.
            let snapshots = JournalKind::snapshots_dir(data);
            if snapshots.is_dir() {
                return Err(Exit::data(
                    format!(
                        "the data folder {} has no journal, but the snapshots of one: its node has lost its log. Other nodes \
                         refuse it under this name",
                        data.display()
                    ),
                    format!(
                        "replace it by a membership change, with an empty folder: RAFT REMOVE {id} on the leader, then as a new node"
                    ),
                ));
            }
            place.create(settings.initial.as_ref()).await
        }
        other => other,
    };
    journal.map_err(|error| {
        let text = format!("the data folder {}: {error}", data.display());
        let next = advice::open(&error);
        match error {
            OpenError::Foreign(_)
            | OpenError::Version { .. }
            | OpenError::Corrupt(_)
            | OpenError::Closed { .. } => Exit::data(text, next),
            _ => Exit::other(text, next),
        }
    })
}

async fn accept(server: Arc<Server>, listener: TcpListener, certificates: Option<Arc<Certificates>>) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let tls = certificates.as_ref().map(|certificates| certificates.acceptor());
                tokio::spawn(client::serve(Arc::clone(&server), socket, tls));
            }
            Err(error) => {
                // Out of files, most often: some client will go.
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Says on stderr who leads.
async fn follow(node: NodeHandle) {
    let mut watch = node.watch();
    let (mut before, mut removed) = (None, false);
    while let Some(status) = watch.changed().await {
        let leader = status.leader.as_ref().map(|leader| leader.id);
        if status.removed && !removed {
            tracing::warn!(why = Outside::Removed.sentence(), "removed: it serves nobody and stands still");
        }
        removed = status.removed;
        let now = (status.role, status.term, leader, status.probation, status.embargo);
        if before != Some(now) {
            before = Some(now);
            let leader = leader.map_or_else(|| String::from("none"), |leader| leader.to_string());
            tracing::info!(
                role = %status.role,
                term = %status.term,
                leader,
                why = ?status.why,
                probation = status.probation,
                embargo = status.embargo,
                "role"
            );
        }
    }
}

async fn within(limit: Duration, what: impl Future<Output = ()>) -> bool {
    tokio::time::timeout(limit, what).await.is_ok()
}

/// Hands over, stops the node, and lets the last replies leave.
async fn stop(node: &NodeHandle, server: &Server) -> Result<(), Exit> {
    let Ok(end) = tokio::time::timeout(STOP, node.shutdown()).await else {
        return Err(Exit::other(
            format!("the node did not stop within {STOP:?}"),
            "nothing acknowledged is lost; look at its disk (dmesg) before it is started again",
        ));
    };
    let idle = async {
        while server.is_busy() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    if !within(LAST_REPLIES, idle).await {
        tracing::warn!("some clients did not take their last replies");
    }
    end.map_err(|reason| fatal(&reason, node.id()))
}

fn no_signals(error: io::Error) -> Exit {
    Exit::other(format!("cannot wait for signals: {error}"), advice::io(error.kind()))
}

fn journal_exit(error: &JournalError) -> Exit {
    match error {
        JournalError::Corrupt(_) => Exit::data(error.to_string(), advice::journal(error)),
        other => Exit::other(other.to_string(), advice::journal(error)),
    }
}

/// What the end of a node means for its process.
fn snapshot_exit(text: String, error: &SnapshotError) -> Exit {
    match error {
        SnapshotError::Corrupt(_) => Exit::data(text, advice::snapshot(error)),
        _ => Exit::other(text, advice::snapshot(error)),
    }
}

fn fatal(reason: &FatalReason, me: NodeId) -> Exit {
    let (text, next) = (reason.to_string(), advice::fatal(reason, me));
    match reason {
        FatalReason::Snapshot { error, .. } => snapshot_exit(text, error),
        FatalReason::Refused { .. } | FatalReason::RolledBack { .. } => Exit::data(text, next),
        FatalReason::Journal(JournalError::Corrupt(_)) => Exit::data(text, next),
        FatalReason::Transport(TransportError::AddressInUse { .. }) => Exit::address(text, next),
        FatalReason::Config(
            ConfigError::Restored(_)
            | ConfigError::AheadOfJournal { .. }
            | ConfigError::NoSnapshot { .. }
            | ConfigError::SnapshotContradicts { .. },
        ) => Exit::data(text, next),
        FatalReason::Config(_) => Exit::usage(text, next),
        _ => Exit::other(text, next),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Many clients may come at once, before any of them is accepted. One that is not let in would try again after a
    /// second, and never succeed.
    #[tokio::test]
    async fn hundreds_may_connect_at_once() {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        // Old systems allow 128.
        let at_once = 600.min(allowed.trim().parse().unwrap());
        let Ok(listener) = listen("127.0.0.1:0".parse().unwrap()) else { panic!("cannot listen") };
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..at_once)
            .map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_secs(30)).unwrap())
            .collect();
        for _ in &clients {
            listener.accept().await.unwrap();
        }
    }
}
