//! Many planted bugs in one binary, each with a switch: building is most of what a run takes, and this way it is
//! done once. A bug that changes nothing but bodies of functions can be switched: the function then asks which
//! body is meant. What does more than that, or what would not compile so, is planted alone.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Tells a binary which bug is switched on, by its number; none if it is not set.
pub(super) const SWITCH: &str = "RAFT_PLANTED";

/// The file in which a binary writes which functions with switches it has come to, one number a line, if it is set.
pub(super) const REACHED: &str = "RAFT_PLANTED_REACHED";

/// The module that is added to raft-core.
pub(super) const MODULE: &str = r#"//! Which planted bug is switched on.

extern crate std;

pub use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io::Write;

/// A function that has switches.
#[derive(Debug)]
pub struct Place {
    /// The number of its first bug.
    number: u32,
    reached: AtomicBool,
}

impl Place {
    /// Nobody was there yet.
    pub const fn new(number: u32) -> Self {
        Self { number, reached: AtomicBool::new(false) }
    }

    #[cold]
    fn reach(&self) {
        self.reached.store(true, Ordering::Relaxed);
        if let Some(path) = std::env::var_os("RAFT_PLANTED_REACHED") {
            let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
            let line = alloc::format!("{}\n", self.number);
            file.and_then(|mut file| file.write_all(line.as_bytes())).expect("cannot note what was reached");
        }
    }
}

/// The number of the bug; 0 if none is.
pub fn on(place: &Place) -> u32 {
    static ON: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    if !place.reached.load(Ordering::Relaxed) {
        place.reach();
    }
    let read = || std::env::var("RAFT_PLANTED").ok().and_then(|number| number.parse().ok()).unwrap_or(0);
    *ON.get_or_init(read)
}
"#;

/// A function with a body, in a source file.
struct Function {
    /// From the word `fn` to the body.
    head: Range<usize>,
    /// The body with its braces.
    body: Range<usize>,
}

/// Bodies that take the place of one, each with the number of the bug.
type Others = Vec<(u32, String)>;

/// One source file, and which bodies its functions may have.
struct Source {
    text: String,
    functions: Vec<Function>,
    others: BTreeMap<usize, Others>,
}

/// The files that bugs change, with all of those bugs.
#[derive(Default)]
pub(super) struct Merge {
    files: BTreeMap<PathBuf, Source>,
}

impl Merge {
    /// Adds a bug: what each file is before and after. Whether it can be switched; if not, nothing was added.
    pub(super) fn add(&mut self, number: u32, changed: &[(PathBuf, String, String)]) -> bool {
        let mut found = Vec::new();
        for (path, before, after) in changed {
            let Some(bodies) = switched(before, after).filter(|_| crate_of(path).is_some()) else {
                return false;
            };
            found.push((path, before, bodies));
        }
        for (path, before, bodies) in found {
            let source = self.files.entry(path.clone()).or_insert_with(|| Source {
                text: before.clone(),
                functions: functions(before),
                others: BTreeMap::new(),
            });
            for (at, body) in bodies {
                source.others.entry(at).or_default().push((number, body));
            }
        }
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The files as they are to be.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, String)> {
        self.files
            .iter()
            .map(|(path, source)| (path.as_path(), source.render(crate_of(path).unwrap_or("crate")).0))
    }

    /// A hash of all of them, and of what the rest is.
    pub(super) fn digest(&self, rest: u64) -> u64 {
        let mut hash = DefaultHasher::new();
        (rest, MODULE).hash(&mut hash);
        self.files().for_each(|file| file.hash(&mut hash));
        hash.finish()
    }

    /// Each bug with the number that the functions note that have it.
    pub(super) fn places(&self) -> impl Iterator<Item = (u32, u32)> {
        let all = self.files.values().flat_map(|source| source.others.values());
        all.flat_map(|others| others.iter().map(|(number, _)| (*number, others[0].0)))
    }

    /// The bug on each line of the files as they are to be, where there is one.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&Path, Vec<(Range<usize>, u32)>)> {
        self.files.iter().map(|(path, source)| (path.as_path(), source.render("").1))
    }
}

impl Source {
    /// The file with all bodies, and on which lines those of each bug are.
    fn render(&self, from: &str) -> (String, Vec<(Range<usize>, u32)>) {
        let (mut text, mut lines, mut done) = (String::new(), Vec::new(), 0);
        let (mut line, mut counted) = (1, 0);
        for (at, others) in &self.others {
            let Function { head, body } = &self.functions[*at];
            text += &self.text[done..head.start];
            // Which bug is switched on is not known when it is compiled.
            if text.ends_with("const ") {
                text.truncate(text.len() - "const ".len());
            }
            let first = others.first().map_or(0, |(number, _)| *number);
            let place = format!(
                "{{ static PLACE: {from}::planted::Place = {from}::planted::Place::new({first}); &PLACE }}"
            );
            text += &format!("{}{{\nmatch {from}::planted::on({place}) {{\n", &self.text[head.clone()]);
            let (open, close) = match iterator(&self.text[head.clone()]) {
                Some(kind) => {
                    (format!("{from}::planted::Box::new("), format!(") as {from}::planted::Box<{kind}>,"))
                }
                None => (String::new(), String::new()),
            };
            for (number, other) in others {
                line += newlines(&text[counted..]);
                let begin = line;
                counted = text.len();
                text += &format!("{number} => {open}{other}{close}\n");
                line += newlines(&text[counted..]);
                counted = text.len();
                lines.push((begin..line, *number));
            }
            text += &format!("_ => {open}{}{close}\n}}\n}}", &self.text[body.clone()]);
            done = body.end;
        }
        (text + &self.text[done..], lines)
    }
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// How a file of one of the two crates with switches names raft-core.
fn crate_of(path: &Path) -> Option<&'static str> {
    let first = path.components().next()?.as_os_str();
    match first.to_str()? {
        "raft-core" => Some("crate"),
        "raft-log-file" => Some("raft_core"),
        _ => None,
    }
}

/// The functions that have another body afterwards, if that is all that has changed.
fn switched(before: &str, after: &str) -> Option<Vec<(usize, String)>> {
    let (old, new) = (functions(before), functions(after));
    if skeleton(before, &old) != skeleton(after, &new) {
        return None;
    }
    let mut bodies = Vec::new();
    for (at, (old, new)) in old.iter().zip(&new).enumerate() {
        let body = &after[new.body.clone()];
        if body == &before[old.body.clone()] {
            continue;
        }
        // Two bodies have two types there, which only a box can hide.
        let head = &before[old.head.clone()];
        if given(head).contains("impl ") && (iterator(head).is_none() || body.contains("return ")) {
            return None;
        }
        bodies.push((at, String::from(body)));
    }
    Some(bodies)
}

/// What a function with this head returns.
fn given(head: &str) -> &str {
    head.split_once("->").map_or("", |(_, given)| given).trim()
}

/// The type in the box, of a function that returns some iterator.
fn iterator(head: &str) -> Option<String> {
    let of = given(head).strip_prefix("impl Iterator<").filter(|of| !of.contains("impl "))?;
    Some(format!("dyn Iterator<{} + '_", of.trim_end_matches("+ '_").trim_end()))
}

/// What is left without bodies.
fn skeleton(text: &str, functions: &[Function]) -> String {
    let mut rest = String::new();
    let mut from = 0;
    for Function { body, .. } in functions {
        rest += &text[from..body.start];
        from = body.end;
    }
    rest + &text[from..]
}

/// The functions of a source file that are not within another one.
fn functions(text: &str) -> Vec<Function> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let next = after_token(bytes, at);
        if &text[at..next] != "fn" || !bytes.get(next).is_some_and(u8::is_ascii_whitespace) {
            at = next;
            continue;
        }
        let (head, mut open) = (at, next);
        let mut depth = 0_i32;
        // To the body, or to the end of what has none.
        while open < bytes.len() && (depth > 0 || !matches!(bytes[open], b'{' | b';')) {
            match bytes[open] {
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth -= 1,
                _ => {}
            }
            open = after_token(bytes, open);
        }
        if bytes.get(open) != Some(&b'{') {
            at = open;
            continue;
        }
        let mut end = open;
        let mut braces = 0_i32;
        while end < bytes.len() {
            match bytes[end] {
                b'{' => braces += 1,
                b'}' => braces -= 1,
                _ => {}
            }
            end = after_token(bytes, end);
            if braces == 0 {
                break;
            }
        }
        found.push(Function { head: head..open, body: open..end });
        at = end;
    }
    found
}

/// Where what begins here ends: a word, a comment, a literal, or one byte.
fn after_token(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    let until = |from: usize, end: &[u8]| {
        let place = rest[from.min(rest.len())..].windows(end.len()).position(|window| window == end);
        place.map_or(bytes.len(), |place| at + from + place + end.len())
    };
    match rest {
        [b'/', b'/', ..] => until(2, b"\n"),
        [b'/', b'*', ..] => until(2, b"*/"),
        [b'"', ..] => quoted(bytes, at + 1),
        [b'r', b'"', ..] => until(2, b"\""),
        [b'r', b'#', b'"', ..] => until(3, b"\"#"),
        [b'b', b'"', ..] => quoted(bytes, at + 2),
        // A character, or else a lifetime.
        [b'\'', b'\\', _, ..] => until(3, b"'"),
        [b'\'', _, b'\'', ..] => at + 3,
        [byte, ..] if is_word(byte) => at + rest.iter().take_while(|byte| is_word(byte)).count(),
        _ => at + 1,
    }
}

/// The end of a string that has begun.
fn quoted(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r##"
use a::b;
/// fn not_this() { }
pub(crate) const fn one(x: u8) -> u8 { x + 1 }
trait T { fn none(&self, f: fn(u8) -> u8) -> [u8; 2]; }
impl<'a> T for &'a str {
    fn two(&self, c: char) -> bool {
        // }
        let (open, close, text) = ('{', '\'', "}\"{");
        fn within() { }
        match c { '}' => true, _ => text == r#"{"# }
    }
}
fn three() -> impl Fn() { || {} }
"##;

    fn path(name: &str) -> PathBuf {
        PathBuf::from(name)
    }

    #[test]
    fn bodies_are_found_whatever_stands_in_them() {
        let found = functions(BEFORE);
        let bodies: Vec<&str> = found.iter().map(|function| &BEFORE[function.body.clone()]).collect();
        assert_eq!(bodies.len(), 3, "{bodies:?}");
        assert_eq!(bodies[0], "{ x + 1 }");
        assert!(bodies[1].ends_with("r#\"{\"# }\n    }"), "{}", bodies[1]);
        assert_eq!(bodies[2], "{ || {} }");
        let rest = skeleton(BEFORE, &found);
        assert!(rest.contains("fn one(x: u8) -> u8 \n") && rest.ends_with("impl Fn() \n"), "{rest}");
    }

    #[test]
    fn two_bugs_in_one_function_have_a_switch_each() {
        let mut merge = Merge::default();
        let file = path("raft-core/src/x.rs");
        for (number, body) in [(4, "{ x + 2 }"), (9, "{ return x; }")] {
            let after = BEFORE.replace("{ x + 1 }", body);
            assert!(merge.add(number, &[(file.clone(), String::from(BEFORE), after)]));
        }
        let (_, text) = merge.files().next().unwrap();
        let place = "{ static PLACE: crate::planted::Place = crate::planted::Place::new(4); &PLACE }";
        let switched = format!(
            "pub(crate) fn one(x: u8) -> u8 {{\nmatch crate::planted::on({place}) {{\n4 => {{ x + 2 }}\n\
             9 => {{ return x; }}\n_ => {{ x + 1 }}\n}}\n}}"
        );
        assert!(text.contains(&switched), "{text}");
        assert_eq!(merge.places().collect::<Vec<_>>(), [(4, 4), (9, 4)]);
        let (_, lines) = merge.lines().next().unwrap();
        assert_eq!(lines, [(6..7, 4), (7..8, 9)]);
        assert_eq!(text.lines().nth(5), Some("4 => { x + 2 }"));
    }

    #[test]
    fn an_iterator_is_put_in_a_box() {
        let source = "fn all(&self) -> impl Iterator<Item = u8> + '_ { [1].into_iter() }\n";
        let mut merge = Merge::default();
        let after = source.replace("[1]", "[2]");
        assert!(merge.add(3, &[(path("raft-core/src/x.rs"), String::from(source), after)]));
        let (_, text) = merge.files().next().unwrap();
        let kind = "as crate::planted::Box<dyn Iterator<Item = u8> + '_>,";
        let switched = format!("3 => crate::planted::Box::new({{ [2].into_iter() }}) {kind}\n_ =>");
        assert!(text.contains(&switched), "{text}");
    }

    #[test]
    fn what_changes_more_than_bodies_is_planted_alone() {
        let mut merge = Merge::default();
        for (name, from, to) in [
            ("raft-core/src/x.rs", "use a::b;", "use a::c;"),
            ("raft-core/src/x.rs", "{ || {} }", "{ || () }"),
            ("raft-testkit/src/x.rs", "{ x + 1 }", "{ x }"),
        ] {
            let changed = [(path(name), String::from(BEFORE), BEFORE.replace(from, to))];
            assert!(!merge.add(1, &changed), "{from}");
        }
        assert!(merge.is_empty());
    }
}
