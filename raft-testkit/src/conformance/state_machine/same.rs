//! Two results compared, and how they differ in a few words.

use bytes::Bytes;

use super::super::{ClauseFailure, equal, fail};

/// What is to be mended where a machine that comes from a snapshot answers otherwise.
const LACKS: &str =
    "a snapshot must have all that answers depend on, and install must take all of what is in it";

/// The same bytes: of others, where they begin to differ. All of both would hide it.
pub(super) fn same(what: &str, seen: &Bytes, expected: &Bytes) -> Result<(), ClauseFailure> {
    let differ = |at: &usize| seen.get(*at) != expected.get(*at);
    let Some(first) = (0..seen.len().max(expected.len())).find(differ) else { return Ok(()) };
    let around = |bytes: &Bytes| {
        let from = first.saturating_sub(8).min(bytes.len());
        let part = bytes.slice(from..bytes.len().min(first.saturating_add(24)));
        format!("{} bytes; from {from} on {part:?}", bytes.len())
    };
    Err(fail(
        format!("{what}: {}", around(expected)),
        format!("{}; the first that differs is {first}", around(seen)),
    ))
}

/// The answers to what follows a snapshot up to the entry `cut`: of others the first, as all of them are pages.
pub(super) fn same_answers(cut: u64, seen: &[Bytes], expected: &[Bytes]) -> Result<(), ClauseFailure> {
    equal("how many answers there are", &seen.len(), &expected.len())?;
    for (at, (seen, expected)) in seen.iter().zip(expected).enumerate() {
        let what = format!("answer {at} after a snapshot up to entry {cut}, as after the whole log");
        same(&what, seen, expected)
            .map_err(|failure| ClauseFailure { seen: format!("{}: {LACKS}", failure.seen), ..failure })?;
    }
    Ok(())
}
