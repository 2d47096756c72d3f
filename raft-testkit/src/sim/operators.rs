//! Who changes the cluster: adds, promotes, replaces and removes members, brings back one whose disk is lost, and
//! gives running nodes other settings. Wishes are drawn without a look at what makes sense: most is refused.
//!
//! What operators owe the cluster they keep: of those who vote before and after a change fewer than half are
//! harmed; who was removed comes back with a new store, or with its own if none of those whom it knew has got another one
//! since, for it would refuse them and never learn why; nobody gets the disk of a member.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft_core::Settings;
use raft_core::error::{ChangeError, Objection};
use raft_core::ids::NodeId;
use raft_core::membership::{Change, Member, Membership, change::plan};
use raft_core::raft::ChangeOptions;

use super::agenda::What;
use super::coverage::Point;
use super::disk::Image;
use super::events::Tag;
use super::executor::{MS, Nanos, Owner};
use super::features::Wish;
use super::lives::Damage;
use super::oracle::Oracle;
use super::plan::{Fault, Who};
use super::workload::LiveNode;
use super::world::World;

/// Whoever asks does not die with a node.
const OPERATOR: Owner = Owner { node: usize::MAX, life: 0 };

const fn id(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

/// Makes a change through a node, and looks at what is said of it.
async fn make(oracle: &Oracle, live: &LiveNode, changes: Vec<Change>, options: ChangeOptions) -> bool {
    let answer = live.handle.change_membership(changes, options).await;
    oracle.note(None, Tag::Note, [3, u64::from(answer.is_ok()), 0, 0], || match &answer {
        Ok(done) => format!("changed by entry {}", done.at),
        Err(error) => format!("not changed: {error}"),
    });
    match answer {
        Ok(done) => {
            oracle.changed(&done);
            true
        }
        Err(error) => {
            let point = match error {
                ChangeError::Objection(Objection::Lagging { .. } | Objection::Silent { .. }) => {
                    Point::PromoteRefused
                }
                ChangeError::Objection(Objection::NoLiveQuorum { .. }) => Point::ChangeWithoutQuorum,
                ChangeError::InProgress { .. } => Point::ChangeInProgress,
                ChangeError::NotReady { .. } => Point::ChangeNotReady,
                ChangeError::Unknown { .. } => Point::ChangeUnknown,
                _ => return false,
            };
            oracle.hit(point);
            false
        }
    }
}

/// A longer election timeout, as an operator may want one.
pub(crate) fn longer(election: Duration) -> Duration {
    election * 3 / 2
}

impl World {
    /// A running node gets other settings. Whether there was one.
    pub(crate) fn reconfigure(&self, fault: &Fault) -> bool {
        let &Fault::Reconfigure {
            who,
            priority,
            window,
            tail_bytes,
            tail_keep_bytes,
            append_bytes,
            uncommitted_bytes,
            slower,
        } = fault
        else {
            return false;
        };
        let mut settings = Settings {
            priority,
            window_messages: window,
            tail_limit_bytes: tail_bytes,
            tail_keep_bytes,
            append_limit_bytes: append_bytes,
            uncommitted_limit_bytes: uncommitted_bytes,
            ..Settings::default()
        };
        if slower {
            settings.election_timeout = Some(longer(self.plan.election));
        }
        let Some(live) = self.running(who).and_then(|node| self.live(node)) else { return false };
        let oracle = Arc::clone(&self.oracle);
        self.agenda.core().spawn(OPERATOR, async move {
            if live.handle.reconfigure(settings).await.is_ok() {
                oracle.hit(Point::Reconfigured);
            }
        });
        true
    }

    fn member(&mut self, node: usize, moved: bool) -> Member {
        if moved {
            self.moves += 1;
        }
        let of = if moved { self.moves } else { 0 };
        Member::new(id(node), if of > 0 { format!("n{}:{of}", node + 1) } else { format!("n{}", node + 1) })
    }

    pub(crate) fn change(
        &mut self,
        wishes: &[Wish],
        through: Who,
        (force, wait): (bool, Option<Nanos>),
        kill: Option<Nanos>,
        fresh: bool,
    ) -> bool {
        let Some(leader) = self.running(through) else { return false };
        let Some(live) = self.live(leader) else { return false };
        // Whose disk is lost may not be what a quorum hangs on, and may not be there again by accident.
        if self.slots.iter().any(|slot| slot.damage == Damage::Doomed) {
            return false;
        }
        // While a disk is harmed, what is left must be known for sure.
        self.look_at_damage();
        let harmed = self.slots.iter().any(|slot| slot.damage != Damage::None);
        let unsettled = self.changing.load(Ordering::Relaxed) > 0 || self.oracle.memberships().len() > 1;
        if (harmed || force) && unsettled {
            return false;
        }
        let now = self.oracle.membership();
        let changes: Vec<Change> = wishes
            .iter()
            .map(|wish| match *wish {
                Wish::Add(node) => Change::AddLearner(self.member(node, false)),
                Wish::Promote(node) => Change::Promote(id(node)),
                Wish::Demote(node) => Change::Demote(id(node)),
                Wish::Remove(node) => Change::Remove(id(node)),
                Wish::Replace(old, new) => Change::Replace { old: id(old), new: self.member(new, false) },
                Wish::Move(node) => Change::Update(self.member(node, true)),
            })
            .collect();
        if let Ok(planned) = plan(&now, &changes) {
            // A voter that cannot vote yet may never come to, if the leader dies first: nobody forces that.
            let unready =
                |id: NodeId| !planned.before.is_member(id) || self.oracle.is_on_probation(id.0 as usize - 1);
            let too_early = force && planned.new_voters().any(unready);
            if too_early || !self.bears(&planned.after) {
                return false;
            }
            let coming: Vec<usize> = planned.joining().map(|id| id.0 as usize - 1).collect();
            if coming.iter().any(|node| self.slots[*node].damage == Damage::Lost) {
                // With its name goes its disk: see `bring_back`.
                return false;
            }
            for node in coming {
                self.prepare(node, fresh);
            }
        }
        let mut options = ChangeOptions::default().force(force);
        options.wait = wait.map(Duration::from_nanos);
        self.ask(live, changes, options, None);
        if let Some(after) = kill {
            let life = self.slots[leader].life;
            self.agenda.after(after, What::KillNow { node: leader, life });
        }
        true
    }

    /// Whether fewer than half of these voters are harmed.
    fn bears(&mut self, after: &Membership) -> bool {
        self.look_at_damage();
        let harmed = |id: &&NodeId| {
            let node = id.0 as usize - 1;
            self.slots.get(node).is_some_and(|slot| slot.damage != Damage::None)
        };
        2 * after.voters.iter().filter(harmed).count() < after.voters.len()
    }

    fn ask(&self, live: LiveNode, changes: Vec<Change>, options: ChangeOptions, then: Option<What>) {
        let (oracle, agenda) = (Arc::clone(&self.oracle), self.agenda.clone());
        let changing = Arc::clone(&self.changing);
        changing.fetch_add(1, Ordering::Relaxed);
        self.agenda.core().spawn(OPERATOR, async move {
            let done = make(&oracle, &live, changes, options).await;
            changing.fetch_sub(1, Ordering::Relaxed);
            if let Some(then) = then.filter(|_| done) {
                agenda.after(MS, then);
            }
        });
    }

    /// Whether a node knows another one with a store that this no longer has.
    pub(crate) fn has_old_store_of(&self, node: usize, other: usize) -> bool {
        let is_new = self.slots.get(other).is_some_and(|slot| slot.fresh);
        self.oracle.knows_an_old_store(node, other, is_new)
    }

    /// A node that is to become a member waits in limbo, or is there as it was when it was removed.
    fn prepare(&mut self, node: usize, fresh: bool) {
        if self.oracle.may_be_member(node) {
            return;
        }
        let used = !self.slots[node].fresh;
        let refuses = |other| self.has_old_store_of(node, other);
        if used && !fresh && !(0..self.slots.len()).any(refuses) {
            self.oracle.hit(Point::OldProcessAddedAgain);
            return;
        }
        if used {
            self.kill(node, Nanos::MAX / 4);
            let slot = &mut self.slots[node];
            slot.disk.replace(&Image::new());
            slot.fresh = true;
            slot.copy = None;
            slot.registers = Arc::default();
            self.oracle.hit(Point::AddedAgain);
        }
        let slot = &mut self.slots[node];
        if !slot.up {
            slot.founder = false;
            slot.met.fill(0);
            // Whatever was to start it is of the life before.
            let life = slot.life;
            self.agenda.after(MS, What::Boot { node, life });
        }
    }

    /// A member whose disk is lost is removed, to be added again.
    pub(crate) fn bring_back(&self) -> bool {
        let lost = (0..self.slots.len()).find(|node| self.slots[*node].damage == Damage::Lost);
        let Some((node, live)) = lost.zip(self.oracle.leader().and_then(|node| self.live(node))) else {
            return false;
        };
        if !self.oracle.may_be_member(node) {
            self.agenda.after(MS, What::Rejoin(node));
            return true;
        }
        self.ask(live, vec![Change::Remove(id(node))], ChangeOptions::default(), Some(What::Rejoin(node)));
        true
    }

    /// It comes with a new store, as a stranger.
    pub(crate) fn rejoin(&mut self, node: usize) {
        let leader = self.oracle.leader().and_then(|node| self.live(node));
        let Some(live) = leader.filter(|_| self.slots[node].damage == Damage::Lost) else { return };
        if self.is_calm() || self.oracle.may_be_member(node) {
            return;
        }
        let slot = &mut self.slots[node];
        slot.damage = Damage::None;
        slot.fresh = true;
        slot.disk.replace(&Image::new());
        slot.copy = None;
        slot.registers = Arc::default();
        self.oracle.set_damaged(node, false);
        self.oracle.hit(Point::LostComesBack);
        self.prepare(node, true);
        let changes = vec![Change::AddLearner(self.member(node, false)), Change::Promote(id(node))];
        let options = ChangeOptions::default().wait(self.plan.election * 100);
        self.ask(live, changes, options, None);
    }
}
