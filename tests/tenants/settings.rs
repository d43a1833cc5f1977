//! What a tenant's own admins decide.

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::send;
use crate::support::{Api, Node};

#[tokio::test]
async fn an_admin_changes_the_own_settings_and_that_is_on_the_record() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    let admin = ("t1", Role::Admin);
    let wanted = json!({"self_registration": false, "registration": "invite", "retention_days": 30});
    let changed = send(&api, admin, Method::PATCH, "/tenant", Some(wanted.clone())).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let shown = send(&api, ("t1", Role::Viewer), Method::GET, "/tenant", None).await.json();
    assert_eq!(
        [&shown["tenant"], &shown["self_registration"], &shown["registration"], &shown["retention_days"]],
        [&json!("t1"), &json!(false), &json!("invite"), &json!(30)]
    );
    let events = send(&api, admin, Method::GET, "/events?type=TenantSettingsChanged", None).await.json();
    assert_eq!(events["items"][0]["payload"], json!({"TenantSettingsChanged": {"settings": wanted}}));
    let again = send(&api, admin, Method::PATCH, "/tenant", Some(wanted)).await.json();
    assert_eq!(again["position"], Value::Null, "nothing has changed");
    let unset = send(&api, admin, Method::PATCH, "/tenant", Some(json!({"retention_days": null}))).await;
    assert_eq!(unset.json()["retention_days"], Value::Null);
    let others = send(&api, ("t0", Role::Admin), Method::GET, "/tenant", None).await.json();
    assert_eq!((&others["tenant"], &others["self_registration"]), (&json!("t0"), &json!(true)));
}

#[tokio::test]
async fn only_admins_change_settings_and_only_their_own() {
    let api = Api::start().await;
    for role in [Role::Viewer, Role::Operator, Role::Analyst, Role::Auditor] {
        let wanted = Some(json!({"self_registration": false}));
        let refused = send(&api, ("t0", role), Method::PATCH, "/tenant", wanted).await;
        assert_eq!(refused.refusal(), "403 forbidden", "{role}");
    }
    for field in ["suspended", "tier", "max_devices", "max_users", "tenant"] {
        let wanted = Some(json!({ field: null }));
        let refused = send(&api, ("t0", Role::Admin), Method::PATCH, "/tenant", wanted).await;
        assert_eq!(refused.refusal(), "422 invalid", "{field} is the platform's");
    }
}

#[tokio::test]
async fn a_tenant_without_self_registration_takes_no_unknown_devices() {
    let api = Api::start().await;
    let node = Node::start_on(api.database.options(), |_, _| ()).await;
    let wanted = Some(json!({"self_registration": false}));
    send(&api, ("t0", Role::Admin), Method::PATCH, "/tenant", wanted).await;
    let topic = "t0/devices/stranger/telemetry";
    node.ingest(topic, r#"{"t":1}"#).await.expect("a fate");
    assert_eq!(node.quarantined(topic).await, [(Some("t0".to_owned()), "unknown_device".to_owned())]);
}
