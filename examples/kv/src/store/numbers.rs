//! Numbers as Redis reads them.

use super::{NOT_AN_INTEGER, Refused};

/// A whole number of 64 bits in its only spelling: no plus sign, no leading zeros, no spaces.
pub(super) fn integer(text: &[u8]) -> Result<i64, Refused> {
    let spelling = match text {
        [b'-', rest @ ..] => rest,
        all => all,
    };
    let plain = match spelling {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', ..] => true,
        _ => false,
    };
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.filter(|_| plain).ok_or(NOT_AN_INTEGER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_spelling_is_a_number() {
        for (text, number) in
            [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(integer(text.as_bytes()), Ok(number));
        }
        for text in ["", "-", "-0", "00", "01", "+1", " 1", "1 ", "1.0", "9223372036854775808", "x"] {
            assert_eq!(integer(text.as_bytes()), Err(NOT_AN_INTEGER), "{text:?}");
        }
    }
}
