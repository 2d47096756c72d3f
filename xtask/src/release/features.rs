//! Every combination of features of every library: what compiles with all of them need not compile with one.

use serde_json::Value;

use super::manifests::libraries;
use crate::ci::{StepResult, ended};
use crate::util::proc;

/// The features of a package that a user may choose.
fn features(package: &Value) -> Vec<&str> {
    let all = package["features"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    all.filter(|name| *name != "default").collect()
}

/// What each feature turns on of the others, with itself.
fn closure<'a>(package: &'a Value, chosen: &[&'a str]) -> Vec<&'a str> {
    let mut on: Vec<&str> = chosen.to_vec();
    let mut at = 0;
    while let Some(name) = on.get(at).copied() {
        for more in package["features"][name].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if package["features"].get(more).is_some() && !on.contains(&more) {
                on.push(more);
            }
        }
        at += 1;
    }
    on.sort_unstable();
    on
}

/// All sets of features that differ in what they turn on, the empty one first.
fn powerset(package: &Value) -> Vec<Vec<&str>> {
    let all = features(package);
    let mut sets: Vec<Vec<&str>> = Vec::new();
    for mask in 0..1_u64 << all.len().min(16) {
        let chosen: Vec<&str> = (0..all.len()).filter(|at| mask >> at & 1 == 1).map(|at| all[at]).collect();
        let set = closure(package, &chosen);
        if !sets.contains(&set) {
            sets.push(set);
        }
    }
    sets.sort_by_key(Vec::len);
    sets
}

/// Compiles each library with each of its sets, without warnings.
pub(super) fn check(metadata: &Value) -> StepResult {
    let mut passed = true;
    for package in libraries(metadata) {
        let name = package["name"].as_str().unwrap_or_default();
        for set in powerset(package) {
            let mut command = proc::cargo();
            command.args([
                "clippy",
                "--quiet",
                "--locked",
                "--lib",
                "--package",
                name,
                "--no-default-features",
            ]);
            command.args(["--features", &set.join(","), "--", "-D", "warnings"]);
            if !proc::run(&mut command)? {
                eprintln!(
                    "{name} must compile, without a warning, with these features and no others: {set:?}"
                );
                passed = false;
            }
        }
    }
    Ok(ended(passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_that_turn_on_the_same_are_one() {
        let package = serde_json::json!({ "features": {
            "default": ["node"], "std": ["bytes/std"], "node": ["std", "dep:tokio"], "trace": []
        }});
        let sets: Vec<String> = powerset(&package).into_iter().map(|set| set.join("+")).collect();
        assert_eq!(sets, ["", "std", "trace", "node+std", "std+trace", "node+std+trace"]);
        assert_eq!(powerset(&serde_json::json!({ "features": {} })), [Vec::<&str>::new()]);
    }
}
