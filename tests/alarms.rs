//! Alarms, from a device's message over MQTT to the alarm over HTTP: an evaluator, the endpoint, and the API on one database.

mod conditions;
mod crashes;
mod live;
mod mails;
mod people;
mod rules;

use std::sync::Arc;

use fleetlog_access::mail::Letters;
use fleetlog_engine::alarms::Evaluator;
use fleetlog_engine::dispatch::Dispatcher;
use fleetlog_event_log::EventLog;
use fleetlog_projections::verify::verify;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::mqtt::Device;
use crate::support::{Api, Node, eventually};

/// A service with an evaluator.
struct Fleet {
    api: Api,
    node: Node,
    _evaluating: Option<DropGuard>,
}

/// Starts an evaluator. It stops when what this returns goes out of scope.
fn evaluate(log: &EventLog) -> DropGuard {
    let stop = CancellationToken::new();
    tokio::spawn(Evaluator::new(log.clone(), Letters::new(None)).run(stop.clone()));
    stop.drop_guard()
}

fn threshold(value: f64) -> Value {
    json!({"kind": "threshold", "metric": "t", "is": "above", "value": value})
}

fn rule(condition: &Value) -> Value {
    json!({"title": "Look here", "severity": "major", "condition": condition})
}

impl Fleet {
    async fn start() -> Self {
        let fleet = Self::without_evaluator().await;
        Self { _evaluating: Some(evaluate(&fleet.node.log)), ..fleet }
    }

    async fn without_evaluator() -> Self {
        let api = Api::start().await;
        let node = Node::start_on(api.database.options(), |_, _| ()).await;
        Self { api, node, _evaluating: None }
    }

    /// Starts a dispatcher, and gives the tenant its command types.
    async fn dispatch(&self) -> DropGuard {
        self.api.ship_types().await;
        let stop = CancellationToken::new();
        let dispatcher = Dispatcher::new(self.node.log.clone(), Arc::new(self.node.outlet.clone()));
        tokio::spawn(dispatcher.run(stop.clone()));
        stop.drop_guard()
    }

    async fn device(&self, uid: &str) -> Messages {
        Messages { device: self.node.device(uid).await, uid: uid.to_owned() }
    }

    /// Defines a rule, and waits until the evaluator has it.
    async fn define(&self, name: &str, body: Value) -> Value {
        let answer = self.api.send(Method::PUT, &format!("/alarm-rules/{name}"), body).await;
        assert!(answer.status.is_success(), "{}", answer.text);
        self.evaluated().await;
        answer.json()
    }

    /// Waits until the evaluator has taken in all that is in the control log.
    async fn evaluated(&self) {
        let mut owner = self.api.database.owner().await;
        let behind = "SELECT EXISTS (
            SELECT FROM logs JOIN alarm_progress USING (tenant)
            WHERE tenant = 't0' AND head > CASE lane WHEN 'control' THEN control_position ELSE telemetry_position END)
            OR NOT EXISTS (SELECT FROM alarm_progress WHERE tenant = 't0')";
        eventually("the evaluator", async || {
            let behind: bool = sqlx::query_scalar(behind).fetch_one(&mut owner).await.expect("an answer");
            if behind { Err(()) } else { Ok(()) }
        })
        .await;
    }

    /// The alarms that a query selects, newest first.
    async fn alarms(&self, query: &str) -> Vec<Value> {
        let answer = self.api.get(&format!("/alarms?{query}")).await;
        answer.json()["items"].as_array().unwrap_or_else(|| panic!("{}", answer.text)).clone()
    }

    /// Waits for so many alarms.
    async fn until(&self, query: &str, count: usize) -> Vec<Value> {
        eventually(query, async || {
            let alarms = self.alarms(query).await;
            if alarms.len() == count { Ok(alarms) } else { Err(alarms) }
        })
        .await
    }

    /// How many events of a type there are.
    async fn count(&self, event_type: &str) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM control_events WHERE event_type = $1");
        count.bind(event_type).fetch_one(&mut self.api.database.owner().await).await.expect("counted")
    }

    /// Checks that the read model is what SQL over the log says.
    async fn assert_verified(&self) {
        self.api.catch_up().await;
        let facts = self.api.app.projections.facts("alarms").expect("a projection");
        let verified = verify(&self.api.log, facts, 10, |_| {}).await.expect("verified");
        assert_eq!(verified.differences(), 0, "{:#?}", verified.listed);
    }
}

/// A device that publishes over MQTT.
struct Messages {
    device: Device,
    uid: String,
}

impl Messages {
    /// Publishes a reading, and waits until it is stored.
    async fn publish(&mut self, reading: Value) {
        self.device.report(&format!("t0/devices/{}/telemetry", self.uid), reading.to_string()).await;
    }
}

/// A reading of a metric, so many seconds after a moment of the past.
fn at(second: i64, metric: &str, value: f64) -> Value {
    let noon: chrono::DateTime<chrono::Utc> = "2026-03-01T12:00:00Z".parse().expect("a time");
    let ts = noon + chrono::TimeDelta::seconds(second);
    json!({"ts": ts.to_rfc3339(), metric: value})
}
