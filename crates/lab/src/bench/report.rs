//! A benchmark's report, printed as text or as one JSON object.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Instant;

use super::usage::Used;

/// The upper ends of a latency histogram's buckets, in milliseconds.
const BUCKETS_MS: [u32; 13] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];
/// The width of a histogram's longest bar, in characters.
const BAR: usize = 40;

/// The results of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    bench: &'static str,
    /// A description of the load.
    load: String,
    figures: Vec<Figure>,
    latencies: Vec<Latencies>,
    usage: Vec<Usage>,
    /// The checks that passed at the end.
    checked: Vec<String>,
}

/// The resources that processes used in one part of the run.
#[derive(Debug, Serialize)]
struct Usage {
    during: &'static str,
    used: Vec<Used>,
}

/// A figure, beside the best that could be reached.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling: Option<Ceiling>,
}

/// The best that the same machine does without fleetlog, in the same run.
#[derive(Debug, Clone, Serialize)]
struct Ceiling {
    name: &'static str,
    value: f64,
    /// The figure divided by the ceiling.
    ratio: f64,
}

/// Durations, each counted from the moment at which the work was due, so that time spent waiting behind slow work
/// counts.
#[derive(Debug)]
pub(super) struct Timings {
    name: &'static str,
    /// Durations in microseconds.
    histogram: Histogram<u64>,
}

#[derive(Debug, Serialize)]
struct Latencies {
    name: &'static str,
    count: u64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// Upper end in milliseconds and count of each bucket; the last has no upper end.
    buckets: Vec<(Option<u32>, u64)>,
}

impl Figure {
    /// A figure without a ceiling.
    pub(super) fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, ceiling: None }
    }

    /// Adds a ceiling of the same unit.
    pub(super) fn beside(self, name: &'static str, ceiling: f64) -> Self {
        let ratio = self.value / ceiling;
        Self { ceiling: Some(Ceiling { name, value: ceiling, ratio }), ..self }
    }
}

impl Timings {
    /// An empty set of durations.
    pub(super) fn new(name: &'static str) -> Self {
        let (lowest, highest, digits) = (1, Duration::from_hours(1).as_micros() as u64, 3);
        let histogram = Histogram::new_with_bounds(lowest, highest, digits);
        #[expect(clippy::expect_used, reason = "the bounds are constants that suit it")]
        Self { name, histogram: histogram.expect("bounds") }
    }

    /// Adds work that was due at `due` and is done now.
    pub(super) fn done(&mut self, due: Instant) {
        self.took(due.elapsed());
    }

    /// Adds a duration.
    pub(super) fn took(&mut self, time: Duration) {
        self.histogram.saturating_record(time.as_micros() as u64);
    }

    /// Adds a duration `times` times.
    pub(super) fn took_often(&mut self, time: Duration, times: u64) {
        self.histogram.saturating_record_n(time.as_micros() as u64, times);
    }

    /// Adds the durations of others of the same kind.
    pub(super) fn and(mut self, others: &Self) -> anyhow::Result<Self> {
        self.histogram.add(&others.histogram)?;
        Ok(self)
    }

    fn latencies(&self) -> Latencies {
        let ms = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1000.0;
        let (mut buckets, mut counted) = (Vec::new(), 0);
        for end in BUCKETS_MS.map(Some).into_iter().chain([None]) {
            let until = end.map_or(u64::MAX, |ms| u64::from(ms) * 1000);
            let count = self.histogram.count_between(0, until.min(self.histogram.high()));
            buckets.push((end, count - counted));
            counted = count;
        }
        Latencies {
            name: self.name,
            count: self.histogram.len(),
            p50_ms: ms(0.5),
            p90_ms: ms(0.9),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            max_ms: self.histogram.max() as f64 / 1000.0,
            buckets,
        }
    }
}

impl Report {
    /// An empty report.
    pub(super) fn new(bench: &'static str, load: String) -> Self {
        Self { bench, load, figures: vec![], latencies: vec![], usage: vec![], checked: vec![] }
    }

    pub(super) fn figure(&mut self, figure: Figure) -> &mut Self {
        self.figures.push(figure);
        self
    }

    pub(super) fn timings(&mut self, timings: &Timings) -> &mut Self {
        self.latencies.push(timings.latencies());
        self
    }

    pub(super) fn usage(&mut self, during: &'static str, used: Vec<Used>) -> &mut Self {
        self.usage.push(Usage { during, used });
        self
    }

    /// Adds a check that passed.
    pub(super) fn checked(&mut self, what: impl Into<String>) -> &mut Self {
        self.checked.push(what.into());
        self
    }

    /// Prints the report to standard output.
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        let text = if json { serde_json::to_string(self)? + "\n" } else { self.to_string() };
        match out.write_all(text.as_bytes()) {
            // The reader has closed the pipe because it has read enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}: {}", self.bench, self.load)?;
        for Figure { name, value, unit, ceiling } in &self.figures {
            writeln!(out, "  {name:<34} {value:>12.2} {unit}")?;
            if let Some(Ceiling { name, value, ratio }) = ceiling {
                writeln!(out, "    {name:<32} {value:>12.2} {unit}, ratio {ratio:.2}")?;
            }
        }
        for latencies in &self.latencies {
            write!(out, "{latencies}")?;
        }
        for Usage { during, used } in &self.usage {
            writeln!(out, "  used {during}: processors, and memory at its highest")?;
            for used in used {
                writeln!(out, "    {:<32} {:>12.2} {:>8.0} MiB", used.name(), used.cores(), used.peak_mib())?;
            }
        }
        for checked in &self.checked {
            writeln!(out, "  checked: {checked}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, count, p50_ms, p90_ms, p99_ms, p999_ms, max_ms, buckets } = self;
        writeln!(out, "  {name}, {count} times, in ms")?;
        writeln!(
            out,
            "    p50 {p50_ms:.2}  p90 {p90_ms:.2}  p99 {p99_ms:.2}  p99.9 {p999_ms:.2}  max {max_ms:.2}"
        )?;
        let most = buckets.iter().map(|(_, count)| *count).max().unwrap_or_default().max(1);
        for (end, count) in buckets.iter().filter(|(_, count)| *count > 0) {
            let end = end.map_or_else(|| "more".to_owned(), |end| format!("≤ {end}"));
            let bar = "█".repeat((*count as usize * BAR).div_ceil(most as usize));
            writeln!(out, "    {end:>8} {count:>10} {bar}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_counted_in_one_bucket() {
        let mut timings = Timings::new("a step");
        for micros in [0, 900, 1_500, 150_000, 11_000_000, 10_000_000_000] {
            timings.took(Duration::from_micros(micros));
        }
        let latencies = timings.latencies();
        let counts: Vec<_> = latencies.buckets.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!(counts, [(Some(1), 2), (Some(2), 1), (Some(200), 1), (None, 2)]);
        assert_eq!(latencies.count, 6);
    }

    #[test]
    fn a_figure_is_shown_beside_its_ceiling() {
        let mut report = Report::new("ingest", "10 devices".to_owned());
        report.figure(Figure::new("stored", 30.0, "msg/s").beside("COPY", 100.0));
        assert!(report.to_string().contains("100.00 msg/s, ratio 0.30"), "{report}");
    }
}
