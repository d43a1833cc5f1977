//! Guesses at secrets.

use fleetlog_access::attempts::{Attempts, Kind};
use fleetlog_api::Settings;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;

use crate::support::api::{Answer, PASSWORD, answer};
use crate::support::{Api, Database};

/// Two nodes' counts over one database.
async fn attempts() -> (Database, Attempts, Attempts) {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let other = PgPool::connect_with(database.options()).await.expect("connects");
    let one = Attempts::new(log.pool().clone());
    (database, one, Attempts::new(other))
}

async fn login(attempts: &Attempts, account: &str, address: &str) -> Result<(), u64> {
    let taken = attempts.take(Kind::Login, Some(account), address.parse().ok()).await.expect("an answer");
    taken.map_err(|refused| refused.retry_after.as_secs())
}

/// Lets time pass for all counts, or, with a minus, puts the clock back that they were counted by.
async fn pass(database: &Database, time: &str) {
    sqlx::query("UPDATE attempts SET whole_at = whole_at - $1::text::interval")
        .bind(time)
        .execute(&mut database.owner().await)
        .await
        .expect("passed");
}

#[tokio::test]
async fn an_account_gets_ten_attempts_over_all_nodes_and_then_one_every_half_minute() {
    let (database, one, other) = attempts().await;
    for n in 0..10 {
        let node = if n % 2 == 0 { &one } else { &other };
        assert_eq!(login(node, "admin@localhost", "").await, Ok(()), "{n}");
    }
    for node in [&one, &other] {
        let wait = login(node, "admin@localhost", "").await.expect_err("refused");
        assert!((1..=30).contains(&wait), "{wait}");
    }
    pass(&database, "30 seconds").await;
    assert_eq!(login(&other, "admin@localhost", "").await, Ok(()));
    assert!(login(&one, "admin@localhost", "").await.is_err());
    assert_eq!(login(&one, "another@localhost", "").await, Ok(()));
    let password = one.take(Kind::Password, Some("admin@localhost"), None).await;
    assert_eq!(password.expect("an answer"), Ok(()), "another thing to guess");
}

#[tokio::test]
async fn a_clock_that_was_a_month_ahead_keeps_nobody_out() {
    for ahead in ["-30 days", "-1 hour"] {
        let (database, one, other) = attempts().await;
        assert_eq!(login(&one, "admin@localhost", "192.0.2.1").await, Ok(()));
        pass(&database, ahead).await;
        assert_eq!(login(&one, "admin@localhost", "192.0.2.1").await, Ok(()), "{ahead}");
        let wait = login(&other, "admin@localhost", "192.0.2.1").await.expect_err("counted as all used up");
        assert!((1..=30).contains(&wait), "{ahead}: {wait}");
        pass(&database, "30 seconds").await;
        assert_eq!(login(&other, "admin@localhost", "192.0.2.1").await, Ok(()), "{ahead}");
    }
}

#[tokio::test]
async fn an_address_cannot_go_on_by_trying_other_accounts_and_does_not_use_them_up() {
    let (_database, one, other) = attempts().await;
    for n in 0..30 {
        assert_eq!(login(&one, &format!("user{n}@localhost"), "2001:db8::1").await, Ok(()), "{n}");
    }
    for _ in 0..20 {
        assert!(login(&other, "boss@localhost", "2001:db8::2").await.is_err(), "the same network");
    }
    assert_eq!(login(&one, "boss@localhost", "2001:db8:0:1::1").await, Ok(()), "another network");
    assert_eq!(login(&one, "boss@localhost", "192.0.2.1").await, Ok(()));
}

#[tokio::test]
async fn what_succeeds_uses_nothing_up() {
    let (_database, limiter, _) = attempts().await;
    let address = "192.0.2.1".parse().ok();
    for n in 0..40 {
        assert_eq!(login(&limiter, "admin@localhost", "192.0.2.1").await, Ok(()), "{n}");
        limiter.give_back(Kind::Login, Some("admin@localhost"), address).await.expect("given back");
    }
}

#[tokio::test]
async fn of_attempts_at_once_no_more_than_allowed_get_through() {
    let (_database, one, other) = attempts().await;
    let attempts = (0..60).map(|n| login(if n % 2 == 0 { &one } else { &other }, "admin@localhost", ""));
    let taken = futures::future::join_all(attempts).await;
    assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 10);
}

/// Tries to log in from a browser or a program at an address, as a trusted proxy tells it.
async fn try_from(api: &Api, address: &str, cookie: Option<&str>, password: &str) -> Answer {
    let credentials = json!({"email": "admin@localhost", "password": password});
    let request = api.request(Method::POST, "/auth/login").header("x-forwarded-for", address);
    let request = cookie.into_iter().fold(request, |request, cookie| request.header("cookie", cookie));
    answer(request.json(&credentials)).await
}

/// The device cookie that an answer sets.
fn device_cookie(answer: &Answer) -> String {
    let mut cookies = answer.headers.get_all("set-cookie").iter().filter_map(|cookie| cookie.to_str().ok());
    let cookie = cookies.find(|cookie| cookie.starts_with("fleetlog_device=")).expect("a cookie");
    cookie.split(';').next().expect("a name and a value").to_owned()
}

#[tokio::test]
async fn guesses_of_strangers_do_not_keep_out_who_has_logged_in_from_there_before() {
    let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let api = Api::start_with(Settings { trusted_proxies, ..Settings::default() }).await;
    let (office, home, attacker) = ("192.0.2.1", "198.51.100.1", "203.0.113.1");
    let first = try_from(&api, office, None, PASSWORD).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    let cookie = device_cookie(&first);
    for _ in 0..10 {
        assert_eq!(try_from(&api, attacker, None, "wrong").await.refusal(), "401 bad_credentials");
    }
    for second in 0..25 {
        pass(&api.database, "1 second").await;
        try_from(&api, attacker, None, "wrong").await;
        let (by_address, by_cookie) = (
            try_from(&api, office, None, PASSWORD).await,
            // At the attacker's own address, whose allowance is used up, too.
            try_from(&api, attacker, Some(&cookie), PASSWORD).await,
        );
        assert_eq!((by_address.status, by_cookie.status), (StatusCode::OK, StatusCode::OK), "{second}");
        assert_eq!(device_cookie(&by_cookie), cookie, "a known browser keeps its cookie");
    }
    assert_eq!(try_from(&api, home, None, PASSWORD).await.refusal(), "429 too_many_requests");
    let forged = format!("fleetlog_device=fld_{}", "A".repeat(43));
    assert_eq!(try_from(&api, home, Some(&forged), PASSWORD).await.refusal(), "429 too_many_requests");
}

#[tokio::test]
async fn who_is_known_guesses_no_more_often_than_others_and_only_at_that_account() {
    let api = Api::start().await;
    let cookie = device_cookie(&try_from(&api, "", None, PASSWORD).await);
    for n in 0..10 {
        assert_eq!(try_from(&api, "", Some(&cookie), "wrong").await.refusal(), "401 bad_credentials", "{n}");
    }
    assert_eq!(try_from(&api, "", Some(&cookie), "wrong").await.refusal(), "429 too_many_requests");
    let other = json!({"email": "operator@t0.example", "password": "wrong"});
    let guess = || answer(api.request(Method::POST, "/auth/login").header("cookie", &cookie).json(&other));
    for n in 0..10 {
        assert_eq!(guess().await.refusal(), "401 bad_credentials", "{n}");
    }
    assert_eq!(guess().await.refusal(), "429 too_many_requests", "counted with everybody's");
}

#[tokio::test]
async fn of_an_account_the_latest_twenty_origins_are_known_as_hashes() {
    let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let api = Api::start_with(Settings { trusted_proxies, ..Settings::default() }).await;
    for n in 1..=15 {
        assert_eq!(try_from(&api, &format!("192.0.2.{n}"), None, PASSWORD).await.status, StatusCode::OK);
    }
    let rows: Vec<String> = sqlx::query_scalar("SELECT known_origins::text FROM known_origins")
        .fetch_all(&mut api.database.owner().await)
        .await
        .expect("rows");
    assert_eq!(rows.len(), 20);
    assert!(rows.iter().all(|row| !row.contains("localhost") && !row.contains("192.0.2")), "{rows:?}");
    let forget = "UPDATE known_origins SET seen_at = seen_at - interval '91 days'";
    sqlx::raw_sql(forget).execute(&mut api.database.owner().await).await.expect("aged");
    for _ in 0..10 {
        try_from(&api, "203.0.113.1", None, "wrong").await;
    }
    assert_eq!(try_from(&api, "192.0.2.15", None, PASSWORD).await.refusal(), "429 too_many_requests");
}

#[tokio::test]
async fn logins_are_counted_over_all_nodes_and_the_table_holds_no_address() {
    let one = Api::start().await;
    let other = one.another_node().await;
    let try_at = async |api: &Api, password: &str| {
        let credentials = json!({"email": "admin@localhost", "password": password});
        answer(api.request(Method::POST, "/auth/login").json(&credentials)).await.refusal()
    };
    for n in 0..10 {
        let node = if n % 2 == 0 { &one } else { &other };
        assert_eq!(try_at(node, "wrong horse battery").await, "401 bad_credentials", "{n}");
    }
    for node in [&one, &other] {
        assert_eq!(try_at(node, PASSWORD).await, "429 too_many_requests");
    }
    let rows: Vec<(String,)> = sqlx::query_as("SELECT attempts::text FROM attempts")
        .fetch_all(&mut one.database.owner().await)
        .await
        .expect("rows");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|(row,)| !row.contains("localhost") && !row.contains("127.0.0.1")), "{rows:?}");
}

#[tokio::test]
async fn without_the_table_of_attempts_nobody_logs_in() {
    let api = Api::start().await;
    let gone = "ALTER TABLE attempts RENAME TO gone";
    sqlx::raw_sql(gone).execute(&mut api.database.owner().await).await.expect("renamed");
    let credentials = json!({"email": "admin@localhost", "password": PASSWORD});
    let refused = answer(api.request(Method::POST, "/auth/login").json(&credentials)).await;
    assert_eq!(refused.refusal(), "500 internal");
}
