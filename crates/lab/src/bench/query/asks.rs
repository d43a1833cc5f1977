//! The requests, and whether the answers are right.

use anyhow::{Context, ensure};
use chrono::{DateTime, SecondsFormat, Utc};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::super::client::Client;
use super::super::load;
use super::large::Large;

/// The metric whose windows are requested.
const METRIC: &str = "temperature";
/// About how many devices have their answers compared with the result of SQL.
const SAMPLE: u32 = 20;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// A device's newest 100 readings.
    Readings,
    /// One metric of a device by the minute, over the whole span of the log.
    Windows,
    /// The windows of [`Ask::Windows`], in GraphQL.
    Graphql,
}

impl Ask {
    /// All kinds. [`Ask::Graphql`] comes right after the REST request that it is compared with.
    pub(super) const ALL: [Self; 3] = [Self::Readings, Self::Windows, Self::Graphql];

    /// The name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Readings => "newest 100 readings",
            Self::Windows => "windows by the minute",
            Self::Graphql => "the same windows in GraphQL",
        }
    }
}

/// The requests about a large log.
#[derive(Debug, Clone)]
pub(super) struct Asks {
    devices: u32,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Asks {
    pub(super) fn of(large: &Large) -> Self {
        Self { devices: large.rows.devices, from: large.rows.since, to: large.until }
    }

    /// Sends a request about the device with this number, modulo the number of devices, and reads the answer to its
    /// end.
    pub(super) async fn ask(&self, client: &mut Client, ask: Ask, number: u32) -> anyhow::Result<()> {
        let (method, path, body) = self.request(ask, number % self.devices);
        let length = client.length(method, &path, body).await?;
        ensure!(length > 100, "{path}: an answer of {length} bytes");
        Ok(())
    }

    async fn answer(&self, client: &mut Client, ask: Ask, device: u32) -> anyhow::Result<Value> {
        let (method, path, body) = self.request(ask, device);
        let (status, answer) = client.answer(method, &path, body).await?;
        ensure!(status == StatusCode::OK, "{path}: {status}");
        serde_json::from_slice(&answer).context(path)
    }

    fn request(&self, ask: Ask, device: u32) -> (Method, String, String) {
        let uid = load::uid(device);
        let [from, to] = [self.from, self.to].map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
        match ask {
            Ask::Readings => (Method::GET, format!("/api/v1/telemetry/{uid}"), String::new()),
            Ask::Windows => {
                let query = format!("metric={METRIC}&from={from}&to={to}&step=1m");
                (Method::GET, format!("/api/v1/telemetry/{uid}/windows?{query}"), String::new())
            }
            Ask::Graphql => {
                let variables = json!({ "uid": uid, "metric": METRIC, "from": from, "to": to });
                let body = json!({ "query": QUESTION, "variables": variables }).to_string();
                (Method::POST, "/api/v1/graphql".to_owned(), body)
            }
        }
    }

    /// Checks that the answers about a sample of devices equal the result of SQL, from the server and from the bare
    /// handler.
    pub(super) async fn check(
        &self,
        client: &Client,
        bare: &Client,
        owner: &mut PgConnection,
    ) -> anyhow::Result<String> {
        // Fresh connections: neither server waits long for another request on a connection that has had one.
        let (mut client, mut bare) = (client.another().await?, bare.another().await?);
        let step = (self.devices / SAMPLE).max(1) as usize;
        let sample: Vec<_> = (0..self.devices).step_by(step).collect();
        for &device in &sample {
            let readings = self.answer(&mut client, Ask::Readings, device).await?;
            ensure!(numbers(&readings["items"], &["position"]) == newest(owner, device).await?, "{readings}");
            ensure!(readings == self.answer(&mut bare, Ask::Readings, device).await?, "{readings}");
            let windows = self.answer(&mut client, Ask::Windows, device).await?;
            let listed = &windows["series"][0]["windows"];
            ensure!(numbers(listed, &["count", "sum"]) == self.minutes(owner, device).await?, "{windows}");
            ensure!(windows == self.answer(&mut bare, Ask::Windows, device).await?, "{windows}");
            let answer = self.answer(&mut client, Ask::Graphql, device).await?;
            let twins = &answer["data"]["device"]["windows"]["series"][0]["windows"];
            for (fields, twin) in [(NUMBERS, NUMBERS), (TIMES, TIMES_IN_GRAPHQL)] {
                ensure!(columns(listed, fields) == columns(twins, twin), "{answer}");
            }
        }
        Ok(format!("the answers about {} devices are what SQL says, from all that answer", sample.len()))
    }

    /// The count and the sum of each of a device's minutes, computed from its events.
    async fn minutes(&self, owner: &mut PgConnection, device: u32) -> anyhow::Result<Vec<f64>> {
        let rows: Vec<(f64, f64)> = sqlx::query_as(
            "SELECT count(*)::float8, sum((payload ->> $2)::float8) FROM telemetry_events
             WHERE aggregate_id COLLATE \"POSIX\" = $1 AND occurred_at >= $3 AND occurred_at < $4
             GROUP BY date_trunc('minute', occurred_at) ORDER BY date_trunc('minute', occurred_at)",
        )
        .bind(load::aggregate_id(device))
        .bind(METRIC)
        .bind(self.from)
        .bind(self.to)
        .fetch_all(owner)
        .await?;
        Ok(rows.into_iter().flat_map(|(count, sum)| [count, sum]).collect())
    }
}

/// The positions of a device's newest 100 readings.
async fn newest(owner: &mut PgConnection, device: u32) -> anyhow::Result<Vec<f64>> {
    let sql = "SELECT position::float8 FROM telemetry_events WHERE aggregate_id COLLATE \"POSIX\" = $1
         ORDER BY occurred_at DESC, position DESC LIMIT 100";
    Ok(sqlx::query_scalar(sql).bind(load::aggregate_id(device)).fetch_all(owner).await?)
}

const NUMBERS: &[&str] = &["count", "sum", "avg", "min", "max", "first", "last"];
const TIMES: &[&str] = &["start", "end", "first_at", "last_at"];
const TIMES_IN_GRAPHQL: &[&str] = &["start", "end", "firstAt", "lastAt"];
const QUESTION: &str = "
    query ($uid: String!, $metric: String, $from: DateTime, $to: DateTime) {
        device(uid: $uid) { windows(metric: $metric, from: $from, to: $to, step: \"1m\") {
            from to step tz
            series { metric windows { start end count sum avg min max first firstAt last lastAt } }
        } }
    }";

/// The given fields of each object in a list, row by row, with times as REST writes them.
fn columns(list: &Value, fields: &[&str]) -> Vec<Option<Value>> {
    let field = |row: &Value, field: &&str| match row.get(*field)? {
        Value::String(text) => Some(Value::String(text.replace("+00:00", "Z"))),
        other => Some(other.clone()),
    };
    let rows = list.as_array().into_iter().flatten();
    rows.flat_map(|row| fields.iter().map(|name| field(row, name)).collect::<Vec<_>>()).collect()
}

/// The given fields of each object in a list, row by row, where they are numbers.
fn numbers(list: &Value, fields: &[&str]) -> Vec<f64> {
    columns(list, fields).into_iter().filter_map(|value| value?.as_f64()).collect()
}
