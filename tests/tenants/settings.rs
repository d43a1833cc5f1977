//! What a tenant's own admins decide.

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{change, register, send};
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
async fn a_tenant_sees_what_it_may_use_and_each_caller_what_of_it_is_used() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    change(&api, "t1", json!({"max_devices": 3, "tier": "premium"})).await;
    for uid in ["dev-01", "dev-02"] {
        register(&api, "t1", uid).await;
    }
    api.catch_up().await;
    let users = "SELECT count(*) FROM users WHERE tenant = 't1'";
    let users: i64 =
        sqlx::query_scalar(users).fetch_one(&mut api.database.owner().await).await.expect("a count");
    let usage = async |role| send(&api, ("t1", role), Method::GET, "/tenant/usage", None).await.json();
    let seen = usage(Role::Admin).await;
    assert_eq!(seen["devices"], json!({"used": 2, "limit": 3}), "{seen}");
    assert_eq!(seen["users"], json!({"used": users, "limit": null}));
    let premium = send(&api, ("t0", Role::Admin), Method::GET, "/tiers/premium", None).await.json();
    assert_eq!(seen["tier"], premium);
    let seen = usage(Role::Viewer).await;
    assert_eq!((&seen["devices"]["used"], &seen["users"]["used"]), (&json!(2), &Value::Null));
    // A number would tell how many devices a policy hides.
    let source =
        r#"forbid (principal in Role::"viewer", action == Action::"devices.read", resource is Device);"#;
    let body = Some(json!({ "source": source }));
    send(&api, ("t1", Role::Admin), Method::PUT, "/policies/hidden", body).await;
    assert_eq!(usage(Role::Viewer).await["devices"], json!({"used": null, "limit": 3}));
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
