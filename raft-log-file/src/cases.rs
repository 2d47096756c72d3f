//! What recovery may find, as data: one named case for each row of the table in
//! `docs/journal-format.md`, and what follows from it.

/// A row of the recovery table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Case {
    /// R1: there is nothing here, or creation never came to its end.
    NotInitialised,
    /// R2: no valid copy in either slot.
    PairLost,
    /// R3: one copy is damaged, its twin is valid.
    CopyDamaged,
    /// R3b: no valid copy in one slot, which may have been the newer one.
    SlotLost,
    /// R3c: the same for the known peers, whose record may be torn: the older one is in force.
    SlotTorn,
    /// R4: a segment that another one, or the superblock, names is not there.
    SegmentMissing,
    /// R5: a segment that nothing names holds nothing.
    SegmentUnfinished,
    /// R6: damage, and later segments hold more of the log.
    DamageInside,
    /// R7: damage, and a later record proves that what was there was durable.
    DamageProven,
    /// R8: a batch lacks sectors and is otherwise as it was written; nothing proves it durable.
    Torn,
    /// R9: a damaged batch that tearing does not explain; nothing proves it durable.
    Suspect,
    /// R9b: a segment is shorter than it was made.
    CutShort,
    /// R10: an intact record of this segment and position with another number.
    Misplaced,
    /// R11: the log ends and only zeros follow.
    Clean,
    /// R12: a segment that nothing names holds something: what an earlier damage has cut off.
    Quarantined,
}

/// What follows from a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// Go on.
    Go,
    /// Use what is intact, write it again, and say so.
    Repair,
    /// Leave out what was never acknowledged, and say so.
    Discard,
    /// Keep the sound entries before it and the damaged bytes as evidence. With several voters, or if
    /// that is not known: go on in probation. A single voter: refuse, unless the loss is accepted.
    Quarantine,
    /// This identity must not go on.
    Refuse,
}

/// One row.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Row {
    /// Its case.
    pub case: Case,
    /// Its number in the table.
    pub number: &'static str,
    /// What is seen.
    pub seen: &'static str,
    /// What follows.
    pub policy: Policy,
}

const fn row(case: Case, number: &'static str, seen: &'static str, policy: Policy) -> Row {
    Row { case, number, seen, policy }
}

/// The whole table.
pub const ROWS: [Row; 15] = [
    row(Case::NotInitialised, "R1", "no journal, or creation never finished", Policy::Refuse),
    row(Case::PairLost, "R2", "no valid copy in either slot", Policy::Refuse),
    row(Case::CopyDamaged, "R3", "a damaged copy with a valid twin", Policy::Repair),
    row(Case::SlotLost, "R3b", "no valid copy in one slot", Policy::Refuse),
    row(Case::SlotTorn, "R3c", "no valid copy in one slot of the known peers", Policy::Repair),
    row(Case::SegmentMissing, "R4", "a named segment is not there", Policy::Quarantine),
    row(Case::SegmentUnfinished, "R5", "an empty segment that nothing names", Policy::Go),
    row(Case::DamageInside, "R6", "damage before later segments", Policy::Quarantine),
    row(Case::DamageProven, "R7", "damage that a later record proves was durable", Policy::Quarantine),
    row(Case::Torn, "R8", "missing sectors at the end, the rest as written", Policy::Discard),
    row(Case::Suspect, "R9", "damage at the end that tearing does not explain", Policy::Quarantine),
    row(Case::CutShort, "R9b", "a segment is shorter than it was made", Policy::Quarantine),
    row(Case::Misplaced, "R10", "an intact record with another number", Policy::Quarantine),
    row(Case::Clean, "R11", "the log ends, zeros follow", Policy::Go),
    row(Case::Quarantined, "R12", "a segment that is not part of the log holds something", Policy::Go),
];

impl Case {
    /// Its row.
    #[must_use]
    pub fn row(self) -> &'static Row {
        ROWS.iter().find(|row| row.case == self).unwrap_or(&ROWS[0])
    }
}

/// What is seen where a batch was expected and is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observation {
    /// Another segment continues from beyond this place.
    pub(crate) continued: bool,
    /// A record says that this batch was durable.
    pub(crate) proven: bool,
    /// There is an intact header with another number.
    pub(crate) misplaced: bool,
    /// The file is shorter than its header says.
    pub(crate) short: bool,
    /// Only zeros follow.
    pub(crate) blank: bool,
    /// The shape is that of a torn write.
    pub(crate) torn: bool,
}

type Test = fn(&Observation) -> bool;

/// How the end of the walk is judged: the first that holds.
const ENDS: [(Test, Case); 7] = [
    (|seen| seen.continued, Case::DamageInside),
    (|seen| seen.proven, Case::DamageProven),
    (|seen| seen.misplaced, Case::Misplaced),
    (|seen| seen.short, Case::CutShort),
    (|seen| seen.blank, Case::Clean),
    (|seen| seen.torn, Case::Torn),
    (|_| true, Case::Suspect),
];

/// The case of an observation.
pub(crate) fn judge(seen: &Observation) -> Case {
    ENDS.iter().find(|(test, _)| test(seen)).map_or(Case::Suspect, |(_, case)| *case)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_one_row() {
        for (n, row) in ROWS.iter().enumerate() {
            assert_eq!(row.case.row().number, row.number);
            assert!(ROWS.iter().skip(n + 1).all(|other| other.case != row.case));
        }
    }

    #[test]
    fn proof_outweighs_shape() {
        let torn = Observation { torn: true, ..Observation::default() };
        assert_eq!(judge(&torn), Case::Torn);
        assert_eq!(judge(&Observation { proven: true, ..torn }), Case::DamageProven);
        assert_eq!(judge(&Observation { proven: true, blank: true, ..torn }), Case::DamageProven);
        assert_eq!(judge(&Observation { continued: true, blank: true, ..torn }), Case::DamageInside);
        assert_eq!(judge(&Observation { blank: true, ..torn }), Case::Clean);
        assert_eq!(judge(&Observation { short: true, blank: true, ..torn }), Case::CutShort);
        assert_eq!(judge(&Observation { misplaced: true, ..torn }), Case::Misplaced);
        assert_eq!(judge(&Observation::default()), Case::Suspect);
    }
}
