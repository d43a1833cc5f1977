//! What a rule looks for.

use serde::{Deserialize, Serialize};

use crate::identity::CommandName;
use crate::metrics::{MAX_MAGNITUDE, MAX_METRIC_NAME};

/// The longest time that a condition speaks of, in seconds: 30 days for a silence, 7 days for a duration.
pub const MAX_SILENCE_S: u32 = 30 * 86_400;
/// The longest time for which a value must hold, in seconds.
pub const MAX_HOLD_S: u32 = 7 * 86_400;
/// The longest time within which a change is looked for, in seconds.
pub const MAX_WITHIN_S: u32 = 86_400;
/// The most command types that a condition names.
pub const MAX_COMMANDS: usize = 50;

/// What raises an alarm, and what clears it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Condition {
    /// A metric lies beyond a value.
    Threshold {
        /// The metric's name.
        metric: String,
        /// On which side of the value the trouble is.
        is: Side,
        /// The value beyond which the condition holds.
        value: f64,
        /// The value at which a raised alarm is cleared: as good as `value`, or better. `None` is `value` itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clear_value: Option<f64>,
        /// For how many seconds the condition must hold before an alarm is raised.
        #[serde(default, skip_serializing_if = "is_zero")]
        for_s: u32,
    },
    /// A metric changes by more than `by` within `within_s` seconds, up or down.
    Rate {
        /// The metric's name.
        metric: String,
        /// The largest change that is no alarm.
        by: f64,
        /// Within how many seconds.
        within_s: u32,
    },
    /// A device sends nothing.
    Silent {
        /// For how many seconds.
        for_s: u32,
    },
    /// A command to a device fails or times out. The next one of the same type that succeeds clears the alarm.
    CommandFailed {
        /// The command types. None is every type.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cmds: Vec<CommandName>,
    },
}

/// A side of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// More than the value.
    Above,
    /// Less than the value.
    Below,
}

crate::words! { Side { Above = "above", Below = "below" } }

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(seconds: &u32) -> bool {
    *seconds == 0
}

impl Side {
    /// Whether `value` lies beyond `limit` on this side.
    #[must_use]
    pub fn is_beyond(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Above => value > limit,
            Self::Below => value < limit,
        }
    }
}

impl Condition {
    /// The word for the kind of condition.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Threshold { .. } => "threshold",
            Self::Rate { .. } => "rate",
            Self::Silent { .. } => "silent",
            Self::CommandFailed { .. } => "command_failed",
        }
    }

    /// The metric that the condition is about, if it is about one.
    #[must_use]
    pub fn metric(&self) -> Option<&str> {
        match self {
            Self::Threshold { metric, .. } | Self::Rate { metric, .. } => Some(metric),
            Self::Silent { .. } | Self::CommandFailed { .. } => None,
        }
    }

    /// Whether the condition is about commands of this type.
    #[must_use]
    pub fn is_about(&self, cmd: &str) -> bool {
        matches!(self, Self::CommandFailed { cmds } if cmds.is_empty() || cmds.iter().any(|name| name.as_str() == cmd))
    }

    /// For how many seconds a device must be silent, if the condition is about silence.
    #[must_use]
    pub fn silence_s(&self) -> Option<u32> {
        if let Self::Silent { for_s } = self { Some(*for_s) } else { None }
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        if let Some(metric) = self.metric()
            && (!(1..=MAX_METRIC_NAME).contains(&metric.len()) || metric.chars().any(char::is_control))
        {
            return Err("metric: expected 1 to 128 bytes without control characters");
        }
        match self {
            Self::Threshold { is, value, clear_value, for_s, .. } => {
                if !is_number(*value) {
                    return Err("value: expected a number of at most 1e280");
                }
                if clear_value.is_some_and(|clear| !is_number(clear) || is.is_beyond(clear, *value)) {
                    return Err(
                        "clear_value: expected a number on the good side of value: at most value for above, at least value for below",
                    );
                }
                if *for_s > MAX_HOLD_S {
                    return Err("for_s: expected 0 to 604800 seconds, which is a week");
                }
            }
            Self::Rate { by, within_s, .. } => {
                if !is_number(*by) || *by < 0.0 {
                    return Err("by: expected a number from 0 to 1e280");
                }
                if !(1..=MAX_WITHIN_S).contains(within_s) {
                    return Err("within_s: expected 1 to 86400 seconds, which is a day");
                }
            }
            Self::Silent { for_s } if !(1..=MAX_SILENCE_S).contains(for_s) => {
                return Err("for_s: expected 1 to 2592000 seconds, which is 30 days");
            }
            Self::CommandFailed { cmds } if cmds.len() > MAX_COMMANDS => {
                return Err("cmds: expected at most 50 command types");
            }
            Self::Silent { .. } | Self::CommandFailed { .. } => {}
        }
        Ok(())
    }
}

fn is_number(value: f64) -> bool {
    value.is_finite() && value.abs() <= MAX_MAGNITUDE
}
