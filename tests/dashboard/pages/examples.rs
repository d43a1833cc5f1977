//! A tenant with something on every page.

use reqwest::Method;
use serde_json::{Value, json};

use crate::dashboard::Site;
use crate::support::mqtt::Device;

/// What the addresses of pages name.
pub(super) struct Examples {
    /// The ends of addresses with the examples that follow them.
    named: Vec<(&'static str, String)>,
    are_there: bool,
}

impl Examples {
    /// The example for the address that ends here: a device's uid after `/app/devices/`.
    pub(super) fn of(&self, address: &str, name: &str) -> Option<&str> {
        let named = format!("{address}<{name}>");
        self.named.iter().find(|(pattern, _)| named.ends_with(pattern)).map(|(_, example)| &**example)
    }

    /// Nothing of what they name is there.
    pub(super) fn none() -> Self {
        let id = "01981dd6-0000-7000-8000-000000000000";
        Self { are_there: false, ..Self::with(id, id, id, id, id) }
    }

    /// Whether the API refused a request, as it must, because an example is not there. `refused`: the status and the address.
    pub(super) fn miss(&self, refused: &str) -> bool {
        let names = |part: &str| self.named.iter().any(|(_, example)| example == part);
        !self.are_there && refused.starts_with("404 ") && refused.split(['/', '"']).any(names)
    }

    fn with(command: &str, batch: &str, alarm: &str, webhook: &str, user: &str) -> Self {
        let of = |pattern, example: &str| (pattern, example.to_owned());
        let named = vec![
            of("/devices/<uid>", "dev-01"),
            of("/commands/<id>", command),
            of("batches/<id>", batch),
            of("/alarms/<id>", alarm),
            of("rules/<name>", "too-hot"),
            of("/webhooks/<id>", webhook),
            of("/users/<id>", user),
            of("/policies/<name>", "no-reboot"),
            of("/projections/<name>", "devices"),
            of("/events/<log>", "1"),
            of("/events/1/<position>", "1"),
            of("/tenants/<tenant>", "t0"),
            of("/tiers/<tier>", "free"),
        ];
        Self { named, are_there: true }
    }

    /// Fills the service.
    pub(super) async fn make(site: &Site) -> Self {
        let rule = json!({"title": "Too hot", "severity": "critical",
            "condition": {"kind": "threshold", "metric": "temperature", "is": "above", "value": 30.0}});
        site.send(Method::PUT, "/alarm-rules/too-hot", rule).await;
        site.send(Method::PUT, "/sources/plugs", json!({"preset": "tasmota"})).await;
        let forbid = "forbid (principal in Role::\"operator\", action == Action::\"commands.write\", resource is Device)
            when { context has cmd && context.cmd == \"reboot\" };";
        site.send(Method::PUT, "/policies/no-reboot", json!({"source": forbid})).await;
        let key = json!({"name": "billing", "actions": ["devices.read", "telemetry.read"]});
        site.send(Method::POST, "/api-keys", key).await;
        let jo = json!({"email": "jo@example.com", "role": "operator"});
        let user = site.send(Method::POST, "/users", jo).await;
        let webhook = json!({"url": "http://127.0.0.1:9/fleetlog", "description": "The shop", "follow": {"log": "control"}});
        let webhook = site.send(Method::POST, "/webhooks", webhook).await;
        let named = json!({"uid": "dev-01", "name": "Boiler in the cellar of the north wing", "labels": {"site": "hanoi", "floor": "-1"}});
        site.send(Method::POST, "/devices", named).await;
        site.send(Method::POST, "/devices/dev-01/credentials", json!({})).await;
        for uid in ["dev-02", "a-device-whose-name-is-as-long-as-a-name-may-be-in-fleetlog-0123"] {
            site.publish(uid, [json!({"temperature": 18.5, "on": true})]).await;
        }
        let mut device = site.device("dev-01").await;
        device.subscribe("t0/devices/dev-01/commands").await;
        let command = commanded(site, &mut device).await;
        measured(&mut device).await;
        let batch = json!({"cmd": "ping", "selector": {"devices": ["dev-01", "dev-02"]}, "rate_per_s": 10});
        let batch = site.send(Method::POST, "/command-batches", batch).await;
        let alarms = site
            .until("/alarms", |answer| answer["items"].as_array().is_some_and(|all| !all.is_empty()))
            .await;
        site.until("/quarantine", |answer| answer["items"].as_array().is_some_and(|all| !all.is_empty()))
            .await;
        Self::with(
            &command,
            &id(&batch, &["batch_id", "id"]),
            &id(&alarms["items"][0], &["alarm_id", "id"]),
            &id(&webhook, &["webhook_id", "id"]),
            &id(&user, &["user_id"]),
        )
    }
}

fn id(of: &Value, names: &[&str]) -> String {
    let found = names.iter().find_map(|name| of[name].as_str());
    found.unwrap_or_else(|| panic!("no id: {of}")).to_owned()
}

/// A command that succeeds, one that fails, and one that waits for the device's answer. Returns the id of the one that failed.
async fn commanded(site: &Site, device: &mut Device) -> String {
    let mut last = String::new();
    for (cmd, answer) in [("ping", Some("ack")), ("set_interval", Some("failed")), ("ping", None)] {
        let params = if cmd == "ping" { json!({}) } else { json!({"seconds": 5}) };
        let sent = json!({"cmd": cmd, "params": params});
        site.send(Method::POST, "/devices/dev-01/commands", sent).await;
        let command: Value = serde_json::from_slice(&device.message().await).expect("JSON");
        if let Some(status) = answer {
            let mut ack = json!({"cmd_id": command["cmd_id"], "status": status});
            if status == "failed" {
                ack["error"] = json!({"reason": "the valve is stuck"});
                last = id(&command, &["cmd_id"]);
            }
            device.report("t0/devices/dev-01/command_ack", ack.to_string()).await;
        }
    }
    last
}

/// Readings with a gap, a late one, one that raises the alarm, and a message that cannot be read.
async fn measured(device: &mut Device) {
    let (topic, now) = ("t0/devices/dev-01/telemetry", chrono::Utc::now().timestamp_millis());
    for second in (0..40).chain(80..120).chain([60]) {
        let ts = now - 600_000 + 4000 * second;
        let temperature = 21.0 + (second % 11) as f64 / 2.0;
        let reading = json!({"ts": ts, "temperature": temperature, "humidity": 60.0 - temperature, "valve": {"open": second % 2 == 0}});
        device.report(topic, reading.to_string()).await;
    }
    device.report(topic, json!({"temperature": 34.5, "humidity": 40.0}).to_string()).await;
    device.report(topic, [0xff, 0xfe]).await;
}
