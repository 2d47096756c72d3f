//! Reads what is kept in pairs of slots: superblock, hard state, known peers (R1 to R3c).

use raft_core::backend::OpenError;
use raft_core::slots::Layout;

use super::Finding;
use crate::cases::{Case, Policy};
use crate::error::{Context, damage};
use crate::hard_state::{PairState, Super};
use crate::layout::{SUPER, SUPER_LAYOUT, VERSION, is_data};
use crate::vfs::Vfs;

/// Reads the superblock and decides whether there is a journal at all.
pub(crate) fn read_super(
    vfs: &dyn Vfs,
    names: &[String],
    findings: &mut Vec<Finding>,
) -> Result<(Super, PairState), OpenError> {
    let pair = PairState::read(vfs, SUPER_LAYOUT, SUPER).during(|| "read the superblock".into())?;
    let newest = pair.newest().and_then(|record| Super::decode(&record.body));
    let others = names.iter().any(|name| is_data(name));
    // Creation writes the second slot first, as incomplete, and gives the first one its name last.
    let unfinished = newest.map_or(!others, |found| !found.complete) && !pair.exists(0);
    if unfinished {
        return Err(OpenError::NotInitialised);
    }
    check_version(pair.version())?;
    judge_pair(&pair, false, findings)?;
    let found = newest.ok_or_else(|| OpenError::Corrupt(damage(SUPER[0], 0, "not a superblock")))?;
    Ok((found, pair))
}

pub(super) fn check_version(found: u32) -> Result<(), OpenError> {
    if found > VERSION { Err(OpenError::Version { found, known: VERSION }) } else { Ok(()) }
}

pub(super) fn read_pair(
    vfs: &dyn Vfs,
    layout: Layout,
    names: [&'static str; 2],
    may_tear: bool,
    findings: &mut Vec<Finding>,
) -> Result<PairState, OpenError> {
    let pair = PairState::read(vfs, layout, names).during(|| format!("read {}", names[0]))?;
    check_version(pair.version())?;
    judge_pair(&pair, may_tear, findings)?;
    Ok(pair)
}

/// R2, R3, R3b, R3c.
fn judge_pair(pair: &PairState, may_tear: bool, findings: &mut Vec<Finding>) -> Result<(), OpenError> {
    let all_lost = pair.newest().is_none();
    for (n, slot) in pair.slots.iter().enumerate() {
        let why = slot.broken.iter().flatten().next().copied();
        let Some(why) = why else { continue };
        let case = match (&slot.record, all_lost) {
            (Some(_), _) => Case::CopyDamaged,
            (None, true) => Case::PairLost,
            (None, false) if may_tear && pair.exists(n) => Case::SlotTorn,
            (None, false) => Case::SlotLost,
        };
        let damage = damage(pair.name(n), 0, why);
        if case.row().policy == Policy::Refuse {
            return Err(OpenError::Corrupt(damage));
        }
        findings.push(Finding { case, damage });
    }
    Ok(())
}
