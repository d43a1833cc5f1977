//! Replays the log from its first event: what happened to a command, or to a device and its commands, or which commands
//! were open, as of any moment. For auditors, who ask the log itself and no read model.
//!
//! [`run`] folds the events with the same aggregates that decided them, and passes each [`Line`] to its caller. It only
//! reads, page by page, and keeps open commands in memory, not the events that it has read.
//!
//! - [`life`]: a command's state after its events
//! - [`mod@line`]: the lines, as JSON
//! - [`text`]: the lines, as text for people

mod life;
pub mod line;
mod text;

use std::collections::HashMap;
use std::io;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent};
use fleetlog_aggregates::command::{self, Command};
use fleetlog_aggregates::device::{self, Device};
use fleetlog_aggregates::identity::{StreamId, Tenant, Uid};
use fleetlog_event_log::as_of::{AsOf, NoPrefix};
use fleetlog_event_log::{Event, EventLog, Lane, LogId, Position};
use uuid::Uuid;

use life::Life;
use line::{Counts, Line, State, Step, What};

/// The most events in a page, and their most bytes.
const PAGE: i64 = 1000;
const PAGE_BYTES: usize = 4 << 20;
/// The most open commands that are loaded at a time.
const OPEN: usize = 100;

/// What to replay.
#[derive(Debug, Clone, PartialEq)]
pub enum Scope {
    /// The life of one command.
    Command(Uuid),
    /// The life of a device and of its commands, recorded at or after `from` and before `to`.
    Device {
        /// The device's uid.
        uid: Uid,
        /// The start of the span, inclusive.
        from: Option<DateTime<Utc>>,
        /// The end of the span, exclusive.
        to: Option<DateTime<Utc>>,
    },
    /// Every command that was open.
    Open,
}

/// What to replay, and as of which moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The tenant whose log is read.
    pub tenant: Tenant,
    /// What to replay.
    pub scope: Scope,
    /// The last moment whose events count; `None` means now.
    pub as_of: Option<AsOf>,
}

/// Why a replay failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tenant has no log.
    #[error("there is no tenant {0}")]
    NoTenant(Tenant),
    /// The log has no event of this command or device.
    #[error("there {} no {what} of tenant {tenant}{}", if as_of.is_some() { "was" } else { "is" }, as_of.map_or_else(String::new, |at| format!(" at {at}")))]
    Nothing {
        /// Which command or device.
        what: String,
        /// The tenant.
        tenant: Tenant,
        /// The moment of the replay; `None` means now.
        as_of: Option<AsOf>,
    },
    /// There is no answer as of the moment.
    #[error("as of {as_of}: {why}")]
    Moment {
        /// The moment.
        as_of: AsOf,
        /// Why there is none, and what to ask instead.
        why: NoPrefix,
    },
    /// An event cannot be read.
    #[error("failed to read the event at position {position}: {why}")]
    Corrupt {
        /// The event's position.
        position: Position,
        /// What is wrong with the event.
        why: String,
    },
    /// The database failed.
    #[error("failed to {0}")]
    Log(#[from] fleetlog_event_log::Error),
    /// The caller could not write a line.
    #[error("failed to write: {0}")]
    Write(#[from] io::Error),
}

/// Reads the log, and passes each line to `emit`.
pub async fn run(
    log: &EventLog,
    options: &Options,
    emit: &mut impl FnMut(&Line) -> io::Result<()>,
) -> Result<(), Error> {
    let control = log.heads().of(options.tenant.as_str(), Lane::Control);
    let control = control.ok_or_else(|| Error::NoTenant(options.tenant.clone()))?;
    let until = match options.as_of {
        Some(as_of) => {
            log.prefix_of(&options.tenant, as_of).await.map_err(|why| no_moment(as_of, why))?.control
        }
        // Events that are appended meanwhile are left out, so that the replay ends at one position.
        None => log.heads().log(control).map_or(0, |log| log.head),
    };
    let replay = Replay { log, control, until, options };
    match &options.scope {
        Scope::Command(cmd_id) => replay.command(*cmd_id, emit).await,
        Scope::Device { uid, from, to } => replay.device(uid, (*from, *to), emit).await,
        Scope::Open => replay.open(emit).await,
    }
}

fn no_moment(as_of: AsOf, why: NoPrefix) -> Error {
    match why {
        NoPrefix::Log(error) => Error::Log(error),
        why => Error::Moment { as_of, why },
    }
}

struct Replay<'a> {
    log: &'a EventLog,
    control: LogId,
    /// The last position of the control log that counts.
    until: Position,
    options: &'a Options,
}

impl Replay<'_> {
    async fn command(
        &self,
        cmd_id: Uuid,
        emit: &mut impl FnMut(&Line) -> io::Result<()>,
    ) -> Result<(), Error> {
        let stream = StreamId::new(&self.options.tenant, cmd_id);
        let mut events = self.log.streams::<Command>(&[stream]).await?;
        events.retain(|event| event.position <= self.until);
        if events.is_empty() {
            return Err(self.nothing(format!("command {cmd_id}")));
        }
        self.life(events, emit)
    }

    /// Passes on all events of one command.
    fn life(&self, events: Vec<Event>, emit: &mut impl FnMut(&Line) -> io::Result<()>) -> Result<(), Error> {
        let mut life = Life::default();
        let mut id = None;
        for event in events {
            let happened: command::Event = decode(&event)?;
            let cmd_id = cmd_id(&event)?;
            if let command::Event::CommandRequested(request) = &happened {
                emit(&Line::Command { cmd_id, request: request.clone() })?;
            }
            life.apply(happened.clone());
            id = Some(cmd_id);
            emit(&Line::Event(Box::new(step(event, What::Command(happened), life.state()))))?;
        }
        emit(&Line::State(State {
            cmd_id: id,
            attempts: Some(life.attempts()),
            ..self.state(life.state())
        }))?;
        Ok(())
    }

    async fn device(
        &self,
        uid: &Uid,
        (from, to): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
        emit: &mut impl FnMut(&Line) -> io::Result<()>,
    ) -> Result<(), Error> {
        let stream = StreamId::new(&self.options.tenant, uid).to_string();
        let (mut device, mut lives): (Device, HashMap<Uuid, Life>) = Default::default();
        let mut known = false;
        self.read(&[Device::TYPE, Command::TYPE], async |event| {
            let within = from.is_none_or(|from| event.recorded_at >= from)
                && to.is_none_or(|to| event.recorded_at < to);
            let (what, state) = if event.aggregate_type == Device::TYPE {
                if event.aggregate_id != stream {
                    return Ok(());
                }
                let happened: device::Event = decode(&event)?;
                device.apply(happened.clone());
                (What::Device(happened), device.status().as_str())
            } else {
                let (id, happened) = (cmd_id(&event)?, decode::<command::Event>(&event)?);
                match &happened {
                    command::Event::CommandRequested(request) if request.device_uid == *uid => {
                        lives.insert(id, Life::default());
                    }
                    _ => {}
                }
                let Some(life) = lives.get_mut(&id) else { return Ok(()) };
                life.apply(happened.clone());
                life.forget_if_ended();
                (What::CommandOf(id, happened), life.state())
            };
            if !std::mem::replace(&mut known, true) {
                emit(&Line::Device { device_uid: uid.clone() })?;
            }
            if within {
                emit(&Line::Event(Box::new(step(event, what, state))))?;
            }
            Ok(())
        })
        .await?;
        if !known {
            return Err(self.nothing(format!("device {uid}")));
        }
        let counts = lives.values().filter_map(Life::status).collect();
        let state = self.state(device.status().as_str());
        emit(&Line::State(State { device_uid: Some(uid.clone()), commands: Some(counts), ..state }))?;
        Ok(())
    }

    async fn open(&self, emit: &mut impl FnMut(&Line) -> io::Result<()>) -> Result<(), Error> {
        let mut counts = Counts::default();
        let mut lives: HashMap<Uuid, (Position, Life)> = HashMap::new();
        self.read(&[Command::TYPE], async |event| {
            let (id, happened) = (cmd_id(&event)?, decode::<command::Event>(&event)?);
            if matches!(happened, command::Event::CommandRequested(_)) {
                lives.insert(id, (event.position, Life::default()));
            }
            // A command that has ended is only counted; later events do not change it.
            let Some((_, life)) = lives.get_mut(&id) else { return Ok(()) };
            life.apply(happened);
            if life.has_ended() {
                counts.extend(life.status());
                lives.remove(&id);
            }
            Ok(())
        })
        .await?;
        counts.extend(lives.values().filter_map(|(_, life)| life.status()));
        let mut open: Vec<(Position, Uuid)> =
            lives.iter().map(|(id, (position, _))| (*position, *id)).collect();
        open.sort_unstable();
        for some in open.chunks(OPEN) {
            self.emit_open(some, emit).await?;
        }
        emit(&Line::Counts { as_of: self.options.as_of, commands: counts })?;
        Ok(())
    }

    async fn emit_open(
        &self,
        open: &[(Position, Uuid)],
        emit: &mut impl FnMut(&Line) -> io::Result<()>,
    ) -> Result<(), Error> {
        let streams: Vec<_> = open.iter().map(|(_, id)| StreamId::new(&self.options.tenant, id)).collect();
        let mut lives: HashMap<String, Vec<Event>> = HashMap::new();
        for event in self.log.streams::<Command>(&streams).await? {
            if event.position <= self.until {
                lives.entry(event.aggregate_id.clone()).or_default().push(event);
            }
        }
        for stream in streams {
            self.life(lives.remove(&stream.to_string()).unwrap_or_default(), emit)?;
        }
        Ok(())
    }

    /// Reads the control log as far as it counts.
    async fn read(
        &self,
        aggregate_types: &[&str],
        mut each: impl AsyncFnMut(Event) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut last = 0;
        loop {
            let page = self.log.control_page(self.control, last, PAGE, PAGE_BYTES, aggregate_types).await?;
            if page.is_empty() {
                return Ok(());
            }
            for event in page {
                if event.position > self.until {
                    return Ok(());
                }
                last = event.position;
                each(event).await?;
            }
        }
    }

    fn state(&self, state: &'static str) -> State {
        let as_of = self.options.as_of;
        State { as_of, cmd_id: None, device_uid: None, state, attempts: None, commands: None }
    }

    fn nothing(&self, what: String) -> Error {
        Error::Nothing { what, tenant: self.options.tenant.clone(), as_of: self.options.as_of }
    }
}

fn step(event: Event, what: What, state: &'static str) -> Step {
    Step { event, state, what }
}

fn decode<E: DomainEvent>(event: &Event) -> Result<E, Error> {
    event.decode().map_err(|corrupt| Error::Corrupt { position: event.position, why: corrupt.to_string() })
}

fn cmd_id(event: &Event) -> Result<Uuid, Error> {
    let id = event.aggregate_id.parse().ok().and_then(|stream: StreamId| stream.uuid());
    let why = || "its stream's id is no command's".to_owned();
    id.ok_or_else(|| Error::Corrupt { position: event.position, why: why() })
}
