//! One peer, as a node reaches it.

use std::string::String;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::tokio::sync::Notify;

use crate::backend::Inbox;
use crate::ids::NodeId;
use crate::membership::Member;
use crate::message::{Lane, PeerEvent};

/// The lanes of a peer.
const LANES: usize = 2;

/// Where a peer is, and what its lanes have come to. It is up while both of them are connected (T5).
#[derive(Debug)]
pub struct Reach {
    id: NodeId,
    is_guest: bool,
    address: Mutex<String>,
    link: Mutex<Link>,
    hurry: [Notify; LANES],
}

/// What the lanes have come to, and what of it was reported. Locked until the event is delivered, so that
/// events come in the order of what they report.
#[derive(Debug)]
struct Link {
    lanes_up: usize,
    /// The peer was reported as gone since it was last up, or nothing can be said of its process.
    gone: bool,
}

impl Reach {
    /// A peer that is not connected yet. A guest is no member, and dialled only because it has dialled this node.
    #[must_use]
    pub fn new(member: &Member, is_guest: bool) -> Self {
        Self {
            id: member.id,
            is_guest,
            address: Mutex::new(member.address.clone()),
            link: Mutex::new(Link { lanes_up: 0, gone: true }),
            hurry: [Notify::new(), Notify::new()],
        }
    }

    /// Who it is.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// Whether it is no member. It is not told where this node can be dialled: else two nodes that have forgotten
    /// each other would be each other's guests for ever.
    #[must_use]
    pub const fn is_guest(&self) -> bool {
        self.is_guest
    }

    /// Where it is now.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows a changed address (T10): connections to the old one are to end. See [`hurried`](Self::hurried).
    pub fn set_address(&self, address: &str) {
        let mut current = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != address {
            address.clone_into(&mut current);
            drop(current);
            // Nobody may listen there yet: that says nothing about the process.
            self.link().gone = true;
            self.hurry();
        }
    }

    /// Dial at once instead of waiting: the address has changed, or the peer has just shown that it is there.
    pub fn hurry(&self) {
        self.hurry.iter().for_each(Notify::notify_one);
    }

    /// Wakes who waits to dial this lane, or carries it, when there is reason to [`hurry`](Self::hurry).
    #[must_use]
    pub const fn hurried(&self, lane: Lane) -> &Notify {
        match lane {
            Lane::Control => &self.hurry[0],
            Lane::Bulk => &self.hurry[1],
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane is connected, handshake completed; each time followed by [`lane_down`](Self::lane_down).
    pub fn lane_up(&self, inbox: &Inbox) {
        let mut link = self.link();
        link.lanes_up += 1;
        if link.lanes_up == LANES {
            link.gone = false;
            inbox.peer(self.id, PeerEvent::Up);
        }
    }

    /// A lane that was connected has ended.
    pub fn lane_down(&self, inbox: &Inbox) {
        let mut link = self.link();
        if link.lanes_up == LANES {
            inbox.peer(self.id, PeerEvent::Down);
        }
        link.lanes_up = link.lanes_up.saturating_sub(1);
    }

    /// An attempt to connect a lane was refused or reset: nobody listens there any more.
    pub fn gone(&self, inbox: &Inbox) {
        let mut link = self.link();
        if !link.gone {
            link.gone = true;
            inbox.peer(self.id, PeerEvent::Gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::vec::Vec;

    use async_trait::async_trait;

    use super::*;
    use crate::backend::{Delivery, InboxHandler, Refusal};
    use crate::ids::Identity;
    use crate::message::Envelope;

    #[derive(Default)]
    struct Events(Mutex<Vec<PeerEvent>>);

    #[async_trait]
    impl InboxHandler for Events {
        fn deliver(&self, _: Envelope) -> Delivery {
            Delivery::Accepted
        }
        async fn ready(&self) {}
        async fn admit(&self, _: Identity) -> Result<(), Refusal> {
            Ok(())
        }
        fn peer(&self, _: NodeId, event: PeerEvent) {
            self.0.lock().unwrap().push(event);
        }
        fn refused(&self, _: NodeId, _: Refusal) {}
    }

    /// T5, with both lanes flapping on threads of their own: a loss follows each connection and a
    /// connection each loss, and the last word is true.
    #[test]
    fn events_of_two_lanes_come_in_order() {
        let events = Arc::new(Events::default());
        let inbox = Inbox::new(Arc::clone(&events) as Arc<dyn InboxHandler>);
        let peer = Reach::new(&Member::new(NodeId(2), "nowhere"), false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for round in 0..20_000 {
                        peer.lane_up(&inbox);
                        peer.lane_down(&inbox);
                        if round % 3 == 0 {
                            peer.gone(&inbox);
                        }
                    }
                });
            }
        });
        let events = events.0.lock().unwrap();
        let mut up = false;
        for (at, event) in events.iter().enumerate() {
            match event {
                PeerEvent::Up => assert!(!up, "up again without a loss, event {at}"),
                PeerEvent::Down => assert!(up, "lost twice, event {at}"),
                PeerEvent::Gone => assert!(!up, "gone while up, event {at}"),
            }
            up = *event == PeerEvent::Up;
        }
        assert!(!up, "both lanes are down");
    }
}
