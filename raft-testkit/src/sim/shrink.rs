//! Makes a failing plan smaller: fewer faults, a quieter network, a shorter run. What is left is what it
//! takes.

use super::executor::Nanos;
use super::plan::Plan;

/// What is left of a plan, as a command line can say it.
///
/// # Examples
/// ```
/// use raft_testkit::sim::Plan;
/// use raft_testkit::sim::shrink::Rest;
///
/// // As `cargo xtask sim --seed 7 --faults 0,2 --quiet` says it.
/// let plan = (0..).map(|seed| Plan::draw(seed, None)).find(|plan| plan.faults().len() > 2).unwrap();
/// let left = Rest { faults: vec![0, 2], quiet: true }.apply(&plan);
/// assert_eq!(left.faults().len(), 2);
/// assert!(left.to_string().contains("loss_ppm: 0"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The faults that are kept, by their numbers in the whole plan.
    pub faults: Vec<usize>,
    /// The network loses, doubles and delays nothing.
    pub quiet: bool,
}

impl Rest {
    /// All of it.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::sim::Plan;
    /// use raft_testkit::sim::shrink::Rest;
    ///
    /// let plan = Plan::draw(7, None);
    /// assert_eq!(Rest::of(&plan).apply(&plan), plan);
    /// ```
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self { faults: (0..plan.faults.len()).collect(), quiet: false }
    }

    /// The plan that is left.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::sim::Plan;
    /// use raft_testkit::sim::shrink::Rest;
    ///
    /// // Without any fault: what is wrong then is wrong with the protocol on a good day.
    /// let plan = Plan::draw(7, None);
    /// let calm = Rest { faults: Vec::new(), quiet: true }.apply(&plan);
    /// assert!(calm.faults().is_empty());
    /// assert_eq!((calm.seed, calm.nodes), (plan.seed, plan.nodes));
    /// ```
    #[must_use]
    pub fn apply(&self, plan: &Plan) -> Plan {
        let mut left = plan.clone();
        left.faults = self.faults.iter().filter_map(|number| plan.faults.get(*number).cloned()).collect();
        if self.quiet {
            let net = &mut left.net;
            (net.spike_ppm, net.loss_ppm, net.double_ppm, net.overtake_ppm) = (0, 0, 0, 0);
        }
        left
    }
}

/// Takes away what can go while `fails` still says so (delta debugging), in at most `tries` runs. `at` is when
/// the whole plan failed: later faults go first.
///
/// # Examples
/// ```
/// use raft_testkit::sim::Plan;
/// use raft_testkit::sim::shrink::shrink;
///
/// let plan = (0..).map(|seed| Plan::draw(seed, None)).find(|plan| plan.faults().len() > 40).unwrap();
/// // In life: `sim::run(plan, false).violation` is the one that was found. Here two faults together do it.
/// let needed: Vec<String> = [7, 21].map(|number| format!("{:?}", plan.faults()[number])).to_vec();
/// let fails = |plan: &Plan| {
///     let all: Vec<String> = plan.faults().iter().map(|fault| format!("{fault:?}")).collect();
///     needed.iter().all(|fault| all.contains(fault))
/// };
/// let rest = shrink(&plan, u64::MAX, 1000, fails);
/// assert_eq!((rest.faults, rest.quiet), (vec![7, 21], true));
/// ```
pub fn shrink(plan: &Plan, at: Nanos, tries: usize, mut fails: impl FnMut(&Plan) -> bool) -> Rest {
    let mut rest = Rest::of(plan);
    let mut left = tries;
    let mut still = |rest: &Rest| {
        left > 0 && {
            left -= 1;
            fails(&rest.apply(plan))
        }
    };
    let early = Rest {
        faults: rest.faults.iter().copied().filter(|n| plan.faults[*n].0 <= at).collect(),
        ..rest.clone()
    };
    if still(&early) {
        rest = early;
    }
    let quiet = Rest { quiet: true, ..rest.clone() };
    if still(&quiet) {
        rest = quiet;
    }
    let mut chunk = rest.faults.len().div_ceil(2).max(1);
    loop {
        let mut start = 0;
        let before = rest.faults.len();
        while start < rest.faults.len() {
            let end = (start + chunk).min(rest.faults.len());
            let mut fewer = rest.clone();
            fewer.faults.drain(start..end);
            if still(&fewer) {
                rest = fewer;
            } else {
                start = end;
            }
        }
        if chunk == 1 && rest.faults.len() == before {
            return rest;
        }
        chunk = chunk.div_ceil(2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_takes_is_left() {
        let plan = (0..).map(|seed| Plan::draw(seed, None)).find(|plan| plan.faults.len() > 40).unwrap();
        let needed = [plan.faults[7].clone(), plan.faults[21].clone()];
        let mut runs = 0;
        let rest = shrink(&plan, plan.faults[30].0, 1000, |plan| {
            runs += 1;
            needed.iter().all(|fault| plan.faults.contains(fault))
        });
        assert_eq!(rest, Rest { faults: vec![7, 21], quiet: true });
        assert!(runs < 100, "{runs}");
        let none = shrink(&plan, plan.duration, 0, |_| true);
        assert_eq!(none, Rest::of(&plan), "no run is left to try anything");
    }
}
