//! Guesses at secrets.

use chrono::{DateTime, TimeDelta, Utc};
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

async fn login(attempts: &Attempts, account: &str, address: &str, at: DateTime<Utc>) -> Result<(), u64> {
    let taken = attempts.take(Kind::Login, Some(account), address.parse().ok(), at).await.expect("an answer");
    taken.map_err(|refused| refused.retry_after.as_secs())
}

#[tokio::test]
async fn an_account_gets_ten_attempts_over_all_nodes_and_then_one_every_half_minute() {
    let (_database, one, other) = attempts().await;
    let now = Utc::now();
    let at = |seconds| now + TimeDelta::seconds(seconds);
    for n in 0..10 {
        let node = if n % 2 == 0 { &one } else { &other };
        assert_eq!(login(node, "admin@localhost", "", at(0)).await, Ok(()), "{n}");
    }
    for node in [&one, &other] {
        assert_eq!(login(node, "admin@localhost", "", at(0)).await, Err(30));
        assert_eq!(login(node, "admin@localhost", "", at(29)).await, Err(1));
    }
    assert_eq!(login(&other, "admin@localhost", "", at(31)).await, Ok(()));
    assert!(login(&one, "admin@localhost", "", at(31)).await.is_err());
    assert_eq!(login(&one, "another@localhost", "", at(0)).await, Ok(()));
    let password = one.take(Kind::Password, Some("admin@localhost"), None, at(0)).await;
    assert_eq!(password.expect("an answer"), Ok(()), "another thing to guess");
}

#[tokio::test]
async fn an_address_cannot_go_on_by_trying_other_accounts_and_does_not_use_them_up() {
    let (_database, one, other) = attempts().await;
    let now = Utc::now();
    for n in 0..30 {
        assert_eq!(login(&one, &format!("user{n}@localhost"), "2001:db8::1", now).await, Ok(()), "{n}");
    }
    for _ in 0..20 {
        assert!(login(&other, "boss@localhost", "2001:db8::2", now).await.is_err(), "the same network");
    }
    assert_eq!(login(&one, "boss@localhost", "2001:db8:0:1::1", now).await, Ok(()), "another network");
    assert_eq!(login(&one, "boss@localhost", "192.0.2.1", now).await, Ok(()));
}

#[tokio::test]
async fn what_succeeds_uses_nothing_up() {
    let (_database, limiter, _) = attempts().await;
    let (now, address) = (Utc::now(), "192.0.2.1".parse().ok());
    for n in 0..40 {
        assert_eq!(login(&limiter, "admin@localhost", "192.0.2.1", now).await, Ok(()), "{n}");
        limiter.give_back(Kind::Login, Some("admin@localhost"), address).await.expect("given back");
    }
}

#[tokio::test]
async fn of_attempts_at_once_no_more_than_allowed_get_through() {
    let (_database, one, other) = attempts().await;
    let now = Utc::now();
    let attempts = (0..60).map(|n| login(if n % 2 == 0 { &one } else { &other }, "admin@localhost", "", now));
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
