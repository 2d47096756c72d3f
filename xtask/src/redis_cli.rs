//! `cargo xtask redis-cli`: as much of redis-cli as the guide needs, for where there is none.

use std::io::BufRead;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::Outcome;
use crate::util::resp::{Client, Reply};
use crate::util::{Context, Failure};

/// Flags of `cargo xtask redis-cli`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The port, on this machine.
    #[arg(short, default_value_t = 6379)]
    port: u16,
    /// Follows MOVED to the node that it names.
    #[arg(short)]
    cluster: bool,
    /// A command and its arguments. Without one, each line of standard input is one.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// No answer is waited for longer: raft-kv says within two election timeouts what it cannot do.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(args: &Args) -> Outcome {
    let mut connection = Connection::to(SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)))?;
    if !args.command.is_empty() {
        show(&connection.call(&args.command, args.cluster)?);
        return Ok(true);
    }
    for line in std::io::stdin().lock().lines() {
        let line = line.context(|| String::from("cannot read standard input"))?;
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if !words.is_empty() {
            show(&connection.call(&words, args.cluster)?);
        }
    }
    Ok(true)
}

struct Connection(SocketAddr, Client);

impl Connection {
    fn to(address: SocketAddr) -> Result<Self, Failure> {
        let client = Client::connect(address, PATIENCE);
        Ok(Self(address, client.context(|| format!("could not connect to {address}"))?))
    }

    fn call(&mut self, words: &[String], follows: bool) -> Result<Reply, Failure> {
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        for _ in 0..5 {
            let reply = self.1.call(&words).context(|| format!("{} does not answer", self.0))?;
            match moved(&reply).filter(|_| follows) {
                Some(address) => *self = Self::to(address)?,
                None => return Ok(reply),
            }
        }
        Err(Failure::new("moved again and again"))
    }
}

/// Where to ask instead.
fn moved(reply: &Reply) -> Option<SocketAddr> {
    let Reply::Error(text) = reply else { return None };
    text.strip_prefix("MOVED ")?.split(' ').nth(1)?.parse().ok()
}

/// As redis-cli shows it where it does not write to a terminal.
fn show(reply: &Reply) {
    match reply {
        Reply::Array(all) => all.iter().for_each(show),
        other => println!("{}", other.text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_is_followed() {
        let reply = Reply::Error("MOVED 12706 127.0.0.1:7001".into());
        assert_eq!(moved(&reply), Some(SocketAddr::from(([127, 0, 0, 1], 7001))));
        assert_eq!(moved(&Reply::Error("ERR x".into())), None);
        assert_eq!(moved(&Reply::Simple("OK".into())), None);
    }
}
