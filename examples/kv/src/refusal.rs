//! The one place where the library's errors become what clients of Redis know.

use raft_core::error::{ChangeError, Outcome, ProposeError, ReadError, TransferError};
use raft_core::ids::NodeId;
use raft_core::membership::Member;
use raft_core::node::SessionError;
use raft_core::session::SessionRefusal;

use crate::settings::CLIENT;

/// `MOVED` if another node leads and its address is known.
fn elsewhere(leader: Option<&Member>, me: NodeId, slot: u16) -> String {
    match leader {
        Some(leader) if leader.id != me => match leader.attributes.get(CLIENT) {
            Some(address) => format!("MOVED {slot} {address}"),
            None => format!("CLUSTERDOWN node {} leads, but its address for clients is not known", leader.id),
        },
        _ => "CLUSTERDOWN The cluster is down: no leader is known".into(),
    }
}

/// Why a write was not done, or may not have been.
pub(crate) fn of_write(error: &ProposeError, me: NodeId, slot: u16) -> String {
    match error {
        ProposeError::NotLeader { leader } => elsewhere(leader.as_ref(), me, slot),
        ProposeError::Overloaded { .. } => format!("BUSY not done: {error}"),
        ProposeError::TooLarge { .. } => format!("ERR {error}"),
        ProposeError::Transferring { .. } | ProposeError::Superseded { .. } => {
            format!("TRYAGAIN not done: {error}")
        }
        ProposeError::ShuttingDown | ProposeError::Fatal(_) => format!("CLUSTERDOWN not done: {error}"),
        other if other.outcome() == Outcome::Unknown => format!("UNKNOWN {other}"),
        other => format!("ERR {other}"),
    }
}

/// Why a command of a session was not done, or not again.
pub(crate) fn of_session(refusal: &SessionRefusal) -> String {
    match refusal {
        SessionRefusal::NotOpen { .. } => format!("NOSESSION not done: {refusal}"),
        SessionRefusal::Acknowledged { .. } => format!("SEQACKED not done, or not again: {refusal}"),
        SessionRefusal::OutsideWindow { .. } => format!("SEQWINDOW not done: {refusal}"),
        SessionRefusal::AnswerNotKept { .. } => format!("ANSWERLOST done before: {refusal}"),
        SessionRefusal::Full { .. } | SessionRefusal::TooMany { .. } => format!("BUSY not done: {refusal}"),
        other => format!("ERR {other}"),
    }
}

/// Why a session was not opened, kept or closed.
pub(crate) fn of_session_error(error: &SessionError, me: NodeId, slot: u16) -> String {
    match error {
        SessionError::Propose(error) => of_write(error, me, slot),
        SessionError::Refused(refusal) => of_session(refusal),
        other => format!("BUSY not done: {other}"),
    }
}

/// Why a read has no answer.
pub(crate) fn of_read(error: &ReadError, me: NodeId, slot: u16) -> String {
    match error {
        ReadError::NotLeader { leader } => elsewhere(leader.as_ref(), me, slot),
        ReadError::Overloaded => format!("BUSY {error}"),
        ReadError::ShuttingDown | ReadError::Fatal(_) => format!("CLUSTERDOWN {error}"),
        other => format!("ERR {other}"),
    }
}

/// Why leadership was not handed over.
pub(crate) fn of_transfer(error: &TransferError, me: NodeId) -> String {
    match error {
        TransferError::NotLeader { leader } => elsewhere(leader.as_ref(), me, 0),
        other => format!("ERR {other}"),
    }
}

/// Why the members were not changed, or may not have been.
pub(crate) fn of_change(error: &ChangeError, me: NodeId) -> String {
    match error {
        ChangeError::NotLeader { leader } => elsewhere(leader.as_ref(), me, 0),
        ChangeError::Objection(objection) if objection.is_catching_up() => {
            format!("REFUSED {objection}. WAIT waits for it, FORCE does not care")
        }
        ChangeError::Objection(objection) => format!("REFUSED {objection}. FORCE does it all the same"),
        ChangeError::InProgress { .. } | ChangeError::NotReady { .. } => {
            format!("TRYAGAIN not done: {error}")
        }
        ChangeError::Transferring { .. } | ChangeError::Superseded { .. } => {
            format!("TRYAGAIN not done: {error}")
        }
        ChangeError::ShuttingDown | ChangeError::Fatal(_) => format!("CLUSTERDOWN not done: {error}"),
        other if other.outcome() == Outcome::Unknown => format!("UNKNOWN {other}"),
        other => format!("ERR {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft_core::ids::{LogId, Term};

    #[test]
    fn clients_read_what_they_know() {
        let me = NodeId(1);
        let write = |error| of_write(&error, me, 7);
        let leader = Some(Member::new(NodeId(2), "a:1").with(CLIENT, "b:2"));
        assert_eq!(write(ProposeError::NotLeader { leader: leader.clone() }), "MOVED 7 b:2");
        assert_eq!(of_read(&ReadError::NotLeader { leader }, me, 9), "MOVED 9 b:2");
        let myself = Some(Member::new(me, "a:1").with(CLIENT, "b:2"));
        for leader in [None, myself, Some(Member::new(NodeId(2), "a:1"))] {
            assert!(write(ProposeError::NotLeader { leader }).starts_with("CLUSTERDOWN "));
        }
        assert!(write(ProposeError::Unknown { term: Term(3) }).starts_with("UNKNOWN "));
        let full = ProposeError::Overloaded { waiting_bytes: 2, limit_bytes: 1 };
        assert!(write(full).starts_with("BUSY "));
        assert!(write(ProposeError::TooLarge { bytes: 2, limit_bytes: 1 }).starts_with("ERR "));
        assert!(write(ProposeError::Superseded { by: LogId::ZERO }).starts_with("TRYAGAIN "));
        assert!(write(ProposeError::ShuttingDown).starts_with("CLUSTERDOWN "));
        let session = raft_core::ids::SessionId(7);
        let gone = SessionError::Refused(SessionRefusal::NotOpen { session });
        let sentence = "NOSESSION not done: session 7 is not open: it has expired, was closed, or never was";
        assert_eq!(of_session_error(&gone, me, 0), sentence);
        let lost = SessionRefusal::AnswerNotKept { session, sequence: 3, at: LogId::new(1, 9) };
        assert!(of_session(&lost).starts_with("ANSWERLOST done before: "));
        let below = SessionRefusal::Acknowledged { session, sequence: 3, below: 4 };
        assert!(of_session(&below).starts_with("SEQACKED "));
        let far = SessionRefusal::OutsideWindow { session, sequence: 3000, below: 4, window: 1024 };
        assert!(of_session(&far).starts_with("SEQWINDOW not done: "));
        assert!(of_session(&SessionRefusal::TooMany { sessions: 2, limit: 2 }).starts_with("BUSY "));
        let elsewhere = SessionError::Propose(ProposeError::NotLeader { leader: None });
        assert!(of_session_error(&elsewhere, me, 0).starts_with("CLUSTERDOWN "));
    }
}
