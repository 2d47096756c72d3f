//! What was measured: every run, and medians.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point {
    /// Which system.
    pub(super) system: String,
    /// What it did: write, read, append, …
    pub(super) what: String,
    /// How much at a time: clients, or the size of a batch.
    pub(super) width: usize,
    /// Of a value, in bytes.
    pub(super) bytes: usize,
}

impl Point {
    pub(super) fn new(system: &str, what: &str, width: usize, bytes: usize) -> Self {
        Self { system: system.to_owned(), what: what.to_owned(), width, bytes }
    }
}

/// Every run, in order.
#[derive(Default)]
pub(super) struct Results(Vec<(Point, Value)>);

impl Results {
    pub(super) fn add(&mut self, point: Point, value: Value) {
        self.0.push((point, value));
    }

    pub(super) fn runs(&self) -> Vec<Value> {
        let run = |(point, value): &(Point, Value)| {
            json!({
                "system": point.system, "what": point.what, "width": point.width, "bytes": point.bytes,
                "figures": value,
            })
        };
        self.0.iter().map(run).collect()
    }

    /// All values of a figure at a point.
    pub(super) fn all(&self, point: &Point, figure: &str) -> Vec<f64> {
        let here = self.0.iter().filter(|(at, _)| at == point);
        here.filter_map(|(_, value)| number(&value[figure])).collect()
    }

    /// The median of a figure at a point, if it was measured.
    pub(super) fn median(&self, point: &Point, figure: &str) -> Option<f64> {
        median(self.all(point, figure))
    }

    /// Points at which something was measured, each once.
    pub(super) fn points(&self) -> Vec<Point> {
        let mut all: Vec<Point> = Vec::new();
        for (point, _) in &self.0 {
            if !all.contains(point) {
                all.push(point.clone());
            }
        }
        all
    }

    /// Median, least and greatest of each figure at each point.
    pub(super) fn summary(&self) -> Vec<Value> {
        let of = |point: Point| {
            let mut figures: BTreeMap<String, Value> = BTreeMap::new();
            let names =
                self.0.iter().filter(|(at, _)| *at == point).filter_map(|(_, value)| value.as_object());
            let names: Vec<String> = names.flat_map(|map| map.keys().cloned()).collect();
            for name in names {
                let all = self.all(&point, &name);
                if let Some(median) = median(all.clone()) {
                    let least = all.iter().copied().fold(f64::INFINITY, f64::min);
                    let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    figures.insert(name, json!([median, least, most]));
                }
            }
            json!({
                "system": point.system, "what": point.what, "width": point.width, "bytes": point.bytes,
                "rounds": self.0.iter().filter(|(at, _)| *at == point).count(),
                "median_least_most": figures,
            })
        };
        self.points().into_iter().map(of).collect()
    }
}

/// A number, or the greatest of a list of them.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Array(all) => all.iter().filter_map(Value::as_f64).reduce(f64::max),
        other => other.as_f64(),
    }
}

/// The one in the middle; of an even number, between the two.
pub(super) fn median(mut all: Vec<f64>) -> Option<f64> {
    all.sort_by(f64::total_cmp);
    let (last, middle) = (all.len().checked_sub(1)?, all.len() / 2);
    Some(f64::midpoint(*all.get(last / 2)?, *all.get(middle)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_those_of_a_point() {
        assert_eq!(median(Vec::new()), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let mut results = Results::default();
        let (here, there) = (Point::new("a", "write", 1, 256), Point::new("a", "write", 16, 256));
        for value in [5, 1, 3] {
            results.add(here.clone(), json!({ "per_s": value, "peak_mib": [value, 9 - value] }));
        }
        results.add(there, json!({ "per_s": 100 }));
        assert_eq!(results.median(&here, "per_s"), Some(3.0));
        assert_eq!(results.median(&here, "peak_mib"), Some(6.0), "of the greatest node of each");
        assert_eq!(results.median(&here, "p50_us"), None);
        assert_eq!(results.points().len(), 2);
    }
}
