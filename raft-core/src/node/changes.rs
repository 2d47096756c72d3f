//! Membership changes that somebody waits for. Each ends in exactly one answer.

use std::collections::BTreeMap;

use ::tokio::sync::oneshot;

use crate::error::{ChangeError, Objection};
use crate::ids::{ChangeId, Term};
use crate::membership::{Change, Plan};
use crate::raft::{ChangeDone, ChangeOptions};

/// What a change would come to, and what speaks against it now.
pub(crate) type Planned = Result<(Plan, Vec<Objection>), ChangeError>;

/// What is asked of the node.
pub(crate) enum ChangeRequest {
    Make {
        changes: Vec<Change>,
        options: ChangeOptions,
        reply: oneshot::Sender<Result<ChangeDone, ChangeError>>,
    },
    Plan {
        changes: Vec<Change>,
        reply: oneshot::Sender<Planned>,
    },
}

impl ChangeRequest {
    /// It was not begun, and will not be.
    pub(crate) fn refuse(self, error: ChangeError) {
        // A caller that has gone away needs no answer.
        match self {
            Self::Make { reply, .. } => drop(reply.send(Err(error))),
            Self::Plan { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// Who waits.
#[derive(Default)]
pub(crate) struct Changes(BTreeMap<ChangeId, (Term, oneshot::Sender<Result<ChangeDone, ChangeError>>)>);

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Begun in `term`.
    pub(crate) fn add(
        &mut self,
        id: ChangeId,
        term: Term,
        reply: oneshot::Sender<Result<ChangeDone, ChangeError>>,
    ) {
        self.0.insert(id, (term, reply));
    }

    pub(crate) fn finish(&mut self, id: ChangeId, result: Result<ChangeDone, ChangeError>) {
        if let Some((_, reply)) = self.0.remove(&id) {
            let _ = reply.send(result);
        }
    }

    /// Those of terms before `term`, in which this node may lead, will not be waited for any longer.
    pub(crate) fn give_up_before(&mut self, term: Term) {
        for (id, (of, reply)) in core::mem::take(&mut self.0) {
            if of < term {
                let _ = reply.send(Err(ChangeError::Unknown { term: of }));
            } else {
                self.0.insert(id, (of, reply));
            }
        }
    }
}
