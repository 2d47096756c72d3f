//! Whether each package can be built with the Rust that it says is enough.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::own_target;
use crate::ci::{Ended, StepResult};
use crate::util::{Context, proc};

/// The packages that each version of Rust must be enough for.
fn rust_versions(metadata: &Value) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        if let (Some(version), Some(name)) = (package["rust_version"].as_str(), package["name"].as_str()) {
            found.entry(version.to_owned()).or_default().push(name.to_owned());
        }
    }
    found
}

/// `1.89` as numbers that can be compared; what is not said is zero.
fn numbers(version: &str) -> Vec<u64> {
    let mut numbers: Vec<u64> = version.split('.').map_while(|part| part.parse().ok()).collect();
    numbers.resize(3, 0);
    numbers
}

/// Dependencies that ask for a later Rust than the package that needs them: no toolchain is needed to see that. Expects what
/// `cargo metadata` says with dependencies.
fn too_new(metadata: &Value) -> Vec<String> {
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let id = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (id(&package["id"]), package)).collect();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (id(&node["id"]), node)).collect();
    let mut wrong = Vec::new();
    for member in list(&metadata["workspace_members"]).iter().map(id) {
        let package = &packages[&member];
        let Some(enough) = package["rust_version"].as_str() else { continue };
        let (mut seen, mut left) = (BTreeSet::from([member.clone()]), vec![member.clone()]);
        while let Some(at) = left.pop() {
            let (needed, name) = (&packages[&at], id(&package["name"]));
            if let Some(asks) = needed["rust_version"].as_str().filter(|asks| numbers(asks) > numbers(enough))
            {
                wrong.push(format!(
                    "{name} says that Rust {enough} is enough, but needs {} {}, which asks for {asks}: raise rust-version of \
                     {name}, or `cargo update {} --precise` an older version",
                    id(&needed["name"]),
                    id(&needed["version"]),
                    id(&needed["name"]),
                ));
            }
            for on in nodes.get(&at).map(|node| list(&node["deps"])).unwrap_or_default() {
                let for_users = list(&on["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
                if for_users && seen.insert(id(&on["pkg"])) {
                    left.push(id(&on["pkg"]));
                }
            }
        }
    }
    wrong
}

/// What dependencies ask for; then each package with the toolchain that it says is enough, where that is installed.
pub(super) fn check(metadata: &Value) -> StepResult {
    let all =
        proc::stdout(proc::cargo().args(["metadata", "--locked", "--format-version=1", "--all-features"]))?;
    let all = serde_json::from_str(&all).context(|| String::from("cargo metadata is not JSON"))?;
    let wrong = too_new(&all);
    wrong.iter().for_each(|line| eprintln!("{line}"));
    let mut missing = Vec::new();
    let mut passed = wrong.is_empty();
    for (version, packages) in rust_versions(metadata) {
        let toolchain = format!("+{version}");
        // Not `proc::cargo`: that is the cargo of one toolchain, this is the one that chooses.
        if !proc::works(Command::new("cargo").args([&toolchain, "--version"])) {
            missing.push(version);
            continue;
        }
        let target = own_target("msrv-")?;
        let mut command = Command::new("cargo");
        command.current_dir(proc::root()).args([
            &toolchain,
            "check",
            "--locked",
            "--all-features",
            "--target-dir",
        ]);
        command.arg(target.path()).args(packages.iter().flat_map(|name| ["--package", name]));
        // What cargo tells whom it runs is of its own toolchain.
        for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
            command.env_remove(name);
        }
        if !proc::run(&mut command)? {
            eprintln!(
                "Rust {version} is not enough for {}: do without what it lacks, or raise rust-version",
                packages.join(", ")
            );
            passed = false;
        }
    }
    Ok(match passed {
        false => Ended::Failed,
        true if missing.is_empty() => Ended::Passed,
        true => Ended::Skipped(format!(
            "in part: dependencies ask for no later Rust, but nothing was built with {}: rustup toolchain install {} --profile minimal",
            missing.join(" and "),
            missing.join(" "),
        )),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dependency_that_asks_for_a_later_rust_is_found() {
        let package =
            |id: &str, rust: Value| json!({ "id": id, "name": id, "version": "1.0.0", "rust_version": rust });
        let on = |id: &str, kind: Value| json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] });
        let mut all = json!({
            "workspace_members": ["ours"],
            "packages": [
                package("ours", json!("1.89")), package("old", json!("1.89.0")), package("silent", Value::Null),
                package("new", json!("1.90")), package("tester", json!("1.99")),
            ],
            "resolve": { "nodes": [
                { "id": "ours", "deps": [on("old", Value::Null), on("tester", json!("dev"))] },
                { "id": "old", "deps": [on("silent", json!("build")), on("ours", json!("dev"))] },
            ]},
        });
        assert_eq!(too_new(&all), [""; 0]);
        all["resolve"]["nodes"][1]["deps"][0] = on("new", json!("build"));
        let wrong = too_new(&all);
        assert!(wrong.len() == 1 && wrong[0].contains("needs new 1.0.0, which asks for 1.90"), "{wrong:?}");
        assert!(numbers("1.100") > numbers("1.89.9"));
    }
}
