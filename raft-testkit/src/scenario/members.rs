//! Commands that change the membership, or show it.

use raft_core::membership::{Change, Member};
use raft_core::raft::ChangeOptions;

use super::describe;
use super::interpreter::{Done, World};
use super::words::Words;

impl World {
    /// `change N WISH ... [force] [wait D]`
    pub(super) fn change(&mut self, words: &mut Words) -> Done {
        let (id, now) = (words.node()?, self.now);
        let changes = wishes(words)?;
        let mut options = ChangeOptions::default().force(words.take("force"));
        if words.take("wait") {
            options = options.wait(words.duration()?);
        }
        let result = self.raft(id)?.change_membership(now, &changes, options);
        self.say(match result {
            Ok(number) => format!("{id} begins change {number}"),
            Err(error) => format!("{id} refuses to change the membership: {error}"),
        });
        self.drain(id)
    }

    /// `plan N WISH ...`
    pub(super) fn plan(&mut self, words: &mut Words) -> Done {
        let id = words.node()?;
        let changes = wishes(words)?;
        match self.raft(id)?.plan_membership(&changes) {
            Ok((plan, objections)) => {
                let lines = plan.to_string();
                self.trace.extend(lines.lines().map(|line| format!("{id} plans: {line}")));
                self.trace
                    .extend(objections.into_iter().map(|objection| format!("{id} objects: {objection}")));
            }
            Err(error) => self.trace.push(format!("{id} has no plan: {error}")),
        }
        Ok(())
    }

    /// `members N`
    pub(super) fn members(&mut self, words: &mut Words) -> Done {
        let (id, now) = (words.node()?, self.now);
        let status = self.raft(id)?.status(now);
        let of = describe::membership(&status.membership);
        let committed = if status.membership_committed { "committed" } else { "not committed" };
        let removed = if status.removed { "; knows that it was removed" } else { "" };
        self.trace.push(format!("{id} has {of}, by {}, {committed}{removed}", status.membership_at));
        Ok(())
    }
}

/// `add-learner M`, `promote M`, `demote M`, `remove M`, `replace M K`, `update M ADDRESS`: all that follow.
fn wishes(words: &mut Words) -> Result<Vec<Change>, String> {
    let member = |words: &mut Words| words.node().map(|id| Member::new(id, format!("node-{id}")));
    let mut changes = Vec::new();
    loop {
        changes.push(if words.take("add-learner") {
            Change::AddLearner(member(words)?)
        } else if words.take("promote") {
            Change::Promote(words.node()?)
        } else if words.take("demote") {
            Change::Demote(words.node()?)
        } else if words.take("remove") {
            Change::Remove(words.node()?)
        } else if words.take("replace") {
            Change::Replace { old: words.node()?, new: member(words)? }
        } else if words.take("update") {
            Change::Update(Member::new(words.node()?, words.next("an address")?))
        } else {
            return Ok(changes);
        });
    }
}
