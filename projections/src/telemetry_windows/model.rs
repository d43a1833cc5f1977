//! Writes windows: the minutes of every batch, and what hours and days gain from them.

use std::time::{Duration, Instant};

use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Event, Lane, LogId, Result};
use sqlx::PgConnection;

use super::compared;
use super::fold::{Fold, Window};
use super::open::OpenRuns;
use super::runs::{Statements, Table, latest, together};
use super::series::{AllSeries, Stored};
use super::{DEVICE_METRICS, STEPS};
use crate::instruments;
use crate::read_model::{Poison, ReadModel, Rows};

/// The read model `telemetry_windows`.
pub struct Model {
    series: AllSeries,
    open: OpenRuns,
    statements: Statements,
    /// When it was last said that a device has too many metrics.
    warned: Option<Instant>,
}

impl ReadModel for Model {
    const NAME: &'static str = "telemetry_windows";
    const FORMAT: i32 = 2;
    const TABLES: &'static [&'static str] = &["telemetry_series", "telemetry_windows"];
    const LANES: &'static [Lane] = &[Lane::Telemetry];
    const DIVISIBLE: bool = true;
    type Fold = Fold;

    fn new(version: i32) -> Self {
        Self {
            series: AllSeries::new(version),
            open: OpenRuns::default(),
            statements: Statements::new(version),
            warned: None,
        }
    }

    fn compared() -> Vec<Rows> {
        compared::rows()
    }

    fn fold(fold: &mut Fold, event: &Event, sources: &Sources) -> Result<(), Poison> {
        fold.add(event, sources)
    }

    fn size(fold: &Fold) -> usize {
        fold.size()
    }

    async fn write(&mut self, connection: &mut PgConnection, log_id: LogId, mut fold: Fold) -> Result<()> {
        let mut windows = std::mem::take(&mut fold.windows);
        let names: Vec<_> = (0..fold.series.len() as u32).map(|series| fold.name(series)).collect();
        let resolved = self.series.resolve(connection, log_id, &names).await?;
        let (series, names) = self.leave_out(resolved, names, &mut windows);
        for nth in 0..STEPS.len() {
            windows = together(windows, &series);
            let latest = latest(&series, nth, &windows);
            let table = Table { statements: &self.statements, log_id, nth, series: &series, latest: &latest };
            windows = table.add(connection, &mut self.open, &windows).await?;
            self.series.wrote(log_id, &names, nth, &latest);
        }
        Ok(())
    }
}

/// How often the log may say that a device has too many metrics.
const WARN_EVERY: Duration = Duration::from_mins(1);

impl Model {
    /// Leaves out the windows of metrics without a series. Returns the series and the names of the others.
    fn leave_out<'n>(
        &mut self,
        resolved: Vec<Option<Stored>>,
        names: Vec<(&'n str, &'n str)>,
        windows: &mut Vec<Window>,
    ) -> (Vec<Stored>, Vec<(&'n str, &'n str)>) {
        let Some(missing) = resolved.iter().position(Option::is_none) else {
            return (resolved.into_iter().flatten().collect(), names);
        };
        let mut place = 0;
        let places: Vec<Option<u32>> = resolved
            .iter()
            .map(|stored| {
                stored.map(|_| {
                    place += 1;
                    place - 1
                })
            })
            .collect();
        let mut left_out = 0;
        windows.retain_mut(|window| {
            let place = places[window.series as usize];
            window.series = place.unwrap_or_default();
            left_out += if place.is_none() { window.count.unsigned_abs() } else { 0 };
            place.is_some()
        });
        instruments::VALUES_LEFT_OUT.increment(left_out);
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            let device = names[missing].0;
            tracing::warn!(
                device,
                "has more than {DEVICE_METRICS} metrics; the further ones have no windows"
            );
            self.warned = Some(Instant::now());
        }
        resolved.into_iter().zip(names).filter_map(|(stored, name)| Some((stored?, name))).unzip()
    }
}
