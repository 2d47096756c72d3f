//! What was found so far, as a file: for other programs, and for a run that goes on where another one ended.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::table::By;
use super::{Caught, Row, first, median, word};
use crate::util::{Context, Failure};

/// What a file has.
#[derive(Default)]
pub(super) struct Saved {
    /// What was caught, by name.
    pub(super) caught: BTreeMap<String, Caught>,
    /// Of which commits.
    pub(super) commit: Option<String>,
    /// The checkers that the simulator had.
    pub(super) checkers: Vec<String>,
}

/// All that is known, and of which commits.
pub(super) fn value(rows: &[Row], commits: &str, checkers: &[String]) -> Value {
    let caught: Vec<&Caught> = rows.iter().filter_map(|row| row.found.as_ref().ok()?.as_ref()).collect();
    json!({
        "commit": commits,
        "checkers": checkers,
        "planted": rows.len(),
        "caught": caught.len(),
        "median_cpu_seconds": median(caught.iter().map(|caught| caught.cpu).collect()).as_secs_f64(),
        "first": first(&caught),
        "mutants": rows.iter().map(result).collect::<Vec<_>>(),
    })
}

fn result(row: &Row) -> Value {
    let caught = row.found.as_ref().ok().and_then(Option::as_ref);
    json!({
        "name": row.mutant.name,
        "meant_for": row.mutant.checker,
        "by": caught.map(|caught| word(caught.by)),
        "checker": caught.map(|caught| &caught.checker),
        "seed": caught.and_then(|caught| caught.seed),
        "seeds": caught.map(|caught| caught.seeds),
        "cpu_seconds": caught.map(|caught| caught.cpu.as_secs_f64()),
        "error": row.found.as_ref().err().map(ToString::to_string),
        "tests": row.tests,
    })
}

/// What an earlier run has come to.
pub(super) fn read(file: &Path) -> Result<Saved, Failure> {
    let text = std::fs::read_to_string(file).context(|| format!("cannot read {}", file.display()))?;
    let value: Value = serde_json::from_str(&text).context(|| file.display().to_string())?;
    let list = |name: &str| value[name].as_array().into_iter().flatten();
    Ok(Saved {
        caught: list("mutants").filter_map(one).collect(),
        commit: value["commit"].as_str().map(String::from),
        checkers: list("checkers").filter_map(|name| name.as_str().map(String::from)).collect(),
    })
}

fn one(of: &Value) -> Option<(String, Caught)> {
    let word_of = of["by"].as_str()?;
    let by = [By::Sim, By::Model, By::Crash, By::Test].into_iter().find(|by| word(*by) == word_of)?;
    let caught = Caught {
        by,
        checker: String::from(of["checker"].as_str()?),
        seed: of["seed"].as_u64(),
        seeds: of["seeds"].as_u64()?,
        cpu: Duration::try_from_secs_f64(of["cpu_seconds"].as_f64()?).ok()?,
    };
    Some((String::from(of["name"].as_str()?), caught))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_caught_is_read_again_and_the_rest_is_not() {
        let value = json!({ "commit": "1234567", "checkers": ["liveness"], "mutants": [
            { "name": "a", "by": "sim", "checker": "liveness", "seed": 6, "seeds": 7, "cpu_seconds": 1.5 },
            { "name": "b", "by": null, "checker": null, "seed": null, "seeds": null, "cpu_seconds": null },
            { "name": "c", "by": "test", "checker": "a_test", "seed": null, "seeds": 0, "cpu_seconds": 2.0 },
        ] });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("found.json");
        std::fs::write(&file, value.to_string()).unwrap();
        let Saved { caught: found, commit, checkers } = read(&file).unwrap();
        assert_eq!((commit.as_deref(), checkers.len()), (Some("1234567"), 1));
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(found["a"].cpu, Duration::from_millis(1500));
        assert_eq!((found["c"].by, found["c"].seed), (By::Test, None));
        assert!(read(&folder.path().join("none")).is_err());
    }
}
