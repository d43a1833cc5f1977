//! What is no access token, however much it looks like one.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use fleetlog_access::{Role, Secret, first_start};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{log_in, me_with};
use crate::support::api::{PASSWORD, answer};
use crate::support::{Api, Database, eventually, tool};

fn part(value: &Value) -> String {
    BASE64.encode(value.to_string())
}

fn read(part: &str) -> Value {
    serde_json::from_slice(&BASE64.decode(part).expect("base64")).expect("JSON")
}

#[tokio::test]
async fn forty_bad_tokens_are_refused() {
    let api = Api::start().await;
    let good = api.token("t0", Role::Admin);
    let other = Api::start().await.token("t0", Role::Admin);
    let body = json!({"email": "admin@localhost", "password": PASSWORD, "refresh": "body"});
    let refresh = log_in(&api, &body).await.json()["refresh_token"].as_str().expect("a token").to_owned();
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("three parts") };
    let (head, said) = (read(header), read(claims));
    let with = |field: &str, value: Value| {
        let mut head = head.clone();
        head[field] = value;
        format!("{}.{claims}.{signature}", part(&head))
    };
    let saying = |field: &str, value: Value| {
        let mut said = said.clone();
        said[field] = value;
        format!("{header}.{}.{signature}", part(&said))
    };
    let mut bad = vec![
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        "null".into(),
        "undefined".into(),
        refresh.clone(),
        format!("{refresh}.{refresh}.{refresh}"),
        other,
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!("{header}.{claims}.{}", "A".repeat(86)),
        format!("{header}.{claims}.{signature}A"),
        format!("{header}.{claims}.{}", &signature[1..]),
        format!("{claims}.{header}.{signature}"),
        format!("{good}.{signature}"),
        format!(".{claims}.{signature}"),
        format!("{header}..{signature}"),
        good.to_uppercase(),
        format!("{}.{claims}.{signature}", part(&json!({"alg": "EdDSA"}))),
        format!("{}.{claims}.", part(&json!({"alg": "none"}))),
        format!("{}.{claims}.{signature}", BASE64.encode("not JSON")),
        format!("{header}.{}.{signature}", BASE64.encode("not JSON")),
        "flk_".into(),
        "flk_00000000000000000000000000000000_".into(),
        format!("flk_00000000000000000000000000000000_{}", BASE64.encode([0; 32])),
        "a".repeat(7000),
    ];
    bad.extend(
        ["none", "None", "nOnE", "HS256", "HS512", "RS256", "ES256"].map(|alg| with("alg", json!(alg))),
    );
    bad.extend(
        [json!("00000000-0000-0000-0000-000000000000"), json!("../../etc/passwd"), json!(null), json!(1)]
            .map(|kid| with("kid", kid)),
    );
    bad.extend([
        with("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"})),
        saying("aud", json!("someone-else")),
        saying("iss", json!("someone-else")),
        saying("exp", json!(4_102_444_800_u32)),
        saying("nbf", json!(4_102_444_800_u32)),
        saying("typ", json!("refresh")),
        saying("tenant", json!("t1")),
        saying("role", json!("admin ")),
        saying("sid", json!("00000000-0000-0000-0000-000000000000")),
    ]);
    assert!(bad.len() >= 40, "{}", bad.len());
    assert_eq!(me_with(&api, &format!("Bearer {good}")).await.status, StatusCode::OK);
    for token in bad {
        assert_eq!(
            me_with(&api, &format!("Bearer {token}")).await.refusal(),
            "401 unauthenticated",
            "{token}"
        );
    }
}

#[tokio::test]
async fn a_replaced_key_signs_no_more_and_what_it_has_signed_stays_good() {
    let api = Api::start().await;
    let before = api.token("t0", Role::Viewer);
    let rotate = |role| api.send_as(role, Method::POST, "/signing-keys/rotate", None);
    assert_eq!(rotate(Role::Operator).await.refusal(), "403 forbidden");
    let kid = rotate(Role::Admin).await.json()["kid"].clone();
    let after = api.token("t0", Role::Viewer);
    assert_eq!(read(after.split('.').next().expect("a header"))["kid"], kid);
    for token in [&before, &after] {
        assert_eq!(me_with(&api, &format!("Bearer {token}")).await.status, StatusCode::OK);
    }
    let at = api.get("/events?type=SigningKeyRotated").await.json();
    assert_eq!(at["items"][0]["payload"]["SigningKeyRotated"]["kid"], kid);
    let gone = "UPDATE signing_keys SET retired_at = retired_at - interval '17 minutes' WHERE retired_at IS NOT NULL";
    sqlx::raw_sql(gone).execute(&mut api.database.owner().await).await.expect("aged");
    let again = rotate(Role::Admin).await;
    assert_eq!(again.status, StatusCode::CREATED);
    assert_eq!(me_with(&api, &format!("Bearer {before}")).await.refusal(), "401 unauthenticated");
}

#[tokio::test]
async fn another_node_takes_a_token_of_a_key_that_it_has_not_heard_of() {
    let (one, other) = {
        let one = Api::start().await;
        let other = one.another_node().await;
        (one, other)
    };
    assert_eq!(
        one.send_as(Role::Admin, Method::POST, "/signing-keys/rotate", None).await.status,
        StatusCode::CREATED
    );
    let token = format!("Bearer {}", one.token("t0", Role::Viewer));
    // It looks once a second at the most, so that made-up keys cost nothing.
    eventually("the other node takes the token", async || {
        let answered = me_with(&other, &token).await;
        if answered.status == StatusCode::OK { Ok(()) } else { Err(answered.text) }
    })
    .await;
}

#[tokio::test]
async fn keys_are_sealed_with_the_operators_secret_and_open_with_no_other() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let secret = |text: &str| text.parse::<Secret>().ok();
    let start = |secret| first_start(&log, None, Some(PASSWORD.into()), secret);
    let stored = async || -> Vec<u8> {
        let mut owner = database.owner().await;
        sqlx::query_scalar("SELECT private_key FROM signing_keys").fetch_one(&mut owner).await.expect("a key")
    };
    start(None).await.expect("without a secret");
    let plain = stored().await;
    start(secret(&"s".repeat(32))).await.expect("sealed from now on");
    assert!(stored().await.windows(16).all(|window| !plain.windows(16).skip(16).any(|part| part == window)));
    start(secret(&"s".repeat(32))).await.expect("the same secret");
    for (given, why) in [(None, "set FLEETLOG_SECRET"), (secret(&"z".repeat(32)), "another secret")] {
        let refused = start(given).await.err().expect("refused").to_string();
        assert!(refused.contains(why) && !refused.contains('\n'), "{refused}");
    }
}

#[tokio::test]
async fn a_request_that_is_not_authenticated_says_how_to_be() {
    let api = Api::start().await;
    let answered = answer(api.request(Method::GET, "/devices")).await;
    assert_eq!((answered.status, answered.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"));
    for way in ["POST /auth/login", "POST /auth/refresh", "API key"] {
        assert!(answered.text.contains(way), "{}", answered.text);
    }
    let answered = answer(api.request(Method::POST, "/auth/refresh")).await;
    assert_eq!(answered.refusal(), "401 unauthenticated");
    assert!(answered.text.contains("refresh token"), "{}", answered.text);
}

#[tokio::test]
async fn a_refusal_names_the_action_that_is_missing() {
    let api = Api::start().await;
    let body = Some(json!({"uid": "dev-01"}));
    let refused = api.send_as(Role::Viewer, Method::POST, "/devices", body).await;
    assert_eq!(refused.refusal(), "403 forbidden");
    assert!(refused.text.contains("devices.write"), "{}", refused.text);
}

#[tokio::test]
async fn a_taken_address_is_refused_with_its_option_before_anything_is_made() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let taken = listener.local_addr().expect("an address").to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    for (option, other, variable) in
        [("--http", "--mqtt", "FLEETLOG_HTTP_ADDR"), ("--mqtt", "--http", "FLEETLOG_MQTT_ADDR")]
    {
        let mut up = tool("up");
        up.arg("--data-dir").arg(&data).args([option, &taken, other, "127.0.0.1:0"]);
        let started = up.output().await.expect("the binary");
        let said = String::from_utf8(started.stderr).expect("text");
        let names = [option, variable, &taken].iter().all(|part| said.contains(part));
        assert!(!started.status.success() && names && !data.exists(), "{said}");
    }
}

#[tokio::test]
async fn an_empty_or_short_secret_is_refused_in_one_line_before_anything_is_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    for (secret, why) in [("", "FLEETLOG_SECRET is set but empty"), ("changeme", "32 characters or more")] {
        let started = tool("up").arg("--data-dir").arg(&data).env("FLEETLOG_SECRET", secret).output().await;
        let started = started.expect("the binary");
        let said = String::from_utf8(started.stderr).expect("text");
        assert!(!started.status.success() && said.contains(why), "{said}");
        assert_eq!((said.lines().count(), data.exists()), (1, false), "{said}");
        assert!(!said.contains("changeme"), "{said}");
    }
}
