//! What they answer when they are told something. The test is the broker.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use fleetlog_lab::{agent, simulate};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::support::mqtt::{Device, published};

/// A broker of one device.
struct Broker {
    listener: TcpListener,
    device: Option<Device>,
    uid: &'static str,
}

impl Broker {
    async fn listen(uid: &'static str) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("an address");
        (Self { listener, device: None, uid }, address)
    }

    fn topic(&self, channel: &str) -> String {
        format!("t0/devices/{}/{channel}", self.uid)
    }

    /// Waits for the device and its subscription.
    async fn accept(&mut self) {
        let mut device = Device::accept(&self.listener).await;
        device.packet().await.expect("CONNECT");
        device.send(&[0x20, 3, 0, 0, 0]).await;
        let subscribe = device.packet().await.expect("SUBSCRIBE");
        let commands = format!("{}\x01", self.topic("commands"));
        assert!(subscribe.ends_with(commands.as_bytes()), "with QoS 1: {subscribe:02x?}");
        device.send(&[0x90, 4, subscribe[2], subscribe[3], 0, 1]).await;
        self.device = Some(device);
    }

    fn hang_up(&mut self) {
        self.device = None;
    }

    fn device(&mut self) -> &mut Device {
        self.device.as_mut().expect("accepted")
    }

    async fn send(&mut self, payload: &str) {
        let topic = self.topic("commands");
        self.device().publish(1, 9, &topic, payload).await;
    }

    async fn command(&mut self, id: u128, cmd: &str, params: Value) {
        self.send(&command(id, cmd, &params, TimeDelta::hours(1))).await;
    }

    /// The next message on a channel, acknowledged or not. Those on other channels are acknowledged and passed over.
    async fn next(&mut self, channel: &str, acknowledge: bool) -> Value {
        let wanted = self.topic(channel);
        loop {
            let packet = self.device().packet().await.expect("a packet");
            let Some((topic, id, payload)) = published(&packet) else { continue };
            if topic != wanted || acknowledge {
                self.device().send(&[&[0x40, 2][..], &id.to_be_bytes()].concat()).await;
            }
            if topic == wanted {
                return serde_json::from_slice(&payload).expect("JSON");
            }
        }
    }

    async fn answer(&mut self) -> Value {
        self.next("command_ack", true).await
    }

    async fn reading(&mut self) -> Value {
        self.next("telemetry", true).await
    }
}

fn command(id: u128, cmd: &str, params: &Value, life: TimeDelta) -> String {
    let now = Utc::now();
    json!({
        "cmd_id": Uuid::from_u128(id), "cmd": cmd, "params": params, "attempt": 1,
        "issued_at": now, "expires_at": now + life,
    })
    .to_string()
}

fn failed(id: u128, error: &str) -> Value {
    json!({ "cmd_id": Uuid::from_u128(id), "status": "failed", "error": error })
}

/// An agent that measures once an hour, and its broker.
async fn agent() -> (Broker, DropGuard) {
    let (mut broker, address) = Broker::listen("here").await;
    let stop = CancellationToken::new();
    let options = agent::Options {
        interval: Duration::from_hours(1),
        ..agent::Options::new(address.into(), "t0".parse().expect("a tenant"), "here".parse().expect("a uid"))
    };
    tokio::spawn(agent::run(options, stop.clone()));
    broker.accept().await;
    (broker, stop.drop_guard())
}

#[tokio::test]
async fn an_agent_answers_a_ping_and_the_same_to_a_repeat() {
    let (mut broker, _running) = agent().await;
    broker.command(1, "ping", json!({})).await;
    let answer = broker.answer().await;
    assert_eq!((&answer["status"], &answer["result"]["uid"]), (&json!("ack"), &json!("here")), "{answer}");
    assert!(answer["result"]["uptime_s"].is_u64(), "{answer}");
    // Were it carried out again, in these words, it would fail.
    broker.command(1, "no such thing", json!({})).await;
    assert_eq!(broker.answer().await, answer);
}

#[tokio::test]
async fn an_agent_obeys_set_interval_from_then_on() {
    let (mut broker, _running) = agent().await;
    broker.reading().await;
    broker.command(1, "set_interval", json!({ "seconds": 1 })).await;
    assert_eq!(broker.answer().await["result"], json!({ "seconds": 1 }));
    let first = broker.reading().await["ts"].as_i64().expect("a time");
    let second = broker.reading().await["ts"].as_i64().expect("a time");
    assert!((900..2000).contains(&(second - first)), "{first}, {second}");
}

#[tokio::test]
async fn an_agent_refuses_what_is_expired_unknown_or_too_much_and_ignores_what_is_no_command() {
    let (mut broker, _running) = agent().await;
    for nonsense in ["", "{}", r#"{"cmd_id":"7"}"#] {
        broker.send(nonsense).await;
    }
    broker.send(&command(1, "ping", &json!({}), TimeDelta::zero())).await;
    assert_eq!(broker.answer().await, failed(1, "expired"));
    for (id, cmd, params, error) in [
        (2, "reboot", json!({}), "not allowed: others use this machine"),
        (3, "explode", json!({}), "not supported"),
        (4, "set_interval", json!({ "seconds": 0 }), "expected params.seconds from 1 to 86400"),
    ] {
        broker.command(id, cmd, params).await;
        assert_eq!(broker.answer().await, failed(id, error));
    }
}

#[tokio::test]
async fn an_answer_is_sent_until_it_is_acknowledged() {
    let (mut broker, _running) = agent().await;
    broker.command(1, "ping", json!({ "padding": "x".repeat(32 << 10) })).await;
    let answer = broker.next("command_ack", false).await;
    broker.hang_up();
    broker.accept().await;
    assert_eq!(broker.answer().await, answer);
}

#[tokio::test]
async fn simulated_devices_do_as_they_are_told() {
    let (mut broker, address) = Broker::listen("sim-00001").await;
    let stop = CancellationToken::new();
    let options = simulate::Options::new(address.into(), "t0".parse().expect("a tenant"), 1, 1.0 / 3600.0);
    let devices = tokio::spawn(simulate::run(options, stop.clone(), |_| ()));
    broker.accept().await;
    for (id, cmd, answer) in [
        (1, "ping", json!({ "status": "ack", "result": { "uid": "sim-00001" } })),
        (2, "reboot", json!({ "status": "ack" })),
        (3, "explode", json!({ "status": "failed", "error": "not supported" })),
        (4, "set_interval", json!({ "status": "ack", "result": { "seconds": 1 } })),
    ] {
        broker.command(id, cmd, json!({ "seconds": 1 })).await;
        let mut expected = answer;
        expected["cmd_id"] = json!(Uuid::from_u128(id));
        assert_eq!(broker.answer().await, expected);
    }
    broker.reading().await;
    broker.reading().await;
    stop.cancel();
    let report = devices.await.expect("an orderly end").expect("options");
    let commands = simulate::CommandCounts { received: 4, acked: 3, failed: 1, silent: 0, late: 0 };
    assert_eq!(report.total.commands, commands);
    assert!(
        report.to_string().contains("; commands: 4 received, 3 acked, 1 failed, 0 silent, 0 late"),
        "{report}"
    );
}

#[tokio::test]
async fn simulated_commands_fail_stay_unanswered_or_are_late_each_time_they_come() {
    const COMMANDS: u64 = 20;
    let (mut broker, address) = Broker::listen("sim-00001").await;
    let stop = CancellationToken::new();
    let late_by = Duration::from_millis(1);
    let options = simulate::Options {
        faults: simulate::Faults { fail: 0.25, silent: 0.25, late: 0.25, late_by },
        ..simulate::Options::new(address.into(), "t0".parse().expect("a tenant"), 1, 1.0 / 3600.0)
    };
    let (tell, mut told) = watch::channel(simulate::Progress::default());
    let devices = tokio::spawn(simulate::run(options, stop.clone(), move |progress| {
        tell.send_replace(progress.clone());
    }));
    broker.accept().await;
    let mut rounds = Vec::new();
    let mut total = simulate::CommandCounts::default();
    for round in 1..=2 {
        for id in 0..COMMANDS {
            broker.command(id.into(), "ping", json!({})).await;
        }
        let received = |progress: &simulate::Progress| progress.commands.received == round * COMMANDS;
        let before = std::mem::replace(&mut total, told.wait_for(received).await.expect("running").commands);
        let answered = |commands: simulate::CommandCounts| commands.received - commands.silent;
        let mut answers = BTreeMap::new();
        for _ in answered(before)..answered(total) {
            let answer = broker.answer().await;
            answers.insert(answer["cmd_id"].to_string(), answer);
        }
        assert_eq!(answers.len() as u64, answered(total) - answered(before), "each answered once");
        let failures = answers.values().filter(|answer| answer["error"] == "simulated failure").count();
        assert_eq!(failures as u64, total.failed - before.failed);
        rounds.push(answers);
    }
    assert_eq!(rounds[0], rounds[1]);
    let simulate::CommandCounts { acked, failed, silent, late, .. } = total;
    assert!([acked, failed, silent, late].iter().all(|count| *count > 0), "{total}");
    stop.cancel();
    devices.await.expect("an orderly end").expect("options");
}
