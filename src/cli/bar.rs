//! A progress bar on standard error: one line that is rewritten on a terminal, and a line now and then elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use fleetlog_projections::rebuild::{Rebuild, Step};
use fleetlog_projections::verify::Verifying;

/// How often a line is written where nobody looks at a terminal, and how long [`Bar::of_what_may_be_long`] waits.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How many characters the bar itself has.
const WIDTH: usize = 30;

/// A progress bar.
pub(super) struct Bar {
    terminal: bool,
    /// Nothing is shown before.
    from: Instant,
    /// The last line, and when it was written.
    last: Option<(String, Instant)>,
    step: Option<Step>,
}

impl Default for Bar {
    fn default() -> Self {
        Self { terminal: stderr().is_terminal(), from: Instant::now(), last: None, step: None }
    }
}

impl Bar {
    /// A bar of what is over at once as a rule. It shows nothing in the first 5 s.
    pub(super) fn of_what_may_be_long() -> Self {
        Self { from: Instant::now() + LINE_EVERY, ..Self::default() }
    }

    /// Shows the progress of a rebuild.
    pub(super) fn show(&mut self, rebuild: &Rebuild) {
        let line = line(rebuild);
        // A new step is always worth a line.
        if self.step.replace(rebuild.step) != Some(rebuild.step) {
            self.last = self.last.take().filter(|_| self.terminal);
        }
        self.show_line(&line);
    }

    /// Shows the progress of a verification.
    pub(super) fn verifying(&mut self, so_far: &Verifying) {
        let ranges = (so_far.ranges_compared.into(), so_far.ranges.into());
        let bar = bar(&format!("{} verifying", so_far.rows_of), ranges, "ranges of keys");
        self.show_line(&joined([Some(bar), so_far.rate().map(few), so_far.seconds_left().map(left)]));
    }

    /// Shows a line of progress.
    pub(super) fn show_line(&mut self, line: &str) {
        if Instant::now() < self.from {
            return;
        }
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
    let title = format!("{} {}", rebuild.projection, rebuild.step);
    let bar = match rebuild.ranges {
        Some(ranges) if rebuild.step == Step::Comparing => {
            bar(&title, (rebuild.ranges_compared, ranges), "ranges of keys")
        }
        _ => bar(&title, (rebuild.events.position, rebuild.events.head), "events"),
    };
    let rate = rebuild.rate.map(|rate| format!("{rate:.0}/s"));
    joined([
        Some(bar),
        rate.or(rebuild.range_rate.map(few)),
        rebuild.seconds_left().map(left),
        rebuild.error.clone(),
    ])
}

fn bar(title: &str, (done, all): (i64, i64), what: &str) -> String {
    let share = (done as f64 / all.max(1) as f64).clamp(0.0, 1.0);
    let full = (share * WIDTH as f64) as usize;
    let (full, rest) = ("#".repeat(full), ".".repeat(WIDTH - full));
    format!("{title} [{full}{rest}] {:.0} %  {done} of {all} {what}", share * 100.0)
}

/// A rate of things that take long.
fn few(rate: f64) -> String {
    if rate >= 1.0 { format!("{rate:.0}/s") } else { format!("{:.0} s each", 1.0 / rate) }
}

fn left(seconds: f64) -> String {
    format!("{seconds:.0} s left")
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use fleetlog_projections::rebuild::Kind;
    use fleetlog_projections::status::Progress;

    use super::*;

    fn rebuild(step: Step) -> Rebuild {
        let now = chrono::DateTime::UNIX_EPOCH;
        Rebuild {
            rebuild_id: uuid::Uuid::nil(),
            projection: "devices".into(),
            kind: Kind::Rebuild,
            version: 2,
            from_version: 1,
            requested_by: "cli".into(),
            requested_at: now,
            step,
            since: now,
            paused: false,
            running: true,
            accepted: false,
            keep_s: 0,
            events: Progress { position: 500, head: 2_000, lag: 1_500 },
            rate: None,
            ranges_compared: 0,
            ranges: None,
            range_rate: None,
            differences: None,
            error: None,
            ended_at: None,
            kept_version: None,
            kept_until: None,
        }
    }

    #[test]
    fn each_step_shows_how_far_it_is_how_quickly_it_goes_and_what_is_left() {
        let builds = Rebuild { rate: Some(300.0), ..rebuild(Step::Building) };
        let shown =
            "devices building [#######.......................] 25 %  500 of 2000 events  300/s  5 s left";
        assert_eq!(line(&builds), shown);
        let compares = Rebuild {
            ranges: Some(8),
            ranges_compared: 2,
            range_rate: Some(0.5),
            ..rebuild(Step::Comparing)
        };
        let shown = "devices comparing [#######.......................] 25 %  2 of 8 ranges of keys  2 s each  12 s left";
        assert_eq!(line(&compares), shown);
        let waits = Rebuild { ranges: Some(8), ranges_compared: 8, ..rebuild(Step::Waiting) };
        assert!(line(&waits).ends_with("500 of 2000 events"), "{}", line(&waits));
    }
}
