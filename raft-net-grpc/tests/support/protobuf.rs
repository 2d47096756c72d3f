//! Protobuf as it is on the wire, read without what is generated from the `.proto`: fields by number. For tests that
//! must see what a peer of an earlier version would. The rolling upgrade in `examples/guide` has this file too.

use std::collections::BTreeMap;

/// What a field holds, of the three kinds that raft.v1 has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(u64),
    Bytes(Vec<u8>),
    Fixed(u32),
}

/// The fields of a message by number; of one that comes several times the last.
pub(crate) type Fields = BTreeMap<u64, Value>;

fn varint(bytes: &mut &[u8]) -> u64 {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap();
    let number = bytes[..=end].iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f));
    *bytes = &bytes[end + 1..];
    number
}

pub(crate) fn fields(mut bytes: &[u8]) -> Fields {
    let mut fields = Fields::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Value::Bytes(value.to_vec())
            }
            5 => {
                let (value, rest) = bytes.split_first_chunk().unwrap();
                bytes = rest;
                Value::Fixed(u32::from_le_bytes(*value))
            }
            other => panic!("a field of kind {other}"),
        };
        fields.insert(key >> 3, value);
    }
    fields
}

/// The fields of the message in this field; none if it is not there, or empty.
pub(crate) fn inner(outer: &Fields, field: u64) -> Fields {
    match outer.get(&field) {
        Some(Value::Bytes(bytes)) => fields(bytes),
        None => Fields::new(),
        other => panic!("{other:?}"),
    }
}

/// A number; 0 if it is not there.
pub(crate) fn number(fields: &Fields, field: u64) -> u64 {
    match fields.get(&field) {
        Some(Value::Number(number)) => *number,
        None => 0,
        other => panic!("{other:?}"),
    }
}

/// The fields that version 1 has of each kind of message that says more in a later one.
pub(crate) fn is_known_to_version_1(kind: u64, field: u64) -> bool {
    match kind {
        // A vote has been given `told`, an answer to a heartbeat `slow`, `promise_micros` and `priority`, a campaign `round`.
        5 => field <= 3,
        8 => field <= 4,
        13 => false,
        _ => kind <= 14,
    }
}
