//! One log of one webhook: what is due, sent and noted. One request at a time, so the order is that of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use fleetlog_event_log::backoff::Backoff;
use fleetlog_event_log::leadership::Lease;
use fleetlog_event_log::{LogId, Position, crash};
use tokio::time::sleep;

use crate::deliverer::Hook;
use crate::error::Error;
use crate::instruments;
use crate::message;
use crate::reader::{Batch, Reach, Reader};
use crate::receiver::{self, Reply};
use crate::schedule::{MAX_RETRY_AFTER, Next};
use crate::service::Shared;
use crate::standing::{Of, Standing};

/// How long a webhook sends one batch after the other, before those that wait have their turn.
const SLICE: Duration = Duration::from_secs(2);
/// After how many events that are not for a webhook its place is noted all the same.
const PASSED: Position = 10_000;
/// How long is waited for a log to grow, at a time.
const PATIENCE: Duration = Duration::from_mins(1);
/// After how many deliveries of a line the oldest ones are forgotten.
const PRUNE_EVERY: u32 = 100;

/// One log of one webhook.
pub(crate) struct Line {
    pub(crate) shared: Arc<Shared>,
    pub(crate) hook: Arc<Hook>,
    pub(crate) log_id: LogId,
    pub(crate) lease: Lease,
    /// How far the webhook has come, for the metric.
    pub(crate) place: Arc<AtomicI64>,
}

/// How a turn ends.
enum Turn {
    /// There is nothing more to send now, or the next one is due.
    Over,
    /// The place is another by now.
    Stale,
    /// The webhook was suspended.
    Suspended,
}

impl Line {
    /// Sends until it is dropped.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            if let Err(error) = self.follow().await {
                let webhook_id = self.hook.webhook_id;
                tracing::warn!(%webhook_id, %error, "failed to send to a webhook; trying again");
            } else {
                backoff.reset();
            }
            backoff.wait().await;
        }
    }

    fn of(&self) -> Of<'_> {
        Of { hook: &self.hook, log_id: self.log_id }
    }

    /// Sends batch after batch. Returns when the place has to be read again.
    async fn follow(&self) -> Result<(), Error> {
        let Some(mut standing) = self.of().load(self.shared.log.pool()).await? else {
            // The webhook has changed: the deliverer is about to replace this line.
            return std::future::pending().await;
        };
        let mut reader: Option<Reader> = None;
        let mut delivered = 0;
        loop {
            self.place.store(standing.position, Ordering::Relaxed);
            if standing.failures > 0 {
                // A receiver that is down costs no memory: its batch is read again.
                reader = None;
                sleep(self.pause(&standing)).await;
            }
            let new = || {
                let log = self.shared.log.for_tenant(&self.hook.tenant);
                Reader::new(&self.shared.live, &log, (&self.hook, self.log_id), standing.position)
            };
            let Some(current) = reader.take().or_else(new) else { return Ok(()) };
            let reader = reader.insert(current);
            while !reader.grown(PATIENCE).await {}
            let turn = self.shared.turns.take(self.hook.tenant.as_str(), 1).await;
            let ended = self.turn(&mut standing, reader, &mut delivered).await?;
            reader.let_go(standing.position);
            drop(turn);
            match ended {
                Turn::Over => {}
                Turn::Stale => return Ok(()),
                Turn::Suspended => return std::future::pending().await,
            }
        }
    }

    /// How long nothing is sent after a refusal.
    fn pause(&self, standing: &Standing) -> Duration {
        let pause = standing.next_attempt_at.and_then(|at| (at - self.shared.log.now()).to_std().ok());
        // An attempt further ahead was put off while Postgres's clock was ahead.
        pause.unwrap_or_default().min(2 * MAX_RETRY_AFTER)
    }

    /// Sends batches until there is nothing more, or others wait.
    async fn turn(
        &self,
        standing: &mut Standing,
        reader: &mut Reader,
        delivered: &mut u32,
    ) -> Result<Turn, Error> {
        let until = Instant::now() + SLICE;
        while Instant::now() < until {
            if !self.lease.is_current() {
                return Ok(Turn::Stale);
            }
            let batch = self.batch(standing, reader).await?;
            let range = (batch.after, batch.last);
            if batch.items.is_empty() {
                let is_cut = standing.position < standing.cut_to && batch.last > batch.after;
                if is_cut || batch.last - batch.after >= PASSED {
                    if !self.of().pass(self.shared.log.pool(), range).await? {
                        return Ok(Turn::Stale);
                    }
                    standing.position = batch.last;
                    continue;
                }
                return Ok(Turn::Over);
            }
            match self.deliver(standing, batch).await? {
                Some(turn) => return Ok(turn),
                None => *delivered += 1,
            }
            if delivered.is_multiple_of(PRUNE_EVERY) {
                self.of().prune(self.shared.log.pool()).await?;
            }
        }
        Ok(Turn::Over)
    }

    /// The next batch: as it was cut before, if it was, and else as large as it may be.
    async fn batch(&self, standing: &Standing, reader: &mut Reader) -> Result<Batch, Error> {
        let after = standing.position;
        let is_behind = after < standing.cut_to;
        let cut = if is_behind { self.of().cut(self.shared.log.pool(), after).await? } else { None };
        let most = self.hook.max_batch as usize;
        let reach = match cut {
            Some((start, last)) if start == after => Reach::Exactly(last),
            Some((start, _)) => Reach::Most(start, most),
            None => Reach::Most(Position::MAX, most),
        };
        reader.batch(after, reach).await
    }

    /// Sends a batch, and notes what came of it. `None`: it was taken.
    async fn deliver(&self, standing: &mut Standing, batch: Batch) -> Result<Option<Turn>, Error> {
        let Shared { log, options, client, .. } = &*self.shared;
        let (of, range, events) = (self.of(), (batch.after, batch.last), batch.events());
        let Some(created_at) = of.begin(log.pool(), range, events).await? else {
            return Ok(Some(Turn::Stale));
        };
        standing.cut_to = standing.cut_to.max(batch.last);
        crash::point("webhook.begun");
        let id = message::webhook_id(of.delivery_id(range));
        let body = message::body(self.log_id, &batch, created_at);
        drop(batch);
        let (now, secrets) = (log.now(), self.hook.secrets(log.now()));
        let reply =
            receiver::send(client, (&self.hook.url, &secrets), (&id, body), (now, options.time)).await;
        crash::point("webhook.answered");
        self.note(standing, range, (&reply, events)).await
    }

    async fn note(
        &self,
        standing: &mut Standing,
        range: (Position, Position),
        (reply, events): (&Reply, usize),
    ) -> Result<Option<Turn>, Error> {
        let Shared { log, options, .. } = &*self.shared;
        let (of, now) = (self.of(), log.now());
        let since = standing.failing_since.unwrap_or(now);
        let failing = (now - since).to_std().unwrap_or_default();
        let next = options.plan.next(&reply.said, standing.failures, failing, rand::random());
        let outcome = if next == Next::Delivered { "delivered" } else { "failed" };
        instruments::REQUESTS.with([outcome.into()]).increment(1);
        if next == Next::Delivered {
            instruments::EVENTS.increment(events as u64);
            if !of.delivered(log.pool(), range, reply).await? {
                return Ok(Some(Turn::Stale));
            }
            standing.position = range.1;
            (standing.failures, standing.failing_since, standing.next_attempt_at) = (0, None, None);
            self.place.store(range.1, Ordering::Relaxed);
            return Ok(None);
        }
        standing.failures = standing.failures.saturating_add(1);
        standing.failing_since = Some(since);
        if let Next::Again(pause) = &next {
            standing.next_attempt_at = Some(now + *pause);
        }
        if !of.refused(log.pool(), range, reply, standing).await? {
            return Ok(Some(Turn::Stale));
        }
        if let Next::Suspend(reason) = next {
            of.suspend(log, reason).await?;
            return Ok(Some(Turn::Suspended));
        }
        Ok(Some(Turn::Over))
    }
}
