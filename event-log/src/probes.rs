//! Tries what has failed again, until it works: an append of an event, and the read of a range of a log. Whoever met
//! the failure may never come back, and the part would be down for ever. While nothing fails, no probe asks anything.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;

use crate::health::{Health, Part, parts};
use crate::{Error, EventLog, Lane, LogId, Position, Result};

/// How often what failed is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How many ranges that could not be read are kept. Each is tried again once a second.
const FAILED_RANGES: usize = 16;
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
    /// What could not be read, and has not been read since, in the order in which that was noticed.
    failed: Mutex<Vec<Failed>>,
}

struct Failed {
    range: Range,
    reason: String,
}

impl Reads {
    pub(crate) fn new(health: &Health) -> Self {
        Self { part: health.part(parts::READS, Duration::MAX), failed: Mutex::default() }
    }

    /// Notes the outcome of a read. That the database is away is not noted here: another part knows it.
    pub(crate) fn note<T>(&self, range: Range, read: &Result<T>) {
        match read {
            Err(error) if !error.is_transient() && !error.is_bad_data() => self.fails(range, error),
            Ok(_) if self.part.fails() => self.works(range),
            _ => {}
        }
    }

    /// Notes that a range could not be read.
    pub(crate) fn fails(&self, range: Range, error: &Error) {
        let Range { log_id, after, .. } = range;
        let (range, reason) = if let Error::Damaged(damage) = error {
            let (what, to) = (damage.outline(), damage.to);
            let reason = format!(
                "{what}; restore them from a backup: what follows the log waits for them, and /events passes \
                     them with after={to}"
            );
            (damage.range(), reason)
        } else {
            let what = error.outline();
            (range, format!("log {log_id} cannot be read after position {after}: {what}"))
        };
        let mut failed = self.failed.lock();
        if failed.iter().any(|known| known.range == range) || failed.len() == FAILED_RANGES {
            return;
        }
        tracing::error!(log = log_id.0, after, %error, "failed to read the log");
        failed.push(Failed { range, reason });
        self.tell(&failed);
    }

    fn works(&self, range: Range) {
        let mut failed = self.failed.lock();
        failed.retain(|known| known.range != range);
        self.tell(&failed);
    }

    fn tell(&self, failed: &[Failed]) {
        match failed {
            [] => self.part.up(),
            [one] => self.part.down(&one.reason),
            [first, others @ ..] => {
                let (others, ranges) = (others.len(), if others.len() == 1 { "range" } else { "ranges" });
                self.part.down(format_args!("{}; and {others} other {ranges}", first.reason));
            }
        }
    }

    fn ranges(&self) -> Vec<Range> {
        self.failed.lock().iter().map(|failed| failed.range).collect()
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
            for range in self.inner.reads.ranges() {
                if timeout(PATIENCE, self.can_read(range)).await.is_ok_and(|read| read.is_ok()) {
                    self.inner.reads.works(range);
                }
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
            if !appends.fails() {
                tracing::error!(%error, "failed to append an event");
            }
            appends.down(format_args!("an event could not be appended: {}", error.outline()));
        }
        _ => {}
    }
}
