//! `fleetlog source`: defines sources, lists them, and shows what a definition makes of messages, without a database.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use fleetlog_aggregates::identity::{SourceName, Tenant};
use fleetlog_engine::sources::{self, Definition, define};
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_sources::presets::{PRESETS, Preset};
use fleetlog_sources::{Aliases, Message, Source, SourceSpec};

use super::output::output;
use super::source::Source as Log;

/// Sources: what topics and payloads of other systems mean.
#[derive(Debug, Args)]
pub struct Sources {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do with sources.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Define a source, or change its definition.
    Add(Add),
    /// List a tenant's sources.
    List(List),
    /// Have a source take no more messages. What it has taken in keeps its meaning.
    Retire(Retire),
    /// Show what a definition makes of messages, which come on standard input, one a line: topic, blank, payload, as
    /// `mosquitto_sub -v` writes them. A line with a tab is taken apart there, for topics with blanks.
    Test(Test),
    /// List the presets, or write the definition of one.
    Presets {
        /// The preset whose definition is written.
        name: Option<String>,
    },
}

/// Options of `source add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The source's name; the preset's unless it is said.
    #[arg(required_unless_present = "preset")]
    pub name: Option<SourceName>,
    /// The file with the definition, as JSON.
    #[arg(required_unless_present = "preset")]
    pub file: Option<PathBuf>,
    /// A preset instead of a file: `fleetlog source presets` lists them.
    #[arg(long, conflicts_with = "file")]
    pub preset: Option<String>,
    /// With --preset: the zone of devices that write local times, such as Europe/Berlin.
    #[arg(long, requires = "preset")]
    pub zone: Option<String>,
    /// The tenant.
    #[arg(long, default_value = "t0")]
    pub tenant: Tenant,
    /// The log to use.
    #[command(flatten)]
    pub log: Log,
}

/// Options of `source list`.
#[derive(Debug, Args)]
pub struct List {
    /// The tenant.
    #[arg(long, default_value = "t0")]
    pub tenant: Tenant,
    /// The log to use.
    #[command(flatten)]
    pub log: Log,
}

/// Options of `source retire`.
#[derive(Debug, Args)]
pub struct Retire {
    /// The source's name.
    pub name: SourceName,
    /// The tenant.
    #[arg(long, default_value = "t0")]
    pub tenant: Tenant,
    /// The log to use.
    #[command(flatten)]
    pub log: Log,
}

/// Options of `source test`.
#[derive(Debug, Args)]
pub struct Test {
    /// The file with the definition, as JSON.
    #[arg(required_unless_present = "preset")]
    pub file: Option<PathBuf>,
    /// A preset instead of a file: `fleetlog source presets` lists them.
    #[arg(long, conflicts_with = "file")]
    pub preset: Option<String>,
    /// With --preset: the zone of devices that write local times, such as Europe/Berlin.
    #[arg(long, requires = "preset")]
    pub zone: Option<String>,
    /// Payloads are hexadecimal digits, as `mosquitto_sub -F '%t %x'` writes them.
    #[arg(long)]
    pub hex: bool,
    /// The device that the sender has logged in as.
    #[arg(long, value_name = "UID")]
    pub login: Option<String>,
    /// When the messages arrive, as 2026-11-20T13:32:47Z: now, by this machine's clock, unless it is said.
    #[arg(long, value_name = "TIME")]
    pub received_at: Option<DateTime<Utc>>,
    /// The output format.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As text, a line a reading: device, time, id, flags, metrics, remarks.
    Text,
    /// One JSON object a message.
    Json,
}

/// Runs the verb.
pub async fn run(sources: Sources) -> anyhow::Result<()> {
    match sources.verb {
        Verb::Add(options) => add(options).await,
        Verb::List(options) => list(options).await,
        Verb::Retire(options) => retire(options).await,
        Verb::Test(options) => test(&options),
        Verb::Presets { name } => presets(name.as_deref()),
    }
}

async fn add(options: Add) -> anyhow::Result<()> {
    let Add { name, file, preset: from, zone, tenant, log } = options;
    let definition = match (&from, file) {
        (Some(from), _) => preset(from)?.definition(zone.as_deref())?,
        (None, Some(file)) => serde_json::from_str(&read(&file)?)
            .with_context(|| format!("{} does not hold an object of JSON", file.display()))?,
        (None, None) => bail!("name a file or a preset"),
    };
    let name = match (name, &from) {
        (Some(name), _) => name,
        (None, from) => from.as_deref().unwrap_or_default().parse()?,
    };
    let definition = Definition { definition, preset: from, replaces: None };
    let metadata = Metadata::by(Actor::Fleetlog);
    let defined =
        log.write(async |log| define(&log.for_tenant(&tenant), &name, definition, metadata).await).await?;
    let word = if defined.at.is_some() { "says so" } else { "said so already" };
    Ok(writeln!(output(), "source {name} of {tenant} {word}, in version {}", defined.version)?)
}

async fn list(options: List) -> anyhow::Result<()> {
    let List { tenant, log } = options;
    let sources = log.read(async |log| log.sources_now(&tenant).await).await?;
    let mut out = output();
    for known in sources.all() {
        let version = known.source.latest().map_or(0, |(version, _)| version);
        let state = if known.source.is_in_use() { "in use" } else { "retired" };
        let topics: Vec<_> =
            known.compiled.iter().flat_map(|source| source.patterns()).map(ToString::to_string).collect();
        writeln!(out, "{} version {version}, {state}: {}", known.name, topics.join(", "))?;
    }
    Ok(())
}

async fn retire(options: Retire) -> anyhow::Result<()> {
    let Retire { name, tenant, log } = options;
    let metadata = Metadata::by(Actor::Fleetlog);
    log.write(async |log| sources::retire(&log.for_tenant(&tenant), &name, metadata).await).await?;
    Ok(writeln!(output(), "source {name} of {tenant} takes no more messages")?)
}

fn presets(name: Option<&str>) -> anyhow::Result<()> {
    let mut out = output();
    match name {
        Some(name) => out.write_all(preset(name)?.json.as_bytes())?,
        None => PRESETS.iter().try_for_each(|preset| writeln!(out, "{}", preset.name))?,
    }
    Ok(())
}

fn preset(name: &str) -> anyhow::Result<&'static Preset> {
    let known = || PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ");
    Preset::named(name).with_context(|| format!("there is no preset {name}; there are {}", known()))
}

fn test(options: &Test) -> anyhow::Result<()> {
    let source = source(options)?;
    let mut out = output();
    let mut aliases: HashMap<String, Aliases> = HashMap::new();
    for line in io::stdin().lock().split(b'\n') {
        let line = line.context("failed to read standard input")?;
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if line.is_empty() {
            continue;
        }
        let (topic, payload) = split(line);
        let payload = if options.hex { bytes(payload)? } else { payload.to_owned() };
        let received_at = options.received_at.unwrap_or_else(now);
        let message =
            Message { topic: &topic, payload: &payload, received_at, login: options.login.as_deref() };
        // Aliases are a device's own, so its births are kept by its uid.
        let device =
            source.identify(message).ok().and_then(|readings| Some(readings.first()?.uid.to_string()));
        let trial = source.test(message, aliases.entry(device.unwrap_or_default()).or_default());
        match options.format {
            Format::Json => writeln!(out, "{}", serde_json::to_string(&trial)?)?,
            Format::Text => writeln!(out, "{topic}\n  {}", trial.to_string().replace('\n', "\n  "))?,
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "nothing is recorded, and there is no database to ask")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn source(options: &Test) -> anyhow::Result<Source> {
    let source = match (&options.preset, &options.file) {
        (Some(name), _) => sources::compile(&preset(name)?.definition(options.zone.as_deref())?),
        (None, Some(file)) => SourceSpec::from_json(&read(file)?).and_then(Source::try_from),
        (None, None) => bail!("name a file or a preset"),
    };
    source.map_err(|invalid| {
        let lines: Vec<_> = invalid.0.iter().map(|invalid| format!("\n  {invalid}")).collect();
        anyhow::anyhow!("the definition cannot be used:{}", lines.concat())
    })
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))
}

/// The topic and the payload of a line: apart at its first tab or, without one, at its first blank.
fn split(line: &[u8]) -> (String, &[u8]) {
    let at = |wanted: u8| line.iter().position(|byte| *byte == wanted);
    let end = at(b'\t').or_else(|| at(b' ')).unwrap_or(line.len());
    (String::from_utf8_lossy(&line[..end]).into_owned(), line.get(end + 1..).unwrap_or_default())
}

fn bytes(digits: &[u8]) -> anyhow::Result<Vec<u8>> {
    let digits = std::str::from_utf8(digits).context("a payload is not hexadecimal")?.trim();
    let pairs = (0..digits.len()).step_by(2).map(|at| digits.get(at..at + 2));
    let byte = |pair: Option<&str>| u8::from_str_radix(pair?, 16).ok();
    pairs.map(byte).collect::<Option<_>>().with_context(|| format!("{digits} is not hexadecimal"))
}
