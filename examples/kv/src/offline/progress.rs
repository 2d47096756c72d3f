//! How far something has come: a bar on a terminal, with the time that is left; nothing elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const ENTRIES: &str = "{msg} {bar:30} {pos}/{len} entries, {eta} left";
const BYTES: &str = "{msg} {bar:30} {bytes}/{total_bytes}, {eta} left";
const OPEN: &str = "{spinner} {msg} {bytes}, {bytes_per_sec}, {elapsed} so far";

/// One pass over something long. It is gone when this is dropped.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A pass over `total` entries.
    pub(super) fn entries(what: &'static str, total: u64) -> Self {
        Self::new(what, ENTRIES, Some(total))
    }

    /// A pass over `total` bytes.
    pub(super) fn bytes(what: &'static str, total: u64) -> Self {
        Self::new(what, BYTES, Some(total))
    }

    /// Bytes of which nobody knows how many there will be.
    pub(super) fn open(what: &'static str) -> Self {
        Self::new(what, OPEN, None)
    }

    fn new(what: &'static str, template: &'static str, total: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(template);
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new).with_message(what);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar }
    }

    /// So many more.
    pub(super) fn add(&self, more: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(more);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    /// A template that cannot be read would silently become another one.
    #[test]
    fn templates_are_understood() {
        for template in [super::ENTRIES, super::BYTES, super::OPEN] {
            indicatif::ProgressStyle::with_template(template).unwrap();
        }
    }
}
