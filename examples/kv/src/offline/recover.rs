//! `raft-kv recover`: goes on with what one node has, when a majority is lost for ever.
//!
//! Whatever only the lost nodes had is gone, and nobody can say what that was. So it needs to be told which
//! nodes are lost, and makes a new cluster of what is left, with a new name: the old nodes are refused if they
//! come back. What was done stands in the new journal, as entries.
//!
//! As with a copy, the old folder is left as it is and closed, and of the two at most one can be opened.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use raft_core::backend::{HardState, JournalState, JournalWrite, Vote};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, Identity, Incarnation, Index, LogId, NodeId, StoreId};
use raft_core::membership::Membership;

use super::copy::{CLOSED_BEFORE, Named, compare_entries, damage, fill};
use super::snapshots::Snapshots;
use super::{AGAIN, Place, of_journal, of_open, random};
use crate::exit::Exit;
use crate::journal::{JournalKind, View};
use crate::settings;

/// A list of members in which the node itself is missing.
const OWN_DATA: &str =
    "name the node whose data this is too: of all that are named it alone has what is to go on";

/// Flags of `raft-kv recover`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The data folder of the node whose data is to go on: the one that has most. It must be stopped.
    #[arg(long, value_name = "DIR")]
    data: Place,
    /// The members from now on, that node among them: ID=PEER-ADDRESS@CLIENT-ADDRESS,... It alone votes; the
    /// others begin empty, as learners, and are promoted when they have caught up.
    #[arg(long, value_name = "LIST")]
    force_members: String,
    /// All other nodes that voted until now. Their data is given up, what only they had is lost, and they must
    /// never run again.
    #[arg(long, value_name = "ID,...")]
    lost_for_ever: Option<String>,
    /// Where the new data is written: file:DIR or sqlite:DIR, a folder that is empty or does not exist yet.
    /// Default: the same kind, with -recovered behind the name.
    #[arg(long, value_name = "DIR")]
    to: Option<Place>,
    /// The name of the new cluster. Default: a random one.
    #[arg(long, value_name = "UUID")]
    cluster_id: Option<String>,
}

/// Does it.
///
/// # Errors
/// [`Exit`]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Exit> {
    let source = Named::new(arguments.data.kind()?, &arguments.data.dir)?;
    let target = match &arguments.to {
        Some(to) => Named::new(to.kind.unwrap_or(source.kind), &to.dir)?,
        None => {
            let mut name = source.dir.clone().into_os_string();
            name.push("-recovered");
            Named::new(source.kind, name.as_ref())?
        }
    };
    let mut old = View::new(source.kind, &source.dir).map_err(|error| of_open(&source.dir, &error))?;
    let (unfinished, done) =
        (format!("an unfinished recovery of {source}"), format!("recovered into {target}"));
    let was_closed = JournalKind::closed(&source.dir).map_err(|error| of_open(&source.dir, &error))?;
    let begun = target.is_unfinished(&unfinished);
    match was_closed {
        // Cut between the last two steps.
        Some(why) if why == done && matches!(begun, Ok(true)) => {}
        Some(why) => {
            return Err(Exit::data(format!("{source} must not be recovered: it was {why}"), CLOSED_BEFORE));
        }
        None => {
            let begun = begun?;
            let plan = Plan::new(arguments, &source, &old)?;
            if begun {
                target.clear().map_err(|error| target.failed("cannot remove an earlier attempt", &error))?;
            }
            write(&plan, &old, &source, &target, &unfinished)?;
            let new = View::new(target.kind, &target.dir).map_err(|error| of_open(&target.dir, &error))?;
            compare(&plan, &old, &source, &new, &target)?;
        }
    }
    let mut new = View::new(target.kind, &target.dir).map_err(|error| of_open(&target.dir, &error))?;
    let others = membership(new.state(), &target)?.members.len().saturating_sub(1);
    old.close(&done).map_err(|error| of_open(&source.dir, &error))?;
    new.release().map_err(|error| of_open(&target.dir, &error))?;
    report(&source, &target, new.state(), others);
    Ok(())
}

/// What comes next, for whoever has to do it.
fn report(source: &Named, target: &Named, state: &JournalState, others: usize) {
    let identity = state.identity;
    let cluster = identity.cluster;
    println!(
        "recovered: cluster {cluster}, node {}, log up to {}; {source} is closed",
        identity.node, state.last
    );
    println!(
        "start it with --data {} --journal {} --cluster-id {cluster} and its other flags",
        target.dir.display(),
        target.kind.name()
    );
    let next = match others {
        0 => "it is the only member; add others with RAFT ADD-LEARNER, and RAFT PROMOTE once they have caught up".into(),
        _ => format!(
            "start the other members with empty data folders, the same --cluster-id and no --members, then RAFT PROMOTE \
             each of them on node {}",
            identity.node
        ),
    };
    println!("{next}; with TLS all need certificates for the new cluster");
}

/// What is to be written, and what there was.
struct Plan {
    identity: Identity,
    hard_state: HardState,
    /// What is appended to the log.
    record: [Entry; 2],
}

impl Plan {
    fn new(arguments: &Arguments, source: &Named, old: &View) -> Result<Self, Exit> {
        let state = old.state();
        if let Some(damage) = damage(old) {
            return Err(Exit::data(
                format!("{source} is damaged, nothing was done: {damage}"),
                "start the node there first, with its old flags, so that it finds out what is left; then stop it",
            ));
        }
        let me = state.identity.node;
        let before = membership(state, source)?;
        let voters: BTreeSet<NodeId> = before.all_voters().collect();
        let gone: BTreeSet<NodeId> = voters.iter().copied().filter(|id| *id != me).collect();
        if gone.is_empty() {
            let text = format!("node {me} is the only voter of {source}: nothing is lost");
            return Err(Exit::usage(text, "start it, as always"));
        }
        let after = forced(&arguments.force_members, me)?;
        loss(state, &voters, &gone, me);
        let list = names(&gone);
        match &arguments.lost_for_ever {
            Some(given) if ids(given)? == gone => {}
            given => {
                let differs = given.as_ref().map_or_else(String::new, |given| {
                    format!(": the voters besides node {me} are {list}, and --lost-for-ever says {given}")
                });
                return Err(Exit::usage(
                    format!("nothing was done{differs}"),
                    format!(
                        "if all this is so, and none of these nodes will ever run again, say --lost-for-ever {list}"
                    ),
                ));
            }
        }
        let cluster = match &arguments.cluster_id {
            Some(text) => settings::cluster(text)?,
            None => ClusterId(random()?),
        };
        if cluster == state.identity.cluster {
            let text = "--cluster-id: that is the old name, under which the lost nodes could come back";
            return Err(Exit::usage(
                text,
                "leave --cluster-id out, which makes a new name, or give another one",
            ));
        }
        let store = StoreId(random()?);
        let identity = Identity { cluster, store, incarnation: Incarnation::default(), ..state.identity };
        let term = state.hard_state.term.max(state.last.term).next();
        let hard_state = HardState { term, vote: Vote::None, probation: false, ..HardState::default() };
        let seconds = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let note = format!(
            "recovered offline, {seconds} s after 1970: the voters {} of cluster {} have lost {list} for ever; node {me} \
             goes on alone as cluster {cluster} with its log up to {}, of which it knew {} to be committed",
            names(&voters),
            state.identity.cluster,
            state.last,
            state.commit_hint,
        );
        let at = |after: u64| LogId { term, index: Index(state.last.index.0.saturating_add(after)) };
        let record = [
            Entry { id: at(1), kind: EntryKind::Membership, data: after.encode() },
            Entry { id: at(2), kind: EntryKind::Noop, data: Bytes::from(note) },
        ];
        Ok(Self { identity, hard_state, record })
    }
}

/// Says loudly what this is.
fn loss(state: &JournalState, voters: &BTreeSet<NodeId>, gone: &BTreeSet<NodeId>, me: NodeId) {
    let (last, hint) = (state.last, state.commit_hint);
    eprintln!("raft-kv recover: WARNING: data may be lost");
    eprintln!("  the voters were {}; given up for ever: {}", names(voters), names(gone));
    eprintln!("  node {me} goes on alone, with its log up to {last}");
    eprintln!(
        "  writes that were acknowledged, but had not come to node {me}, are LOST: nobody can say which"
    );
    if hint < last.index {
        eprintln!(
            "  entries {}..={} may never have been acknowledged; from now on they count",
            hint.next(),
            last.index
        );
    }
    if state.hard_state.probation {
        eprintln!("  node {me} was on probation: its own log had been damaged, and more may be missing");
    }
    eprintln!("  if a majority of {} can be started again, do that instead", names(voters));
}

fn names(ids: &BTreeSet<NodeId>) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn ids(text: &str) -> Result<BTreeSet<NodeId>, Exit> {
    let id = |text: &str| text.trim().parse().map(NodeId);
    let ids: Result<_, _> = text.split(',').map(id).collect();
    ids.map_err(|_| {
        Exit::usage(
            format!("--lost-for-ever: '{text}' is not ID,ID,..."),
            "give numbers of nodes with commas between them, as in --lost-for-ever 2,3",
        )
    })
}

/// The membership that is in force at the end of the log.
pub(super) fn membership(state: &JournalState, source: &Named) -> Result<Membership, Exit> {
    let of_snapshot = || source.in_runtime(async { Snapshots::of(source.kind, &source.dir).await });
    let found = match state.memberships.last() {
        Some(entry) => Membership::decode(&entry.data).ok(),
        None => of_snapshot()?.and_then(|snapshots| snapshots.latest).map(|meta| meta.membership),
    };
    let found = found.filter(|found| !found.voters.is_empty());
    found.ok_or_else(|| {
        Exit::data(
            format!("{source} knows no members: there is nothing in it"),
            "give the data folder of a node that has been a member, or raft-kv restore from a backup",
        )
    })
}

/// This node as the only voter, the others as learners.
fn forced(list: &str, me: NodeId) -> Result<Membership, Exit> {
    let mut forced = settings::members(list, me).map_err(|error| {
        // A mistake in the list has advice of its own; that it lacks this node has other reasons than elsewhere.
        let next = if error.0.contains("does not list") { OWN_DATA } else { error.1 };
        Exit::usage(error.0.replace("--members", "--force-members"), next)
    })?;
    forced.voters = BTreeSet::from([me]);
    Ok(forced)
}

/// Writes the new journal and its snapshot, which stay closed.
fn write(plan: &Plan, old: &View, source: &Named, target: &Named, unfinished: &str) -> Result<(), Exit> {
    source.in_runtime(async {
        let adopted = target.kind.adopt(&target.dir, plan.identity, unfinished).await;
        let mut new = adopted.map_err(|error| of_open(&target.dir, &error))?;
        let mut first = JournalWrite::default();
        first.hard_state = Some(plan.hard_state);
        fill(old, source, &mut *new, target, first).await?;
        let mut record = JournalWrite::default();
        record.entries = plan.record.to_vec().into();
        record.commit_hint = plan.record[1].id.index;
        new.write(record).await.map_err(|error| of_journal(&target.dir, &error))?;
        match Snapshots::of(source.kind, &source.dir).await? {
            Some(snapshots) => snapshots.copy(target.kind, &target.dir).await,
            None => Ok(()),
        }
    })
}

/// Reads everything back from the disk.
fn compare(plan: &Plan, old: &View, source: &Named, new: &View, target: &Named) -> Result<(), Exit> {
    if let Some(damage) = damage(new) {
        return Err(Exit::data(format!("{target} is damaged, it stays closed: {damage}"), AGAIN));
    }
    let state = new.state();
    let [membership, note] = &plan.record;
    let same = state.identity.cluster == plan.identity.cluster
        && state.hard_state == plan.hard_state
        && state.purged == old.state().purged
        && state.last == note.id;
    let range = membership.id.index..note.id.index.next();
    let record = new.entries(range, u64::MAX).map_err(|error| of_journal(&target.dir, &error))?;
    if !same || record != plan.record {
        return Err(Exit::other(format!("{target} is not what was written; it stays closed"), AGAIN));
    }
    compare_entries(old, source, new, target)
}
