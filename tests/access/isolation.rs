//! The second wall: what Postgres shows of other tenants to whoever asks for one, whatever the statement.

use sqlx::Row;

use super::things::{self, OURS};

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
