//! What lies between the nodes.

use std::time::Duration;

use super::limits;
use super::netns::Namespaces;
use super::plan::Able;
use super::relay::{Link, Relay};
use crate::guard::Guard;
use crate::servers::{self, Place};
use crate::util::Failure;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Wanted {
    /// The first of the others that works.
    Auto,
    /// A network namespace for each node: needs root and `ip`.
    Netns,
    /// A relay in this process: needs /proc.
    Relay,
    /// Nothing: no link can be cut.
    None,
}

/// What there is.
#[derive(Debug)]
pub(super) enum Network {
    Namespaces(Namespaces),
    Relay(Relay),
    None(Vec<Place>),
}

impl Network {
    /// Makes it, and says what it is, and why it is not what one would like better.
    pub(super) fn start(wanted: Wanted, nodes: usize) -> Result<(Self, String), Failure> {
        let namespaces = "a network namespace for each node; links are cut in the kernel";
        let relay = "a relay in this process; links are cut, broken and delayed there";
        Ok(match wanted {
            Wanted::Netns => (Self::Namespaces(Namespaces::start(nodes)?), namespaces.to_owned()),
            Wanted::Relay => (Self::Relay(Relay::start(nodes)?), relay.to_owned()),
            Wanted::None => (Self::None(servers::loopback(nodes)?), "loopback; no link is cut".to_owned()),
            Wanted::Auto => match Namespaces::start(nodes) {
                Ok(made) => (Self::Namespaces(made), namespaces.to_owned()),
                Err(one) => match Relay::start(nodes) {
                    Ok(made) => (Self::Relay(made), format!("{relay} (no network namespaces here: {one})")),
                    Err(other) => {
                        let why = format!("NO LINK CAN BE CUT on this machine: {one}; {other}");
                        (Self::None(servers::loopback(nodes)?), why)
                    }
                },
            },
        })
    }

    pub(super) const fn able(&self) -> Able {
        let tear = limits::ABLE;
        match self {
            Self::Namespaces(_) => Able { cut: true, slow: false, tear },
            Self::Relay(_) => Able { cut: true, slow: true, tear },
            Self::None(_) => Able { cut: false, slow: false, tear },
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Namespaces(_) => "netns",
            Self::Relay(_) => "relay",
            Self::None(_) => "none",
        }
    }

    pub(super) fn places(&self) -> Vec<Place> {
        match self {
            Self::Namespaces(namespaces) => namespaces.places(),
            Self::Relay(relay) => relay.places(),
            Self::None(places) => places.clone(),
        }
    }

    /// Further flags that nodes need there.
    pub(super) const fn flags(&self) -> &'static [&'static str] {
        match self {
            // Nobody else is in these networks.
            Self::Namespaces(_) => &["--insecure"],
            Self::Relay(_) | Self::None(_) => &[],
        }
    }

    /// Tells the guard what must not stay on the machine.
    pub(super) fn register(&self, guard: &Guard) {
        if let Self::Namespaces(namespaces) = self {
            namespaces.names().iter().for_each(|name| guard.add_namespace(name));
            guard.add_device(&namespaces.device());
        }
    }

    /// A node has a process now, or has none.
    pub(super) fn runs(&self, node: usize, process: Option<u32>) {
        if let Self::Relay(relay) = self {
            relay.runs(node, process);
        }
    }

    pub(super) fn cut(&mut self, links: &[Link]) -> Result<(), Failure> {
        match self {
            Self::Namespaces(namespaces) => namespaces.cut(links),
            Self::Relay(relay) => {
                relay.cut(links);
                Ok(())
            }
            Self::None(_) => Ok(()),
        }
    }

    pub(super) fn slow(&self, links: &[Link], by: Duration) {
        if let Self::Relay(relay) = self {
            relay.slow(links, by);
        }
    }

    pub(super) fn heal(&mut self, breaks: bool) -> Result<(), Failure> {
        match self {
            Self::Namespaces(namespaces) => namespaces.heal(),
            Self::Relay(relay) => {
                relay.heal(breaks);
                Ok(())
            }
            Self::None(_) => Ok(()),
        }
    }
}
