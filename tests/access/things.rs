//! Things of tenants: one's own, another's with a canary in every text, and what is not there.

use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::Utc;
use fleetlog_access::api_keys::{self, NewKey};
use fleetlog_access::policy::store;
use fleetlog_access::{Action, Role};
use fleetlog_aggregates::alarm::{self, About, Alarm, Raised};
use fleetlog_aggregates::alarm_rule::{self, Severity};
use fleetlog_aggregates::command_type::Definition;
use fleetlog_aggregates::device::{Device, Labels, Via};
use fleetlog_aggregates::identity::Tenant;
use fleetlog_engine::alarms::rules;
use fleetlog_engine::commands::batch::{NewBatch, Selector};
use fleetlog_engine::commands::{Commands, NewCommand};
use fleetlog_engine::sources;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::{Lane, TenantLog};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::api::{answer, user_id};
use crate::support::{Api, register_device};

/// The kinds of things that belong to tenants.
pub(super) const KINDS: [&str; 12] = [
    "device",
    "command",
    "batch",
    "type",
    "alarm",
    "rule",
    "source",
    "policy",
    "key",
    "user",
    "credential",
    "webhook",
];
/// In every text of the other tenant's; in lower case.
pub(super) const CANARY: &str = "zanarie7f3a";
/// As long as that.
const NOTHING: &str = "nothing7f3a";
const OWN: &str = "mything7f3a";

/// A command that takes anything, for a canary to be in it.
const NOTE: &str = "note";

/// Whose callers the tests are. An ordinary tenant, not the platform's.
pub(super) const OURS: &str = "acme";
/// The other tenant.
pub(super) const THEIRS: &str = "zanarie7f3a-inc";

/// Whose a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Own,
    Foreign,
    Nobodys,
}

impl Whose {
    pub(super) const ALL: [Self; 3] = [Self::Own, Self::Foreign, Self::Nobodys];

    fn prefix(self) -> &'static str {
        match self {
            Self::Own => OWN,
            Self::Foreign => CANARY,
            Self::Nobodys => NOTHING,
        }
    }

    fn tenant(self) -> Option<Tenant> {
        let tenant = match self {
            Self::Own => OURS,
            Self::Foreign => THEIRS,
            Self::Nobodys => return None,
        };
        Some(tenant.parse().expect("a tenant"))
    }
}

/// Two tenants with something of everything.
pub(super) async fn tenants() -> Api {
    let api = Api::start().await;
    for tenant in [OURS, THEIRS] {
        api.add_tenant(tenant).await;
    }
    api.ship_types().await;
    for whose in [Whose::Own, Whose::Foreign] {
        let (tenant, name) = (whose.tenant().expect("a tenant"), NOTE.parse().expect("a name"));
        let definition =
            Definition { description: None, params: json!({"type": "object"}), max_attempts: None };
        let log = api.log.for_tenant(&tenant);
        Commands::default()
            .define_type(&log, &name, definition, Metadata::by(Actor::Fleetlog))
            .await
            .expect("defined");
        for kind in KINDS {
            make(&api, kind, whose).await;
        }
        let text = whose.prefix();
        let readings =
            [json!({"msg_id": text, "n": 1, "note": text, text: 2}), json!({"msg_id": "m2", "n": 2})];
        api.publish_of(tenant.as_str(), text, readings).await;
        let mut owner = api.database.owner().await;
        sqlx::query(
            "INSERT INTO quarantine (tenant, topic, payload, reason, detail, received_at)
             VALUES ($1, $2, convert_to($2, 'UTF8'), 'too_deep', $2, now())",
        )
        .bind(tenant.as_str())
        .bind(text)
        .execute(&mut owner)
        .await
        .expect("quarantined");
        sqlx::query("UPDATE users SET name = $2 WHERE tenant = $1")
            .bind(tenant.as_str())
            .bind(text)
            .execute(&mut owner)
            .await
            .expect("named");
    }
    api.catch_up().await;
    api.prove().await;
    api
}

/// A new thing, or for nobody's the name of none.
pub(super) async fn make(api: &Api, kind: &str, whose: Whose) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(100);
    let text = whose.prefix();
    let name = format!("{text}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let Some(tenant) = whose.tenant() else {
        return match kind {
            "command" | "batch" | "alarm" | "key" | "user" | "webhook" => Uuid::now_v7().to_string(),
            "credential" => format!("{name}/credentials/{}", Uuid::now_v7()),
            _ => name,
        };
    };
    let by = || Metadata::within(text.to_owned(), Actor::User(user_id(tenant.as_str(), Role::Admin)));
    let (commands, log) = (Commands::default(), api.log.for_tenant(&tenant));
    match kind {
        "device" => {
            let labels = Labels::from([(text.to_owned(), text.to_owned())]);
            let register = register_device(Via::Api, Some(text.to_owned()), labels);
            api.log
                .execute::<Device>(&format!("{tenant}/{name}").parse().expect("a stream"), register, by())
                .await
                .expect("registered");
            name
        }
        "command" => {
            let device_uid = Box::pin(make(api, "device", whose)).await.parse().expect("a uid");
            let command = NewCommand {
                device_uid,
                cmd: NOTE.into(),
                params: Some(json!({"note": text})),
                timeout_s: None,
                max_attempts: None,
                expires_at: Some(Utc::now() + chrono::TimeDelta::hours(1)),
            };
            commands.send(&log, command, None, by()).await.expect("sent").id.to_string()
        }
        "batch" => {
            let device = Box::pin(make(api, "device", whose)).await.parse().expect("a uid");
            api.catch_up().await;
            let batch = NewBatch {
                selector: Selector::Devices(vec![device]),
                cmd: NOTE.into(),
                params: Some(json!({"note": text})),
                rate_per_s: 1,
                abort_after_failures: None,
                timeout_s: None,
                max_attempts: None,
                expires_at: None,
            };
            let allow = async |devices| Ok(devices);
            commands.send_batch(&log, batch, None, by(), allow).await.expect("sent").id.to_string()
        }
        "type" => {
            let definition = Definition {
                description: Some(text.into()),
                params: json!({"type": "object"}),
                max_attempts: None,
            };
            let named = name.parse().expect("a name");
            commands.define_type(&log, &named, definition, by()).await.expect("defined");
            name
        }
        "alarm" => {
            let device = Box::pin(make(api, "device", whose)).await;
            raise(api, &log, text, &device, by()).await
        }
        "rule" => {
            define_rule(&log, text, &name, by()).await;
            name
        }
        "source" => define_source(&log, text, name, by()).await,
        "policy" => {
            let source = format!(
                "// {text}\npermit (principal in Role::\"admin\", action == Action::\"devices.read\", resource);"
            );
            let named = name.parse().expect("a name");
            store::define(&log, &named, source, Some(text.to_owned()), by()).await.expect("defined");
            name
        }
        "key" => {
            let new = NewKey { name: text.into(), actions: vec![Action::DevicesRead], expires_at: None };
            let issued = api_keys::issue(&log, new, text.to_owned(), by()).await;
            issued.expect("issued").key_id.to_string()
        }
        "user" => {
            let user_id = Uuid::now_v7();
            add_user(api, user_id, (tenant.as_str(), text), &name).await;
            user_id.to_string()
        }
        "credential" => {
            let uid = Box::pin(make(api, "device", whose)).await;
            let token = api.token(tenant.as_str(), Role::Admin);
            let issue = api.request(Method::POST, &format!("/devices/{uid}/credentials")).bearer_auth(token);
            let issued = answer(issue.json(&json!({}))).await.json();
            format!("{uid}/credentials/{}", issued["credential_id"].as_str().expect("issued"))
        }
        "webhook" => webhook(api, &tenant, text).await,
        other => panic!("nobody knows how to make a {other}"),
    }
}

async fn define_source(log: &TenantLog, text: &str, name: String, by: Metadata) -> String {
    let definition = json!({"title": text, "topics": [{"topic": format!("{name}/{{uid}}")}]});
    let definition = definition.as_object().expect("an object").clone();
    let definition = sources::Definition { definition, preset: None, replaces: None };
    sources::define(log, &name.parse().expect("a name"), definition, by).await.expect("defined");
    name
}

/// A new webhook of a tenant, in place of the one before: a tenant has few of them.
async fn webhook(api: &Api, tenant: &Tenant, text: &str) -> String {
    let remove = sqlx::query("DELETE FROM webhooks WHERE tenant = $1").bind(tenant.as_str());
    remove.execute(&mut api.database.owner().await).await.expect("removed");
    // No server listens there.
    let url = format!("http://127.0.0.1:9/{text}");
    let body = json!({"url": url, "description": text, "follow": {"log": "telemetry"}});
    let create = api.request(Method::POST, "/webhooks");
    let created = answer(create.bearer_auth(api.token(tenant.as_str(), Role::Admin)).json(&body)).await;
    created.json()["webhook_id"].as_str().expect("created").to_owned()
}

/// Raises an alarm of a device, and returns its id.
async fn raise(api: &Api, log: &TenantLog, text: &str, device: &str, by: Metadata) -> String {
    let raised = Raised {
        about: About {
            rule: text.parse().expect("a rule"),
            severity: Severity::Minor,
            device_uid: device.parse().expect("a uid"),
        },
        rule_version: 1,
        title: text.into(),
        condition: "threshold".into(),
        metric: Some(text.into()),
        cmd: None,
        value: Some(1.0),
        since: Utc::now(),
        cause: "1:1".into(),
    };
    let id = Uuid::now_v7();
    let raised = api.log.execute::<Alarm>(&log.stream(id), alarm::Input::Raise(raised), by).await;
    raised.expect("raised");
    id.to_string()
}

/// Adds a user with an address of this name.
async fn add_user(api: &Api, user_id: Uuid, (tenant, text): (&str, &str), name: &str) {
    sqlx::query("INSERT INTO users (user_id, tenant, email, name, role) VALUES ($1, $2, $3, $4, 'viewer')")
        .bind(user_id)
        .bind(tenant)
        .bind(format!("{name}@example.com"))
        .bind(text)
        .execute(&mut api.database.owner().await)
        .await
        .expect("added");
}

/// Defines an alarm rule.
async fn define_rule(log: &TenantLog, text: &str, name: &str, by: Metadata) {
    let definition = alarm_rule::Definition {
        title: text.into(),
        severity: Severity::Minor,
        devices: alarm_rule::Devices::All,
        condition: alarm_rule::Condition::Rate { metric: text.into(), by: 1.0, within_s: 60 },
        mail: vec![],
    };
    let named = name.parse().expect("a name");
    rules::define(log, &named, definition, None, by).await.expect("defined");
}

/// The control log of whoever that is; for nobody, the number of none.
pub(super) fn log_of(api: &Api, whose: Whose) -> String {
    whose.tenant().map_or_else(
        || "9".repeat(api.log_of(THEIRS, Lane::Control).0.to_string().len()),
        |tenant| api.log_of(tenant.as_str(), Lane::Control).0.to_string(),
    )
}

/// The tenant's name; for nobody's, that of none.
pub(super) fn tenant_of(whose: Whose) -> String {
    whose.tenant().map_or_else(|| format!("{NOTHING}-inc"), |tenant| tenant.to_string())
}

/// Two keys of ours, each for one thing.
pub(super) async fn keys(api: &Api) -> [(Action, String); 2] {
    let tenant: Tenant = OURS.parse().expect("a tenant");
    let mut keys = vec![];
    for action in [Action::TenantRead, Action::LogsRead] {
        let new = NewKey { name: "k".into(), actions: vec![action], expires_at: None };
        let issued = api_keys::issue(
            &api.log.for_tenant(&tenant),
            new,
            user_id(OURS, Role::Admin).to_string(),
            Metadata::by(Actor::Fleetlog),
        )
        .await;
        keys.push((action, issued.expect("issued").key));
    }
    keys.try_into().expect("two")
}
