//! Where an event is, as REST names it beside what the event made.

use fleetlog_event_log::{Lane, Position, TenantLog};
use serde::Serialize;
use utoipa::ToSchema;

use crate::rest::logs;

/// Where an event is. `as_of=<log_id>:<position>` shows what there was once it was recorded.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct EventPosition {
    /// The number of the event's log.
    pub(in crate::rest) log_id: i32,
    /// The event's position in its log.
    #[schema(value_type = i64)]
    pub(in crate::rest) position: Position,
}

impl EventPosition {
    /// A position in the tenant's log of a lane, if it is known.
    pub(in crate::rest) fn of(log: &TenantLog, lane: Lane, position: Option<Position>) -> Option<Self> {
        let at = logs::position_in(log, lane, position)?;
        Some(Self { log_id: at.log_id.0, position: at.position })
    }
}
