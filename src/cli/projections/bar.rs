//! A progress bar on standard error: one line that is rewritten on a terminal, and a line now and then elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use fleetlog_projections::rebuild::{Rebuild, Step};

/// How often a line is written where nobody looks at a terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How many characters the bar itself has.
const WIDTH: usize = 30;

/// A progress bar.
pub(super) struct Bar {
    terminal: bool,
    /// The last line, and when it was written.
    last: Option<(String, Instant)>,
    step: Option<Step>,
}

impl Default for Bar {
    fn default() -> Self {
        Self { terminal: stderr().is_terminal(), last: None, step: None }
    }
}

impl Bar {
    /// Shows the progress of a rebuild.
    pub(super) fn show(&mut self, rebuild: &Rebuild) {
        let line = line(rebuild);
        // A new step is always worth a line.
        if self.step.replace(rebuild.step) != Some(rebuild.step) {
            self.last = self.last.take().filter(|_| self.terminal);
        }
        self.step(&line);
    }

    /// Shows a line of progress.
    pub(super) fn step(&mut self, line: &str) {
        let due = self.last.as_ref().is_none_or(|(_, at)| at.elapsed() >= LINE_EVERY);
        if self.terminal {
            // Nothing is lost if it cannot be shown.
            let _ = write!(stderr(), "\r\x1b[K{line}").and_then(|()| stderr().flush());
        } else if due {
            let _ = writeln!(stderr(), "{line}");
        } else {
            return;
        }
        self.last = Some((line.to_owned(), Instant::now()));
    }

    /// Says something that stays.
    pub(super) fn say(&mut self, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        let _ = writeln!(stderr(), "{clear}{text}");
    }

    /// Ends the line.
    pub(super) fn end(&mut self) {
        if self.terminal && self.last.take().is_some() {
            let _ = writeln!(stderr());
        }
    }
}

fn line(rebuild: &Rebuild) -> String {
    let (position, head) = (rebuild.events.position, rebuild.events.head.max(1));
    let share = (position as f64 / head as f64).clamp(0.0, 1.0);
    let full = (share * WIDTH as f64) as usize;
    let bar = format!(
        "{} {} [{}{}] {:.0} %  {position} of {} events",
        rebuild.projection,
        rebuild.step,
        "#".repeat(full),
        ".".repeat(WIDTH - full),
        share * 100.0,
        rebuild.events.head
    );
    let folds = matches!(rebuild.step, Step::Building | Step::CatchingUp);
    let rate = rebuild.rate.filter(|_| folds).map(|rate| format!("{rate:.0}/s"));
    let left = rebuild.seconds_left().filter(|_| rebuild.step == Step::Building);
    let left = left.map(|left| format!("{left:.0} s left"));
    let compares = rebuild.step == Step::Comparing && rebuild.ranges > 0;
    let ranges =
        compares.then(|| format!("{} of {} ranges compared", rebuild.ranges_compared, rebuild.ranges));
    [Some(bar), rate, left, ranges, rebuild.error.clone()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("  ")
}
