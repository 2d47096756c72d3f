//! The end of a node.

use std::sync::Arc;

use super::super::shared::End;
use super::super::waiters::ReadReply;
use super::{Protocol, Request, Turn};
use crate::error::{ChangeError, ProposeError, ReadError, ScrubFailed};
use crate::ids::Term;
use crate::status::Status;

impl Protocol {
    /// Everybody who waits gets an answer.
    pub(super) fn finish(mut self, end: &End, turn: Turn) {
        let (propose_error, read_error) = match end {
            Ok(()) => (ProposeError::ShuttingDown, ReadError::ShuttingDown),
            Err(reason) => (ProposeError::Fatal(Arc::clone(reason)), ReadError::Fatal(Arc::clone(reason))),
        };
        let now = self.runtime.now();
        self.shared.publish(Status { scrub: self.scrub.status(now), ..self.raft.status(now) });
        self.proposals.give_up_before(Term(u64::MAX));
        self.changes.give_up_before(Term(u64::MAX));
        self.reads.fail_all(&read_error);
        self.queues.batches.close();
        // What has come and was not looked at is certainly not applied.
        let mut batches = turn.batches;
        while let Ok(batch) = self.queues.batches.try_recv() {
            batches.push(batch);
        }
        for batch in batches {
            self.shared.release(batch.cost_bytes);
            batch.reply.fail(propose_error.clone());
        }
        self.queues.requests.close();
        let mut requests = turn.requests;
        while let Ok(request) = self.queues.requests.try_recv() {
            requests.push(request);
        }
        let change_error = match end {
            Ok(()) => ChangeError::ShuttingDown,
            Err(reason) => ChangeError::Fatal(Arc::clone(reason)),
        };
        let (mut snapshots, mut scrubs) = (Vec::new(), Vec::new());
        let mut reads: Vec<ReadReply> = turn.readers.into_iter().flatten().collect();
        for request in requests {
            match request {
                Request::Read { reply, .. } => reads.push(reply),
                Request::Session { reply, .. } => reply.fail(propose_error.clone()),
                Request::Change(request) => request.refuse(change_error.clone()),
                Request::Snapshot { reply } => snapshots.push(reply),
                Request::Scrub { reply } => scrubs.push(reply),
                _ => {}
            }
        }
        for reply in reads {
            let _ = reply.send(Err(read_error.clone()));
        }
        self.fail_snapshots(end.as_ref().err(), snapshots);
        let scrub_error = match end {
            Ok(()) => ScrubFailed::ShuttingDown,
            Err(reason) => ScrubFailed::Fatal(Arc::clone(reason)),
        };
        scrubs.into_iter().for_each(|reply| self.scrub.ask(now, reply));
        self.scrub.fail(&scrub_error);
        self.queues.bulk.close();
        self.queues.room.close();
    }
}
