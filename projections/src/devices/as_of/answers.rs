//! Devices' answers to commands up to a moment: the signs of life that the control log has in the streams of commands.

use std::ops::ControlFlow;

use fleetlog_aggregates::command::{Command, Event as Answer};
use fleetlog_aggregates::identity::{StreamId, Uid};
use fleetlog_event_log::Position;
use sqlx::Row;
use uuid::Uuid;

use super::{Error, Past, READINGS};

/// In how many of a device's commands its last answer is looked for: it is told one at a time, so the last ones are enough.
const COMMANDS: i64 = 20;

impl Past<'_> {
    /// Adds the answers of all devices after a position.
    pub(super) async fn add_all_answers(&mut self, after: Position) -> Result<(), Error> {
        let (log, prefix, refold) = (self.log, self.prefix, &mut self.refold);
        let mut answers = 0;
        let each = |event| {
            answers += 1;
            if answers > READINGS {
                return ControlFlow::Break(());
            }
            refold.add(&event);
            ControlFlow::Continue(())
        };
        let between = (after, prefix.control);
        log.each_of_types(prefix.control_log, &Answer::ANSWERS, between, READINGS + 1, each).await?;
        if answers > READINGS { Err(Error::TooManyAnswers) } else { Ok(()) }
    }

    /// Adds the last answers of some devices. What a request says of a command never changes, so the read model of commands
    /// finds theirs.
    pub(super) async fn add_answers_of(&mut self, uids: &[Uid]) -> Result<(), Error> {
        let uids: Vec<&str> = uids.iter().map(Uid::as_str).collect();
        let found = sqlx::query(ANSWERED).bind(self.log.tenant().as_str()).bind(uids);
        let found = found.bind(self.prefix.control).bind(COMMANDS);
        let rows = self.log.fetch(found).await?;
        let streams: Vec<StreamId> = rows
            .iter()
            .map(|row| Ok(self.log.stream(row.try_get::<Uuid, _>("cmd_id")?)))
            .collect::<Result<_, sqlx::Error>>()?;
        for event in self.log.streams_until::<Command>(&streams, self.prefix.control).await? {
            self.refold.add(&event);
        }
        Ok(())
    }
}

/// Of each device the last commands that were requested by then and were answered, then or later.
const ANSWERED: &str = "
    SELECT cmd_id FROM unnest($2::text[]) AS device (uid)
    CROSS JOIN LATERAL (
        SELECT cmd_id FROM commands
        WHERE tenant = $1 AND device_uid = device.uid COLLATE \"C\" AND position <= $3
          AND (status IN ('acked', 'failed') OR late_ack_at IS NOT NULL)
        ORDER BY position DESC LIMIT $4) AS answered";
