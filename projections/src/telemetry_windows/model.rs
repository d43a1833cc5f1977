//! Writes windows: the minutes of every batch, and what hours and days gain from them.

use fleetlog_event_log::{Event, Lane, LogId, Result};
use sqlx::PgConnection;

use super::STEPS;
use super::fold::Fold;
use super::open::OpenRuns;
use super::runs::{Statements, Table, latest, together};
use super::series::AllSeries;
use crate::read_model::{Poison, ReadModel};

/// The read model `telemetry_windows`.
pub struct Model {
    series: AllSeries,
    open: OpenRuns,
    statements: Statements,
}

impl ReadModel for Model {
    const NAME: &'static str = "telemetry_windows";
    const VERSION: i32 = 2;
    const LANES: &'static [Lane] = &[Lane::Telemetry];
    type Fold = Fold;

    fn new(version: i32) -> Self {
        Self {
            series: AllSeries::new(version),
            open: OpenRuns::default(),
            statements: Statements::new(version),
        }
    }

    fn fold(fold: &mut Fold, event: &Event) -> Result<(), Poison> {
        fold.add(event)
    }

    fn size(fold: &Fold) -> usize {
        fold.size()
    }

    async fn write(&mut self, connection: &mut PgConnection, log_id: LogId, mut fold: Fold) -> Result<()> {
        let mut windows = std::mem::take(&mut fold.windows);
        let names: Vec<_> = (0..fold.series.len() as u32).map(|series| fold.name(series)).collect();
        let series = self.series.resolve(connection, log_id, &names).await?;
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
