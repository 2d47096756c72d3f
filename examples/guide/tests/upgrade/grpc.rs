//! A connection of raft-net-grpc, read as a node of version 1 would: docs/grpc-wire-format.md. No line of today's messages
//! takes part.

use std::collections::BTreeMap;

use crate::protobuf::{Fields, fields, inner, is_known_to_version_1, number};
use crate::wire::Heard;

/// What a client says before anything else in HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// HTTP/2's frames that carry the body of a call, and their flag for padding.
const DATA: u8 = 0;
const PADDED: u8 = 8;

/// The bodies of all calls of one direction, each as far as it is there.
fn bodies(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = BTreeMap::<u32, Vec<u8>>::new();
    while let [a, b, c, kind, flags, s, t, u, v, rest @ ..] = bytes {
        let Some((frame, after)) = rest.split_at_checked(u32::from_be_bytes([0, *a, *b, *c]) as usize) else {
            break;
        };
        if *kind == DATA {
            assert_eq!(flags & PADDED, 0, "nobody pads");
            bodies.entry(u32::from_be_bytes([*s, *t, *u, *v])).or_default().extend(frame);
        }
        bytes = after;
    }
    bodies.into_values().collect()
}

/// The messages of a body, each behind a flag and its length.
fn frames(body: &[u8]) -> Vec<Fields> {
    let (mut frames, mut rest) = (Vec::new(), body);
    while let [0, a, b, c, d, behind @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let Some((frame, after)) = behind.split_at_checked(length) else { break };
        frames.push(fields(frame));
        rest = after;
    }
    frames
}

/// The version that was agreed on, and how many messages the dialler has sent. On a connection of version 1 there are only
/// fields that version 1 has.
pub(crate) fn read(heard: &Heard) -> Option<(u64, usize)> {
    let (said, answered) = (heard.dialler.strip_prefix(PREFACE)?, bodies(&heard.listener));
    let welcome = answered.iter().flat_map(|body| frames(body)).find(|frame| frame.contains_key(&2))?;
    let version = number(&inner(&welcome, 2), 1);
    let mut count = 0;
    for frame in bodies(said).iter().flat_map(|body| frames(body)).filter(|frame| frame.contains_key(&5)) {
        let message = inner(&frame, 5);
        let (kind, _) = message.last_key_value().unwrap();
        assert!(*kind >= 5, "a message of no kind");
        for field in inner(&message, *kind).keys() {
            let known = version > 1 || is_known_to_version_1(*kind, *field);
            assert!(known, "field {field} of message {kind} is of a later version");
        }
        assert!(version > 1 || *kind <= 14, "message {kind} is of a later version");
        count += 1;
    }
    Some((version, count))
}
