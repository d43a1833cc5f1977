//! The options that name an MQTT broker, and TLS with it.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use fleetlog_mqtt::url::Url;
use fleetlog_tls::Files;
use fleetlog_tls::client::Identity;

/// Whom to trust at the broker, and what to show it.
#[derive(Debug, Args)]
pub struct BrokerTls {
    /// The certificates of the authorities that the broker's certificate may be of, in PEM; by default those that this
    /// machine trusts.
    #[arg(long, env = "FLEETLOG_MQTT_CA", value_name = "FILE")]
    pub mqtt_ca: Option<PathBuf>,
    /// The certificate to log in to the broker with, in PEM, for brokers that ask for one.
    #[arg(long, env = "FLEETLOG_MQTT_CERT", value_name = "FILE", requires = "mqtt_key")]
    pub mqtt_cert: Option<PathBuf>,
    /// The private key of that certificate, in PEM.
    #[arg(long, env = "FLEETLOG_MQTT_KEY", value_name = "FILE", requires = "mqtt_cert")]
    pub mqtt_key: Option<PathBuf>,
}

impl BrokerTls {
    /// Whether none of the options is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.identity() == Identity::default()
    }

    /// The broker's address. Reads the files that TLS needs, so that a mistake is told before anything is made.
    pub fn url(&self, text: &str) -> anyhow::Result<Url> {
        let url: Url = text.parse().context("FLEETLOG_MQTT_URL")?;
        if url.tls().is_some() {
            let identity = self.identity();
            identity.config()?;
            return Ok(url.with_tls(Some(identity)));
        }
        anyhow::ensure!(
            self.is_empty(),
            "--mqtt-ca, --mqtt-cert and --mqtt-key are for TLS: give the broker as mqtts://"
        );
        Ok(url)
    }

    fn identity(&self) -> Identity {
        let certificate = self.mqtt_cert.clone().zip(self.mqtt_key.clone());
        Identity {
            authorities: self.mqtt_ca.clone(),
            certificate: certificate.map(|(certificate, key)| Files { certificate, key }),
        }
    }
}

/// The broker to publish to.
#[derive(Debug, Args)]
pub struct Target {
    /// The broker, as `mqtt://user:password@host:port`, or `mqtts://` for TLS; a `/` in a user's name is written `%2F`.
    #[arg(
        long,
        env = "FLEETLOG_MQTT_URL",
        default_value = "mqtt://127.0.0.1:1883",
        value_name = "URL",
        hide_env_values = true
    )]
    pub mqtt_url: String,
    /// TLS with the broker.
    #[command(flatten)]
    pub tls: BrokerTls,
    /// The devices' tenant.
    #[arg(long, default_value = "t0")]
    pub tenant: String,
}

impl Target {
    /// The broker's address.
    pub fn broker(&self) -> anyhow::Result<Url> {
        self.tls.url(&self.mqtt_url)
    }
}
