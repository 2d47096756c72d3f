//! How far a copy has come: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// One pass over a journal.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    done: u64,
    total: u64,
    /// The next plain line is due at so many entries.
    due: u64,
}

impl Progress {
    /// A pass over `total` entries.
    pub(super) fn new(what: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg:>8} {bar:30} {pos}/{len} entries, {eta} left");
            let bar = ProgressBar::new(total).with_message(what);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, what, done: 0, total, due: total / 10 }
    }

    /// So many entries more.
    pub(super) fn add(&mut self, entries: u64) {
        self.done += entries;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.done >= self.due => {
                eprintln!("{}: {} of {} entries", self.what, self.done, self.total);
                self.due = self.done + self.total / 10;
            }
            None => {}
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
