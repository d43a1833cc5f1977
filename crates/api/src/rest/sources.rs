//! Sources: what topics and payloads of other systems mean.

use axum::Json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use fleetlog_access::action::typed::{SourcesRead, SourcesWrite};
use fleetlog_aggregates::identity::SourceName;
use fleetlog_engine::sources::{self, Definition};
use fleetlog_event_log::sources::Known;
use fleetlog_sources::presets::PRESETS;
use fleetlog_sources::{Aliases, Message, Pattern, Trial};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use super::RequestId;
use super::error::Error;
use super::extract::{Body, NewName, NoParameters, Query};
use super::page::List;
use super::parameters::{LogPosition, Moment};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::resource::{Nameable, Resource};

/// The most messages that a definition is tried on at once.
pub const MAX_TRIED: usize = 100;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_sources, read_source, define_source, retire_source, test_source, list_source_presets)
}

impl Resource for Known {
    type Id = SourceName;
    const MISSING: &'static str = "there is no such source";

    fn id(name: &str) -> Option<SourceName> {
        name.parse().ok()
    }
}

impl Nameable for Known {
    const PARAMETER: &'static str = "name";
    const NAMES: &'static str = "expected 1 to 64 characters of A-Z, a-z, 0-9, '_', '.' and '-'";

    fn name(id: &SourceName) -> &str {
        id.as_str()
    }
}

/// What topics and payloads of other systems mean.
#[derive(Serialize, ToSchema)]
#[schema(as = Source)]
struct Shown {
    /// The name of the source.
    #[schema(example = "zigbee")]
    name: String,
    /// How often the source was defined.
    #[schema(example = 1)]
    version: u32,
    /// Whether messages are taken in by it. What a retired source has taken in keeps its meaning.
    in_use: bool,
    /// The preset that its definition was made from, if it was.
    #[schema(example = "zigbee2mqtt")]
    preset: Option<String>,
    /// The topics that it takes.
    #[schema(example = json!(["zigbee2mqtt/{uid}"]))]
    topics: Vec<String>,
    /// What it says: see docs/SOURCES.md.
    #[schema(value_type = Object)]
    definition: Map<String, Value>,
    /// When it was defined or retired last.
    changed_at: DateTime<Utc>,
    /// Who did that.
    #[schema(example = "0199e2a4-7c11-7b9e-8a5a-3f0d4c1b2a69")]
    changed_by: String,
}

impl Shown {
    fn of(known: &Known) -> Self {
        let (version, definition) = known
            .source
            .latest()
            .map_or_else(Default::default, |(version, definition)| (version, definition.clone()));
        let patterns = known.compiled.iter().flat_map(|source| source.patterns());
        Self {
            name: known.name.to_string(),
            version,
            in_use: known.source.is_in_use(),
            preset: known.source.preset().map(str::to_owned),
            topics: patterns.map(Pattern::to_string).collect(),
            definition,
            changed_at: known.changed_at,
            changed_by: known.changed_by.clone(),
        }
    }
}

/// Lists the tenant's sources, by name, the retired ones too. Read from the log itself, so never behind.
#[utoipa::path(
    get, path = "/sources", tag = "sources", operation_id = "list_sources",
    responses((status = 200, description = "The tenant's sources", body = List<Shown>)),
)]
async fn list_sources(door: May<SourcesRead>, _: Query<NoParameters>) -> Result<Json<List<Shown>>, Error> {
    let sources = door.log().sources_now(door.log().tenant()).await?;
    Ok(Json(List::whole(sources.all().map(Shown::of).collect::<Vec<_>>())))
}

/// Returns one source, read from the log itself, so never behind.
#[utoipa::path(
    get, path = "/sources/{name}", tag = "sources", operation_id = "read_source",
    params(("name" = String, Path, description = "The source's name")),
    responses(
        (status = 200, description = "The source itself", body = Shown),
        (status = 404, description = "No such source"),
    ),
)]
async fn read_source(door: May<SourcesRead, Known>, _: Query<NoParameters>) -> Result<Json<Shown>, Error> {
    let sources = door.log().sources_now(door.log().tenant()).await?;
    let known = sources.named(door.id.as_str()).ok_or_else(Error::missing::<Known>)?;
    Ok(Json(Shown::of(known)))
}

/// What a source is to say.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSource)]
struct New {
    /// The definition: see docs/SOURCES.md. Without it: the preset's.
    #[schema(value_type = Option<Object>, example = json!({"topics": [{"topic": "sensors/{uid}/data"}]}))]
    definition: Option<Map<String, Value>>,
    /// The preset that the definition is, or was made from.
    #[schema(example = "tasmota")]
    preset: Option<String>,
    /// The zone of devices that write local times, such as `Europe/Berlin`: for a preset without a definition of one's own.
    #[schema(example = json!(null))]
    zone: Option<String>,
    /// The version that this replaces, or 0 for a source that is not there; with another version, nothing changes. Without it:
    /// any.
    #[schema(example = 0)]
    replaces: Option<u32>,
}

impl New {
    fn read(self) -> Result<Definition, Error> {
        let Self { definition, preset, zone, replaces } = self;
        let definition = match definition {
            Some(definition) => definition,
            None => preset_definition(preset.as_deref(), zone.as_deref())?,
        };
        Ok(Definition { definition, preset, replaces })
    }
}

fn preset_definition(preset: Option<&str>, zone: Option<&str>) -> Result<Map<String, Value>, Error> {
    let name = preset.ok_or_else(|| Error::field("definition", "expected a definition, or a preset"))?;
    let preset = fleetlog_sources::presets::Preset::named(name).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        Error::field("preset", format_args!("expected one of {}", names.join(", ")))
    })?;
    let definition = preset
        .definition(zone)
        .map_err(|_| Error::field("zone", "expected a time zone, such as Europe/Berlin"))?;
    Ok(definition)
}

/// The result of a write.
#[derive(Serialize, ToSchema)]
#[schema(as = SourceWritten)]
struct Written {
    /// The name of the source.
    #[schema(example = "zigbee")]
    name: String,
    /// The version that the source has now; null once it is retired.
    #[schema(example = 1)]
    version: Option<u32>,
    /// The position of this write on the record; null if there was nothing to change.
    #[schema(example = "1:42")]
    position: Option<String>,
}

/// Defines a source, or changes its definition. Messages that arrive from now on are taken in by it. The metrics of what it has
/// taken in before follow from it, too: rebuild `telemetry_windows` to see them there.
#[utoipa::path(
    put, path = "/sources/{name}", tag = "sources", operation_id = "define_source", request_body = New,
    params(("name" = String, Path, description = "The source: 1 to 64 of `A-Z a-z 0-9 _ . -`")),
    responses(
        (status = 200, description = "The source says so", body = Written),
        (status = 409, description = "The source has another version than the one to be replaced, or the tenant has as many sources as it may have"),
    ),
)]
async fn define_source(
    door: May<SourcesWrite>,
    request: RequestId,
    NewName(name): NewName<Known>,
    Body(new): Body<New>,
) -> Result<Json<Written>, Error> {
    let (definition, metadata) = (new.read()?, request.metadata(&door.caller));
    let defined = sources::define(door.log(), &name, definition, metadata).await?;
    let position = defined.at.map(|at| LogPosition::from(at).to_string());
    Ok(Json(Written { name: name.into(), version: Some(defined.version), position }))
}

/// Retires a source: it takes no more messages. What it has taken in keeps its meaning.
#[utoipa::path(
    delete, path = "/sources/{name}", tag = "sources", operation_id = "retire_source",
    params(("name" = String, Path, description = "The source's name")),
    responses(
        (status = 200, description = "The source takes no more messages", body = Written),
        (status = 404, description = "No such source, or it is retired"),
    ),
)]
async fn retire_source(door: May<SourcesWrite, Known>, request: RequestId) -> Result<Json<Written>, Error> {
    let at = sources::retire(door.log(), &door.id, request.metadata(&door.caller)).await?;
    let position = at.map(|at| LogPosition::from(at).to_string());
    Ok(Json(Written { name: door.id.to_string(), version: None, position }))
}

/// A definition to try out, and messages to try it on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SourceTestRequest)]
struct Test {
    /// The definition: see docs/SOURCES.md. Without it: the preset's.
    #[schema(value_type = Option<Object>, example = json!({"topics": [{"topic": "sensors/{uid}/data"}]}))]
    definition: Option<Map<String, Value>>,
    /// A preset instead of a definition.
    #[schema(example = "tasmota")]
    preset: Option<String>,
    /// The zone of devices that write local times, for a preset.
    #[schema(example = json!(null))]
    zone: Option<String>,
    /// The messages, at most 100.
    messages: Vec<Tried>,
    /// The device that the sender has logged in as.
    #[schema(example = json!(null))]
    login: Option<String>,
}

/// A message to try a definition on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SourceTestMessage)]
struct Tried {
    /// The topic of the message.
    #[schema(example = "sensors/cellar/data")]
    topic: String,
    /// The payload, if it is text.
    #[schema(example = "{\"temperature\":21.5}")]
    text: Option<String>,
    /// The payload in base64, if it is not text.
    #[schema(example = json!(null))]
    base64: Option<String>,
    /// When the message arrives. Without it: now.
    #[schema(value_type = Option<DateTime<Utc>>, example = json!(null))]
    received_at: Option<Moment>,
}

impl Tried {
    fn payload(&self) -> Result<Vec<u8>, Error> {
        match (&self.text, &self.base64) {
            (Some(text), None) => Ok(text.as_bytes().to_vec()),
            (None, Some(base64)) => {
                STANDARD.decode(base64).map_err(|_| Error::field("messages", "base64: expected base64"))
            }
            _ => Err(Error::field("messages", "expected either text or base64")),
        }
    }
}

/// What a definition makes of messages.
#[derive(Serialize, ToSchema)]
#[schema(as = SourceTest)]
struct Tests {
    /// Of each message, in their order: what would be recorded, with flags, metrics and remarks, or why it is refused.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Trial>,
}

/// Shows what a definition makes of messages: the device, the time, the id, the flags and the metrics of each reading. Nothing is
/// stored.
#[utoipa::path(
    post, path = "/sources/test", tag = "sources", operation_id = "test_source", request_body = Test,
    responses((status = 200, description = "What becomes of the messages", body = Tests)),
)]
async fn test_source(door: May<SourcesRead>, Body(test): Body<Test>) -> Result<Json<Tests>, Error> {
    let Test { definition, preset, zone, messages, login } = test;
    let read = New { definition, preset, zone, replaces: None }.read()?;
    let source = sources::compile(&read.definition).map_err(sources::Error::Invalid)?;
    if messages.len() > MAX_TRIED {
        return Err(Error::field("messages", format_args!("expected at most {MAX_TRIED}")));
    }
    let mut aliases = Aliases::default();
    let mut items = Vec::with_capacity(messages.len());
    for message in &messages {
        let payload = message.payload()?;
        let received_at = message.received_at.map_or_else(|| door.log().now(), |moment| moment.0);
        let message =
            Message { topic: &message.topic, payload: &payload, received_at, login: login.as_deref() };
        items.push(source.test(message, &mut aliases));
    }
    Ok(Json(Tests { items }))
}

/// A definition for a family of devices.
#[derive(Serialize, ToSchema)]
#[schema(as = SourcePreset)]
struct Preset {
    /// The name of the preset.
    #[schema(example = "tasmota")]
    name: &'static str,
    /// Its definition, to be used as it is or changed.
    #[schema(value_type = Object)]
    definition: Map<String, Value>,
}

/// Lists the presets: definitions for families of devices whose topics and payloads are known.
#[utoipa::path(
    get, path = "/source-presets", tag = "sources", operation_id = "list_source_presets",
    responses((status = 200, description = "All presets there are", body = List<Preset>)),
)]
async fn list_source_presets(
    _: May<SourcesRead>,
    _: Query<NoParameters>,
) -> Result<Json<List<Preset>>, Error> {
    let preset = |preset: &fleetlog_sources::presets::Preset| {
        Some(Preset { name: preset.name, definition: preset.definition(None).ok()? })
    };
    Ok(Json(List::whole(PRESETS.iter().filter_map(preset).collect::<Vec<_>>())))
}
