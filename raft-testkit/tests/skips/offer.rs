//! What clauses ask of a test backend, found by leaving out one function at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use raft_testkit::conformance::{Clause, ClauseFailure, Unsupported};

/// The tables for people, which these tests hold to what the clauses do.
const DOCUMENT: &str = include_str!("../../src/guide/skips.md");

/// Offers every function but one, and notes which it is asked for.
#[derive(Debug, Default)]
pub(crate) struct Offer {
    left_out: Option<&'static str>,
    asked: Mutex<BTreeSet<&'static str>>,
}

impl Offer {
    fn without(function: &'static str) -> Self {
        Self { left_out: Some(function), asked: Mutex::default() }
    }

    /// Called by the backend under test in each function that has a default.
    pub(crate) fn ask(&self, function: &'static str) -> Result<(), Unsupported> {
        self.asked.lock().unwrap().insert(function);
        if self.left_out == Some(function) { Err(Unsupported(function)) } else { Ok(()) }
    }
}

/// By function: the clauses that fail without it, and those that are held all the same, but ask for it.
pub(crate) type Needs = BTreeMap<&'static str, (Vec<&'static str>, Vec<&'static str>)>;

/// Runs each clause with everything, then again without each function that it has asked for.
pub(crate) async fn needs<B, F>(clauses: &'static [Clause], make: impl Fn(Offer) -> B, run: F) -> Needs
where
    B: AsRef<Offer>,
    F: AsyncFn(&B, &'static str) -> Result<(), ClauseFailure>,
{
    let mut needs = Needs::new();
    for Clause { name, .. } in clauses {
        let whole = make(Offer::default());
        let _ = run(&whole, name).await;
        let asked = std::mem::take(&mut *whole.as_ref().asked.lock().unwrap());
        for function in asked {
            let (skip, less) = needs.entry(function).or_default();
            match run(&make(Offer::without(function)), name).await {
                Ok(()) => less.push(*name),
                Err(failure) => {
                    assert!(failure.says(&format!("Unsupported to {function}:")), "{failure}");
                    skip.push(*name);
                }
            }
        }
    }
    needs
}

/// The table of a suite is what was found, and has every function of the trait that a backend may leave out.
#[track_caller]
pub(crate) fn is_documented(suite: &str, source: &str, needs: &Needs, elsewhere: &[&str]) {
    let list = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let mut table =
        String::from("| not offered | skip | held all the same, but shows less |\n| --- | --- | --- |\n");
    for (function, (skip, less)) in needs {
        let (_, name) = function.split_once("::").unwrap();
        table += &format!("| `{name}` | {} | {} |\n", list(skip), list(less));
    }
    let (_, section) = DOCUMENT.split_once(&format!("# {suite}\n")).unwrap();
    let section = section.split("\n# ").next().unwrap();
    assert!(section.contains(&table), "the table of {suite:?} in skips.md should be:\n{table}");
    for (_, rest) in
        source.match_indices("Err(Unsupported(\"").map(|(at, found)| source.split_at(at + found.len()))
    {
        let function = rest.split('"').next().unwrap();
        let is_known = needs.contains_key(function) || elsewhere.contains(&function);
        assert!(is_known, "{function} is asked for by no clause");
    }
}
