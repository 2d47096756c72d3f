//! Runs workloads on all cores and adds up what was seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::check::{Checker, Counts, Effort};
use crate::record::{Wrong, record};
use crate::steps::Workload;
use crate::support::{MODES, Rng};

/// What was seen of one workload.
pub(crate) struct Row {
    name: String,
    counts: [Counts; 3],
    wrong: Vec<Wrong>,
    alarms: Vec<String>,
    findings: BTreeMap<&'static str, u64>,
    seconds: f64,
}

/// What was seen of all.
#[derive(Default)]
pub(crate) struct Report(Vec<Row>);

/// Records and crashes each, as many at a time as there are cores.
pub(crate) fn run(workloads: &[Workload], effort: Effort, seed: u64) -> Report {
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((n, workload)) = {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    workloads.get(n).map(|workload| (n, workload))
                } {
                    let row = one(workload, effort, Rng(seed ^ (n as u64) << 32).next());
                    rows.lock().unwrap().push((n, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|(n, _)| *n);
    Report(rows.into_iter().map(|(_, row)| row).collect())
}

fn one(workload: &Workload, effort: Effort, seed: u64) -> Row {
    let start = std::time::Instant::now();
    let mut checker = Checker::new(effort, seed);
    match record(workload, seed) {
        Ok(recorded) => {
            for (n, epoch) in recorded.epochs.iter().enumerate() {
                checker.sweep(n, epoch, workload.creation);
            }
        }
        Err(wrong) => checker.wrong.push(wrong),
    }
    let Checker { counts, wrong, alarms, findings, .. } = checker;
    Row {
        name: workload.name.clone(),
        counts,
        wrong,
        alarms,
        findings,
        seconds: start.elapsed().as_secs_f64(),
    }
}

impl Report {
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// By mode.
    pub(crate) fn totals(&self) -> [Counts; 3] {
        let mut totals = [Counts::default(); 3];
        for row in &self.0 {
            totals.iter_mut().zip(&row.counts).for_each(|(total, counts)| total.add(counts));
        }
        totals
    }

    pub(crate) fn wrong(&self) -> usize {
        self.0.iter().map(|row| row.wrong.len()).sum()
    }

    pub(crate) fn first_wrong(&self) -> Vec<String> {
        let all =
            self.0.iter().flat_map(|row| row.wrong.iter().map(|wrong| format!("{}: {wrong}", row.name)));
        all.take(5).collect()
    }

    /// The false alarms of all but these, and the first few of them.
    pub(crate) fn alarms_but_of(&self, names: &[&str]) -> (u64, Vec<String>) {
        let rows = || self.0.iter().filter(|row| !names.contains(&row.name.as_str()));
        let all = rows().flat_map(|row| row.alarms.iter().map(|alarm| format!("{}: {alarm}", row.name)));
        (rows().map(|row| row.counts[0].false_alarms).sum(), all.take(5).collect())
    }

    /// One JSON object for each workload.
    pub(crate) fn lines(&self) -> String {
        let mut out = String::new();
        for row in &self.0 {
            let counts = MODES.iter().zip(&row.counts).map(|(mode, c)| {
                format!(
                    "\"{}\":{{\"states\":{},\"recoveries\":{},\"clean\":{},\"torn\":{},\"suspect\":{},\
                     \"corrupt\":{},\"refused\":{},\"absent\":{},\"false_alarms\":{}}}",
                    format!("{mode:?}").to_lowercase(),
                    c.states,
                    c.recoveries,
                    c.clean,
                    c.torn,
                    c.suspect,
                    c.corrupt,
                    c.refused,
                    c.absent,
                    c.false_alarms,
                )
            });
            let counts: Vec<String> = counts.collect();
            let findings = row.findings.iter().map(|(name, count)| format!("{}:{count}", quoted(name)));
            let findings: Vec<String> = findings.collect();
            let list =
                |all: &[String]| all.iter().take(3).map(|one| quoted(one)).collect::<Vec<_>>().join(",");
            let _ = writeln!(
                out,
                "{{\"workload\":{},\"seconds\":{:.3},{},\"findings\":{{{}}},\"lost\":{},\"first\":[{}],\"alarms\":[{}]}}",
                quoted(&row.name),
                row.seconds,
                counts.join(","),
                findings.join(","),
                row.wrong.len(),
                list(&row.wrong),
                list(&row.alarms),
            );
        }
        out
    }
}

/// As a JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
