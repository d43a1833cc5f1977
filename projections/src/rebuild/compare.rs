//! Compares two sets of rows, range by range of their keys: the new version with the live one, or a version with what
//! the log says.

use std::fmt::Write;

use fleetlog_event_log::event::Json;
use fleetlog_event_log::{EventLog, crash};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, Row};

use super::build::{Level, live_positions};
use super::work::{Context, Stopped, Task};
use super::{MAX_DIFFERENCES, Step};
use crate::read_model::{ReadModel, Rows};

/// About how many bytes of the tables belong to a range.
const RANGE_BYTES: i64 = 64 << 20;
/// The most ranges.
const MAX_RANGES: i32 = 64;

/// A row that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// What the row is, such as `devices`.
    pub rows_of: &'static str,
    /// The columns that name the row, as a JSON object.
    pub key: Json,
    /// The other columns on the one side. `None`: there is no such row.
    pub live: Option<Json>,
    /// The other columns on the other side. `None`: there is no such row.
    pub rebuilt: Option<Json>,
}

/// Two statements for the same rows.
pub(crate) struct Pair<'r> {
    pub(crate) rows: &'r Rows,
    pub(crate) live: String,
    pub(crate) rebuilt: String,
}

/// What the comparison of a range found.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) live_rows: i64,
    pub(crate) rebuilt_rows: i64,
    pub(crate) live_checksum: String,
    pub(crate) rebuilt_checksum: String,
    /// How many rows differ.
    pub(crate) differences: i64,
    /// The first of them.
    pub(crate) listed: Vec<Difference>,
}

impl Pair<'_> {
    /// Compares one of `ranges` ranges, and lists at most `most` rows that differ.
    pub(crate) async fn compare(
        &self,
        connection: &mut PgConnection,
        range: i32,
        ranges: i32,
        most: i64,
    ) -> sqlx::Result<Compared> {
        let row = sqlx::query(&self.counts()).bind(range).bind(ranges).fetch_one(&mut *connection).await?;
        let mut compared = Compared {
            live_rows: row.try_get("live_rows")?,
            rebuilt_rows: row.try_get("rebuilt_rows")?,
            live_checksum: row.try_get("live_checksum")?,
            rebuilt_checksum: row.try_get("rebuilt_checksum")?,
            differences: row.try_get("differences")?,
            listed: vec![],
        };
        if compared.differences > 0 && most > 0 {
            // Rows that differ are rare: they are looked for only where there are some.
            let sql = self.list();
            let rows = sqlx::query(&sql).bind(range).bind(ranges).bind(most).fetch_all(connection).await?;
            for row in rows {
                compared.listed.push(Difference {
                    rows_of: self.rows.name,
                    key: row.try_get("key")?,
                    live: row.try_get("live")?,
                    rebuilt: row.try_get("rebuilt")?,
                });
            }
        }
        Ok(compared)
    }

    /// Both sides, row by row, in one pass.
    fn joined(&self) -> String {
        let on: Vec<String> =
            self.rows.key.iter().map(|column| format!("live.{column} = rebuilt.{column}")).collect();
        format!(
            "(SELECT *, true AS present FROM ({}) AS stored) AS live
             FULL JOIN (SELECT *, true AS present FROM ({}) AS stored) AS rebuilt ON {}",
            self.live,
            self.rebuilt,
            on.join(" AND ")
        )
    }

    /// The columns that are compared for equality.
    fn exact(&self) -> Vec<&'static str> {
        let is_sum = |value: &&str| self.rows.sums.iter().any(|(sum, _)| sum == value);
        self.rows.values.iter().copied().filter(|value| !is_sum(value)).collect()
    }

    /// The columns of one side, as they are compared. Where the live row has no position, the other one counts as unknown too.
    fn compared(&self, side: &str, columns: &[&str]) -> String {
        let column = |column: &&str| {
            if side == "rebuilt" && self.rows.positions.contains(column) {
                format!("CASE WHEN live.{column} IS NOT NULL THEN rebuilt.{column} END")
            } else {
                format!("{side}.{column}")
            }
        };
        columns.iter().map(column).collect::<Vec<_>>().join(", ")
    }

    fn differs(&self) -> String {
        let exact = self.exact();
        let mut differs = format!(
            "live.present IS NULL OR rebuilt.present IS NULL OR ROW({}) IS DISTINCT FROM ROW({})",
            self.compared("live", &exact),
            self.compared("rebuilt", &exact)
        );
        for (sum, magnitude) in self.rows.sums {
            let _ = write!(differs, " OR NOT nearly_equal(live.{sum}, rebuilt.{sum}, {magnitude})");
        }
        differs
    }

    fn counts(&self) -> String {
        let hashed: Vec<&str> = self.rows.key.iter().copied().chain(self.exact()).collect();
        let checksum = |side: &str| {
            let hash = format!("hash_record_extended(ROW({}), 0)", self.compared(side, &hashed));
            format!("coalesce(sum({hash}) FILTER (WHERE {side}.present), 0)::text AS {side}_checksum")
        };
        format!(
            "SELECT count(live.present) AS live_rows, count(rebuilt.present) AS rebuilt_rows, {}, {},
                    count(*) FILTER (WHERE {}) AS differences
             FROM {}",
            checksum("live"),
            checksum("rebuilt"),
            self.differs(),
            self.joined()
        )
    }

    fn list(&self) -> String {
        let Rows { key, values, .. } = self.rows;
        let object = |side: &str, columns: &[&str]| {
            let fields = columns.iter().map(|column| format!("'{column}', {side}.{column}"));
            format!("json_build_object({})", fields.collect::<Vec<_>>().join(", "))
        };
        format!(
            "SELECT CASE WHEN live.present THEN {} ELSE {} END::text AS key,
                    CASE WHEN live.present THEN {} END::text AS live,
                    CASE WHEN rebuilt.present THEN {} END::text AS rebuilt
             FROM {} WHERE {} ORDER BY key LIMIT $3",
            object("live", key),
            object("rebuilt", key),
            object("live", values),
            object("rebuilt", values),
            self.joined(),
            self.differs()
        )
    }
}

/// Compares the new version with the live one, both at the same positions, and goes to the next step.
pub(super) async fn compare<M: ReadModel>(context: &Context, task: &Task) -> Result<(), Stopped> {
    let pool = context.log.pool();
    // While this holds the live checkpoints, the new version reaches them, and a snapshot is taken of both.
    let mut level = Level::<M>::new(&context.log, &context.options, task.version).await?;
    level.approach().await?;
    let mut holding = pool.begin().await?;
    holding.execute("SET LOCAL idle_in_transaction_session_timeout = '60s'").await?;
    let positions = live_positions(&mut holding, M::NAME, true).await?;
    level.reach(&positions).await?;
    let mut connection = connect(&context.log).await?;
    let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    snapshot
        .execute(
            "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0;
             SET LOCAL work_mem = '64MB'",
        )
        .await?;
    let live: (i32, i32) = sqlx::query_as(
        "SELECT version, coalesce(format, version) FROM projections WHERE projection = $1 AND live",
    )
    .bind(M::NAME)
    .fetch_one(&mut *snapshot)
    .await?;
    holding.rollback().await?;

    forget::<M>(context).await?;
    let (version, format) = live;
    let mut differences = 0;
    let ranges = ranges(&mut snapshot, M::TABLES, version, MAX_RANGES).await?;
    let mut all = M::compared();
    if format != M::FORMAT {
        all.clear();
    }
    begin(context, task, all.len() as i64 * i64::from(ranges)).await?;
    for rows in &all {
        let pair = Pair { rows, live: (rows.stored)(version), rebuilt: (rows.stored)(task.version) };
        for range in 0..ranges {
            if !context.goes_on(task).await? {
                return Ok(());
            }
            let most = (MAX_DIFFERENCES - differences).max(0);
            let compared = pair.compare(&mut snapshot, range, ranges, most).await?;
            differences += compared.differences;
            keep(context, task, rows.name, (range, ranges), &compared).await?;
        }
    }
    snapshot.rollback().await?;
    let same = format == M::FORMAT && differences == 0;
    let next = if same || task.accepted { Step::Swapping } else { Step::Waiting };
    let compared = sqlx::query("UPDATE projection_rebuilds SET differences = $2 WHERE rebuild_id = $1");
    compared.bind(task.rebuild_id).bind((format == M::FORMAT).then_some(differences)).execute(pool).await?;
    crash::point("rebuild.compared");
    crate::instruments::REBUILD_DIFFERENCES.with([M::NAME.into()]).set(differences as f64);
    context.step(task, next).await?;
    Ok(())
}

/// A connection for statements over whole tables. They are slow by nature, and the process's log need not tell of each.
pub(crate) async fn connect(log: &EventLog) -> sqlx::Result<PgConnection> {
    let options = (*log.pool().connect_options()).clone();
    options.disable_statement_logging().connect().await
}

/// How many ranges to compare, at most: by the size of the tables.
pub(crate) async fn ranges(
    connection: &mut PgConnection,
    tables: &[&str],
    version: i32,
    most: i32,
) -> sqlx::Result<i32> {
    let bytes: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(pg_table_size(to_regclass(name || '_v' || $2))), 0)::bigint FROM unnest($1::text[]) AS name",
    )
    .bind(tables)
    .bind(version)
    .fetch_one(connection)
    .await?;
    Ok((bytes / RANGE_BYTES).clamp(1, most.into()) as i32)
}

/// Forgets what earlier comparisons of the projection found.
async fn forget<M: ReadModel>(context: &Context) -> Result<(), Stopped> {
    for table in ["projection_rebuild_ranges", "projection_rebuild_differences"] {
        let forget = format!(
            "DELETE FROM {table} WHERE rebuild_id IN (
                 SELECT rebuild_id FROM projection_rebuilds WHERE projection = $1)"
        );
        sqlx::query(&forget).bind(M::NAME).execute(context.log.pool()).await?;
    }
    Ok(())
}

/// Notes how much there is to compare, from now on.
async fn begin(context: &Context, task: &Task, ranges: i64) -> Result<(), Stopped> {
    let begun = "UPDATE projection_rebuilds SET ranges = $2, comparing_since = clock_timestamp() WHERE rebuild_id = $1";
    sqlx::query(begun).bind(task.rebuild_id).bind(ranges).execute(context.log.pool()).await?;
    Ok(())
}

async fn keep(
    context: &Context,
    task: &Task,
    rows_of: &str,
    (range, ranges): (i32, i32),
    compared: &Compared,
) -> Result<(), Stopped> {
    let mut transaction = context.log.pool().begin().await?;
    sqlx::query(
        "INSERT INTO projection_rebuild_ranges
             (rebuild_id, rows_of, range, ranges, live_rows, rebuilt_rows, live_checksum, rebuilt_checksum, differences)
         VALUES ($1, $2, $3, $4, $5, $6, $7::numeric, $8::numeric, $9)",
    )
    .bind(task.rebuild_id)
    .bind(rows_of)
    .bind(range)
    .bind(ranges)
    .bind(compared.live_rows)
    .bind(compared.rebuilt_rows)
    .bind(&compared.live_checksum)
    .bind(&compared.rebuilt_checksum)
    .bind(compared.differences)
    .execute(&mut *transaction)
    .await?;
    let column =
        |value: fn(&Difference) -> Option<&str>| compared.listed.iter().map(value).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO projection_rebuild_differences (rebuild_id, rows_of, key, live, rebuilt)
         SELECT $1, $2, key::json, live::json, rebuilt::json
         FROM unnest($3::text[], $4::text[], $5::text[]) AS listed (key, live, rebuilt)",
    )
    .bind(task.rebuild_id)
    .bind(rows_of)
    .bind(column(|row| Some(&row.key.0)))
    .bind(column(|row| row.live.as_ref().map(|json| json.0.as_str())))
    .bind(column(|row| row.rebuilt.as_ref().map(|json| json.0.as_str())))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}
