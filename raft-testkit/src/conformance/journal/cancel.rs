//! J2 and J13: writes that do not end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use raft_core::backend::{HardState, Journal, JournalState, JournalWrite, Vote};
use raft_core::entry::Entry;
use raft_core::ids::{Index, NodeId};

use super::super::{ClauseFailure, ensure, equal, fail, ok};
use super::JournalBackend;
use super::pair::{ALL, OWNER, append, replace, run_of, same_entries, three, with_vote};

/// Polls a future so many times, letting others run in between.
pub(super) async fn poll_times<T>(
    future: &mut Pin<Box<dyn Future<Output = T> + Send + '_>>,
    times: usize,
) -> Poll<T> {
    for _ in 0..times {
        let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if polled.is_ready() {
            return polled;
        }
        tokio::task::yield_now().await;
    }
    Poll::Pending
}

/// Before and after the write that is interrupted.
struct Story {
    before: (HardState, Vec<Entry>),
    write: JournalWrite,
    after: (HardState, Vec<Entry>),
}

/// Ten entries, and a write that sets a vote, truncates and appends.
fn story() -> Story {
    let first = with_vote(1, Vote::For(NodeId(1)), append(run_of(1, 2..11)));
    let write = with_vote(2, Vote::For(NodeId(3)), replace(6, run_of(2, 6..20)));
    let mut entries = run_of(1, 2..6);
    entries.extend(run_of(2, 6..20));
    Story {
        before: (first.hard_state.unwrap_or_default(), first.entries.to_vec()),
        after: (write.hard_state.unwrap_or_default(), entries),
        write,
    }
}

async fn prepare<B: JournalBackend>(
    backend: &B,
    story: &Story,
) -> Result<(B::Place, Box<dyn Journal>), ClauseFailure> {
    let place = backend.place();
    let mut journal = ok("creating", backend.create(&place, OWNER, Some(&three()?)).await)?;
    ok("loading", journal.load().await)?;
    let mut write = append(story.before.1.clone());
    write.hard_state = Some(story.before.0);
    ok("a write", journal.write(write).await)?;
    Ok((place, journal))
}

async fn everything<B: JournalBackend>(
    backend: &B,
    place: &B::Place,
) -> Result<(JournalState, Vec<Entry>, Box<dyn Journal>), ClauseFailure> {
    let mut journal = ok("opening", backend.open(place, OWNER).await)?;
    let state = ok("loading", journal.load().await)?;
    let range = Index(2)..state.last.index.next();
    let entries = ok("reading", journal.reader().entries(range, ALL).await)?;
    Ok((state, entries, journal))
}

/// For every number of polls after which the future is dropped, until it is ready before that.
pub(super) async fn j13_dropped_write_is_whole_or_nothing<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let story = story();
    for polls in 0..200 {
        let (place, mut journal) = prepare(backend, &story).await?;
        let ready = {
            let mut write = journal.write(story.write.clone());
            poll_times(&mut write, polls).await.is_ready()
        };
        // The journal is used again, without being reopened, by a write that fits in either case.
        let mut next = replace(6, run_of(3, 6..9));
        next.known_peers = Some(Vec::new());
        if polls % 2 == 0 {
            ok("the next write", journal.write(next).await)?;
            drop(journal);
            let (_, entries, _) = everything(backend, &place).await?;
            let mut expected = run_of(1, 2..6);
            expected.extend(run_of(3, 6..9));
            same_entries(&entries, &expected)?;
        } else {
            drop(journal);
            let (state, entries, mut journal) = everything(backend, &place).await?;
            let seen = (state.hard_state, entries);
            let whole = seen == story.after || (!ready && seen == story.before);
            let ids: Vec<_> = seen.1.iter().map(|entry| entry.id).collect();
            let expected = format!("all of the write or nothing, after {polls} polls");
            ensure(whole, expected, (seen.0, ids))?;
            ok("the next write", journal.write(next).await)?;
        }
        if ready && polls % 2 == 1 {
            return Ok(());
        }
    }
    // A backend whose write is never ready within so many polls has been tested at all of them.
    Ok(())
}

pub(super) async fn j02_unfinished_write_is_a_prefix<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let story = story();
    for polls in 0..50 {
        let (place, mut journal) = prepare(backend, &story).await?;
        let ready = {
            let mut write = journal.write(story.write.clone());
            poll_times(&mut write, polls).await.is_ready()
        };
        backend.crash(&place, journal).await?;
        let (state, entries, _journal) = everything(backend, &place).await?;
        let new_vote = state.hard_state == story.after.0;
        let old = entries == story.before.1;
        let prefix = entries.len() >= 4 && story.after.1.starts_with(&entries);
        let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
        if ready {
            ensure(entries == story.after.1, "all of an acknowledged write", ids)?;
            return equal("the hard state", &state.hard_state, &story.after.0);
        }
        if !(old || (prefix && new_vote)) || !(new_vote || state.hard_state == story.before.0) {
            let before: Vec<_> = story.before.1.iter().map(|entry| entry.id).collect();
            let expected = format!(
                "what was acknowledged before ({before:?}), and with it nothing, the new vote alone, or the new vote with a \
                 prefix of the new entries"
            );
            return Err(fail(expected, format!("{:?} and {ids:?}", state.hard_state)));
        }
    }
    Ok(())
}

/// Begins a write with a vote and entries, drops it after so many polls, and does another one.
async fn superseded<B: JournalBackend>(
    backend: &B,
    polls: usize,
) -> Result<(B::Place, Box<dyn Journal>, HardState, bool), ClauseFailure> {
    let story = story();
    let (place, mut journal) = prepare(backend, &story).await?;
    let ready = {
        let mut write = journal.write(story.write.clone());
        poll_times(&mut write, polls).await.is_ready()
    };
    let next = with_vote(3, Vote::For(NodeId(2)), replace(6, run_of(3, 6..9)));
    let hard_state = next.hard_state.unwrap_or_default();
    ok("the next write", journal.write(next).await)?;
    Ok((place, journal, hard_state, ready))
}

pub(super) async fn j13_write_after_a_dropped_one_is_durable<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    for polls in 0..50 {
        let (place, journal, hard_state, ready) = superseded(backend, polls).await?;
        backend.crash(&place, journal).await?;
        let (state, entries, _journal) = everything(backend, &place).await?;
        let mut expected = run_of(1, 2..6);
        expected.extend(run_of(3, 6..9));
        same_entries(&entries, &expected)?;
        equal("the hard state", &state.hard_state, &hard_state)?;
        if ready {
            break;
        }
    }
    Ok(())
}

pub(super) async fn j13_dropped_hard_state_does_not_come_back<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    for polls in 0..50 {
        let (place, journal, hard_state, ready) = superseded(backend, polls).await?;
        drop(journal);
        let (state, _, _journal) = everything(backend, &place).await?;
        equal("the hard state", &state.hard_state, &hard_state)?;
        if ready {
            break;
        }
    }
    Ok(())
}
