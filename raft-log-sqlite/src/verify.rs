//! A scrub: reads everything, changes nothing, and reports all that is not as it was written.

use std::path::Path;

use raft_core::backend::{HardState, OpenError, Verdict};
use raft_core::ids::{Identity, Index, KnownPeer, LogId};

use crate::beside::Finding;
use crate::open::{self, Examined};

/// What a scrub has found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Whose journal it is.
    pub identity: Identity,
    /// What opening would say.
    pub verdict: Verdict,
    /// The hard state.
    pub hard_state: HardState,
    /// All peers ever met.
    pub known_peers: Vec<KnownPeer>,
    /// The last purged entry.
    pub purged: LogId,
    /// The last sound entry.
    pub last: LogId,
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
pub(crate) async fn verify(dir: &Path) -> Result<Report, OpenError> {
    let found = open::examine(dir, None, 0).await?;
    let report = report(&found);
    found.put_back(dir).await?;
    Ok(report)
}

/// What there is to say of a journal.
pub(crate) fn report(found: &Examined) -> Report {
    let mut findings = found.findings.clone();
    findings.extend(found.scan.damage.clone().map(|damage| Finding { damage }));
    Report {
        identity: found.identity,
        verdict: found.verdict.clone(),
        hard_state: found.hard_state,
        known_peers: found.peers.clone(),
        purged: found.scan.log.state.purged,
        last: found.scan.log.state.last,
        findings,
    }
}
