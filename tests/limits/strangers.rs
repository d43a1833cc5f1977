//! What strangers cause does not stay for ever.

use fleetlog_access::{housekeeping, strangers};
use fleetlog_api::Settings;
use reqwest::Method;
use serde_json::json;

use crate::support::Api;
use crate::support::api::{PASSWORD, answer};

async fn arrange(api: &Api, sql: &str) {
    sqlx::raw_sql(sql).execute(&mut api.database.owner().await).await.expect("arranged");
}

async fn number(api: &Api, select: &str) -> i64 {
    sqlx::query_scalar(select).fetch_one(&mut api.database.owner().await).await.expect("a number")
}

#[tokio::test]
async fn a_minute_of_strangers_logins_is_ten_events_at_most_and_none_is_lost() {
    let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let api = Api::start_with(Settings { trusted_proxies, ..Settings::default() }).await;
    let before = number(&api, "SELECT count(*) FROM control_events").await;
    for n in 0..60 {
        let stranger = json!({"email": format!("nobody{n}@example.com"), "password": PASSWORD});
        let request =
            api.request(Method::POST, "/auth/login").header("x-forwarded-for", format!("192.0.2.{n}"));
        assert_eq!(answer(request.json(&stranger)).await.refusal(), "401 bad_credentials");
    }
    assert_eq!(number(&api, "SELECT sum(times)::bigint FROM refused_logins").await, 60);
    assert_eq!(number(&api, "SELECT count(*) FROM control_events").await, before, "none of its own");
    // All of them in one minute that is over.
    arrange(
        &api,
        "WITH counted AS (DELETE FROM refused_logins RETURNING slot, times)
         INSERT INTO refused_logins
         SELECT date_trunc('minute', now()) - interval '1 minute', slot, sum(times) FROM counted GROUP BY slot",
    )
    .await;
    strangers::tell(&api.log).await.expect("told");
    let told = number(&api, "SELECT count(*) FROM control_events").await - before;
    assert!((2..=10).contains(&told), "{told}");
    let times = "SELECT sum(coalesce((payload -> 'LoginRefused' ->> 'times')::bigint, 1))::bigint
                 FROM control_events WHERE event_type = 'LoginRefused'";
    assert_eq!(number(&api, times).await, 60);
    assert_eq!(number(&api, "SELECT count(*) FROM refused_logins").await, 0);
}

#[tokio::test]
async fn what_is_over_for_long_is_deleted_in_batches_and_the_record_of_it_stays() {
    let api = Api::start().await;
    let present = number(&api, "SELECT count(*) FROM sessions").await;
    arrange(
        &api,
        "WITH user_of AS (SELECT user_id, tenant FROM users LIMIT 1), made AS (
             INSERT INTO sessions (session_id, tenant, user_id, expires_at)
             SELECT gen_random_uuid(), tenant, user_id, now() - interval '31 days' FROM user_of, generate_series(1, 2500)
             RETURNING session_id)
         INSERT INTO refresh_tokens (token_hash, session_id, successor_secret)
         SELECT sha256(session_id::text::bytea), session_id, sha256('x') FROM made;
         INSERT INTO sessions (session_id, tenant, user_id, expires_at)
         SELECT gen_random_uuid(), tenant, user_id, now() - interval '29 days' FROM users LIMIT 1;
         INSERT INTO mail_tokens (tenant, user_id, purpose, token_hash, email, expires_at)
         SELECT tenant, user_id, 'reset', sha256('y'), email, now() - interval '2 days' FROM users LIMIT 1;
         INSERT INTO known_origins VALUES (decode(repeat('00', 16), 'hex'), decode(repeat('00', 16), 'hex'),
             now() - interval '91 days');",
    )
    .await;
    let events = number(&api, "SELECT count(*) FROM control_events").await;
    housekeeping::prune(api.log.pool()).await.expect("pruned");
    assert_eq!(number(&api, "SELECT count(*) FROM sessions").await, present + 1);
    for table in ["refresh_tokens", "mail_tokens", "known_origins"] {
        assert_eq!(number(&api, &format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
    assert_eq!(number(&api, "SELECT count(*) FROM control_events").await, events);
}
