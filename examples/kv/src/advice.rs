//! What to do after an error, for whoever has to do it. What happened, and to what, stands before it.

use std::io;

use raft_core::backend::{JournalError, OpenError, SnapshotError, TransportError};
use raft_core::error::{ConfigError, FatalReason};
use raft_core::ids::NodeId;
use raft_core::tls::TlsError;

use crate::backup::BadBackup;
use crate::tls::Unusable;

/// A node that must not go on under its name with what it has.
const REPLACE: &str = "keep the folder for later, and replace this node: RAFT REMOVE its id on the leader, start it with an empty \
    --data, with --cluster-id and no --members, then RAFT ADD-LEARNER and RAFT PROMOTE; where it was the only node, raft-kv \
    restore makes a new cluster from a backup";

/// A file, a folder or a connection does not work.
pub(crate) fn io(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind;
    match kind {
        ErrorKind::NotFound => "check the path: nothing is there under that name",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "let the user that raft-kv runs as read and write there (ls -ld says who may), or choose another place"
        }
        ErrorKind::NotADirectory => "give a folder, or a path without a file in it",
        ErrorKind::IsADirectory => "give a file, not a folder",
        ErrorKind::AlreadyExists => "choose another name, or move away what is there: nothing is overwritten",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "make space (df says where it is missing), then do the same again"
        }
        ErrorKind::ConnectionRefused => {
            "check the address, and that a node runs there and listens (its log says where)"
        }
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            "check that the node at that address is alive (/live at its --http) and can be reached, then do the same again"
        }
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::UnexpectedEof
        | ErrorKind::BrokenPipe => "look into the log of the node at that address, then do the same again",
        ErrorKind::AddrNotAvailable => "give an address that this machine has (ip addr lists them)",
        ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            "check what was given: the system does not understand it"
        }
        _ => {
            "check the disk or the network that it is about (dmesg says what the system knows), then do the same again"
        }
    }
}

/// A journal is not opened.
pub(crate) fn open(error: &OpenError) -> &'static str {
    match error {
        OpenError::NotInitialised => {
            "give the data folder in which a node has run (raft-kv serve --data makes one)"
        }
        OpenError::AlreadyExists => "choose an empty folder: nothing is overwritten",
        OpenError::Locked { .. } => "stop the process that has it open, or give a data folder of its own",
        OpenError::Foreign(_) => {
            "give its own --id and --cluster-id (raft-kv journal inspect says them; without --cluster-id the --members of its \
             first start), or another --data"
        }
        OpenError::Version { .. } => {
            "run the version of raft-kv that wrote it, or a newer one: an older one must not"
        }
        OpenError::Closed { .. } => {
            "go on with what it was moved or recovered into, or finish what was cut by the same command again; never remove the file CLOSED"
        }
        OpenError::Corrupt(_) => REPLACE,
        _ => {
            "check that the folder is there, that this user may write in it and that its disk is sound (ls -ld, df, dmesg), then start it again"
        }
    }
}

/// A journal that is open does not work.
pub(crate) fn journal(error: &JournalError) -> &'static str {
    match error {
        JournalError::NoSpace { .. } => {
            "make space on its disk (df says where it is missing), then start it again: nothing acknowledged is lost"
        }
        JournalError::Corrupt(_) => {
            "start this node again: its log is cut before the damage, and it gets what follows from the others; then replace the disk"
        }
        JournalError::Poisoned { .. } | JournalError::Io { .. } => {
            "look at the disk (dmesg, smartctl), then start it again: it reads everything and takes what is missing from the others"
        }
        _ => "keep the folder and report this with raft-kv journal verify: it must not happen",
    }
}

/// Snapshots cannot be used.
pub(crate) fn snapshot(error: &SnapshotError) -> &'static str {
    match error {
        SnapshotError::NoSpace => {
            "make space on its disk (df says where it is missing), then do the same again"
        }
        SnapshotError::Locked => "stop the process that has the data folder open",
        SnapshotError::Corrupt(_) | SnapshotError::NotFound => REPLACE,
        _ => {
            "check that the folder can be read and written and that its disk is sound (ls -ld, df, dmesg), then do the same again"
        }
    }
}

/// A file is no whole backup.
pub(crate) fn backup(error: &BadBackup) -> &'static str {
    match error {
        BadBackup::Io(error) => io(error.kind()),
        BadBackup::Foreign => "give a file that raft-kv backup or RAFT BACKUP has written",
        BadBackup::Version(_) => "use the version of raft-kv that wrote it, or a newer one",
        BadBackup::Damaged { .. } | BadBackup::Data(_) => {
            "use another copy of it or an earlier backup, and make a new one while the cluster runs: this one is not whole"
        }
    }
}

/// Settings that the protocol does not take.
pub(crate) fn config(error: &ConfigError) -> &'static str {
    match error {
        ConfigError::ElectionTimeout { .. } => {
            "give a greater --election-timeout-ms, or a smaller --heartbeat-ms"
        }
        ConfigError::Drift { .. } => "give a --clock-drift-ppm in that range (10000 is the default)",
        ConfigError::Restored(_)
        | ConfigError::AheadOfJournal { .. }
        | ConfigError::AppliedContradicts { .. }
        | ConfigError::NoSnapshot { .. }
        | ConfigError::SnapshotContradicts { .. } => REPLACE,
        _ => "give another value: raft-kv serve --help says what each flag takes",
    }
}

/// Certificates that cannot be used.
pub(crate) fn tls(error: &Unusable) -> &'static str {
    match error {
        Unusable::File { cause, .. } => io(cause.kind()),
        Unusable::Content(TlsError::NotOurs { .. }) => {
            "give the certificate of this node: one with that DNS name, node-ID.CLUSTER.raft, or the right --id and --cluster-id"
        }
        Unusable::Content(TlsError::Unusable(_)) => {
            "give the key that belongs to the certificate (openssl x509 -pubkey and openssl pkey -pubout must print the same)"
        }
        Unusable::Content(_) | Unusable::Clients(_) => {
            "give PEM files, certificates in --tls-cert and --tls-ca and a private key in --tls-key: openssl x509 -in FILE -text shows one"
        }
    }
}

/// An address cannot be listened on.
pub(crate) const ADDRESS_IN_USE: &str =
    "stop what listens there (ss -ltnp says who: perhaps this node runs already), or give another address";

/// A node has ended by itself.
pub(crate) fn fatal(reason: &FatalReason, me: NodeId) -> String {
    match reason {
        FatalReason::Journal(error) => journal(error).into(),
        FatalReason::Snapshot { error, .. } => snapshot(error).into(),
        FatalReason::Transport(TransportError::AddressInUse { .. }) => ADDRESS_IN_USE.into(),
        FatalReason::Transport(_) => "give a --peer-listen that this machine has (ip addr lists them)".into(),
        FatalReason::Config(error) => config(error).into(),
        FatalReason::Refused { .. } | FatalReason::RolledBack { .. } => format!(
            "with raft-kv: RAFT REMOVE {me} on the leader; start this node with an empty --data, --cluster-id and no --members; then \
             RAFT ADD-LEARNER {me} PEER-ADDRESS@CLIENT-ADDRESS and RAFT PROMOTE {me}"
        ),
        FatalReason::RuntimeEnded => "start it again".into(),
        _ => "keep its folder and its log, and report this; then start it again, and replace this node if it ends the same".into(),
    }
}
