//! `fleetlog bench`: what can be measured, and under which load.

use std::fmt;
use std::net::SocketAddr;

use clap::{Args, Subcommand, ValueEnum};

/// Figures, each beside the machine's own ceiling.
#[derive(Debug, Args)]
pub struct Bench {
    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to measure.
    #[command(subcommand)]
    pub what: What,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Unique durable messages a second, and how long each takes, beside COPY into the same table.
    Ingest(Ingest),
    /// Unique messages a second that one log takes, batch after batch, beside COPY into the same table.
    Append(Append),
    /// Events a second from position 1 into every read model, beside one SQL statement that computes the same windows.
    Projections(Projections),
    /// Commands a second, and how long a command takes to each step, under telemetry.
    Commands(Commands),
    /// The memory of idle MQTT connections on the server's own endpoint, beside a bare listener that holds as many.
    Connections(Connections),
    /// The bare listener: says hello to whoever connects, and answers pings.
    #[command(hide = true)]
    Listener {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Reads over HTTP from a large log, beside a bare handler of the same queries.
    Query(Query),
    /// That bare handler.
    #[command(hide = true)]
    Handler(Bare),
}

/// Through which broker devices publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Broker {
    /// A Mosquitto.
    Mosquitto,
    /// The server's own endpoint.
    Endpoint,
}

impl fmt::Display for Broker {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Mosquitto => "Mosquitto",
            Self::Endpoint => "the built-in endpoint",
        })
    }
}

/// The way from devices to the read models.
#[derive(Debug, Args)]
pub struct Ingest {
    /// How many devices publish.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// Over how many connections, as behind gateways; otherwise each device has its own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: Option<u32>,
    /// Through which broker.
    #[arg(long, value_enum, default_value_t = Broker::Mosquitto)]
    pub broker: Broker,
    /// Messages a second, of all devices together, where latencies are measured.
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// For how many seconds; and as long again for as many messages as are taken.
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
}

impl Ingest {
    /// Over how many connections devices publish: no more than there are devices.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.unwrap_or(self.devices).min(self.devices)
    }

    /// About as many messages as are published at the rate.
    pub(crate) fn messages(&self) -> u64 {
        u64::from(self.rate) * u64::from(self.seconds)
    }
}

/// The log alone.
#[derive(Debug, Args)]
pub struct Append {
    /// How many devices the messages are of.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub devices: u32,
    /// How many messages.
    #[arg(long, default_value_t = 2_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub messages: u64,
    /// How many messages are appended at once.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: u32,
}

/// The read models, made anew.
#[derive(Debug, Args)]
pub struct Projections {
    /// How many devices the events are of.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub devices: u32,
    /// How many events.
    #[arg(long, default_value_t = 5_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub events: u64,
}

/// How commands are measured.
#[derive(Debug, Args)]
pub struct Commands {
    /// How many devices publish and answer.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// Messages of telemetry a second, of all devices together.
    #[arg(long, default_value_t = 5000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub telemetry: u32,
    /// Commands a second.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// For how many seconds; and as long again for as many commands as are accepted.
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
}

/// Connections that are mostly idle.
#[derive(Debug, Args)]
pub struct Connections {
    /// How many devices are connected, all of which ping.
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// How many of them publish after that, for two seconds, ten messages a second each.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub publishers: u32,
    /// For how many seconds nothing is published.
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
}

/// How reads over HTTP are measured.
#[derive(Debug, Args)]
pub struct Query {
    /// How many devices there are.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// How many events are in the log.
    #[arg(long, default_value_t = 10_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1000..=1_000_000_000))]
    pub events: u64,
    /// Requests a second, where latencies are measured.
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// For how many seconds each; and as long again for as many requests as are answered.
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Appends and reads at a tenth of the events, at all, and at three times as many.
    #[arg(long)]
    pub growth: bool,
}

/// What the bare handler needs.
#[derive(Debug, Args)]
pub struct Bare {
    /// Where to listen.
    pub address: SocketAddr,
    /// Its database.
    #[arg(long)]
    pub database_url: String,
}
