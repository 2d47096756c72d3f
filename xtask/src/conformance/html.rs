//! The tables as a page: one file, nothing from outside.

use std::fmt::Write as _;

use super::report::{Cell, Report};

const HEAD: &str = "<!doctype html><meta charset=\"utf-8\"><title>Conformance</title><style>\
body{font:14px/1.4 system-ui,sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0 2em}\
th,td{border:1px solid #ccc;padding:2px 8px;text-align:left;vertical-align:top}\
th{background:#f3f3f3;position:sticky;top:0}.ok{background:#dff3df}.skipped{background:#fff3cf}\
.failed{background:#f8d0d0}.none{color:#999}</style>";

/// Letters that mean something in HTML, as text.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut out = String::from(HEAD);
    let _ = write!(out, "<h1>Conformance</h1><p>{}</p>", escaped(&report.last_line()));
    for hole in report.holes() {
        let _ = write!(out, "<p class=\"failed\">missing: {}</p>", escaped(&hole));
    }
    for (name, suite) in &report.suites {
        let _ = write!(out, "<h2>{}</h2><table><tr><th>clause</th>", escaped(name));
        for backend in &suite.backends {
            let _ = write!(out, "<th>{}</th>", escaped(backend));
        }
        for (clause, cells) in &suite.clauses {
            let _ = write!(out, "</tr><tr><td>{}</td>", escaped(clause));
            for backend in &suite.backends {
                let (class, text) = match cells.get(backend) {
                    Some(Cell::Ok) => ("ok", "ok".to_owned()),
                    Some(Cell::Partly(why)) => ("skipped", format!("partly: {why}")),
                    Some(Cell::Skipped(why)) => ("skipped", format!("skipped: {why}")),
                    Some(Cell::Failed(why)) => ("failed", format!("failed: {why}")),
                    None => ("none", "-".to_owned()),
                };
                let _ = write!(out, "<td class=\"{class}\">{}</td>", escaped(&text));
            }
        }
        out.push_str("</tr></table>");
    }
    out.push_str("<h2>Broken backends</h2>");
    for (suite, caught, all) in report.caught() {
        let _ = write!(out, "<p>{}: {caught} of {all} caught by their clause</p>", escaped(&suite));
    }
    out.push_str("<table><tr><th>suite</th><th>broken backend</th><th>clause</th><th>what it saw</th></tr>");
    for mutant in &report.mutants {
        let class = if mutant.caught { "ok" } else { "failed" };
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"{class}\">{}</td><td>{}</td></tr>",
            escaped(&mutant.suite),
            escaped(&mutant.name),
            escaped(&mutant.clause),
            escaped(&mutant.seen)
        );
    }
    out.push_str("</table>\n");
    out
}
