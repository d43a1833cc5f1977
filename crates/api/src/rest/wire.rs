//! What REST writes and reads as JSON where a crate below has a type for it: the fields and descriptions that the
//! `OpenAPI` document lists. The types below know nothing of the document, and each becomes one of these by a move.

mod alarms;
mod api_keys;
mod command_batches;
mod commands;
mod credentials;
mod devices;
mod events;
mod projections;
mod rebuilds;
mod records;
mod sessions;
mod tenants;
mod tiers;
mod users;
mod webhooks;
mod windows;
mod witnesses;

pub(super) use alarms::{Alarm, AlarmRule, AlarmStep, Condition, Devices};
pub(super) use api_keys::ApiKey;
pub(super) use command_batches::{CommandBatch, Selector};
pub(super) use commands::{Command, CommandStep, CommandType};
pub(super) use credentials::{Behind, Credential, DeviceCredential};
pub(super) use devices::{Device, Status};
pub(super) use events::EventPosition;
pub(super) use projections::{Progress, ProjectionStatus};
pub(super) use rebuilds::{Difference, Rebuild, UnderWay};
pub(super) use records::Record;
pub(super) use sessions::Session;
pub(super) use tenants::{RegistrationMode, Tenant};
pub(super) use tiers::{IngestLimits, RateLimit, Tier};
pub(super) use users::{Me, Role, User, UserStatus};
pub(super) use webhooks::{Webhook, WebhookDelivery, WebhookFollow};
pub(super) use windows::{ChangedWindow, Window};
pub(super) use witnesses::Witness;
