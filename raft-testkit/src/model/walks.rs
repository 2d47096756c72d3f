//! Random walks through the same model: they go deep where breadth does not come.

use super::Bounds;
use super::explorer::{Explorer, Found, Report};
use crate::sim::rng::Rng;

/// Walks that often from the start, each until nothing can happen or for so many steps.
///
/// # Examples
/// ```
/// use raft_testkit::model::{CONFIGURATIONS, explore, walk};
///
/// let basic = CONFIGURATIONS.iter().find(|bounds| bounds.name == "basic").unwrap();
/// let walked = walk(basic, 1, 50, 60);
/// assert!(walked.found.is_none(), "{walked:?}");
/// // Much deeper than breadth comes in that time.
/// assert!(walked.depth > explore(basic, 1_000, |_, _| {}).depth);
/// ```
#[must_use]
pub fn walk(bounds: &Bounds, seed: u64, walks: u64, steps: u32) -> Report {
    let mut explorer = Explorer::new(*bounds);
    let mut rng = Rng::new(seed);
    let (mut found, mut deepest) = (None, 0);
    let Some((_, _, start)) = explorer.queue.pop_front() else { return explorer.report(0, false, None) };
    'walks: for _ in 0..walks {
        let mut world = start.clone();
        let mut path = Vec::new();
        for step in 0..steps {
            let mut choices: Vec<_> = (0..world.nodes.len())
                .flat_map(|at| explorer.actions(&world, at).into_iter().map(move |action| (at, action)))
                .collect();
            let taken = loop {
                if choices.is_empty() {
                    break None;
                }
                let (at, action) = choices.swap_remove(rng.below(choices.len() as u64) as usize);
                let mut next = world.clone();
                if let Some(wrong) = explorer.act(&mut next, at, action) {
                    break Some((at, action, next, wrong));
                }
            };
            let Some((at, action, next, wrong)) = taken else { break };
            path.push((at, action));
            world = next;
            deepest = deepest.max(step + 1);
            if let Some(what) = wrong {
                let steps = path.iter().map(|(at, action)| explorer.describe(*at, *action)).collect();
                found = Some(Found { what, steps });
                break 'walks;
            }
        }
    }
    explorer.report(deepest, false, found)
}
