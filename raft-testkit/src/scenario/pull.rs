//! Pulls a node's outputs and checks, on the way, what must hold at every step.

use raft_core::Raft;
use raft_core::ids::NodeId;
use raft_core::raft::{Apply, Event};
use raft_core::status::RoleKind;

use super::describe;
use super::interpreter::{Done, ENOUGH, World};

impl World {
    /// Pulls a node until nothing moves, as its driver would: messages first, then the journal, which forgets before it
    /// writes (one that is held back begins writes alone).
    pub(super) fn drain(&mut self, id: NodeId) -> Done {
        if self.node(id)?.raft.is_none() {
            return Ok(());
        }
        for _ in 0..ENOUGH {
            let heard = self.pull_events(id)?;
            let sent = self.pull_messages(id)?;
            let forgot = self.pull_floor(id)?;
            let wrote = self.pull_write(id)?;
            let replaced = self.pull_snapshots(id)?;
            let applied = self.pull_apply(id)?;
            let fetched = self.pull_fetch(id)?;
            if !(sent || heard || forgot || wrote || fetched || applied || replaced) {
                return Ok(());
            }
        }
        Err(format!("node {id} goes in circles"))
    }

    fn pull_messages(&mut self, id: NodeId) -> Result<bool, String> {
        let mut said: Vec<(String, Vec<NodeId>)> = Vec::new();
        loop {
            let Some(raft) = &mut self.node(id)?.raft else { return Ok(false) };
            let Some(out) = raft.poll_message() else { break };
            let durable = self.node(id)?.disk.hard.term;
            let envelope = out.envelope;
            if envelope.term > durable.next() {
                return Err(format!("node {id} speaks in term {} before it is durable", envelope.term));
            }
            let text = describe::message(&envelope);
            match said.iter_mut().find(|(same, _)| *same == text) {
                Some((_, to)) => to.push(envelope.to),
                None => said.push((text, vec![envelope.to])),
            }
            self.network.send(envelope);
        }
        let any = !said.is_empty();
        for (text, to) in said {
            self.say(format!("{id} {}", text.replace("{to}", &describe::nodes(&to))));
        }
        Ok(any)
    }

    fn pull_events(&mut self, id: NodeId) -> Result<bool, String> {
        let mut any = false;
        while let Some(event) = self.raft(id)?.poll_event() {
            any = true;
            if let Event::RoleChanged { role: RoleKind::Leader, term, .. } = &event {
                let first = *self.leaders.entry(*term).or_insert(id);
                if first != id {
                    return Err(format!("Election Safety: {first} and {id} lead term {term}"));
                }
            }
            if let Some(text) = describe::event(&event) {
                self.say(format!("{id} {text}"));
            }
        }
        Ok(any)
    }

    fn pull_write(&mut self, id: NodeId) -> Result<bool, String> {
        let node = self.node(id)?;
        if node.writing.is_some() {
            return Ok(false);
        }
        let Some(write) = node.raft.as_mut().and_then(Raft::poll_write) else { return Ok(false) };
        let held = node.disk_held;
        if held {
            let line = format!("{id} begins to write {}", describe::write(&write));
            node.writing = Some(write);
            self.say(line);
            return Ok(true);
        }
        node.writing = Some(write);
        self.complete(id)?;
        Ok(true)
    }

    fn pull_fetch(&mut self, id: NodeId) -> Result<bool, String> {
        let now = self.now;
        let node = self.node(id)?;
        let Some(raft) = &mut node.raft else { return Ok(false) };
        let Some(fetch) = raft.poll_fetch() else { return Ok(false) };
        let entries = node.disk.read(fetch.range.start, fetch.range.end, fetch.max_bytes);
        let line = format!("{id} fetches {}", describe::ids(&entries));
        if entries.is_empty() {
            return Err(format!("node {id} fetches {:?}, which its disk does not have", fetch.range));
        }
        raft.handle_fetched(now, fetch.id, entries);
        self.say(line);
        Ok(true)
    }

    fn pull_apply(&mut self, id: NodeId) -> Result<bool, String> {
        let node = self.node(id)?;
        let Some(apply) = node.raft.as_mut().and_then(Raft::poll_apply) else { return Ok(false) };
        if node.machine_held {
            node.applying = Some(apply);
            return Ok(true);
        }
        self.finish(id, apply)?;
        Ok(true)
    }

    /// The state machine has executed these: the same entries in the same order on all nodes.
    pub(super) fn finish(&mut self, id: NodeId, apply: Apply) -> Done {
        let now = self.now;
        let line = format!("{id} applies {}", describe::ids(&apply.entries));
        for entry in &apply.entries {
            let first = self.applied.entry(entry.id.index).or_insert_with(|| entry.clone());
            if first != entry {
                return Err(format!(
                    "State Machine Safety: {} was applied, {id} applies {}",
                    first.id, entry.id
                ));
            }
            let node = self.node(id)?;
            if entry.id.index.0 != node.applied.len() as u64 + 1 {
                return Err(format!("node {id} applies {} out of order", entry.id));
            }
            if node.disk.at(entry.id.index) != Some(entry) {
                return Err(format!("node {id} applies {} before it is durable", entry.id));
            }
            node.applied.push(entry.clone());
        }
        self.say(line);
        self.raft(id)?.handle_applied(now, apply.through.index);
        Ok(())
    }
}
