//! Just enough of Rust's grammar to tell code from comments and strings.

/// What [`blank`] replaces by spaces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blank {
    /// Comments only.
    Comments,
    /// Comments, strings and characters.
    CommentsAndStrings,
}

/// The source with comments (and strings) replaced by spaces. Lines stay where they are.
pub(crate) fn blank(source: &str, what: Blank) -> String {
    let text: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < text.len() {
        let (end, comment) = match piece(&text, at) {
            Piece::Code => {
                out.push(text[at]);
                at += 1;
                continue;
            }
            Piece::Comment(end) => (end, true),
            Piece::Text(end) => (end, false),
        };
        for &c in &text[at..end] {
            let hide = comment || what == Blank::CommentsAndStrings;
            out.push(if hide && c != '\n' { ' ' } else { c });
        }
        at = end;
    }
    out
}

/// The source up to its unit tests, which by custom stand at the end of the file.
pub(crate) fn without_tests(source: &str) -> &str {
    let mut from = 0;
    while let Some(found) = source[from..].find("#[cfg(test)]") {
        let rest = source[from + found + 12..].trim_start();
        let body = rest.find(['{', ';']).is_some_and(|at| rest[at..].starts_with('{'));
        if rest.starts_with("mod ") && body {
            return &source[..from + found];
        }
        from += found + 12;
    }
    source
}

/// The lines (from 1) on which `word` stands as a whole word.
pub(crate) fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let whole = |line: &str, start: usize| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let goes_on = word.ends_with(part_of_word) && after.is_some_and(part_of_word);
        let began_earlier = word.starts_with(part_of_word) && before.is_some_and(part_of_word);
        !goes_on && !began_earlier
    };
    let found = |line: &str| line.match_indices(word).any(|(start, _)| whole(line, start));
    code.lines().enumerate().filter(|(_, line)| found(line)).map(|(number, _)| number + 1).collect()
}

enum Piece {
    Code,
    /// Ends before this place.
    Comment(usize),
    /// A string or a character.
    Text(usize),
}

fn piece(text: &[char], at: usize) -> Piece {
    let next = |offset: usize| text.get(at + offset).copied();
    match (text[at], next(1)) {
        ('/', Some('/')) => Piece::Comment(find(text, at, '\n')),
        ('/', Some('*')) => Piece::Comment(block_comment(text, at)),
        ('"', _) => Piece::Text(string(text, at + 1)),
        ('\'', Some('\\')) => Piece::Text((find(text, at + 3, '\'') + 1).min(text.len())),
        ('\'', Some(_)) if next(2) == Some('\'') => Piece::Text(at + 3),
        ('r' | 'b' | 'c', _) if !continues_a_word(text, at) => prefixed(text, at),
        _ => Piece::Code,
    }
}

/// `r"`, `r#"`, `b"`, `br#"`, `c"` and so on; anything else that begins with such a letter is code.
fn prefixed(text: &[char], at: usize) -> Piece {
    let mut quote = at + 1;
    if text.get(quote) == Some(&'r') {
        quote += 1;
    }
    let raw = text[at] == 'r' || quote == at + 2;
    let hashes = text[quote.min(text.len())..].iter().take_while(|&&c| c == '#').count();
    quote += hashes;
    if text.get(quote) != Some(&'"') || (hashes > 0 && !raw) {
        return Piece::Code;
    }
    if !raw {
        return Piece::Text(string(text, quote + 1));
    }
    let closes = |end: &usize| {
        text[*end] == '"' && text[end + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
    };
    Piece::Text((quote + 1..text.len()).find(closes).map_or(text.len(), |end| end + 1 + hashes))
}

fn continues_a_word(text: &[char], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|before| text[before].is_alphanumeric() || text[before] == '_')
}

/// Where `wanted` stands, or the end.
fn find(text: &[char], from: usize, wanted: char) -> usize {
    (from..text.len()).find(|&at| text[at] == wanted).unwrap_or(text.len())
}

/// The place behind the closing quote.
fn string(text: &[char], mut at: usize) -> usize {
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// The place behind the comment; comments nest.
fn block_comment(text: &[char], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at + 1 < text.len() {
        match (text[at], text[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &str) {
        assert_eq!(blank(source, Blank::CommentsAndStrings), expected);
    }

    #[test]
    fn comments_and_strings_go_and_code_stays() {
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */ d */ e", "a                   e");
        check(r#"x("a\"b", 'c', '\'', b'd') 'life r#in"#, r#"x(      ,    ,     , b   ) 'life r#in"#);
        check("r\"a\\\" b", "      b");
        check("br#\"a\"b\"# c", "          c");
        check("for r in b { c }", "for r in b { c }");
        check("// no newline", &" ".repeat(13));
    }

    #[test]
    fn strings_can_stay() {
        assert_eq!(blank("\"//\" // x\n", Blank::Comments), "\"//\"     \n");
    }

    #[test]
    fn words_are_whole() {
        let code = "Instant\nInstantly\nanInstant\nstd::fs::read\nmy_std::fs";
        assert_eq!(lines_with(code, "Instant"), [1]);
        assert_eq!(lines_with(code, "std::fs"), [4]);
    }

    #[test]
    fn tests_at_the_end_are_left_out() {
        assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\nb"), "a\n");
        assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests;\nb"), "a\n#[cfg(test)]\nmod tests;\nb");
    }
}
