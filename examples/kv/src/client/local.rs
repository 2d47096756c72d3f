//! Commands about the connection and the server.

use bytes::Bytes;

use super::session::{Reads, Session, wrong_number};
use super::{admin, cluster, exactly_once, turn};
use crate::command::{COMMANDS, Kind, Op, Spec, find};
use crate::resp::{Protocol, Reply};
use crate::version::version;

/// The version of Redis whose commands these are; clients choose their features by it.
const REDIS_VERSION: &str = "7.2.0";

/// An argument in capitals, to be compared.
pub(crate) fn upper(arg: Option<&Bytes>) -> Vec<u8> {
    arg.map(|arg| arg.get(..64).unwrap_or(arg).to_ascii_uppercase()).unwrap_or_default()
}

/// Redis' answer to `COMMAND-GROUP nonsense`.
pub(crate) fn unknown_subcommand(group: &str, arg: Option<&Bytes>, reply: &mut Reply) {
    let name = arg.map(|arg| String::from_utf8_lossy(arg.get(..128).unwrap_or(arg)).into_owned());
    let name = name.unwrap_or_default();
    let next = match group {
        "RAFT" => "RAFT HELP lists them.",
        _ => "raft-kv has few of this group: see examples/kv/README.md.",
    };
    reply.error(&format!("ERR unknown subcommand '{name}' of {group}. {next}"));
}

impl Session {
    /// Does a command that needs neither the log nor the data.
    pub(crate) async fn local(&mut self, op: Op, args: &[Bytes], reply: &mut Reply) {
        match op {
            Op::Hello => self.hello(args, reply),
            Op::Auth => self.auth(args.get(1..).unwrap_or_default(), reply),
            Op::Select => match args.get(1).map(AsRef::as_ref) {
                Some(b"0") => reply.ok(),
                _ => reply.error("ERR SELECT is not allowed in cluster mode"),
            },
            Op::Quit => {
                self.quits = true;
                reply.ok();
            }
            Op::Reset => {
                let fresh = Self::new(std::sync::Arc::clone(&self.server), self.id, self.address.clone());
                *self = fresh;
                reply.simple("RESET");
            }
            Op::Client => self.client(args, reply),
            Op::Command => command(args, reply),
            Op::Info => reply.bulk(self.info().as_bytes()),
            Op::Config => config(args, reply),
            Op::Watch => turn::watch(self, args.get(1..).unwrap_or_default(), reply).await,
            Op::ReadOnly => {
                self.reads = Reads::Stale;
                reply.ok();
            }
            Op::ReadWrite => {
                self.reads = Reads::Moved;
                reply.ok();
            }
            Op::Cluster => cluster::command(&self.server, args, reply),
            Op::Raft if upper(args.get(1)) == b"SESSION" => exactly_once::command(self, args, reply).await,
            Op::Raft if upper(args.get(1)) == b"READS" => {
                self.reads(args.get(2..).unwrap_or_default(), reply)
            }
            Op::Raft if upper(args.get(1)) == b"BACKUP" => {
                self.backup(args.get(2..).unwrap_or_default(), reply).await;
            }
            Op::Raft => admin::command(&self.server, args, reply).await,
            // All others are done elsewhere.
            _ => reply.error("ERR not supported"),
        }
    }

    /// `RAFT READS LEADER|FOLLOWER`: who answers this connection's reads, linearizably.
    fn reads(&mut self, args: &[Bytes], reply: &mut Reply) {
        self.reads = match (upper(args.first()).as_slice(), args.len()) {
            (b"LEADER", 1) => Reads::Moved,
            (b"FOLLOWER", 1) => Reads::Current,
            _ => return reply.error("ERR RAFT READS takes LEADER or FOLLOWER"),
        };
        reply.ok();
    }

    fn auth(&mut self, args: &[Bytes], reply: &mut Reply) {
        let (user, password) = match args {
            [password] => (None, password),
            [user, password] => (Some(user), password),
            _ => return reply.error("ERR syntax error"),
        };
        if self.server.password.is_none() && user.is_none() {
            return reply.error("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?");
        }
        if user.is_none_or(|user| user.as_ref() == b"default") && self.server.opens(password) {
            self.authenticated = true;
            reply.ok();
        } else {
            reply.error("WRONGPASS invalid username-password pair or user is disabled.");
        }
    }

    fn hello(&mut self, args: &[Bytes], reply: &mut Reply) {
        let mut protocol = self.protocol;
        let mut rest = args.get(1..).unwrap_or_default();
        if let [version, after @ ..] = rest {
            protocol = match version.as_ref() {
                b"2" => Protocol::Resp2,
                b"3" => Protocol::Resp3,
                other if !is_number(other) => {
                    return reply.error("ERR Protocol version is not an integer or out of range");
                }
                _ => return reply.error("NOPROTO unsupported protocol version"),
            };
            rest = after;
        }
        // All is read before any of it is done, as Redis does it.
        let mut credentials = None;
        let mut name = None;
        while let Some(option) = rest.first() {
            match (upper(Some(option)).as_slice(), rest) {
                (b"AUTH", [_, user, password, after @ ..]) => {
                    credentials = Some([user.clone(), password.clone()]);
                    rest = after;
                }
                (b"SETNAME", [_, given, after @ ..]) => {
                    match connection_name(given) {
                        Ok(given) => name = Some(given),
                        Err(error) => return reply.error(error),
                    }
                    rest = after;
                }
                _ => {
                    let option = String::from_utf8_lossy(option.get(..128).unwrap_or(option));
                    return reply.error(&format!("ERR Syntax error in HELLO option '{option}'"));
                }
            }
        }
        if let Some(credentials) = credentials {
            let mut refused = Reply::default();
            self.auth(&credentials, &mut refused);
            if !refused.is_ok() {
                return reply.raw(&refused.into_bytes());
            }
        }
        if !self.authenticated {
            return reply.error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
            );
        }
        if let Some(name) = name {
            self.name = name;
        }
        self.protocol = protocol;
        reply.map(7);
        reply.bulk(b"server");
        reply.bulk(b"redis");
        reply.bulk(b"version");
        reply.bulk(REDIS_VERSION.as_bytes());
        reply.bulk(b"proto");
        reply.integer(if protocol == Protocol::Resp3 { 3 } else { 2 });
        reply.bulk(b"id");
        reply.integer(i64::try_from(self.id).unwrap_or(i64::MAX));
        reply.bulk(b"mode");
        reply.bulk(b"cluster");
        reply.bulk(b"role");
        reply.bulk(if self.server.leads() { b"master" } else { b"replica" });
        reply.bulk(b"modules");
        reply.array(0);
    }

    fn client(&mut self, args: &[Bytes], reply: &mut Reply) {
        match (upper(args.get(1)).as_slice(), args.get(2..).unwrap_or_default()) {
            (b"ID", []) => reply.integer(i64::try_from(self.id).unwrap_or(i64::MAX)),
            (b"GETNAME", []) if self.name.is_empty() => reply.null(),
            (b"GETNAME", []) => reply.bulk(self.name.as_bytes()),
            (b"SETNAME", [name]) => match connection_name(name) {
                Ok(name) => {
                    self.name = name;
                    reply.ok();
                }
                Err(error) => reply.error(error),
            },
            (b"SETINFO", [_, _]) | (b"NO-EVICT" | b"NO-TOUCH", [_]) => reply.ok(),
            (b"INFO", []) | (b"LIST", _) => {
                let protocol = if self.protocol == Protocol::Resp3 { 3 } else { 2 };
                let Self { id, address, name, .. } = self;
                let flags = if self.reads == Reads::Moved { "N" } else { "r" };
                let line = format!(
                    "id={id} addr={address} name={name} flags={flags} db=0 resp={protocol} lib-name= lib-ver=\n"
                );
                reply.bulk(line.as_bytes());
            }
            _ => unknown_subcommand("CLIENT", args.get(1), reply),
        }
    }

    fn info(&self) -> String {
        let server = &self.server;
        let status = server.node.status();
        let role = if server.leads() { "master" } else { "slave" };
        let keys = server.data.lock().len();
        let lines = [
            "# Server".to_owned(),
            format!("redis_version:{REDIS_VERSION}"),
            format!("raft_kv_version:{}", version()),
            "redis_mode:cluster".to_owned(),
            format!("process_id:{}", std::process::id()),
            format!("tcp_port:{}", server.tcp_port),
            format!("uptime_in_seconds:{}", server.started.elapsed().as_secs()),
            "# Clients".to_owned(),
            format!("connected_clients:{}", server.clients()),
            format!("rejected_tls_handshakes:{}", server.refused()),
            "# Replication".to_owned(),
            format!("role:{role}"),
            format!("connected_slaves:{}", status.peers.len()),
            format!("master_repl_offset:{}", status.applied_index),
            "# Cluster".to_owned(),
            "cluster_enabled:1".to_owned(),
            "# Keyspace".to_owned(),
            format!("db0:keys={keys},expires=0,avg_ttl=0"),
        ];
        lines.join("\r\n") + "\r\n"
    }
}

fn is_number(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<i64>().is_ok())
}

fn connection_name(name: &[u8]) -> Result<String, &'static str> {
    let plain = name.len() <= 1024 && name.iter().all(u8::is_ascii_graphic);
    let name = std::str::from_utf8(name).ok().filter(|_| plain);
    name.map(str::to_owned).ok_or("ERR Client names cannot contain spaces, newlines or special characters.")
}

/// Settings are flags; what tools of Redis ask for is answered as if it were not set.
fn config(args: &[Bytes], reply: &mut Reply) {
    match (upper(args.get(1)).as_slice(), args.get(2..).unwrap_or_default()) {
        (b"GET", names) if !names.is_empty() => {
            let known = |name: &&Bytes| {
                name.eq_ignore_ascii_case(b"save") || name.eq_ignore_ascii_case(b"appendonly")
            };
            let found: Vec<_> = names.iter().filter(known).collect();
            reply.map(found.len());
            for name in found {
                reply.bulk(name);
                reply.bulk(if name.eq_ignore_ascii_case(b"save") { b"" } else { b"yes" });
            }
        }
        _ => unknown_subcommand("CONFIG", args.get(1), reply),
    }
}

fn describe(spec: &Spec, reply: &mut Reply) {
    let flags: &[&str] = match spec.kind {
        Kind::Write => &["write", "denyoom"],
        Kind::Read => &["readonly"],
        Kind::Local => &["loading", "stale", "fast"],
    };
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.integer(spec.arity);
    reply.set(flags.len());
    for flag in flags {
        reply.simple(flag);
    }
    reply.integer(spec.keys.first);
    reply.integer(spec.keys.last);
    reply.integer(spec.keys.step);
    // Categories of access, hints, key specifications, subcommands.
    reply.set(0);
    reply.array(0);
    reply.array(0);
    reply.array(0);
}

fn command(args: &[Bytes], reply: &mut Reply) {
    match (upper(args.get(1)).as_slice(), args.get(2..).unwrap_or_default()) {
        (b"", []) => {
            reply.array(COMMANDS.len());
            for spec in COMMANDS {
                describe(spec, reply);
            }
        }
        (b"COUNT", []) => reply.count(COMMANDS.len()),
        (b"LIST", []) => {
            reply.array(COMMANDS.len());
            for spec in COMMANDS {
                reply.bulk(spec.name.as_bytes());
            }
        }
        (b"DOCS", _) => reply.map(0),
        (b"INFO", names) => {
            reply.array(names.len());
            for name in names {
                match find(name) {
                    Some(spec) => describe(spec, reply),
                    None => reply.null_array(),
                }
            }
        }
        (b"GETKEYS", [name, ..]) => {
            let command = args.get(2..).unwrap_or_default();
            match find(name) {
                None => reply.error("ERR Invalid command specified"),
                Some(spec) if !spec.takes(command.len()) => reply.error(&wrong_number(spec)),
                Some(spec) => {
                    let keys: Vec<_> = spec.keys(command).collect();
                    if keys.is_empty() {
                        return reply.error("ERR The command has no key arguments");
                    }
                    reply.array(keys.len());
                    for key in keys {
                        reply.bulk(key);
                    }
                }
            }
        }
        _ => unknown_subcommand("COMMAND", args.get(1), reply),
    }
}
