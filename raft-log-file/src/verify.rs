//! A scrub: reads everything, changes nothing, and reports all that is not as it was written.

use raft_core::backend::{OpenError, Verdict};
use raft_core::ids::{Identity, Index, LogId};

use crate::cases::Policy;
use crate::recover::{Finding, Scan};
use crate::vfs::Vfs;

/// What a scrub has found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Whose journal it is.
    pub identity: Identity,
    /// What opening would say.
    pub verdict: Verdict,
    /// The last purged entry.
    pub purged: LogId,
    /// The last sound entry.
    pub last: LogId,
    /// How many segments hold the log.
    pub segments: usize,
    /// Every damage, even where it touches nothing.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether everything is as it was written.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.findings.is_empty() && matches!(self.verdict, Verdict::Clean)
    }

    /// How many entries are sound.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        let (Index(last), Index(purged)) = (self.last.index, self.purged.index);
        last.saturating_sub(purged)
    }
}

/// Reads and checks a journal that nobody has open.
///
/// # Errors
/// [`OpenError`] for what opening would refuse as well.
pub fn verify(vfs: &dyn Vfs) -> Result<Report, OpenError> {
    judge(vfs).map(|(report, _)| report)
}

/// The report, and what it was made of.
pub(crate) fn judge(vfs: &dyn Vfs) -> Result<(Report, Scan), OpenError> {
    let mut scan = Scan::read(vfs)?;
    let verdict = scan.verdict();
    scan.apply_pending();
    let mut findings = std::mem::take(&mut scan.findings);
    if scan.end.case.row().policy != Policy::Go {
        findings.push(scan.end.clone());
    }
    let report = Report {
        identity: scan.superblock.identity,
        verdict,
        purged: scan.log.purged,
        last: scan.log.last,
        segments: scan.walked.len(),
        findings,
    };
    Ok((report, scan))
}
