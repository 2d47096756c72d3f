//! Flags and the configuration file, and what is wrong with them.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use raft_core::Lease;
use raft_core::ids::{ClusterId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_log_file::Durability;
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_128;

use crate::journal::JournalKind;
use crate::password::Password;

/// The attribute of a member that says where its clients connect.
pub(crate) const CLIENT: &str = "client";

/// The attribute of a member that says where it shows itself.
pub(crate) const HTTP: &str = "http";

/// So many clients at once if nothing is said.
pub(crate) const MAX_CLIENTS: usize = 10_000;

/// What is declared of the clocks if nothing is said, in millionths: far more than crystals and NTP come to.
pub(crate) const DRIFT_PPM: u32 = 10_000;

/// A mistake in what was asked for, and what to do about it: exit code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String, pub(crate) &'static str);

/// What any list of members must be like.
const MEMBERS: &str = "give ID=PEER-ADDRESS@CLIENT-ADDRESS for each member, with commas between: \
    1=10.0.0.1:7101@10.0.0.1:7001,2=10.0.0.2:7101@10.0.0.2:7001,3=10.0.0.3:7101@10.0.0.3:7001";

macro_rules! flags {
    ($($(#[$meta:meta])* $name:ident: $type:ty;)*) => {
        /// Flags of `raft-kv serve`. Each may also stand in the file that --config names.
        #[derive(Clone, Debug, Default, clap::Args, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct Flags {
            $($(#[$meta])* #[arg(long)] pub(crate) $name: Option<$type>,)*
            /// A TOML file with any of these flags, without dashes before the name. A flag on the command
            /// line wins.
            #[arg(long, value_name = "FILE", help_heading = "Node and cluster")]
            #[serde(skip)]
            pub(crate) config: Option<PathBuf>,
        }

        impl Flags {
            /// What is not set here is taken from there.
            fn or(self, other: Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)* config: self.config }
            }
        }
    };
}

fn ip_and_port(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "it is no IP and port, such as 127.0.0.1:7001; a name is not looked up".into())
}

flags! {
    /// Needed. The name of this node, a number from 1. A node keeps it for ever, and no other node ever has it.
    #[arg(value_name = "N", help_heading = "Node and cluster")]
    id: u64;
    /// Needed. The folder of its data, created if missing. Never copy it to run it elsewhere: see raft-kv journal copy.
    #[arg(value_name = "DIR", help_heading = "Node and cluster")]
    data: PathBuf;
    /// Needed. Where clients connect, with redis-cli -c for example.
    #[arg(value_name = "IP:PORT", value_parser = ip_and_port, help_heading = "Node and cluster")]
    listen: SocketAddr;
    /// Needed. Where the other nodes connect.
    #[arg(value_name = "IP:PORT", value_parser = ip_and_port, help_heading = "Node and cluster")]
    peer_listen: SocketAddr;
    /// The members of a new cluster, this node among them: ID=PEER-ADDRESS@CLIENT-ADDRESS,... each with another
    /// @HTTP-ADDRESS at its end where its page is to be found. Used when the data folder is empty, and for the
    /// name of the cluster: leave it as it was. Without it a new node waits to be contacted.
    #[arg(value_name = "LIST", help_heading = "Node and cluster")]
    members: String;
    /// The name of the cluster, the same on all nodes. Default: computed from --members. Needed where --members is not
    /// given; RAFT INFO on another node says it.
    #[arg(value_name = "UUID", help_heading = "Node and cluster")]
    cluster_id: String;
    /// How the log is kept: file or sqlite. Default: file.
    #[arg(value_name = "KIND", help_heading = "Node and cluster")]
    journal: String;
    /// How nodes talk: tcp or grpc; the same on all nodes. Default: tcp.
    #[arg(value_name = "KIND", help_heading = "Node and cluster")]
    transport: String;
    /// How often a leader says that it leads, in milliseconds. Default: 50.
    #[arg(value_name = "MS", help_heading = "Elections and reads")]
    heartbeat_ms: u64;
    /// How long a follower hears nothing before it campaigns, in milliseconds; at least three times --heartbeat-ms.
    /// Default: 300.
    #[arg(value_name = "MS", help_heading = "Elections and reads")]
    election_timeout_ms: u64;
    /// How much this node is to lead rather than another, from -128 (last) to 127 (first). Default: 0.
    #[arg(value_name = "N", allow_negative_numbers = true, help_heading = "Elections and reads")]
    priority: i8;
    /// Answer reads under a lease, without asking the others: the same on all nodes. Default: false. DANGEROUS on virtual
    /// machines that are paused or moved, where a read may then be old: it rests on clocks, see --clock-drift-ppm.
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = "Elections and reads")]
    lease_reads: bool;
    /// With --lease-reads: by how much the clock of a node may go slower than another's, in millionths. Default:
    /// 10000.
    #[arg(value_name = "PPM", help_heading = "Elections and reads")]
    clock_drift_ppm: u32;
    /// When entries are made durable: always, interval:MS (milliseconds) or never. Default: always. The others are
    /// DANGEROUS: a power cut can lose acknowledged writes.
    #[arg(value_name = "WHEN", help_heading = "Disk")]
    fsync: String;
    /// The size of a file of the log, in bytes. Default: 16777216, 16 MiB.
    #[arg(value_name = "BYTES", help_heading = "Disk")]
    segment_bytes: u64;
    /// While few commands come, or all who send some wait for them, and on a follower, unless somebody reads, entries of up to so
    /// many bytes are written by the thread that does everything else too, instead of waking another one. A disk that hangs then stops the whole node, once; 0: never. Only of a log in
    /// files. Default: 65536, 64 KiB.
    #[arg(value_name = "BYTES", help_heading = "Disk")]
    inline_bytes: u64;
    /// Take a snapshot after so many entries; 0: not because of their number. Default: 100000.
    #[arg(value_name = "N", help_heading = "Disk")]
    snapshot_every: u64;
    /// Take a snapshot after entries of so many bytes; 0: not because of their size. Default: 1073741824, 1 GiB.
    #[arg(value_name = "BYTES", help_heading = "Disk")]
    snapshot_every_bytes: u64;
    /// But not before those entries have so many times the size of the last snapshot, or are ten times as many; 0:
    /// however large that is. Default: 4, and 0 if one of the two above is given.
    #[arg(value_name = "N", help_heading = "Disk")]
    snapshot_growth: u64;
    /// Entries before a snapshot that are kept for slow followers, which otherwise are sent the snapshot.
    /// Default: 10000, at most what --snapshot-every says.
    #[arg(value_name = "N", help_heading = "Disk")]
    snapshot_keep: u64;
    /// Read the stored log again and check it, so many milliseconds after the last time; 0: only when asked by RAFT
    /// SCRUB. Default: 86400000, a day.
    #[arg(value_name = "MS", help_heading = "Disk")]
    scrub_every_ms: u64;
    /// How fast that reads, in bytes a second. Default: 4194304, 4 MiB.
    #[arg(value_name = "BYTES", help_heading = "Disk")]
    scrub_bytes_per_second: u64;
    /// This node's certificate as PEM, and those between it and the CA. With it peers and clients must speak
    /// TLS. Read again on SIGHUP, and when it has changed.
    #[arg(value_name = "FILE", help_heading = "Security")]
    tls_cert: PathBuf;
    /// The key of the certificate, as PEM. Only this node may be able to read it.
    #[arg(value_name = "FILE", help_heading = "Security")]
    tls_key: PathBuf;
    /// The certificate of the CA that has signed those of all nodes, as PEM.
    #[arg(value_name = "FILE", help_heading = "Security")]
    tls_ca: PathBuf;
    /// Clients must send AUTH with this password first. Default: none. In the file of --config it is not shown to all
    /// who list processes.
    #[arg(value_name = "PASSWORD", help_heading = "Security")]
    requirepass: String;
    /// DANGEROUS: listen where other machines can connect, although no TLS is spoken there: whoever reaches the port can
    /// read and change everything. Default: false. Without this only loopback
    /// addresses are taken for --listen and --peer-listen without TLS, and for --sp and --http, which never have it.
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = "Security")]
    insecure: bool;
    /// So many clients at once at most. Default: 10000.
    #[arg(value_name = "N", help_heading = "Clients and watching")]
    max_clients: usize;
    /// Also serve the thin protocol of the load generator here, without a password and without TLS. Default: nowhere.
    #[arg(value_name = "IP:PORT", help_heading = "Clients and watching")]
    sp: SocketAddr;
    /// Where a page shows the cluster live (/), with /metrics for Prometheus, /health, /ready, /live and /status. It
    /// changes nothing and shows no data, has no password and no TLS. Default: nowhere.
    #[arg(value_name = "IP:PORT", help_heading = "Clients and watching")]
    http: SocketAddr;
    /// Log the way of every N-th entry of the log, on each node that is told the same N: from its proposal, over the
    /// followers' disks, to its answer. For looking closely; it costs. Default: none.
    #[arg(value_name = "N", help_heading = "Clients and watching")]
    trace_every: NonZeroU64;
    /// What goes to stderr: off, error, warn, info, debug or trace. Default: info.
    #[arg(value_name = "LEVEL", help_heading = "Clients and watching")]
    log: String;
}

/// Where the certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// Of this node, with its chain.
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: PathBuf,
}

/// How nodes talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransportKind {
    Tcp,
    Grpc,
}

/// Everything checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) id: NodeId,
    pub(crate) data: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) peer_listen: SocketAddr,
    pub(crate) sp: Option<SocketAddr>,
    /// Where it shows itself.
    pub(crate) http: Option<SocketAddr>,
    /// The way of one of so many entries is logged.
    pub(crate) trace_every: Option<NonZeroU64>,
    /// The members of a new cluster; `None`: limbo.
    pub(crate) initial: Option<Membership>,
    pub(crate) cluster: ClusterId,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) election_timeout: Duration,
    pub(crate) priority: i8,
    pub(crate) lease: Option<Lease>,
    pub(crate) journal: JournalKind,
    pub(crate) transport: TransportKind,
    pub(crate) durability: Durability,
    pub(crate) segment_bytes: u64,
    /// Entries of up to so many bytes are written by the thread that serves, while few come.
    pub(crate) inline_bytes: u64,
    /// After so many entries, and after so many bytes of them, a snapshot is taken; 0: never for that.
    pub(crate) snapshot_every: (u64, u64),
    /// And how many times the last one's size these must have.
    pub(crate) snapshot_growth: u64,
    /// Entries kept before it.
    pub(crate) snapshot_keep: u64,
    /// How often the stored log is read again, and how fast.
    pub(crate) scrub: (Duration, u64),
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) password: Option<Password>,
    pub(crate) max_clients: usize,
    pub(crate) log: tracing::level_filters::LevelFilter,
}

impl Settings {
    /// Flags, then the file, then the defaults.
    ///
    /// # Errors
    /// [`Usage`], a sentence that names the flag.
    pub(crate) fn new(flags: Flags) -> Result<Self, Usage> {
        let file = flags.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let flags = flags.or(file);
        let id = needed(flags.id, "id")?;
        if id == 0 {
            return Err(Usage(
                "--id must not be 0".into(),
                "give this node a number from 1 that no other node has",
            ));
        }
        let id = NodeId(id);
        let journal = match flags.journal.as_deref() {
            None => JournalKind::File,
            Some(name) => JournalKind::named(name).ok_or_else(|| unknown_journal("--journal", name))?,
        };
        let transport = match flags.transport.as_deref() {
            None | Some("tcp") => TransportKind::Tcp,
            Some("grpc") => TransportKind::Grpc,
            Some(other) => {
                let text = format!("--transport knows 'tcp' and 'grpc', not '{other}'");
                return Err(Usage(text, "give --transport tcp or --transport grpc, the same on all nodes"));
            }
        };
        let members = flags.members.as_deref().map(|list| members(list, id)).transpose()?;
        let cluster = match (&flags.cluster_id, &members) {
            (Some(text), _) => cluster(text)?,
            (None, Some(members)) => derived(members),
            (None, None) => {
                return Err(Usage(
                    "--cluster-id is needed where --members is not given".into(),
                    "give --cluster-id with what RAFT INFO says on a node of the cluster that it is to join, or --members for a \
                     new cluster",
                ));
            }
        };
        let listen = needed(flags.listen, "listen")?;
        let peer_listen = needed(flags.peer_listen, "peer-listen")?;
        let tls = match (flags.tls_cert, flags.tls_key, flags.tls_ca) {
            (Some(cert), Some(key), Some(ca)) => Some(TlsFiles { cert, key, ca }),
            (None, None, None) => None,
            _ => {
                return Err(Usage(
                    "--tls-cert, --tls-key and --tls-ca are needed together".into(),
                    "give all three, or none of them",
                ));
            }
        };
        if flags.insecure != Some(true) {
            if tls.is_none() {
                guarded("listen", Some(listen))?;
                guarded("peer-listen", Some(peer_listen))?;
            }
            guarded("sp", flags.sp)?;
            guarded("http", flags.http)?;
        }
        let durability = durability(flags.fsync.as_deref().unwrap_or("always"))?;
        if journal == JournalKind::Sqlite && durability != Durability::Always {
            return Err(Usage(
                "--fsync 'always' is all that --journal sqlite knows".into(),
                "leave --fsync out, or give --journal file",
            ));
        }
        let lease = match (flags.lease_reads, flags.clock_drift_ppm) {
            (Some(true), drift) => Some(Lease { max_drift_ppm: drift.unwrap_or(DRIFT_PPM) }),
            (_, None) => None,
            (_, Some(_)) => {
                return Err(Usage(
                    "--clock-drift-ppm is of no use without --lease-reads".into(),
                    "leave --clock-drift-ppm out, or give --lease-reads on all nodes",
                ));
            }
        };
        let snapshot_every = flags.snapshot_every.unwrap_or(100_000);
        // Who says when wants it then.
        let is_said = flags.snapshot_every.is_some() || flags.snapshot_every_bytes.is_some();
        let growth = if is_said { 0 } else { 4 };
        let keep = if snapshot_every == 0 { 10_000 } else { snapshot_every.min(10_000) };
        let log = flags.log.as_deref().unwrap_or("info");
        let milliseconds = |value: Option<u64>, default| Duration::from_millis(value.unwrap_or(default));
        Ok(Self {
            id,
            data: needed(flags.data, "data")?,
            listen,
            peer_listen,
            sp: flags.sp,
            http: flags.http,
            trace_every: flags.trace_every,
            initial: members,
            cluster,
            heartbeat_interval: milliseconds(flags.heartbeat_ms, 50),
            election_timeout: milliseconds(flags.election_timeout_ms, 300),
            priority: flags.priority.unwrap_or(0),
            lease,
            durability,
            journal,
            transport,
            segment_bytes: flags.segment_bytes.unwrap_or(16 << 20),
            inline_bytes: flags.inline_bytes.unwrap_or(64 << 10),
            snapshot_growth: flags.snapshot_growth.unwrap_or(growth),
            snapshot_every: (snapshot_every, flags.snapshot_every_bytes.unwrap_or(1 << 30)),
            snapshot_keep: flags.snapshot_keep.unwrap_or(keep),
            scrub: (
                milliseconds(flags.scrub_every_ms, 24 * 60 * 60 * 1000),
                flags.scrub_bytes_per_second.unwrap_or(4 << 20),
            ),
            tls,
            password: flags.requirepass.filter(|text| !text.is_empty()).map(|text| Password::new(&text)),
            max_clients: flags.max_clients.unwrap_or(MAX_CLIENTS),
            log: log.parse().map_err(|_| {
                let text = format!("--log does not know the level '{log}'");
                Usage(text, "give off, error, warn, info, debug or trace")
            })?,
        })
    }
}

/// A name that is no kind of journal.
pub(crate) fn unknown_journal(flag: &str, name: &str) -> Usage {
    Usage(
        format!("{flag} knows 'file' and 'sqlite', not '{name}'"),
        "give --journal file or --journal sqlite",
    )
}

fn read(path: &Path) -> Result<Flags, Usage> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Usage(
            format!("--config: cannot read {name}: {error}"),
            "check the path, and that the user that raft-kv runs as may read it",
        )
    })?;
    toml::from_str(&text).map_err(|error| {
        let text = format!("--config: {name}: {}", error.to_string().trim());
        Usage(text, "mend that line: a flag of raft-kv serve without its dashes, as in heartbeat-ms = 50; texts in quotes")
    })
}

fn needed<T>(value: Option<T>, name: &str) -> Result<T, Usage> {
    let next = "give it, or a --config file with it: raft-kv serve --help has examples";
    value.ok_or_else(|| Usage(format!("--{name} is needed"), next))
}

/// Refuses an address that other machines can reach: whoever does could read and change everything.
fn guarded(name: &str, address: Option<SocketAddr>) -> Result<(), Usage> {
    match address {
        Some(address) if !address.ip().to_canonical().is_loopback() => Err(Usage(
            format!("--{name} {address} is open to other machines without TLS"),
            "listen on a loopback address, give --tls-cert, --tls-key and --tls-ca (--sp and --http have no TLS), or say \
             --insecure where nobody else reaches that network",
        )),
        _ => Ok(()),
    }
}

fn durability(text: &str) -> Result<Durability, Usage> {
    match (text, text.strip_prefix("interval:").and_then(|text| text.parse().ok())) {
        ("always", _) => Ok(Durability::Always),
        ("never", _) => Ok(Durability::Never),
        (_, Some(milliseconds)) if milliseconds > 0 => {
            Ok(Durability::Interval(Duration::from_millis(milliseconds)))
        }
        _ => Err(Usage(
            format!("--fsync is always, interval:MILLISECONDS or never, not '{text}'"),
            "leave it out, which is always; the others can lose acknowledged writes",
        )),
    }
}

/// Reads `--cluster-id`.
pub(crate) fn cluster(text: &str) -> Result<ClusterId, Usage> {
    let id = uuid::Uuid::try_parse(text).map_err(|_| {
        let next =
            "give 32 hexadecimal digits: what RAFT INFO says, or for a new cluster what uuidgen prints";
        Usage(format!("--cluster-id: '{text}' is no UUID"), next)
    })?;
    Ok(ClusterId(id.as_u128()))
}

/// The same on every node that was given the same members.
fn derived(members: &Membership) -> ClusterId {
    ClusterId(xxh3_128(&members.encode()))
}

fn address(text: &str, item: &str) -> Result<String, Usage> {
    let wrong = || Usage(format!("--members: '{text}' in '{item}' is not an address HOST:PORT"), MEMBERS);
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good = bracketed.map_or_else(
        || !host.is_empty() && host.bytes().all(plain),
        |host| host.parse::<std::net::Ipv6Addr>().is_ok(),
    );
    if port == 0 || !good { Err(wrong()) } else { Ok(text.to_owned()) }
}

/// A member at `PEER-ADDRESS@CLIENT-ADDRESS`, with an `@HTTP-ADDRESS` if it shows itself.
pub(crate) fn member(id: NodeId, addresses: &str) -> Result<Member, Usage> {
    let wrong = || Usage(format!("'{addresses}' is not PEER-ADDRESS@CLIENT-ADDRESS[@HTTP-ADDRESS]"), MEMBERS);
    let (peer, rest) = addresses.split_once('@').ok_or_else(wrong)?;
    let (client, http) = rest.split_once('@').map_or((rest, None), |(client, http)| (client, Some(http)));
    let member = Member::new(id, address(peer, addresses)?).with(CLIENT, address(client, addresses)?);
    Ok(match http {
        Some(http) => member.with(HTTP, address(http, addresses)?),
        None => member,
    })
}

/// Reads `--members`.
pub(crate) fn members(list: &str, me: NodeId) -> Result<Membership, Usage> {
    let mut members: Vec<Member> = Vec::new();
    for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let wrong = || {
            Usage(
                format!("--members: '{item}' is not ID=PEER-ADDRESS@CLIENT-ADDRESS[@HTTP-ADDRESS]"),
                MEMBERS,
            )
        };
        let (id, addresses) = item.split_once('=').ok_or_else(wrong)?;
        let id = NodeId(id.trim().parse().map_err(|_| wrong())?);
        if id == NodeId(0) {
            return Err(Usage("--members: a node id must not be 0".into(), MEMBERS));
        }
        if !addresses.contains('@') {
            return Err(wrong());
        }
        let member = member(id, addresses)?;
        if let Some(other) = members.iter().find(|other| other.id == id) {
            return Err(Usage(
                format!("--members: node {} is listed twice", other.id),
                "give each node an id of its own",
            ));
        }
        let same = |other: &&Member| {
            let both = |name| {
                other
                    .attributes
                    .get(name)
                    .filter(|_| other.attributes.get(name) == member.attributes.get(name))
            };
            other.address == member.address || both(CLIENT).is_some() || both(HTTP).is_some()
        };
        if let Some(other) = members.iter().find(same) {
            let text = format!("--members: nodes {} and {id} share an address", other.id);
            return Err(Usage(
                text,
                "give each node addresses of its own: clients, peers and the page each need a port",
            ));
        }
        members.push(member);
    }
    if !members.iter().any(|member| member.id == me) {
        return Err(Usage(
            format!("--members does not list this node, {me}"),
            "add this node to the list, which is the same on all nodes, or mend --id; a node that joins a cluster has no --members",
        ));
    }
    Membership::of_voters(members).map_err(|error| Usage(format!("--members: {error}"), MEMBERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "1=127.0.0.1:7101@127.0.0.1:7001,2=[::1]:7102@kv-2.example:7002";

    fn flags() -> Flags {
        Flags {
            id: Some(1),
            data: Some("d".into()),
            listen: Some("127.0.0.1:7001".parse().unwrap()),
            peer_listen: Some("127.0.0.1:7101".parse().unwrap()),
            members: Some(GOOD.into()),
            ..Flags::default()
        }
    }

    fn refused(flags: Flags) -> String {
        Settings::new(flags).unwrap_err().0
    }

    #[test]
    fn the_cluster_id_follows_from_the_members_in_any_order() {
        let settings = Settings::new(flags()).unwrap();
        let (first, second) = GOOD.split_once(',').unwrap();
        let turned = Flags { id: Some(2), members: Some(format!("{second}, {first}")), ..flags() };
        assert_eq!(settings.cluster, Settings::new(turned).unwrap().cluster);
        let other = Flags { members: Some(first.into()), ..flags() };
        assert_ne!(settings.cluster, Settings::new(other).unwrap().cluster);
    }

    #[test]
    fn mistakes_are_named() {
        let members = |list: &str| refused(Flags { members: Some(list.into()), ..flags() });
        assert_eq!(members("2=a:1@b:1"), "--members does not list this node, 1");
        assert_eq!(members("1=a:1@b:1,1=c:1@d:1"), "--members: node 1 is listed twice");
        assert_eq!(members("1=a:1@b:1,2=a:1@c:1"), "--members: nodes 1 and 2 share an address");
        assert_eq!(
            members("1=a:1"),
            "--members: '1=a:1' is not ID=PEER-ADDRESS@CLIENT-ADDRESS[@HTTP-ADDRESS]"
        );
        assert_eq!(members("1=a:1@b:1@h:1,2=a:2@c:1@h:1"), "--members: nodes 1 and 2 share an address");
        let said = members("1=a:1@b:1@h");
        assert!(said.ends_with("is not an address HOST:PORT"), "{said}");
        for bad in ["a", "a:0", "a:65536", ":1", "a b:1", "::1:5", "[x]:1"] {
            let said = members(&format!("1={bad}@b:1"));
            assert!(said.ends_with("is not an address HOST:PORT"), "{bad}: {said}");
        }
        assert_eq!(refused(Flags { id: None, ..flags() }), "--id is needed");
        assert_eq!(refused(Flags { id: Some(0), ..flags() }), "--id must not be 0");
        assert_eq!(
            refused(Flags { members: None, ..flags() }),
            "--cluster-id is needed where --members is not given"
        );
        assert_eq!(
            refused(Flags { journal: Some("etched".into()), ..flags() }),
            "--journal knows 'file' and 'sqlite', not 'etched'"
        );
        assert_eq!(
            refused(Flags { transport: Some("pigeon".into()), ..flags() }),
            "--transport knows 'tcp' and 'grpc', not 'pigeon'"
        );
        assert_eq!(
            refused(Flags { journal: Some("sqlite".into()), fsync: Some("never".into()), ..flags() }),
            "--fsync 'always' is all that --journal sqlite knows"
        );
        assert_eq!(
            refused(Flags { fsync: Some("interval:0".into()), ..flags() }),
            "--fsync is always, interval:MILLISECONDS or never, not 'interval:0'"
        );
        assert_eq!(
            refused(Flags { log: Some("loud".into()), ..flags() }),
            "--log does not know the level 'loud'"
        );
    }

    #[test]
    fn only_who_says_so_is_open_to_other_machines() {
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            let address: SocketAddr = address.parse().unwrap();
            let open = [
                ("listen", Flags { listen: Some(address), ..flags() }),
                ("peer-listen", Flags { peer_listen: Some(address), ..flags() }),
                ("sp", Flags { sp: Some(address), ..flags() }),
                ("http", Flags { http: Some(address), ..flags() }),
            ];
            for (name, flags) in open {
                let said = refused(flags.clone());
                assert!(said.starts_with(&format!("--{name} {address} is open to other machines")), "{said}");
                refused(Flags { insecure: Some(false), ..flags.clone() });
                Settings::new(Flags { insecure: Some(true), ..flags }).unwrap();
            }
        }
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            let address = Some(address.parse().unwrap());
            let all = Flags { listen: address, peer_listen: address, sp: address, http: address, ..flags() };
            Settings::new(all).unwrap();
        }
    }

    #[test]
    fn with_tls_others_may_come_except_to_the_thin_protocol() {
        let open: SocketAddr = "0.0.0.0:1".parse().unwrap();
        let tls = Flags {
            tls_cert: Some("c".into()),
            tls_key: Some("k".into()),
            tls_ca: Some("a".into()),
            listen: Some(open),
            peer_listen: Some(open),
            ..flags()
        };
        let files = TlsFiles { cert: "c".into(), key: "k".into(), ca: "a".into() };
        assert_eq!(Settings::new(tls.clone()).unwrap().tls, Some(files));
        assert!(refused(Flags { sp: Some(open), ..tls.clone() }).starts_with("--sp 0.0.0.0:1 is open"));
        for part in [
            Flags { tls_cert: None, ..tls.clone() },
            Flags { tls_key: None, ..tls.clone() },
            Flags { tls_ca: None, ..tls },
        ] {
            assert_eq!(refused(part), "--tls-cert, --tls-key and --tls-ca are needed together");
        }
    }

    #[test]
    fn the_file_is_read_and_flags_win() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raft-kv.toml");
        let text = "heartbeat-ms = 20\nelection-timeout-ms = 111\nfsync = 'never'\n\
            requirepass = 'secret'\ntls-cert = 'c'\ntls-key = 'k'\ntls-ca = 'a'\ninsecure = true\n";
        std::fs::write(&path, text).unwrap();
        let with = Flags { config: Some(path.clone()), heartbeat_ms: Some(30), ..flags() };
        let settings = Settings::new(with.clone()).unwrap();
        assert_eq!(settings.heartbeat_interval, Duration::from_millis(30));
        assert_eq!(settings.election_timeout, Duration::from_millis(111));
        assert_eq!(settings.durability, Durability::Never);
        assert!(settings.password.unwrap().is(b"secret"));
        assert_eq!(settings.tls.unwrap().key, Path::new("k"));
        std::fs::write(&path, "heartbeet-ms = 20\n").unwrap();
        assert!(refused(with.clone()).contains("unknown field `heartbeet-ms`"));
        std::fs::remove_file(&path).unwrap();
        assert!(refused(with).starts_with("--config: cannot read"));
    }
}
