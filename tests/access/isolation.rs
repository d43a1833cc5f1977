//! The second wall: what Postgres shows of other tenants to whoever asks for one, whatever the statement.

use rstest::rstest;
use sqlx::Row;

use super::things::{self, OURS};
use crate::support::Database;

/// The tables with rows of tenants, by what says so: `tenant` or `log_id`.
const TABLES: &str = "
    SELECT relation.oid::regclass::text AS name, relation.relrowsecurity AS secured,
           bool_or(attname = 'tenant') AS names_tenant,
           has_any_column_privilege('fleetlog_requests', relation.oid, 'SELECT, INSERT, UPDATE')
               OR has_table_privilege('fleetlog_requests', relation.oid, 'DELETE, TRUNCATE') AS reachable,
           has_any_column_privilege('fleetlog_requests', relation.oid, 'SELECT') AS readable
    FROM pg_class AS relation JOIN pg_attribute ON attrelid = relation.oid
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
      AND attname IN ('tenant', 'log_id')
    GROUP BY relation.oid, relation.relrowsecurity ORDER BY 1";

#[tokio::test]
async fn no_table_shows_a_request_another_tenants_rows() {
    let api = things::tenants().await;
    let mut owner = api.database.owner().await;
    let mut requests = api.database.requests(OURS).await;
    let mut told_apart = vec![];
    for table in sqlx::query(TABLES).fetch_all(&mut owner).await.expect("tables") {
        let name: String = table.get("name");
        let reachable: bool = table.get("reachable");
        assert!(table.get::<bool, _>("secured") || !reachable, "{name} is open to requests, and not secured");
        if !table.get::<bool, _>("readable") {
            continue;
        }
        let seen: i64 = sqlx::query_scalar(&format!("SELECT count(*) FROM {name}"))
            .fetch_one(&mut requests)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let is_ours = if table.get::<bool, _>("names_tenant") {
            format!("tenant = '{OURS}'")
        } else {
            format!("log_id IN (SELECT log_id FROM logs WHERE tenant = '{OURS}')")
        };
        let count = format!("SELECT count(*) FILTER (WHERE {is_ours}), count(*) FROM {name}");
        let counts = sqlx::query(&count).fetch_one(&mut owner).await.expect("counts");
        let (ours, all): (i64, i64) = (counts.get(0), counts.get(1));
        assert!(seen <= ours, "{name}: {seen} rows are seen, of which {ours} are one's own");
        if 0 < ours && ours < all {
            told_apart.push(name);
        }
    }
    for table in
        ["control_events", "telemetry_events", "devices_v1", "commands_v1", "users", "policies", "quarantine"]
    {
        assert!(told_apart.contains(&table.to_owned()), "{table} has no rows of both: {told_apart:?}");
    }
}

#[tokio::test]
async fn a_view_shows_a_request_no_more_than_its_tables_do() {
    let api = things::tenants().await;
    let open: Vec<String> = sqlx::query_scalar(
        "SELECT oid::regclass::text FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')
           AND has_any_column_privilege('fleetlog_requests', oid, 'SELECT')
           AND NOT coalesce(reloptions @> ARRAY['security_invoker=true'], false)",
    )
    .fetch_all(&mut api.database.owner().await)
    .await
    .expect("views");
    assert_eq!(open, Vec::<String>::new());
}

#[tokio::test]
async fn a_request_without_a_tenant_sees_nothing() {
    let api = things::tenants().await;
    let mut requests = api.database.requests("").await;
    for table in ["control_events", "devices", "users", "policies"] {
        let count: i64 = sqlx::query_scalar(&format!("SELECT count(*) FROM {table}"))
            .fetch_one(&mut requests)
            .await
            .expect("a count");
        assert_eq!(count, 0, "{table}");
    }
}

#[rstest]
#[case("tenant text NOT NULL", "tenant")]
#[case(
    "log_id int NOT NULL",
    "(SELECT log_id FROM logs AS log WHERE log.tenant = tenants.tenant AND lane = 'control')"
)]
#[tokio::test]
async fn an_opened_read_model_shows_a_request_its_own_tenants_rows(
    #[case] column: &str,
    #[case] whose: &str,
) {
    let database = Database::fresh().await;
    let made = format!(
        "INSERT INTO tenants (tenant) VALUES ('ours'), ('theirs');
         CREATE TABLE site_hours_v1 ({column}, site text NOT NULL);
         SELECT open_read_model('site_hours_v1', 'site_hours');"
    );
    sqlx::raw_sql(&made).execute(&mut database.owner().await).await.expect("made");
    let written = format!("INSERT INTO site_hours_v1 SELECT {whose}, tenant FROM tenants");
    let mut service = database.service().await;
    sqlx::raw_sql(&written).execute(&mut service).await.expect("the service writes it");

    for relation in ["site_hours", "site_hours_v1"] {
        let sites = format!("SELECT site FROM {relation} ORDER BY site");
        let all: Vec<String> = sqlx::query_scalar(&sites).fetch_all(&mut service).await.expect("read");
        assert_eq!(all, ["ours", "t0", "theirs"], "{relation}");
        for (tenant, expected) in [("ours", &["ours"][..]), ("", &[])] {
            let mut requests = database.requests(tenant).await;
            let seen: Vec<String> = sqlx::query_scalar(&sites).fetch_all(&mut requests).await.expect("read");
            assert_eq!(seen, expected, "{relation} as {tenant:?}");
        }
    }
    let mut requests = database.requests("ours").await;
    let refused = sqlx::raw_sql("DELETE FROM site_hours_v1").execute(&mut requests).await;
    assert!(refused.is_err(), "a request writes no read model");
}

#[tokio::test]
async fn a_read_model_that_does_not_say_whose_its_rows_are_is_not_opened() {
    let database = Database::fresh().await;
    let made = "CREATE TABLE totals_v1 (total bigint); SELECT open_read_model('totals_v1', 'totals');";
    let refused = sqlx::raw_sql(made).execute(&mut database.owner().await).await.expect_err("refused");
    assert!(refused.to_string().contains("has neither tenant nor log_id"), "{refused}");
}
