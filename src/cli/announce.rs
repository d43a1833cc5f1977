//! The text that people see when the service is ready: its addresses, how to log in, what to try.

use std::io::{self, Write};
use std::time::Duration;

use fleetlog_embedded::postgres::Cluster;
use fleetlog_mqtt::server::Auth;

use crate::service::Service;

/// Announces a service that `fleetlog up` started.
pub fn ready(
    service: &Service,
    auth: Auth,
    cluster: &Cluster,
    after: Duration,
    out: &mut impl Write,
) -> io::Result<()> {
    let http = service.http();
    writeln!(out, "fleetlog {} is ready after {:.1} s", env!("CARGO_PKG_VERSION"), after.as_secs_f64())?;
    writeln!(out)?;
    writeln!(out, "  dashboard  http://{http}")?;
    writeln!(out, "  REST       http://{http}/api/v1    described at http://{http}/docs")?;
    writeln!(out, "  GraphQL    http://{http}/graphql")?;
    if let Some(https) = service.https() {
        writeln!(out, "  over TLS   https://{https}")?;
    }
    if let Some(mqtt) = service.mqtt() {
        writeln!(out, "  MQTT       mqtt://{mqtt}    devices publish to t0/devices/<uid>/telemetry")?;
        if let Some(mqtts) = service.mqtts() {
            writeln!(out, "  over TLS   mqtts://{mqtts}")?;
        }
        writeln!(out, "             {}", how_to_log_in(auth))?;
    }
    writeln!(out, "  data       {}", cluster.data_dir().display())?;
    admin(service, out)?;
    if let Some(mqtt) = service.mqtt().filter(|_| auth == Auth::Open) {
        writeln!(out)?;
        writeln!(
            out,
            "Try:  mosquitto_pub -p {} -q 1 -t t0/devices/dev-01/telemetry -m '{{\"temperature\":21.5}}'",
            mqtt.port()
        )?;
    }
    writeln!(out, "Ctrl-C stops it; nothing acknowledged is lost.")?;
    out.flush()
}

/// A service goes on though its announcement could not be written.
pub fn or_log(announced: io::Result<()>) {
    if let Err(error) = announced {
        tracing::warn!(%error, "failed to write to standard output; if it would have shown a first password, \
            `fleetlog user password` makes another");
    }
}

fn how_to_log_in(auth: Auth) -> &'static str {
    match auth {
        Auth::Open => "open: without credentials a device is whichever it says (--device-auth required)",
        Auth::Required => "devices log in as t0/<uid>, with what POST /devices/<uid>/credentials gives out",
    }
}

/// Prints the administrator that a first start created. The password is shown only here.
pub fn admin(service: &Service, out: &mut impl Write) -> io::Result<()> {
    let Some(admin) = service.admin() else { return Ok(()) };
    writeln!(out)?;
    writeln!(out, "  e-mail     {}", admin.email)?;
    if let Some(password) = &admin.generated_password {
        writeln!(out, "  password   {password}    shown only now: keep it")?;
    }
    out.flush()
}
