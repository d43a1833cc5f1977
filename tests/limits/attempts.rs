//! Guesses at secrets.

use fleetlog_access::attempts::{Attempts, Kind};
use reqwest::Method;
use serde_json::json;
use sqlx::PgPool;

use crate::support::api::{PASSWORD, answer};
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
