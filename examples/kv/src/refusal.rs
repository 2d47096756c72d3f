//! The one place where the library's errors become what clients of Redis know.

use raft_core::error::{ChangeError, Outcome, ProposeError, ReadError, TransferError};
use raft_core::ids::NodeId;
use raft_core::membership::{Member, PlanError};
use raft_core::node::SessionError;
use raft_core::session::SessionRefusal;

use crate::settings::CLIENT;

/// Who answers, and why it may have no part in the cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Me {
    pub(crate) id: NodeId,
    pub(crate) outside: Option<Outside>,
}

/// Why a node serves nobody, whoever leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outside {
    /// It has not been told yet who the members are.
    Limbo,
    /// It was a member, and is none any more.
    Removed,
}

impl Outside {
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Limbo => {
                "this node is in limbo: it waits until it is made a member with RAFT ADD-LEARNER, or hears of the leader if it is one already"
            }
            Self::Removed => {
                "this node was removed from the cluster: it comes back only with RAFT ADD-LEARNER on the leader"
            }
        }
    }
}

const NO_LEADER: &str = "The cluster is down: no leader is known; ask again in a moment, and see that a majority of the nodes runs \
    (RAFT INFO on each)";

/// What a client does with each kind of answer. The sentence before it says what happened.
const WAIT: &str = "ask again in a moment";
const ELSEWHERE: &str = "ask another node";
const LESS: &str = "wait for answers before you send more";
const PARTS: &str = "send it in parts";
const LOOK: &str =
    "look whether it was done before you send it again, or number it in a session (RAFT SESSION OPEN)";

/// `MOVED` if another node leads and its address is known.
fn elsewhere(leader: Option<&Member>, me: Me, slot: u16) -> String {
    let down = |sentence: &str| format!("CLUSTERDOWN {sentence}");
    match leader {
        Some(leader) if leader.id != me.id => match leader.attributes.get(CLIENT) {
            Some(address) => format!("MOVED {slot} {address}"),
            None => match me.outside {
                Some(outside) => down(outside.sentence()),
                None => down(&format!(
                    "node {id} leads, but its address for clients is not known; RAFT UPDATE {id} PEER-ADDRESS@CLIENT-ADDRESS on it \
                     gives it one",
                    id = leader.id
                )),
            },
        },
        _ => down(me.outside.map_or(NO_LEADER, Outside::sentence)),
    }
}

/// Why a write was not done, or may not have been.
pub(crate) fn of_write(error: &ProposeError, me: Me, slot: u16) -> String {
    match error {
        ProposeError::NotLeader { leader } => elsewhere(leader.as_ref(), me, slot),
        ProposeError::Overloaded { .. } => format!("BUSY not done: {error}; {LESS}"),
        ProposeError::TooLarge { .. } => format!("ERR {error}; {PARTS}"),
        ProposeError::Transferring { .. } | ProposeError::Superseded { .. } => {
            format!("TRYAGAIN not done: {error}; {WAIT}")
        }
        ProposeError::ShuttingDown | ProposeError::Fatal(_) => {
            format!("CLUSTERDOWN not done: {error}; {ELSEWHERE}")
        }
        other if other.outcome() == Outcome::Unknown => format!("UNKNOWN {other}; {LOOK}"),
        other => format!("ERR {other}"),
    }
}

/// Why a command of a session was not done, or not again.
pub(crate) fn of_session(refusal: &SessionRefusal) -> String {
    match refusal {
        SessionRefusal::NotOpen { .. } => {
            format!("NOSESSION not done: {refusal}; RAFT SESSION OPEN opens another one")
        }
        SessionRefusal::Acknowledged { .. } => {
            format!("SEQACKED not done, or not again: {refusal}; use a number that was not yet used")
        }
        SessionRefusal::OutsideWindow { .. } => {
            format!("SEQWINDOW not done: {refusal}; acknowledge what was answered (ACK), then send it again")
        }
        SessionRefusal::AnswerNotKept { .. } => {
            format!("ANSWERLOST done before: {refusal}; do not send it again, read what it has done")
        }
        SessionRefusal::Full { .. } | SessionRefusal::TooMany { .. } => {
            format!(
                "BUSY not done: {refusal}; close sessions that are not used (RAFT SESSION CLOSE), or wait until they expire"
            )
        }
        other => format!("ERR {other}"),
    }
}

/// Why a session was not opened, kept or closed.
pub(crate) fn of_session_error(error: &SessionError, me: Me, slot: u16) -> String {
    match error {
        SessionError::Propose(error) => of_write(error, me, slot),
        SessionError::Refused(refusal) => of_session(refusal),
        other => format!("BUSY not done: {other}; {WAIT}"),
    }
}

/// Why a read has no answer.
pub(crate) fn of_read(error: &ReadError, me: Me, slot: u16) -> String {
    match error {
        ReadError::NotLeader { leader } => elsewhere(leader.as_ref(), me, slot),
        ReadError::Overloaded => format!("BUSY {error}; {LESS}"),
        ReadError::ShuttingDown | ReadError::Fatal(_) => format!("CLUSTERDOWN {error}; {ELSEWHERE}"),
        other => format!("ERR {other}"),
    }
}

/// Why leadership was not handed over.
pub(crate) fn of_transfer(error: &TransferError, me: Me) -> String {
    match error {
        TransferError::NotLeader { leader } => elsewhere(leader.as_ref(), me, 0),
        other => format!("ERR {other}"),
    }
}

/// Why the members were not changed, or may not have been.
pub(crate) fn of_change(error: &ChangeError, me: Me) -> String {
    match error {
        ChangeError::NotLeader { leader } => elsewhere(leader.as_ref(), me, 0),
        ChangeError::Objection(objection) => {
            let waits = if objection.is_catching_up() { ". WAIT waits for it" } else { "" };
            let forced = if objection.yields_to_force() { ". FORCE does it all the same" } else { "" };
            format!("REFUSED {objection}{waits}{forced}")
        }
        ChangeError::InProgress { .. } | ChangeError::NotReady { .. } => {
            format!("TRYAGAIN not done: {error}; {WAIT}")
        }
        ChangeError::Transferring { .. } | ChangeError::Superseded { .. } => {
            format!("TRYAGAIN not done: {error}; {WAIT}")
        }
        ChangeError::ShuttingDown | ChangeError::Fatal(_) => {
            format!("CLUSTERDOWN not done: {error}; {ELSEWHERE}")
        }
        other if other.outcome() == Outcome::Unknown => {
            format!("UNKNOWN {other}; RAFT INFO on the new leader says who the voters are")
        }
        ChangeError::Plan(error @ PlanError::NotAMember(node)) => {
            format!(
                "ERR {error}: RAFT INFO lists them; RAFT ADD-LEARNER {node} PEER@CLIENT would make it one"
            )
        }
        other => format!("ERR {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft_core::error::Objection;
    use raft_core::ids::{LogId, Term};

    #[test]
    fn clients_read_what_they_know() {
        let me = Me { id: NodeId(1), outside: None };
        let write = |error| of_write(&error, me, 7);
        let leader = Some(Member::new(NodeId(2), "a:1").with(CLIENT, "b:2"));
        assert_eq!(write(ProposeError::NotLeader { leader: leader.clone() }), "MOVED 7 b:2");
        assert_eq!(of_read(&ReadError::NotLeader { leader }, me, 9), "MOVED 9 b:2");
        let myself = Some(Member::new(me.id, "a:1").with(CLIENT, "b:2"));
        for leader in [None, myself, Some(Member::new(NodeId(2), "a:1"))] {
            assert!(write(ProposeError::NotLeader { leader }).starts_with("CLUSTERDOWN "));
        }
        let gone = Me { outside: Some(Outside::Removed), ..me };
        let nobody = of_write(&ProposeError::NotLeader { leader: None }, gone, 7);
        assert!(nobody.starts_with("CLUSTERDOWN this node was removed"), "{nobody}");
        assert!(write(ProposeError::Unknown { term: Term(3) }).starts_with("UNKNOWN "));
        let full = ProposeError::Overloaded { waiting_bytes: 2, limit_bytes: 1 };
        assert!(write(full).starts_with("BUSY "));
        assert!(write(ProposeError::TooLarge { bytes: 2, limit_bytes: 1 }).starts_with("ERR "));
        assert!(write(ProposeError::Superseded { by: LogId::ZERO }).starts_with("TRYAGAIN "));
        assert!(write(ProposeError::ShuttingDown).starts_with("CLUSTERDOWN "));
        let session = raft_core::ids::SessionId(7);
        let gone = SessionError::Refused(SessionRefusal::NotOpen { session });
        let sentence = "NOSESSION not done: session 7 is not open: it has expired, was closed, or never was; RAFT SESSION OPEN \
            opens another one";
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

    /// Behind what happened stands what to do, and the first word stays what clients know.
    #[test]
    fn whatever_was_not_done_says_what_to_do() {
        let me = Me { id: NodeId(1), outside: None };
        let write = |error| of_write(&error, me, 7);
        let session = raft_core::ids::SessionId(7);
        let unreachable = Some(Member::new(NodeId(2), "a:1"));
        let said = [
            write(ProposeError::NotLeader { leader: None }),
            write(ProposeError::NotLeader { leader: unreachable }),
            write(ProposeError::Overloaded { waiting_bytes: 2, limit_bytes: 1 }),
            write(ProposeError::TooLarge { bytes: 2, limit_bytes: 1 }),
            write(ProposeError::Transferring { to: NodeId(2) }),
            write(ProposeError::Superseded { by: LogId::ZERO }),
            write(ProposeError::Unknown { term: Term(3) }),
            write(ProposeError::ShuttingDown),
            of_read(&ReadError::Overloaded, me, 7),
            of_read(&ReadError::ShuttingDown, me, 7),
            of_session(&SessionRefusal::NotOpen { session }),
            of_session(&SessionRefusal::Acknowledged { session, sequence: 3, below: 4 }),
            of_session(&SessionRefusal::OutsideWindow { session, sequence: 3000, below: 4, window: 1024 }),
            of_session(&SessionRefusal::AnswerNotKept { session, sequence: 3, at: LogId::new(1, 9) }),
            of_session(&SessionRefusal::TooMany { sessions: 2, limit: 2 }),
            of_change(&ChangeError::InProgress { at: LogId::ZERO }, me),
            of_change(&ChangeError::NotReady { term: Term(3) }, me),
            of_change(&ChangeError::Unknown { term: Term(3) }, me),
            of_change(&ChangeError::ShuttingDown, me),
        ];
        for sentence in said {
            let (what, next) = sentence.split_once("; ").unwrap_or_else(|| panic!("{sentence}"));
            assert!(what.len() > 10 && next.split(' ').count() > 2, "{sentence}");
            assert!(what.split(' ').next().is_some_and(|word| word == word.to_uppercase()), "{sentence}");
        }
    }

    #[test]
    fn a_refused_change_says_what_helps() {
        let me = Me { id: NodeId(1), outside: None };
        let node = NodeId(4);
        let say = |objection| of_change(&ChangeError::Objection(objection), me);
        assert_eq!(
            say(Objection::Lagging { node, lag_entries: 5000, limit_entries: 1000 }),
            "REFUSED node 4 is 5000 entries behind, at most 1000 are allowed. WAIT waits for it. FORCE does it all the same"
        );
        assert_eq!(
            say(Objection::NotLearned { node }),
            "REFUSED node 4 is not a member yet: it has to catch up as a learner first. WAIT waits for it"
        );
        assert_eq!(
            say(Objection::NoLiveQuorum { voters: 2, alive: 1, needed: 2, silent: vec![NodeId(3)] }),
            "REFUSED of 2 voters 2 would have to be alive, but only 1 are; silent: 3. FORCE does it all the same"
        );
    }
}
