//! What stands in manifests and beside them.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// The packages of the workspace.
fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap_or_default()
}

/// The crates that users depend on: what is published. The others are examples and tools.
pub(super) fn libraries(metadata: &Value) -> Vec<&Value> {
    let top = Path::new(metadata["workspace_root"].as_str().unwrap_or_default());
    let published = |package: &&Value| {
        let manifest = package["manifest_path"].as_str().map(Path::new);
        let inside = manifest.and_then(|manifest| manifest.strip_prefix(top).ok());
        inside.is_some_and(|inside| !inside.starts_with("examples") && !inside.starts_with("xtask"))
    };
    packages(metadata).filter(published).collect()
}

/// The version of raft-core, which is that of all.
pub(super) fn version(metadata: &Value) -> String {
    let core = packages(metadata).find(|package| name(package) == "raft-core");
    core.and_then(|package| package["version"].as_str()).unwrap_or("?").to_owned()
}

/// Packages of another version, and dependencies among them that ask for another.
pub(super) fn versions(metadata: &Value) -> Vec<String> {
    let version = version(metadata);
    let ours: BTreeSet<&str> = packages(metadata).map(name).collect();
    let order = order(metadata);
    let place = |package: &str| order.iter().position(|one| one == package);
    let mut wrong = Vec::new();
    for package in packages(metadata) {
        if package["version"] != *version {
            wrong.push(format!(
                "{}: version {}, raft-core has {version}: say version.workspace = true",
                name(package),
                package["version"]
            ));
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = name(dependency);
            if ours.contains(on) && dependency["req"] != format!("^{version}") && dependency["kind"] != "dev"
            {
                wrong.push(format!(
                    "{}: asks for {on} {}, not {version}: raise it in [workspace.dependencies]",
                    name(package),
                    dependency["req"]
                ));
            }
            let later =
                place(name(package)).is_some_and(|mine| place(on).is_some_and(|theirs| theirs > mine));
            if dependency["kind"] == "dev" && later && dependency["req"] != "*" {
                wrong.push(format!(
                    "{}: its dev-dependency {on} has a version, and is published later: give its path alone",
                    name(package)
                ));
            }
        }
    }
    wrong
}

/// What a changelog says of a release.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changelog {
    /// It has its section, with a date.
    Dated,
    /// What it will say stands under `Unreleased`, as it should until the day.
    Unreleased,
    /// What to do about it.
    Wrong(String),
}

/// Looks for the section of a version, and whether anything would be left out of it.
pub(super) fn changelog(text: &str, version: &str) -> Changelog {
    let section = |title: &str| {
        let is_it = |line: &&str| {
            line.strip_prefix("## ")
                .and_then(|line| line.split_whitespace().next())
                .is_some_and(|word| word.trim_matches(['[', ']']) == title)
        };
        let mut lines = text.lines().skip_while(|line| !is_it(line));
        let head = lines.next()?;
        let says_something =
            lines.take_while(|line| !line.starts_with("## ")).any(|line| !line.trim().is_empty());
        Some((head, says_something))
    };
    let is_date = |word: &str| word.len() == 10 && word.chars().filter(|&sign| sign == '-').count() == 2;
    let wrong = |what: String| Changelog::Wrong(format!("CHANGELOG.md: {what}"));
    let unreleased = section("Unreleased").is_some_and(|(_, says_something)| says_something);
    match section(version) {
        None if unreleased => Changelog::Unreleased,
        None => wrong(format!("says nothing under `## Unreleased`, nor under `## {version}`")),
        Some((_, false)) => wrong(format!("its section {version} is empty")),
        Some(_) if unreleased => wrong(format!(
            "what stands under `## Unreleased` would not be in {version}: move it there, or raise the version in Cargo.toml"
        )),
        Some((head, _)) if !head.split_whitespace().last().is_some_and(is_date) => {
            wrong(format!("`{head}` lacks its date: `## {version} - YYYY-MM-DD`"))
        }
        Some(_) => Changelog::Dated,
    }
}

/// Fields that a registry asks for, or a reader, and who may be published.
pub(super) fn fields(metadata: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let libraries = libraries(metadata);
    for package in packages(metadata) {
        let is_library = libraries.iter().any(|library| name(library) == name(package));
        let what = match (is_library, package["publish"].is_null()) {
            (true, false) => "is released: it must not say publish",
            (false, true) => "is not released: [package] must say publish.workspace = true, which is false",
            _ => continue,
        };
        wrong.push(format!("{}: {what}", name(package)));
    }
    for package in libraries {
        for field in ["description", "license", "repository", "rust_version"] {
            if package[field].as_str().is_none_or(str::is_empty) {
                wrong.push(format!(
                    "{}/Cargo.toml: [package] must say {}",
                    name(package),
                    field.replace('_', "-")
                ));
            }
        }
    }
    wrong
}

/// docs.rs builds without features unless it is told.
pub(super) fn docs_rs(metadata: &Value) -> Vec<String> {
    let told = |package: &Value| {
        let said = &package["metadata"]["docs"]["rs"];
        said["all-features"] == true && said["rustdoc-args"] == serde_json::json!(["--cfg", "docsrs"])
    };
    let untold = libraries(metadata).into_iter().filter(|package| !told(package));
    untold
        .map(|package| {
            format!(
                "{}/Cargo.toml: must say [package.metadata.docs.rs] all-features = true, rustdoc-args = [\"--cfg\", \"docsrs\"]",
                name(package)
            )
        })
        .collect()
}

/// The texts of both licences.
pub(super) fn licences(root: &Path) -> Vec<String> {
    let there = |file: &&str| std::fs::metadata(root.join(file)).is_ok_and(|found| found.len() > 500);
    let missing = ["LICENSE-APACHE", "LICENSE-MIT"].into_iter().filter(|file| !there(file));
    missing.map(|file| format!("{file}: must be there, with the whole text")).collect()
}

/// The libraries, each behind those that it depends on.
pub(super) fn order(metadata: &Value) -> Vec<String> {
    let mut left = libraries(metadata);
    let mut order = Vec::new();
    while !left.is_empty() {
        let waits = |package: &&Value| {
            let on = package["dependencies"].as_array().into_iter().flatten();
            on.filter(|on| on["kind"] != "dev").any(|on| left.iter().any(|other| name(other) == name(on)))
        };
        let (later, now): (Vec<_>, Vec<_>) = left.iter().copied().partition(|package| waits(package));
        order.extend(now.iter().map(|package| name(package).to_owned()));
        if now.is_empty() {
            // Cargo allows no circle.
            break;
        }
        left = later;
    }
    order
}

/// What every package has. The licences are links to the texts at the top, which cargo packs as files.
pub(super) fn missing<'a>(files: &[&str]) -> Vec<&'a str> {
    let wanted = ["Cargo.toml", "README.md", "src/lib.rs", "LICENSE-APACHE", "LICENSE-MIT"];
    wanted.into_iter().filter(|wanted| !files.contains(wanted)).collect()
}

/// Files that the sources of a crate include from outside of its folder: they would not be in its package.
pub(super) fn outside_includes(metadata: &Value, of: &str) -> Vec<String> {
    let manifest = packages(metadata).find(|package| name(package) == of);
    let folder = manifest.and_then(|package| Path::new(package["manifest_path"].as_str()?).parent());
    let Some(folder) = folder else { return Vec::new() };
    let mut wrong = Vec::new();
    let mut folders = vec![folder.join("src")];
    while let Some(below) = folders.pop() {
        for path in std::fs::read_dir(&below).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for (at, line) in text.lines().enumerate() {
                let included = line.split("include_str!(\"").nth(1).and_then(|rest| rest.split('"').next());
                let Some(included) = included else { continue };
                let depth = below.strip_prefix(folder).map_or(0, |inside| inside.components().count());
                if included.matches("../").count() > depth {
                    let shown = path.strip_prefix(folder).unwrap_or(&path).display();
                    wrong.push(format!(
                        "{of}/{shown}:{}: {included} would not be in the package: move it into {of}",
                        at + 1
                    ));
                }
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata() -> Value {
        let package = |name: &str, on: &[&str]| {
            let on: Vec<Value> =
                on.iter().map(|on| json!({ "name": on, "req": "^1.2.0", "kind": null })).collect();
            let folder = if name == "raft-kv" { "examples/kv" } else { name };
            json!({ "name": name, "manifest_path": format!("/w/{folder}/Cargo.toml"), "version": "1.2.0", "dependencies": on, "description": "d",
                    "publish": if name == "raft-kv" { json!([]) } else { Value::Null }, "license": "MIT",
                    "repository": "r", "rust_version": "1.89",
                    "metadata": { "docs": { "rs": { "all-features": true, "rustdoc-args": ["--cfg", "docsrs"] } } } })
        };
        json!({ "workspace_root": "/w", "packages": [
            package("raft-testkit", &["raft-log-file", "raft-core"]),
            package("raft-log-file", &["raft-core"]),
            package("raft-core", &[]),
            package("raft-kv", &["raft-core"]),
        ]})
    }

    fn push(package: &mut Value, dependency: Value) {
        package["dependencies"].as_array_mut().unwrap().push(dependency);
    }

    #[test]
    fn what_is_well_passes_in_order_of_dependency() {
        let good = metadata();
        assert_eq!([versions(&good), fields(&good), docs_rs(&good)].concat(), [""; 0]);
        assert_eq!(order(&good), ["raft-core", "raft-log-file", "raft-testkit"]);
        assert_eq!(version(&good), "1.2.0");
        let mut dev = good;
        dev["packages"][0]["dependencies"][1]["kind"] = "dev".into();
        push(&mut dev["packages"][1], json!({ "name": "raft-testkit", "req": "*", "kind": "dev" }));
        assert_eq!(versions(&dev), [""; 0]);
    }

    #[test]
    fn each_fault_is_found() {
        let broken = |change: fn(&mut Value)| {
            let mut metadata = metadata();
            change(&mut metadata["packages"][1]);
            [versions(&metadata), fields(&metadata), docs_rs(&metadata)].concat()
        };
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 7] = [
            (|p| p["publish"] = json!([]), "raft-log-file: is released: it must not say publish"),
            (|p| p["version"] = "1.1.0".into(), "raft-log-file: version \"1.1.0\", raft-core has 1.2.0"),
            (
                |p| p["dependencies"][0]["req"] = "^1.1".into(),
                "raft-log-file: asks for raft-core \"^1.1\", not 1.2.0",
            ),
            (
                |p| push(p, json!({ "name": "raft-testkit", "req": "^1.2.0", "kind": "dev" })),
                "raft-log-file: its dev-dependency raft-testkit has a version, and is published later",
            ),
            (|p| p["description"] = Value::Null, "raft-log-file/Cargo.toml: [package] must say description"),
            (
                |p| p["rust_version"] = Value::Null,
                "raft-log-file/Cargo.toml: [package] must say rust-version",
            ),
            (
                |p| p["metadata"] = Value::Null,
                "raft-log-file/Cargo.toml: must say [package.metadata.docs.rs]",
            ),
        ];
        for (change, expected) in cases {
            let found = broken(change);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
        }
    }

    #[test]
    fn a_tool_that_could_be_published_is_found() {
        let mut metadata = metadata();
        metadata["packages"][3]["publish"] = Value::Null;
        assert!(fields(&metadata)[0].starts_with("raft-kv: is not released"), "{:?}", fields(&metadata));
    }

    #[test]
    fn a_changelog_has_a_dated_section_with_everything_in_it() {
        let of = |text| changelog(text, "1.2.0");
        let wrong = |text, expected: &str| match of(text) {
            Changelog::Wrong(what) => assert!(what.contains(expected), "{what}"),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(of("# C\n## [1.2.0] - 2026-01-01\n- x\n## 1.1.0\n"), Changelog::Dated);
        assert_eq!(of("## Unreleased\n\n## 1.2.0 - 2026-01-01\n- x\n"), Changelog::Dated);
        assert_eq!(of("# C\n## Unreleased\n- x\n## 1.1.0\n- y\n"), Changelog::Unreleased);
        wrong("## Unreleased\n\n## 1.1.0 - 2025-01-01\n- y\n", "says nothing under `## Unreleased`");
        wrong("## 1.2.0 - 2026-01-01\n\n## 1.1.0 - 2025-01-01\n- y\n", "1.2.0 is empty");
        wrong("## Unreleased\n- z\n## 1.2.0 - 2026-01-01\n- x\n", "would not be in 1.2.0");
        wrong("## 1.2.0\n- x\n", "`## 1.2.0` lacks its date");
    }

    #[test]
    fn licences_and_includes_are_looked_at() {
        assert_eq!(
            missing(&["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "src/lib.rs"]),
            [""; 0]
        );
        assert_eq!(
            missing(&["Cargo.toml", "LICENSE-MIT", "src/main.rs"]),
            ["README.md", "src/lib.rs", "LICENSE-APACHE"]
        );
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(licences(dir.path()).len(), 2);
        std::fs::create_dir_all(dir.path().join("src/a")).unwrap();
        let (inside, outside) = ("include_str!(\"../../a.txt\")", "\ninclude_str!(\"../../docs/a.txt\")");
        std::fs::write(dir.path().join("src/a/b.rs"), inside).unwrap();
        std::fs::write(dir.path().join("src/c.rs"), outside).unwrap();
        let manifest = dir.path().join("Cargo.toml");
        let metadata = json!({ "packages": [{ "name": "raft-x", "manifest_path": manifest }] });
        assert_eq!(
            outside_includes(&metadata, "raft-x"),
            ["raft-x/src/c.rs:2: ../../docs/a.txt would not be in the package: move it into raft-x"]
        );
    }
}
