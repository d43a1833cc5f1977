//! Simulated devices that people start over HTTP. They connect to this process's own MQTT endpoint, like devices from anywhere.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use fleetlog_engine::simulations::{Cast, Run};
use fleetlog_lab::simulate::{self, Logins, Options};
use fleetlog_mqtt::url::Url;
use tokio_util::sync::CancellationToken;

/// Lets devices publish to the endpoint at this address, a reading a second each.
pub(crate) fn at(mqtt: SocketAddr) -> Run {
    let url = Url::from(reachable(mqtt));
    Arc::new(move |cast, stop| Box::pin(run(url.clone(), cast, stop)))
}

/// The address at which this machine reaches an endpoint that listens on all addresses.
pub(crate) fn reachable(mqtt: SocketAddr) -> SocketAddr {
    match mqtt {
        SocketAddr::V4(at) if at.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, at.port()).into(),
        SocketAddr::V6(at) if at.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, at.port()).into(),
        at => at,
    }
}

async fn run(url: Url, cast: Cast, stop: CancellationToken) {
    let Cast { tenant, devices, duration } = cast;
    let count = u32::try_from(devices.len()).unwrap_or(u32::MAX);
    let logins = devices.into_iter().map(|(uid, secret)| (uid, secret.reveal().to_owned()));
    let options = Options {
        duration: Some(duration),
        logins: Logins::Each(logins.collect()),
        ..Options::new(url, tenant, count, f64::from(count))
    };
    if let Err(error) = simulate::run(options, stop, |_| ()).await {
        tracing::warn!(%error, "simulated devices stopped");
    }
}
