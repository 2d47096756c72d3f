//! `cargo xtask book`: what mdBook asks while it builds `docs`. Links are written for who reads the files; those that leave
//! the folder of the chapters become links to the repository.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::Outcome;
use crate::util::{Context, Failure};

/// What mdBook says: nothing, or `supports RENDERER`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(hide = true)]
    asked: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.asked.first().is_some_and(|word| word == "supports") {
        return Ok(true);
    }
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text).context(|| String::from("cannot read the book"))?;
    let mut all: Value = serde_json::from_str(&text).context(|| String::from("the book is not JSON"))?;
    let Some((context, book)) = all.as_array_mut().and_then(|all| all.split_first_mut()) else {
        return Err(Failure::new("mdBook sends a context and a book"));
    };
    let repository = &context["config"]["output"]["html"]["git-repository-url"];
    let Some(repository) = repository.as_str() else {
        return Err(Failure::new("docs/book.toml names no git-repository-url"));
    };
    let Some(book) = book.first_mut() else { return Err(Failure::new("there is no book")) };
    // `sections` before mdBook 0.5.
    for items in ["items", "sections"] {
        chapters(&mut book[items], repository);
    }
    println!("{book}");
    Ok(true)
}

fn chapters(items: &mut Value, repository: &str) {
    for item in items.as_array_mut().into_iter().flatten() {
        let Some(chapter) = item.get_mut("Chapter") else { continue };
        let path = chapter["source_path"].as_str().unwrap_or_default().to_owned();
        if let Some(content) = chapter["content"].as_str() {
            chapter["content"] = outward(content, Path::new(&path), repository).into();
        }
        chapters(&mut chapter["sub_items"], repository);
    }
}

/// The chapter with absolute links where relative ones lead out of `docs`.
fn outward(content: &str, chapter: &Path, repository: &str) -> String {
    let folder = Path::new("docs").join(chapter.parent().unwrap_or_else(|| Path::new("")));
    let mut out = String::with_capacity(content.len());
    let mut code = false;
    for line in content.split_inclusive('\n') {
        code ^= line.trim_start().starts_with("```");
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("](").filter(|_| !code) {
            out.push_str(before);
            out.push_str("](");
            let target = after.split(')').next().unwrap_or_default();
            let leaves = |path: &PathBuf| !path.starts_with("docs") && !target.contains("://");
            match from_top(&folder.join(target)).filter(leaves) {
                Some(path) => out.push_str(&format!("{repository}/blob/main/{}", path.display())),
                // mdBook calls these chapters otherwise, and does not follow links to them.
                None => out.push_str(&target.replace("README.md", "index.md")),
            }
            rest = &after[target.len()..];
        }
        out.push_str(rest);
    }
    out
}

/// The path without `..`; `None` if it leads out of the repository.
fn from_top(path: &Path) -> Option<PathBuf> {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => found.pop().then_some(())?,
            part => found.push(part),
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_that_leave_are_changed() {
        let text = "[a](b.md#c) [d](../../examples/kv/README.md#e) [f](#g) [h](https://x/../y)\n```\n[i](../../j)\n```\n[k](../l/README.md#m)";
        let expected = "[a](b.md#c) [d](https://r/blob/main/examples/kv/README.md#e) [f](#g) [h](https://x/../y)\n\
                        ```\n[i](../../j)\n```\n[k](../l/index.md#m)";
        assert_eq!(outward(text, Path::new("guide/x.md"), "https://r"), expected);
    }

    #[test]
    fn chapters_within_chapters_are_seen() {
        let chapter = |content: &str, below: Vec<Value>| serde_json::json!({ "Chapter": { "content": content, "source_path": "a.md", "sub_items": below } });
        let mut items = serde_json::json!([chapter("[a](../b)", vec![chapter("[c](../d)", Vec::new())])]);
        chapters(&mut items, "r");
        let expected = chapter("[a](r/blob/main/b)", vec![chapter("[c](r/blob/main/d)", Vec::new())]);
        assert_eq!(items, serde_json::json!([expected]));
    }
}
