//! `raft-kv backup`: fetches a backup from a cluster that runs, makes one of what a stopped node has, or checks one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use raft_core::ids::Index;
use raft_core::node::Replay;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};

use super::copy::{Named, damage};
use super::progress::Progress;
use super::recover::membership;
use super::restore::of_backup;
use super::snapshots::Snapshots;
use super::{Place, of_journal, of_open};
use crate::advice;
use crate::backup::{self, NewFile};
use crate::exit::Exit;
use crate::journal::View;
use crate::machine::{Machine, Shared};

/// A node that says nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// How often the leader may turn out to be another one.
const MOVES: usize = 16;

/// The longest piece that a node sends, in bytes.
const PIECE_LIMIT_BYTES: usize = 64 << 20;

/// Flags of `raft-kv backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Any node of the cluster: it says who leads, and from there it is fetched.
    #[arg(long, value_name = "HOST:PORT", required_unless_present_any = ["check", "data"], requires = "to")]
    from: Option<String>,
    /// The data folder of a node that is stopped: what it knows to be committed.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["from", "check"], requires = "to")]
    data: Option<Place>,
    /// The file to write. What there is under that name is not replaced.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Only checks a backup: every sum, and what is in it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to"])]
    check: Option<PathBuf>,
    /// The file with the password of --requirepass.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The certificate of the CA, where clients must speak TLS.
    #[arg(long, value_name = "FILE", requires = "tls_name")]
    tls_ca: Option<PathBuf>,
    /// The name in the certificate of the node at --from: node-ID.CLUSTER.raft.
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    tls_name: Option<String>,
}

/// Does it.
///
/// # Errors
/// [`Exit`]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Exit> {
    if let Some(path) = &arguments.check {
        let checked = backup::check(path, true).map_err(|error| of_backup(path, &error))?;
        println!("{}: sound: {checked}", path.display());
        return Ok(());
    }
    if let (Some(place), Some(to)) = (&arguments.data, &arguments.to) {
        return of_folder(place, to);
    }
    let (Some(from), Some(to)) = (&arguments.from, &arguments.to) else {
        return Err(Exit::usage(
            "--from and --to are needed, or --data and --to, or --check",
            "raft-kv backup --help has an example of each",
        ));
    };
    let writing =
        |error: std::io::Error| Exit::other(format!("{}: {error}", to.display()), advice::io(error.kind()));
    let mut file = NewFile::create(to).map_err(writing)?;
    let mut address = from.clone();
    let mut client = None;
    for _ in 0..MOVES {
        let mut next = Client::connect(&address, arguments)?;
        match next.call(&["RAFT", "BACKUP", "STREAM"])? {
            Answer::Text(_) => {
                client = Some(next);
                break;
            }
            Answer::Error(error) => {
                match error.strip_prefix("MOVED ").and_then(|rest| rest.split_once(' ')) {
                    Some((_, leader)) if arguments.tls_ca.is_none() => address = leader.to_owned(),
                    Some((_, leader)) => {
                        return Err(Exit::other(
                            format!("{address} does not lead, {leader} does"),
                            format!("give --from {leader}, with the --tls-name of that node"),
                        ));
                    }
                    None => return Err(answered(&address, &error)),
                }
            }
        }
    }
    let Some(mut client) = client else {
        return Err(Exit::other(
            format!("{address}: no node says that it leads"),
            "wait until one leads (RAFT INFO says who), then do the same again",
        ));
    };
    let progress = Progress::open("fetched");
    loop {
        match client.call(&["RAFT", "BACKUP", "NEXT"])? {
            Answer::Text(piece) if piece.is_empty() => break,
            Answer::Text(piece) => {
                file.write(&piece).map_err(writing)?;
                progress.add(piece.len() as u64);
            }
            Answer::Error(error) => return Err(answered(&address, &error)),
        }
    }
    drop(progress);
    let checked = file.finish().map_err(|error| of_backup(to, &error))?;
    println!("{}: {checked}", to.display());
    Ok(())
}

/// What a node has refused, and what helps.
fn answered(address: &str, error: &str) -> Exit {
    let next = match error.split(' ').next() {
        Some("NOAUTH") => "give --password-file with the password of --requirepass",
        Some("WRONGPASS") => "give --password-file with the right password: its first line, nothing else",
        Some("CLUSTERDOWN") if error.contains("in limbo") || error.contains("was removed") => {
            "give --from the address of a node that is a member (RAFT INFO of another one says who is)"
        }
        Some("CLUSTERDOWN" | "TRYAGAIN" | "LOADING" | "BUSY") => {
            "wait until a node leads (RAFT INFO says who), then do the same again"
        }
        Some("ERR") if !error.contains("unknown command") => {
            "do the same again; if it is refused again, the node's log says more"
        }
        _ => "give the address of a node of raft-kv, and one of this version",
    };
    Exit::other(format!("{address}: {error}"), next)
}

/// Read of the log at a time, in bytes.
const LOG_BYTES: u64 = 4 << 20;

/// Makes a backup of what a stopped node has: its snapshot, and what follows in its log as far as it is known to be
/// committed. The folder is left as it is.
fn of_folder(place: &Place, to: &Path) -> Result<(), Exit> {
    let source = Named::new(place.kind()?, &place.dir)?;
    let view = View::new(source.kind, &source.dir).map_err(|error| of_open(&source.dir, &error))?;
    if let Some(damage) = damage(&view) {
        return Err(Exit::data(
            format!("{source} is damaged, nothing was done: {damage}"),
            "let the node start there and repair it, then stop it, or make the backup of another node",
        ));
    }
    let state = view.state();
    let (identity, membership) = (state.identity, membership(state, &source)?);
    let alone = !membership.is_joint() && membership.voters.iter().eq([&identity.node]);
    // The only voter has committed whatever it has written.
    let end = if alone { state.last.index } else { state.commit_hint };
    let writing =
        |error: std::io::Error| Exit::other(format!("{}: {error}", to.display()), advice::io(error.kind()));
    let mut file = NewFile::create(to).map_err(writing)?;
    let data = Shared::default();
    let upto = source.in_runtime(replayed(&source, &view, end, data.clone()))?;
    let store = std::mem::take(&mut *data.lock());
    let mut stream = backup::Stream::new(identity.cluster, identity.node, membership, store);
    let progress = Progress::open("written");
    while let Some(piece) = stream.next() {
        file.write(&piece).map_err(writing)?;
        progress.add(piece.len() as u64);
    }
    drop(progress);
    let checked = file.finish().map_err(|error| of_backup(to, &error))?;
    println!("{}: {checked}", to.display());
    if upto < state.last.index {
        eprintln!(
            "raft-kv backup: entries {}..={} of its log are not in it: node {} did not know them to be committed",
            upto.next(),
            state.last.index,
            identity.node
        );
    }
    Ok(())
}

/// Executes what there is, up to `end` at least; the last entry that was.
async fn replayed(source: &Named, view: &View, end: Index, data: Shared) -> Result<Index, Exit> {
    let failed = |error: &dyn std::fmt::Display| {
        Exit::data(
            format!("{source}: {error}"),
            "make the backup of another node that is whole, or keep an earlier one",
        )
    };
    let snapshots = Snapshots::of(source.kind, &source.dir).await?;
    let store = snapshots.as_ref().map(|snapshots| &*snapshots.store);
    let mut replay =
        Replay::begin(Box::new(Machine::new(data)), store).await.map_err(|error| failed(&error))?;
    let progress = Progress::entries("executed", end.0.saturating_sub(replay.upto().index.0));
    while replay.upto().index < end {
        let next = replay.upto().index.next();
        let entries = view.entries(next..end.next(), LOG_BYTES);
        let entries = entries.map_err(|error| of_journal(&source.dir, &error))?;
        if entries.is_empty() {
            return Err(failed(&format!("entry {next} is not there")));
        }
        progress.add(entries.len() as u64);
        replay.execute(entries).await.map_err(|error| failed(&error))?;
    }
    Ok(replay.upto().index)
}

/// What a node says.
enum Answer {
    Text(Vec<u8>),
    Error(String),
}

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// As much of the protocol as is needed here.
struct Client {
    address: String,
    stream: BufReader<Box<dyn Stream>>,
}

impl Client {
    fn connect(address: &str, arguments: &Arguments) -> Result<Self, Exit> {
        let failed =
            |error: std::io::Error| Exit::other(format!("{address}: {error}"), advice::io(error.kind()));
        let plain = TcpStream::connect(address).map_err(failed)?;
        let limited =
            plain.set_read_timeout(Some(SILENCE)).and_then(|()| plain.set_write_timeout(Some(SILENCE)));
        limited.map_err(failed)?;
        let stream: Box<dyn Stream> = match (&arguments.tls_ca, &arguments.tls_name) {
            (Some(ca), Some(name)) => Box::new(tls(plain, ca, name).map_err(|error| {
                Exit::other(
                    format!("{address}: --tls-ca {}, --tls-name {name}: {error}", ca.display()),
                    "give the CA that has signed the certificates of the nodes, as PEM, and the name in that of this node",
                )
            })?),
            _ => Box::new(plain),
        };
        let mut client =
            Self { address: address.to_owned(), stream: BufReader::with_capacity(256 << 10, stream) };
        if let Some(path) = &arguments.password_file {
            let read = std::fs::read_to_string(path);
            let text = read.map_err(|error| {
                Exit::usage(format!("--password-file {}: {error}", path.display()), advice::io(error.kind()))
            })?;
            if let Answer::Error(error) = client.call(&["AUTH", text.trim_end_matches(['\r', '\n'])])? {
                return Err(answered(address, &error));
            }
        }
        Ok(client)
    }

    fn call(&mut self, words: &[&str]) -> Result<Answer, Exit> {
        let answer = self.send(words).and_then(|()| self.answer());
        answer.map_err(|error| {
            let next = match error.kind() {
                std::io::ErrorKind::Other => "give the address of a node of raft-kv; where it speaks TLS, --tls-ca and --tls-name",
                std::io::ErrorKind::InvalidData => {
                    "give the --tls-ca that has signed the certificates of the nodes, and the --tls-name of the node at --from; neither where it has no TLS"
                }
                kind => advice::io(kind),
            };
            Exit::other(format!("{}: {error}", self.address), next)
        })
    }

    fn send(&mut self, words: &[&str]) -> std::io::Result<()> {
        let mut out = format!("*{}\r\n", words.len());
        for word in words {
            out += &format!("${}\r\n{word}\r\n", word.len());
        }
        let stream = self.stream.get_mut();
        stream.write_all(out.as_bytes())?;
        stream.flush()
    }

    fn answer(&mut self) -> std::io::Result<Answer> {
        let wrong = || {
            std::io::Error::other(
                "no answer that raft-kv gives: is it another server, or does it speak TLS? Then give --tls-ca and --tls-name",
            )
        };
        let mut line = Vec::new();
        (&mut self.stream).take(64 << 10).read_until(b'\n', &mut line)?;
        let line =
            std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix("\r\n")).ok_or_else(wrong)?;
        match line.split_at_checked(1) {
            Some(("+", text)) => Ok(Answer::Text(text.into())),
            Some(("-", text)) => Ok(Answer::Error(text.into())),
            Some(("$", length)) => {
                let length =
                    length.parse().ok().filter(|length| *length <= PIECE_LIMIT_BYTES).ok_or_else(wrong)?;
                let mut text = vec![0; length + 2];
                self.stream.read_exact(&mut text)?;
                text.truncate(length);
                Ok(Answer::Text(text))
            }
            _ => Err(wrong()),
        }
    }
}

fn tls(
    plain: TcpStream,
    ca: &Path,
    name: &str,
) -> Result<StreamOwned<ClientConnection, TcpStream>, Box<dyn std::error::Error>> {
    let mut roots = RootCertStore::empty();
    for found in CertificateDer::pem_file_iter(ca)? {
        roots.add(found?)?;
    }
    if roots.is_empty() {
        return Err("there is no certificate in it".into());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned())?)?;
    Ok(StreamOwned::new(connection, plain))
}
