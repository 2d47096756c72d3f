//! A connection of raft-net-tcp, read as a node of version 1 would: docs/wire-format.md.

use crate::wire::Heard;

/// The version that was agreed on, and how many messages the dialler has sent. On a connection of version 1 there are only
/// kinds that version 1 has.
pub(crate) fn read(heard: &Heard) -> Option<(u64, usize)> {
    // `RAFT`, length, checksum, and of a Welcome (1) the version.
    let [_, _, _, _, length, _, _, _, _, _, 1, version, ..] = heard.listener[..] else { return None };
    assert!(length > 0);
    let mut rest = &heard.dialler[..];
    for _hello_and_ready in 0..2 {
        let Some(after) = rest.get(4..6) else { break };
        let body = usize::from(u16::from_le_bytes([after[0], after[1]]));
        rest = rest.get(10 + body..).unwrap_or_default();
    }
    let mut count = 0;
    while let [a, b, c, d, _, _, _, _, _, _, _, _, kind, ..] = *rest {
        assert!(version > 1 || (1..=10).contains(&kind), "kind {kind} is of a later version");
        count += 1;
        rest = rest.get(8 + u32::from_le_bytes([a, b, c, d]) as usize..).unwrap_or_default();
    }
    Some((version.into(), count))
}
