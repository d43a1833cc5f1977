//! The ceiling: the same answers from the same Postgres with axum and sqlx and nothing else: no login, no limits, no
//! log lines, no metrics, no row-level security.
//!
//! It is its own process, like the server that it is compared with, and its pool and statements are straightforward.

use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::telemetry::Flags;
use fleetlog_projections::paging;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::{FromRow, PgPool, Row};
use tokio::net::TcpListener;

use super::super::load::TENANT;
use crate::bench::args::Bare as Args;

/// As many connections as the server has for requests.
const CONNECTIONS: u32 = 10;
/// Answers requests until the process is ended.
pub(in super::super) async fn serve(args: &Args) -> anyhow::Result<()> {
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(false);
    let pool = pool.connect(&args.database_url).await?;
    let sql = "SELECT log_id FROM logs WHERE tenant = $1 AND lane = 'telemetry'";
    let log_id: i32 = sqlx::query_scalar(sql).bind(TENANT).fetch_one(&pool).await?;
    let router = Router::new()
        .route("/api/v1/telemetry/{uid}", get(readings))
        .route("/api/v1/telemetry/{uid}/windows", get(windows))
        .with_state(Log { log_id, pool });
    Ok(axum::serve(TcpListener::bind(args.address).await?, router).await?)
}

#[derive(Clone)]
struct Log {
    log_id: i32,
    pool: PgPool,
}

#[derive(Serialize)]
struct Readings {
    items: Vec<Reading>,
    next_cursor: Option<String>,
    has_more: bool,
}

#[derive(Serialize)]
struct Reading {
    device_uid: String,
    payload: Box<RawValue>,
    ts: DateTime<Utc>,
    msg_id: String,
    recorded_at: DateTime<Utc>,
    position: i64,
    flags: Vec<&'static str>,
}

impl FromRow<'_, PgRow> for Reading {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let decode = |error: serde_json::Error| sqlx::Error::Decode(Box::new(error));
        Ok(Self {
            device_uid: row.try_get("uid")?,
            payload: RawValue::from_string(row.try_get("payload")?).map_err(decode)?,
            ts: row.try_get("occurred_at")?,
            msg_id: row.try_get("msg_id")?,
            recorded_at: row.try_get("recorded_at")?,
            position: row.try_get("position")?,
            flags: Flags::from_bits(row.try_get("flags")?).names().collect(),
        })
    }
}

type Failed = (http::StatusCode, String);

fn failed(error: impl std::fmt::Display) -> Failed {
    (http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

async fn readings(State(log): State<Log>, Path(uid): Path<String>) -> Result<Json<Readings>, Failed> {
    let read = sqlx::query_as(
        "SELECT substr(aggregate_id, $3) AS uid, payload::text AS payload, occurred_at, msg_id, recorded_at,
             position, flags
         FROM telemetry_events
         WHERE log_id = $1 AND aggregate_id COLLATE \"POSIX\" = $2
         ORDER BY occurred_at DESC, position DESC LIMIT 101",
    )
    .bind(log.log_id)
    .bind(format!("{TENANT}/{uid}"))
    .bind(TENANT.len() as i32 + 2)
    .fetch_all(&log.pool);
    let mut items: Vec<Reading> = read.await.map_err(failed)?;
    let has_more = items.len() > 100;
    items.truncate(100);
    let last = items.last().filter(|_| has_more);
    let next_cursor = last.map(|last| paging::encode(&(last.ts.timestamp_micros(), last.position)));
    Ok(Json(Readings { items, next_cursor, has_more }))
}

#[derive(Deserialize)]
struct Which {
    metric: String,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    step: String,
}

#[derive(Serialize)]
struct Windows {
    device_uid: String,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    step: String,
    tz: &'static str,
    log_id: i32,
    series: [Series; 1],
    next_cursor: Option<String>,
    has_more: bool,
}

#[derive(Serialize)]
struct Series {
    metric: String,
    windows: Vec<Window>,
}

#[derive(Serialize)]
struct Window {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    count: i64,
    sum: f64,
    avg: f64,
    min: f64,
    max: f64,
    first: f64,
    first_at: DateTime<Utc>,
    last: f64,
    last_at: DateTime<Utc>,
    position: Option<i64>,
}

/// The windows of one row, up to ten.
fn windows_of(row: &PgRow) -> sqlx::Result<Vec<Window>> {
    let times = |column| row.try_get::<Vec<DateTime<Utc>>, _>(column);
    let numbers = |column| row.try_get::<Vec<f64>, _>(column);
    let (starts, counts) = (times("starts")?, row.try_get::<Vec<i64>, _>("counts")?);
    let (sums, mins, maxs) = (numbers("sums")?, numbers("mins")?, numbers("maxs")?);
    let (firsts, first_ats) = (numbers("firsts")?, times("first_ats")?);
    let (lasts, last_ats) = (numbers("lasts")?, times("last_ats")?);
    let positions: Vec<Option<i64>> = row.try_get("positions")?;
    let window = |nth: usize| Window {
        start: starts[nth],
        end: starts[nth] + TimeDelta::minutes(1),
        count: counts[nth],
        sum: sums[nth],
        avg: sums[nth] / counts[nth] as f64,
        min: mins[nth],
        max: maxs[nth],
        first: firsts[nth],
        first_at: first_ats[nth],
        last: lasts[nth],
        last_at: last_ats[nth],
        position: positions[nth],
    };
    Ok((0..starts.len()).map(window).collect())
}

async fn windows(
    State(log): State<Log>,
    Path(uid): Path<String>,
    Query(which): Query<Which>,
) -> Result<Json<Windows>, Failed> {
    let Which { metric, from, to, step } = which;
    let read = sqlx::query(
        "SELECT starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats, positions FROM telemetry_window_runs
         WHERE log_id = $1 AND aggregate_id = $2 AND metric = $3 AND step = 60
           AND run > $4 - interval '10 minutes' AND run < $5
         ORDER BY run",
    )
    .bind(log.log_id)
    .bind(format!("{TENANT}/{uid}"))
    .bind(&metric)
    .bind(from)
    .bind(to)
    .fetch_all(&log.pool);
    let rows = read.await.map_err(failed)?;
    let rows = rows.iter().map(windows_of).collect::<sqlx::Result<Vec<_>>>().map_err(failed)?;
    let windows = rows.into_iter().flatten().filter(|window| (from..to).contains(&window.start)).collect();
    let series = [Series { metric, windows }];
    let (next_cursor, has_more) = (None, false);
    let log_id = log.log_id;
    Ok(Json(Windows { device_uid: uid, from, to, step, tz: "UTC", log_id, series, next_cursor, has_more }))
}
