//! Which other crates' types stand in a public API: their next major version is a major version of ours.
//!
//! What may stand there is said in the manifest, as for the tool cargo-check-external-types:
//! `[package.metadata.cargo_check_external_types] allowed_external_types`. Read from what rustdoc says of a crate as JSON, which
//! it does of a stable toolchain only when asked with `RUSTC_BOOTSTRAP`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{manifests::libraries, own_target};
use crate::ci::{StepResult, ended};
use crate::util::{Context, proc};

/// The paths of other crates' items that the public items name, but for those of Rust itself.
fn foreign(doc: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, item) in doc["index"].as_object().into_iter().flatten() {
        let implementation = &item["inner"]["impl"];
        let ours = implementation.is_null()
            || (implementation["is_synthetic"] != true && implementation["blanket_impl"].is_null());
        if item["crate_id"] == 0 && ours {
            walk(doc, &item["inner"], &mut found);
        }
    }
    found
}

/// A type or a trait is named by an object with its path and its id.
fn walk(doc: &Value, value: &Value, found: &mut BTreeSet<String>) {
    if let (Some(_), Some(id)) = (value["path"].as_str(), value.get("id")) {
        let summary = &doc["paths"][id.to_string()];
        let parts: Vec<&str> =
            summary["path"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let rust = ["std", "core", "alloc", "proc_macro"];
        if summary["crate_id"] != 0 && parts.first().is_some_and(|krate| !rust.contains(krate)) {
            found.insert(parts.join("::"));
        }
    }
    // What is passed on under a name of ours: `pub use`.
    if let Some(id) = value["use"].get("id").filter(|id| !id.is_null()) {
        let again = serde_json::json!({ "path": value["use"]["source"], "id": id });
        walk(doc, &again, found);
    }
    match value {
        Value::Array(all) => all.iter().for_each(|value| walk(doc, value, found)),
        Value::Object(all) => all.values().for_each(|value| walk(doc, value, found)),
        _ => {}
    }
}

/// Whether a pattern of the list covers a path: a whole path, or `krate::module::*`.
fn covers(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => path.starts_with(beginning),
        None => pattern == path,
    }
}

fn allowed(package: &Value) -> Vec<&str> {
    let list = &package["metadata"]["cargo_check_external_types"]["allowed_external_types"];
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What a crate names and its list does not, and what stands in the list for nothing.
fn differences(name: &str, found: &BTreeSet<String>, allowed: &[&str]) -> Vec<String> {
    let unlisted = found.iter().filter(|path| !allowed.iter().any(|pattern| covers(pattern, path)));
    let unused = allowed.iter().filter(|pattern| !found.iter().any(|path| covers(pattern, path)));
    unlisted
        .map(|path| {
            format!("{name}: {path} stands in its public API; hide it, or add it to allowed_external_types in {name}/Cargo.toml")
        })
        .chain(unused.map(|pattern| {
            format!("{name}/Cargo.toml: allows {pattern}, which its public API does not name; remove the line")
        }))
        .collect()
}

/// Documents each library as JSON, with the cfg that docs.rs sets, and compares.
pub(super) fn check(metadata: &Value) -> StepResult {
    let target = own_target("external-")?;
    let mut passed = true;
    for package in libraries(metadata) {
        let name = package["name"].as_str().unwrap_or_default();
        let mut command = proc::cargo();
        command.args(["rustdoc", "--quiet", "--lib", "--all-features", "--package", name, "--target-dir"]);
        command.arg(target.path()).args([
            "--",
            "-Zunstable-options",
            "--output-format",
            "json",
            "--cfg",
            "docsrs",
        ]);
        if !proc::run(command.env("RUSTC_BOOTSTRAP", "1"))? {
            passed = false;
            continue;
        }
        let file = target.path().join("doc").join(format!("{}.json", name.replace('-', "_")));
        let text = std::fs::read_to_string(&file).context(|| format!("cannot read {}", file.display()))?;
        let doc: Value = serde_json::from_str(&text).context(|| format!("{} is not JSON", file.display()))?;
        for difference in differences(name, &foreign(&doc), &allowed(package)) {
            eprintln!("{difference}");
            passed = false;
        }
    }
    Ok(ended(passed))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn foreign_types_are_found_and_compared() {
        let named = |id: u32| json!({ "resolved_path": { "path": "X", "id": id, "args": null } });
        let doc = json!({
            "index": {
                "1": { "crate_id": 0, "inner": { "function": { "sig": { "inputs": [["a", named(10)], ["b", named(11)]] } } } },
                "2": { "crate_id": 0, "inner": { "impl": { "is_synthetic": false, "blanket_impl": null, "trait": { "path": "S", "id": 12 } } } },
                "3": { "crate_id": 0, "inner": { "impl": { "is_synthetic": false, "blanket_impl": {}, "trait": { "path": "T", "id": 13 } } } },
                "5": { "crate_id": 0, "inner": { "use": { "source": "tonic::Status", "name": "Status", "id": 14, "is_glob": false } } },
                "4": { "crate_id": 5, "inner": { "function": { "sig": { "output": named(13) } } } },
            },
            "paths": {
                "10": { "crate_id": 7, "path": ["bytes", "Bytes"] },
                "11": { "crate_id": 1, "path": ["std", "vec", "Vec"] },
                "12": { "crate_id": 8, "path": ["serde", "ser", "Serialize"] },
                "14": { "crate_id": 10, "path": ["tonic", "Status"] },
                "13": { "crate_id": 9, "path": ["other", "Blanket"] },
            },
        });
        let found = foreign(&doc);
        assert_eq!(
            found,
            BTreeSet::from(["bytes::Bytes", "serde::ser::Serialize", "tonic::Status"].map(String::from))
        );
        assert_eq!(differences("x", &found, &["bytes::*", "serde::ser::Serialize", "tonic::*"]), [""; 0]);
        let wrong = differences("x", &found, &["bytes::Bytes", "tonic::Status", "tokio::*"]);
        assert!(
            wrong.len() == 2
                && wrong[0].contains("serde::ser::Serialize stands")
                && wrong[1].contains("tokio::*")
        );
    }
}
