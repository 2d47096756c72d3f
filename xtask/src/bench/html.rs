//! The report as a page: one file, nothing from outside.

use std::fmt::Write as _;

use serde_json::Value;

use super::goals::Ratio;
use super::peers::ALONE;
use super::plot::{self, Line};
use super::results::{Point, Results};
use crate::util::Failure;

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
<title>Benchmark</title><style>body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em}\
table{border-collapse:collapse;margin:1em 0}th,td{border:1px solid #ccc;padding:2px 8px;text-align:right}\
th:first-child,td:first-child{text-align:left}th{background:#f3f3f3}.yes{background:#dff3df}.no{background:#f8d0d0}\
.bar{display:inline-block;height:.8em;background:#4a7;vertical-align:middle}.no .bar{background:#c55}\
svg{max-width:100%;height:auto}</style>";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// The whole page.
pub(super) fn page(report: &Value, results: &Results, ratios: &[Ratio]) -> Result<String, Failure> {
    let mut out = String::from(HEAD);
    out.push_str(
        "<h1>Benchmark</h1><p>Everything was measured in one run on one machine that all programs shared. ",
    );
    out.push_str("Real processes on loopback; a write counts when it is on the disks of a majority (fdatasync) and applied. ");
    out.push_str("Clients are a closed loop: each sends its next request when the last one is answered. ");
    out.push_str("A figure is the median of the rounds; each round starts every system anew. ");
    out.push_str("\"library\" is what stands beside raft-rs: the crates with the same map and the same thin protocol; ");
    out.push_str("\"raft-kv\" is the server, with more to do for a write. ");
    let _ = write!(
        out,
        "\"{ALONE}\" is no peer: one process without a disk, without replicas, behind the same clients. "
    );
    out.push_str("Who does more for an answer has that much of the machine, and less.</p><ul>");
    if report["quick"] == true {
        out.push_str("<li><b>--quick: one short round. It shows that everything runs, not how fast.</b>");
    }
    for (key, value) in report["machine"].as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        let _ = write!(out, "<li>{}: {}", escaped(&key.replace('_', " ")), escaped(&text));
    }
    for why in report["left_out"].as_array().into_iter().flatten() {
        let _ = write!(out, "<li>left out: {}", escaped(why.as_str().unwrap_or_default()));
    }
    out.push_str("</ul>");
    goals(&mut out, ratios);
    out.push_str("<h2>Writes</h2>");
    let systems = systems(results, "write");
    let curve = |x: fn(&Results, &Point) -> Option<f64>, y: &'static str| -> Vec<Line> {
        let of = |system: &String| {
            let points = points(results, system, "write", 256);
            let pairs =
                points.iter().filter_map(|point| Some((x(results, point)?, results.median(point, y)?)));
            Line { name: system.clone(), points: pairs.collect() }
        };
        systems.iter().map(of).collect()
    };
    let clients = |_: &Results, point: &Point| Some(point.width as f64);
    let rate = |results: &Results, point: &Point| results.median(point, "per_s");
    out.push_str(&plot::lines(
        "Writes a second by clients",
        ("clients", "writes/s"),
        &curve(clients, "per_s"),
    )?);
    out.push_str(&plot::lines(
        "Latency against throughput",
        ("writes/s", "p99, us"),
        &curve(rate, "p99_us"),
    )?);
    let cost = curve(clients, "cpu_s_per_million");
    out.push_str(&plot::lines("What a million writes cost", ("clients", "processor seconds"), &cost)?);
    out.push_str("<h2>All figures</h2><p>Median [least, greatest] of the rounds.</p>");
    figures(&mut out, report);
    Ok(out)
}

/// Ours against theirs, as a bar that ends at the goal when it is met just so.
fn goals(out: &mut String, ratios: &[Ratio]) {
    out.push_str("<h2>Goals</h2><table><tr><th>what<th>ours<th>theirs<th>ratio<th>goal<th>");
    for one in ratios {
        let part = if one.at_least { one.ratio / one.goal } else { one.goal / one.ratio };
        let width = (part.clamp(0.02, 3.0) * 6.0 * 100.0).round() / 100.0;
        let (class, sign) = (if one.met { "yes" } else { "no" }, if one.at_least { "&ge;" } else { "&le;" });
        let _ = write!(
            out,
            "<tr class={class}><td>{}<td>{}<td>{}<td>{}<td>{sign} {}<td style='text-align:left'>\
             <span class=bar style='width:{width}em'></span>",
            escaped(&one.name),
            number(one.ours),
            number(one.theirs),
            number(one.ratio),
            one.goal,
        );
    }
    out.push_str("</table>");
}

fn systems(results: &Results, what: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for point in results.points() {
        if point.what == what && !all.contains(&point.system) {
            all.push(point.system);
        }
    }
    all
}

/// In order of width.
fn points(results: &Results, system: &str, what: &str, bytes: usize) -> Vec<Point> {
    let mut all: Vec<Point> = results.points();
    all.retain(|point| point.system == system && point.what == what && point.bytes == bytes);
    all.sort();
    all
}

fn figures(out: &mut String, report: &Value) {
    out.push_str("<table><tr><th>system<th>what<th>clients or batch<th>bytes<th>figures");
    for line in report["summary"].as_array().into_iter().flatten() {
        let text = |key: &str| escaped(line[key].as_str().unwrap_or_default());
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td>{}<td>{}<td style='text-align:left'>",
            text("system"),
            text("what"),
            line["width"],
            line["bytes"]
        );
        for (name, three) in line["median_least_most"].as_object().into_iter().flatten() {
            let at = |place: usize| number(three[place].as_f64().unwrap_or(0.0));
            let _ = write!(out, "{} <b>{}</b> [{}, {}]; ", escaped(name), at(0), at(1), at(2));
        }
    }
    out.push_str("</table>");
}
