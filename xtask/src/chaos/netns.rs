//! A network of the kernel: each node in a network namespace of its own, all on one bridge. A link is cut by
//! a wrong hardware address for the other end: what is sent goes nowhere, without a word to the sender, and
//! only in this direction. TCP sends it again later. Needs root and `ip` of iproute2.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use super::relay::Link;
use crate::servers::Place;
use crate::util::{Failure, proc};

/// Where the nodes listen.
const CLIENT_PORT: u16 = 7001;
const PEER_PORT: u16 = 7101;

/// Nobody has this address.
const NOWHERE: &str = "02:ff:ff:ff:ff:ff";

/// The namespaces. They are removed when this is dropped, and by the guard when this process ends otherwise.
#[derive(Debug)]
pub(super) struct Namespaces {
    /// In front of all names: they are the machine's.
    prefix: String,
    /// The second and third byte of all addresses.
    net: [u8; 2],
    nodes: usize,
    cut: Vec<Link>,
}

impl Namespaces {
    /// Makes them. An error says what this machine does not allow.
    pub(super) fn start(nodes: usize) -> Result<Self, Failure> {
        if !proc::works(Command::new("ip").arg("-V")) {
            return Err(Failure::new("there is no `ip`")
                .next("install iproute2, or leave the kernel's network out: cargo xtask chaos --help"));
        }
        let process = std::process::id();
        let [.., high, low] = process.to_be_bytes();
        // Names of devices have 15 characters at most.
        let prefix = format!("rx{process}");
        let this = Self { prefix, net: [128 | high, low], nodes, cut: Vec::new() };
        this.make()?;
        Ok(this)
    }

    fn make(&self) -> Result<(), Failure> {
        let Self { prefix, .. } = self;
        ip(&["link", "add", "name", &self.bridge(), "type", "bridge"])?;
        ip(&["addr", "add", &format!("{}/24", self.host()), "dev", &self.bridge()])?;
        ip(&["link", "set", &self.bridge(), "up"])?;
        for node in 0..self.nodes {
            let (name, outer) = (self.name(node), format!("{prefix}v{node}"));
            ip(&["netns", "add", &name])?;
            // The inner end is made where it belongs: its name is the same in each namespace.
            ip(&["link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
            ip(&["-n", &name, "link", "set", "eth0", "address", &hardware(node)])?;
            ip(&["-n", &name, "addr", "add", &format!("{}/24", self.address(node)), "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
            ip(&["link", "set", &outer, "master", &self.bridge()])?;
            ip(&["link", "set", &outer, "up"])?;
        }
        for from in 0..self.nodes {
            for to in (0..self.nodes).filter(|to| *to != from) {
                self.point((from, to), &hardware(to))?;
            }
        }
        Ok(())
    }

    fn bridge(&self) -> String {
        format!("{}br", self.prefix)
    }

    /// The namespace of a node.
    fn name(&self, node: usize) -> String {
        format!("{}n{node}", self.prefix)
    }

    /// All names, for whoever cleans up.
    pub(super) fn names(&self) -> Vec<String> {
        (0..self.nodes).map(|node| self.name(node)).collect()
    }

    /// The bridge goes with its device.
    pub(super) fn device(&self) -> String {
        self.bridge()
    }

    /// The host's own address on the bridge, where the clients are.
    const fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.net[0], self.net[1], 254)
    }

    fn address(&self, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, self.net[0], self.net[1], u8::try_from(node + 1).unwrap_or(u8::MAX))
    }

    pub(super) fn places(&self) -> Vec<Place> {
        let place = |node| {
            let at = |port| SocketAddr::from((self.address(node), port));
            let wrapper = ["ip", "netns", "exec", &self.name(node)].map(str::to_owned).into();
            Place {
                client: at(CLIENT_PORT),
                peer: at(PEER_PORT),
                dialled: at(PEER_PORT),
                thin: None,
                http: None,
                wrapper,
            }
        };
        (0..self.nodes).map(place).collect()
    }

    /// Where the one takes the other to be.
    fn point(&self, (from, to): Link, hardware: &str) -> Result<(), Failure> {
        let (name, address) = (self.name(from), self.address(to).to_string());
        let entry = ["neigh", "replace", &address, "lladdr", hardware, "nud", "permanent", "dev", "eth0"];
        let mut words = vec!["-n", &name];
        words.extend(entry);
        ip(&words)
    }

    pub(super) fn cut(&mut self, links: &[Link]) -> Result<(), Failure> {
        for link in links {
            self.cut.push(*link);
            self.point(*link, NOWHERE)?;
        }
        Ok(())
    }

    pub(super) fn heal(&mut self) -> Result<(), Failure> {
        for link in std::mem::take(&mut self.cut) {
            self.point(link, &hardware(link.1))?;
        }
        Ok(())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in self.names() {
            remove_namespace(&name);
        }
        remove_device(&self.device());
    }
}

/// Removes a namespace with its devices, if it is there.
pub(crate) fn remove_namespace(name: &str) {
    proc::works(Command::new("ip").args(["netns", "del", name]));
}

/// Removes a device, if it is there.
pub(crate) fn remove_device(name: &str) {
    proc::works(Command::new("ip").args(["link", "del", name]));
}

fn hardware(node: usize) -> String {
    format!("02:00:00:00:00:{:02x}", node + 1)
}

fn ip(words: &[&str]) -> Result<(), Failure> {
    let output = Command::new("ip").args(words).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Failure::new(format!("ip {}: {}", words.join(" "), said.trim())))
        }
        Err(error) => Err(Failure::new(format!("ip: {error}"))),
    }
}
