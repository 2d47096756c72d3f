//! What was found so far, as a file: for other programs, and for a run that goes on where another one ended.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::list::{Change, Name};
use super::{Figures, Found, Seen, Verdict};
use crate::util::{Context, Failure};

/// All that is known.
pub(super) fn value(found: &Found<'_>) -> Value {
    let Figures { changes, broken, apart, caught, left, explained } = found.figures();
    json!({
        "commit": found.commit,
        "changes": changes,
        "broken": broken,
        "apart": apart,
        "caught": caught,
        "left": left,
        "explained": explained,
        "verdicts": found.changes.iter().filter_map(|change| one(change, found)).collect::<Vec<_>>(),
    })
}

fn one(change: &Change, found: &Found<'_>) -> Option<Value> {
    let verdict = found.verdict(change)?;
    let (word, seen) = match verdict {
        Verdict::Broken => ("broken", None),
        Verdict::Apart => ("apart", None),
        Verdict::Left => ("left", None),
        Verdict::Caught(seen) => ("caught", Some(seen)),
    };
    let Name { file, change: what, line } = &change.name;
    Some(json!({
        "file": file,
        "at": change.at,
        "change": what,
        "line": line,
        "verdict": word,
        "by": seen.map(|seen| &seen.by),
        "test": seen.map(|seen| &seen.test),
        "why": found.reasons.get(&change.name),
    }))
}

/// What an earlier run has come to.
pub(super) fn read(file: &Path) -> Result<BTreeMap<Name, Verdict>, Failure> {
    let text = std::fs::read_to_string(file).context(|| format!("cannot read {}", file.display()))?;
    let value: Value = serde_json::from_str(&text).context(|| file.display().to_string())?;
    Ok(value["verdicts"].as_array().into_iter().flatten().filter_map(known).collect())
}

fn known(of: &Value) -> Option<(Name, Verdict)> {
    let text = |name: &str| of[name].as_str().map(String::from);
    let verdict = match of["verdict"].as_str()? {
        "broken" => Verdict::Broken,
        "apart" => Verdict::Apart,
        "left" => Verdict::Left,
        "caught" => Verdict::Caught(Seen { by: text("by")?, test: text("test")? }),
        _ => return None,
    };
    Some((Name { file: text("file")?, change: text("change")?, line: text("line")? }, verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_read_again() {
        let of = |verdict: &str, by: Option<&str>| {
            let named = json!({ "file": "a.rs", "at": 7, "change": "b", "line": "c", "verdict": verdict });
            let mut value = named;
            value["by"] = json!(by);
            value["test"] = json!(by);
            known(&value).map(|(_, verdict)| verdict)
        };
        assert_eq!(of("left", None), Some(Verdict::Left));
        assert_eq!(of("broken", None), Some(Verdict::Broken));
        let seen = Seen { by: String::from("paper"), test: String::from("paper") };
        assert_eq!(of("caught", Some("paper")), Some(Verdict::Caught(seen)));
        assert_eq!(of("caught", None), None);
    }
}
