//! This run against an earlier one, with the noise of both in mind.

use std::path::Path;

use serde_json::Value;

use super::results::{Point, Results};
use crate::util::{Context, Failure, table};

/// Reads a `report.json`.
pub(super) fn read(file: &Path) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(file).context(|| format!("--baseline {}", file.display()))?;
    let report: Value = serde_json::from_str(&text).context(|| format!("--baseline {}", file.display()))?;
    if !report["summary"].is_array() {
        return Err(Failure::new(format!("--baseline {}: no report of `cargo xtask bench`", file.display())));
    }
    Ok(report)
}

/// Figures that differ by more than their runs do: those of one run are all beyond those of the other.
pub(super) fn compare(before: &Value, now: &Results) -> String {
    let mut rows = Vec::new();
    for earlier in before["summary"].as_array().into_iter().flatten() {
        let text = |key: &str| earlier[key].as_str().unwrap_or_default();
        let size = |key: &str| earlier[key].as_u64().and_then(|one| usize::try_from(one).ok()).unwrap_or(0);
        let point = Point::new(text("system"), text("what"), size("width"), size("bytes"));
        for figure in ["per_s", "p50_us", "p99_us", "cpu_s_per_million", "ms"] {
            let old: Vec<f64> = earlier["median_least_most"][figure]
                .as_array()
                .map(|all| all.iter().filter_map(Value::as_f64).collect())
                .unwrap_or_default();
            let (Some(new), &[median, least, most]) = (now.median(&point, figure), &old[..]) else {
                continue;
            };
            let all = now.all(&point, figure);
            let beyond = all.iter().all(|one| *one > most) || all.iter().all(|one| *one < least);
            if beyond && median > 0.0 {
                rows.push(vec![
                    format!("{}, {} {} x {} B", point.system, point.what, point.width, point.bytes),
                    figure.to_owned(),
                    format!("{median:.1}"),
                    format!("{new:.1}"),
                    format!("{:.2}", new / median),
                ]);
            }
        }
    }
    if rows.is_empty() {
        return String::from("nothing differs by more than the runs do among themselves");
    }
    table::render(&["where", "figure", "before", "now", "ratio"], &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_beyond_all_runs_of_the_other_is_a_difference() {
        let mut before = Results::default();
        let point = || Point::new("a", "write", 1, 256);
        for value in [90, 100, 110] {
            before.add(point(), json!({ "per_s": value }));
        }
        let before = json!({ "summary": before.summary() });
        let mut now = Results::default();
        now.add(point(), json!({ "per_s": 109 }));
        assert!(compare(&before, &now).starts_with("nothing"));
        let mut now = Results::default();
        now.add(point(), json!({ "per_s": 150 }));
        assert!(compare(&before, &now).contains("1.50"));
    }
}
