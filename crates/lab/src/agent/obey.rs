//! What this machine does with commands: it answers `ping`, and `set_interval` changes how often it is read. It refuses
//! commands that would disturb other users of the machine.

use std::time::Duration;

use chrono::Utc;
use fleetlog_aggregates::command::Ack;
use fleetlog_aggregates::identity::Uid;
use serde_json::json;
use sysinfo::System;
use tokio::sync::{mpsc, watch};

use crate::device::Message;
use crate::device::command::{self, AckCache, Command, done, failed};

/// Answers commands until the channel of commands closes.
pub(super) async fn obey(
    uid: &Uid,
    mut commands: mpsc::Receiver<Command>,
    interval: watch::Sender<Duration>,
    outbox: mpsc::Sender<Message>,
) {
    let mut acks = AckCache::default();
    while let Some(command) = commands.recv().await {
        let ack = acks.answer(&command, Utc::now(), |command| carry_out(command, uid, &interval));
        tracing::info!(cmd_id = %command.cmd_id, cmd = command.cmd, answer = %json!(ack), "answers a command");
        if outbox.send(command::message(&command, &ack)).await.is_err() {
            return;
        }
    }
}

fn carry_out(command: &Command, uid: &Uid, interval: &watch::Sender<Duration>) -> Ack {
    match command.cmd.as_str() {
        "ping" => done(json!({ "uid": uid, "uptime_s": System::uptime().ok() })),
        "set_interval" => match command.seconds() {
            Ok(seconds) => {
                interval.send_replace(Duration::from_secs(seconds.into()));
                done(json!({ "seconds": seconds }))
            }
            Err(refusal) => refusal,
        },
        "reboot" => failed("not allowed: others use this machine"),
        _ => failed("not supported"),
    }
}
