//! A history that the log has recorded, and what the binary tells of it.

use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use fleetlog_aggregates::command::{Ack, Command, Input, Request};
use fleetlog_aggregates::device::{self, Device, Labels, Via};
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Actor, Metadata};
use serde_json::{Value, json};

use crate::support::{Database, register_device, tool, url};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_772_366_400 + seconds, 0).expect("in range")
}

pub(super) fn id(n: u32) -> String {
    format!("019a0000-0000-7000-8000-{n:012}")
}

/// A database with a history.
pub(super) struct History {
    pub(super) database: Database,
    log: EventLog,
}

impl History {
    /// On two devices: a command that times out and is answered late, one that is done, one that is cancelled, one that
    /// fails, and one that has not ended.
    pub(super) async fn record() -> Self {
        let database = Database::fresh().await;
        let log = database.event_log().await;
        let history = Self { database, log };
        let labels = Labels::from([("site".to_owned(), "hanoi".to_owned())]);
        for (uid, via, labels) in [("dev-01", Via::Telemetry, Labels::new()), ("dev-02", Via::Api, labels)] {
            history.device(uid, register_device(via, None, labels)).await;
        }
        history.request(1, "dev-01", "set_interval", json!({ "seconds": 60 })).await;
        history.command(1, "dispatcher", Input::MarkSent { attempt: 1, at: at(1) }).await;
        history.request(2, "dev-01", "ping", json!({})).await;
        history.command(1, "dispatcher", Input::MarkSent { attempt: 2, at: at(15) }).await;
        let done = Ack::Ack { result: Some(json!({ "ms": 3 }).into()) };
        history.answer(2, "dev-01", done.clone()).await;
        history.command(1, "dispatcher", Input::TimeOut(at(25))).await;
        history.request(3, "dev-01", "reboot", json!({})).await;
        history.answer(1, "dev-01", done).await;
        let cancel = Input::Cancel { by: "user:2".to_owned(), reason: Some("wrong device".to_owned()) };
        history.command(3, "user:2", cancel).await;
        history.request(4, "dev-01", "ping", json!({})).await;
        history.request(5, "dev-02", "ping", json!({})).await;
        history.answer(5, "dev-02", Ack::Failed { error: Some(json!("hot\u{9b}31m").into()) }).await;
        history.device("dev-01", device::Command::Decommission).await;
        history
    }

    async fn device(&self, uid: &str, command: device::Command) {
        let metadata = Metadata::by(Actor::Ingest);
        self.log
            .execute::<Device>(&format!("t0/{uid}").parse().expect("a stream"), command, metadata)
            .await
            .expect("accepted");
    }

    async fn command(&self, n: u32, actor: &str, input: Input) {
        let metadata = Metadata::by(Actor::from(actor));
        self.log
            .execute::<Command>(&format!("t0/{}", id(n)).parse().expect("a stream"), input, metadata)
            .await
            .expect("accepted");
    }

    async fn request(&self, n: u32, uid: &str, cmd: &str, params: Value) {
        let request = Request {
            device_uid: uid.parse().expect("a uid"),
            cmd: cmd.to_owned(),
            params,
            requested_by: "user:1".to_owned(),
            timeout_s: 10,
            max_attempts: 2,
            expires_at: at(100),
            batch_id: None,
            request_digest: None,
        };
        self.command(n, "user:1", Input::Request(request, at(0))).await;
    }

    async fn answer(&self, n: u32, uid: &str, ack: Ack) {
        let device_uid = uid.parse().expect("a uid");
        self.command(n, uid, Input::Acknowledge { device_uid, ack, at: at(30) }).await;
    }

    /// When the event at a position was recorded.
    pub(super) async fn moment(&self, position: i64) -> String {
        let select = "SELECT recorded_at FROM control_events WHERE position = $1";
        let moment: DateTime<Utc> =
            sqlx::query_scalar(select).bind(position).fetch_one(self.log.pool()).await.expect("an event");
        moment.to_rfc3339_opts(SecondsFormat::Micros, true)
    }

    pub(super) async fn replay(&self, arguments: &[&str]) -> Told {
        let database = url(&self.database.options());
        Told::by(&[&["--database-url", &database], arguments].concat()).await
    }
}

/// What the binary said.
pub(super) struct Told {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) reason: String,
}

impl Told {
    async fn by(arguments: &[&str]) -> Self {
        let output = tool("replay").args(arguments).output().await.expect("the binary");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code().expect("an exit code"),
            out: text(output.stdout),
            reason: text(output.stderr),
        }
    }

    pub(super) async fn in_data_dir(dir: &Path, arguments: &[&str]) -> Self {
        let dir = dir.to_str().expect("UTF-8");
        Self::by(&[&["--data-dir", dir], arguments].concat()).await
    }

    /// The words, without the moments that differ from run to run, and without the last line: nothing of a [`History`] is
    /// signed.
    pub(super) fn words(&self) -> String {
        assert_eq!((self.code, &*self.reason), (0, ""));
        let told = self.out.strip_suffix("not verified: log 1 has no signed checkpoint yet\n");
        let mut words = String::new();
        for line in told.expect("what is proved").lines() {
            let line = match line.strip_prefix("  ").and_then(|line| line.split_once("  ")) {
                Some((time, rest)) if DateTime::parse_from_rfc3339(time).is_ok() => format!("  {rest}"),
                _ => match line.strip_prefix("as of ").and_then(|line| line.split_once(": ")) {
                    Some((_, rest)) => format!("as of then: {rest}"),
                    None => line.to_owned(),
                },
            };
            words += &line;
            words.push('\n');
        }
        words
    }

    /// The lines, without the last one.
    pub(super) fn json(&self) -> Vec<Value> {
        assert_eq!((self.code, &*self.reason), (0, ""));
        let mut lines: Vec<Value> =
            self.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(
            lines.pop(),
            Some(json!({ "line": "proof", "log_id": 1, "verified": 0, "unsigned": 17 })),
            "nothing of a history is signed"
        );
        lines
    }
}
