//! Tries what has failed again, until it works: an append of an event, and the read of a range of a log. Whoever met
//! the failure may never come back, and the part would be down for ever. While nothing fails, no probe asks anything.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;

use crate::health::{Health, Part, parts};
use crate::read::Filter;
use crate::{Error, EventLog, Lane, LogId, Position, Result};

/// How often what failed is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How long a try to read may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The range of a log that a read asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) log_id: LogId,
    pub(crate) after: Position,
    pub(crate) limit: i64,
    pub(crate) bytes: usize,
}

/// Whether the log can be read.
pub(crate) struct Reads {
    part: Part,
    failed: Mutex<Option<Range>>,
}

impl Reads {
    pub(crate) fn new(health: &Health) -> Self {
        Self { part: health.part(parts::READS, Duration::MAX), failed: Mutex::new(None) }
    }

    /// Notes the outcome of a read. That the database is away is not noted here: another part knows it.
    pub(crate) fn note<T>(&self, range: Range, read: &Result<T>) {
        match read {
            Err(error) if !error.is_transient() && !error.is_bad_data() => {
                let Range { log_id, after, .. } = range;
                *self.failed.lock() = Some(range);
                self.part.down(format_args!("failed to read log {log_id} after position {after}: {error}"));
            }
            Ok(_) if self.part.fails() => {
                let mut failed = self.failed.lock();
                if failed.is_some_and(|failed| failed == range) {
                    *failed = None;
                    self.part.up();
                }
            }
            _ => {}
        }
    }
}

impl EventLog {
    /// Never returns.
    pub(crate) async fn keep_probing(&self) {
        loop {
            tokio::time::sleep(RETRY_EVERY).await;
            if self.inner.appends.fails() {
                let log = self.clone();
                // A task of its own: a future that is dropped would leave its transaction open. Statements are bounded.
                let tried = tokio::spawn(async move { log.try_append().await }).await;
                if tried.is_ok_and(|tried| tried.is_ok()) {
                    self.inner.appends.up();
                }
            }
            let failed = *self.inner.reads.failed.lock();
            if let Some(Range { log_id, after, limit, bytes }) = failed {
                // The read notes its own outcome.
                let all = Filter::default();
                let _ = timeout(PATIENCE, self.read_within(log_id, after, limit, bytes, &all)).await;
            }
        }
    }

    /// Appends an event like any other, and takes it back.
    async fn try_append(&self) -> Result<()> {
        let logs = self.heads().logs();
        let control = logs.iter().find(|log| log.lane == Lane::Control);
        let Some(control) = control else { return Ok(()) };
        let mut transaction = self.pool().begin().await?;
        let tried = sqlx::query(
            "INSERT INTO control_events
                 (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             VALUES ('Probe', $1 || '/probe', 1, 'Probed', '1', '{}', '{}')",
        )
        .bind(&control.tenant)
        .execute(&mut *transaction)
        .await;
        transaction.rollback().await?;
        tried.map(drop).map_err(Error::from)
    }
}

/// Notes whether an event could be stored. That the database refuses the event itself says nothing about the next one.
pub(crate) fn note_append(appends: &Part, stored: Result<(), &Error>) {
    match stored {
        Ok(()) if appends.fails() => appends.up(),
        Err(error) if !error.is_bad_data() => {
            appends.down(format_args!("failed to append an event: {error}"));
        }
        _ => {}
    }
}
