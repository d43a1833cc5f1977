//! Who is told of alarms by mail, and how often.

use fleetlog_access::Role;
use serde_json::json;

use super::{Fleet, at, rule, threshold};
use crate::support::api::user_id;

/// The recipients and subjects of all mails, in order.
async fn mails(fleet: &Fleet) -> Vec<(String, String)> {
    let mails = sqlx::query_as("SELECT recipient, subject FROM mail_outbox ORDER BY mail_id");
    mails.fetch_all(&mut fleet.api.database.owner().await).await.expect("mails")
}

async fn telling(fleet: &Fleet) -> serde_json::Value {
    let mut owner = fleet.api.database.owner().await;
    let confirmed = "UPDATE users SET verified_at = now() WHERE user_id = $1";
    sqlx::query(confirmed).bind(user_id("t0", Role::Operator)).execute(&mut owner).await.expect("confirmed");
    let mut body = rule(&threshold(80.0));
    // A user who has not confirmed the address gets no mail.
    body["mail"] = json!([user_id("t0", Role::Operator), user_id("t0", Role::Viewer)]);
    body
}

#[tokio::test]
async fn users_with_a_confirmed_address_are_told_when_an_alarm_is_raised_and_when_it_is_cleared() {
    let fleet = Fleet::start().await;
    fleet.define("hot", telling(&fleet).await).await;
    let mut device = fleet.device("dev-01").await;
    device.publish(at(0, "t", 81.0)).await;
    device.publish(at(1, "t", 20.0)).await;
    fleet.until("state=cleared", 1).await;
    let to = "operator@t0.example";
    assert_eq!(
        mails(&fleet).await,
        [
            (to.to_owned(), "[major] Look here: dev-01".to_owned()),
            (to.to_owned(), "[cleared] Look here: dev-01".to_owned()),
        ]
    );
    let body: String = sqlx::query_scalar("SELECT body FROM mail_outbox ORDER BY mail_id LIMIT 1")
        .fetch_one(&mut fleet.api.database.owner().await)
        .await
        .expect("a mail");
    assert!(body.contains("t is 81, beyond its limit") && body.contains("/history"), "{body}");
}

#[tokio::test]
async fn after_ten_changes_within_an_hour_one_mail_says_how_many_more_there_were() {
    let fleet = Fleet::start().await;
    fleet.define("hot", telling(&fleet).await).await;
    let mut device = fleet.device("dev-01").await;
    for n in 0..16 {
        device.publish(at(n, "t", if n % 2 == 0 { 81.0 } else { 20.0 })).await;
    }
    fleet.until("state=cleared", 8).await;
    assert_eq!(mails(&fleet).await.len(), 10);
    let mut owner = fleet.api.database.owner().await;
    let later = "UPDATE alarm_mails SET began_at = began_at - interval '61 minutes'";
    sqlx::query(later).execute(&mut owner).await.expect("later");
    // The next change tells of those that were held back.
    device.publish(at(20, "t", 81.0)).await;
    fleet.until("state=open", 1).await;
    let subjects: Vec<String> = mails(&fleet).await.into_iter().map(|(_, subject)| subject).collect();
    assert_eq!(subjects[10..], ["[6 more] Look here", "[major] Look here: dev-01"]);
}
