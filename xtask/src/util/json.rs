//! `--json FILE`.

use std::path::Path;

use crate::util::{Context, Failure};

/// Writes `value` to `file`, if there is one, with a newline at the end.
pub(crate) fn write(file: Option<&Path>, value: &serde_json::Value) -> Result<(), Failure> {
    let Some(file) = file else { return Ok(()) };
    std::fs::write(file, format!("{value:#}\n")).context(|| format!("cannot write {}", file.display()))
}
