//! `fleetlog bench`: the benchmarks and their options.

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
    /// Events a second of a rebuild beside the live version, alone and under telemetry, beside the same SQL statement.
    Rebuild(Rebuild),
    /// Commands a second, and how long a command takes to each step, under telemetry.
    Commands(Commands),
    /// The memory of idle MQTT connections on the server's own endpoint, beside a bare listener that holds as many.
    Connections(Connections),
    /// The bare listener: answers a CONNECT with CONNACK, and every later packet with PINGRESP.
    #[command(hide = true)]
    Listener {
        /// Where to listen.
        address: SocketAddr,
    },
    /// How long a reading takes to those who follow it live, and what they cost the server.
    Streams(Streams),
    /// Reads over HTTP from a large log, beside a bare handler of the same queries.
    Query(Query),
    /// The bare handler that `query` is compared with.
    #[command(hide = true)]
    Handler(Bare),
}

/// The broker that devices publish through.
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

/// From devices to the read models.
#[derive(Debug, Args)]
pub struct Ingest {
    /// How many devices publish.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// How many connections the devices share, as behind gateways; otherwise each device has its own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: Option<u32>,
    /// The broker that devices publish through.
    #[arg(long, value_enum, default_value_t = Broker::Mosquitto)]
    pub broker: Broker,
    /// Have devices connect over TLS, to the server's own endpoint.
    #[arg(long)]
    pub tls: bool,
    /// Messages a second, of all devices together, while latencies are measured.
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// How many seconds each of the two phases lasts: the one at the rate, and the one at full speed.
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
}

impl Ingest {
    /// The number of connections, which is at most the number of devices.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.unwrap_or(self.devices).min(self.devices)
    }

    /// About how many messages are published at the rate.
    pub(crate) fn messages(&self) -> u64 {
        u64::from(self.rate) * u64::from(self.seconds)
    }
}

/// The log alone.
#[derive(Debug, Args)]
pub struct Append {
    /// How many devices the messages come from.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub devices: u32,
    /// How many messages to append.
    #[arg(long, default_value_t = 2_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub messages: u64,
    /// How many messages are appended in one batch.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: u32,
}

/// A rebuild of the read models.
#[derive(Debug, Args)]
pub struct Projections {
    /// How many devices the events belong to.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub devices: u32,
    /// How many events to fold.
    #[arg(long, default_value_t = 5_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub events: u64,
}

/// A rebuild of the windows, while everyone reads them.
#[derive(Debug, Args)]
pub struct Rebuild {
    /// How many devices the events belong to.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub devices: u32,
    /// How many events to fold.
    #[arg(long, default_value_t = 10_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub events: u64,
    /// Telemetry messages a second, of all devices together, during the second rebuild.
    #[arg(long, default_value_t = 5000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub telemetry: u32,
}

/// Commands under telemetry.
#[derive(Debug, Args)]
pub struct Commands {
    /// How many devices publish and answer.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// Telemetry messages a second, of all devices together.
    #[arg(long, default_value_t = 5000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub telemetry: u32,
    /// Commands a second.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// How many seconds each of the two phases lasts: the one at the rate, and the one at full speed.
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
}

/// Connections that are mostly idle.
#[derive(Debug, Args)]
pub struct Connections {
    /// How many devices are connected, all of which ping. From one address to another there are some 28,000 ports.
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=25_000))]
    pub connections: u32,
    /// How many of them publish at the end, for two seconds, ten messages a second each.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub publishers: u32,
    /// How many seconds the connections stay idle.
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
}

/// Reads over HTTP.
#[derive(Debug, Args)]
pub struct Query {
    /// How many devices there are.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// How many events are in the log.
    #[arg(long, default_value_t = 10_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1000..=1_000_000_000))]
    pub events: u64,
    /// Requests a second, while latencies are measured.
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// How many seconds each kind of request lasts in each of the two phases: at the rate, and at full speed.
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Measure appends and reads at a tenth of the events, at all of them, and at three times as many.
    #[arg(long)]
    pub growth: bool,
}

/// The arguments of the bare handler.
#[derive(Debug, Args)]
pub struct Bare {
    /// Where to listen.
    pub address: SocketAddr,
    /// The database to read from.
    #[arg(long)]
    pub database_url: String,
}

/// Live streams.
#[derive(Debug, Args)]
pub struct Streams {
    /// How many clients follow the device.
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4000))]
    pub followers: u32,
    /// How many more never read, in the last phase.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=900))]
    pub unread: u32,
    /// Messages a second of the device.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// How many seconds each of the three phases lasts.
    #[arg(long, default_value_t = 20, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
}
