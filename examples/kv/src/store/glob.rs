//! Patterns of `KEYS`, `SCAN` and `RAFT CONFIG GET`: `*`, `?`, `[a-z]`, `[^a]`, and a backslash before a plain character.

/// Whether the whole text fits the pattern. Takes time in proportion to both, also at worst.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Where the last star was: it may take one byte more and try again.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            star = Some((rest, text));
            pattern = rest;
            continue;
        }
        if let [first, after @ ..] = text {
            if let Some(rest) = one(pattern, *first) {
                (pattern, text) = (rest, after);
                continue;
            }
        } else if pattern.is_empty() {
            return true;
        }
        let Some((rest, [_, longer @ ..])) = star else { return false };
        star = Some((rest, longer));
        (pattern, text) = (rest, longer);
    }
}

/// What is left of a pattern whose first part fits one byte.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => {
            let (negated, mut class) = match rest {
                [b'^', rest @ ..] => (true, rest),
                rest => (false, rest),
            };
            let mut found = false;
            loop {
                class = match class {
                    // An open class ends with the pattern, as in Redis.
                    [] => break,
                    [b']', rest @ ..] => {
                        class = rest;
                        break;
                    }
                    [b'\\', escaped, rest @ ..] => {
                        found |= *escaped == byte;
                        rest
                    }
                    [from, b'-', to, rest @ ..] => {
                        let (low, high) = (*from.min(to), *from.max(to));
                        found |= (low..=high).contains(&byte);
                        rest
                    }
                    [plain, rest @ ..] => {
                        found |= *plain == byte;
                        rest
                    }
                };
            }
            (found != negated).then_some(class)
        }
        [b'\\', escaped, rest @ ..] => (*escaped == byte).then_some(rest),
        [plain, rest @ ..] => (*plain == byte).then_some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "any"),
            ("h?llo", "hello"),
            ("h*llo", "heeeello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-c]llo", "hbllo"),
            ("a\\*", "a*"),
            ("*a*b", "xaybzb"),
            ("[x", "x"),
            ("[\\]]", "]"),
        ] {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("h?llo", "hllo"),
            ("h[^e]llo", "hello"),
            ("a\\*", "ab"),
            ("*a", "ab"),
            ("[a-c]", "d"),
        ] {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "a*".repeat(40) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(5000).as_bytes()));
    }
}
