//! Lists as of an earlier moment: what the read model said when it was there.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::device::{Change, Command, Labels, OnlineWithin};
use fleetlog_event_log::as_of::{AsOf, Prefix};
use fleetlog_event_log::place::LogPosition;
use fleetlog_event_log::{Event, EventLog, Lane};
use fleetlog_projections::devices::{self, Cursor, Device, Query, Rule, Sort, Status};
use fleetlog_projections::paging::Page;

use super::{Running, append, at, execute, now, reading, register, smuggle, status};
use crate::support::{Database, log_of, t0};

/// How the devices are listed at a moment: in every order, in every state, and by a text; a third of them each time.
fn queries(nth: usize) -> impl Iterator<Item = Query> {
    let sorts = Sort::WORDS.iter().map(|(_, sort)| Query { sort: *sort, limit: 2, ..Query::default() });
    let states = [Status::Online, Status::Offline, Status::Decommissioned];
    let states = states.map(|status| Query { status: Some(status), limit: 3, ..Query::default() });
    // The database's rules say what is upper case, in a name and in a uid.
    let texts = ["ÖLPUMPE", "DEV-0", "3%"].map(|q| Query { q: Some(q.into()), ..Query::default() });
    sorts.chain(states).chain(texts).skip(nth % 3).step_by(3)
}

/// Walks all pages, and forgets how often messages came again, which nobody knows later.
async fn walk(
    mut query: Query,
    list: impl AsyncFn(&Query) -> (Page<Device>, i64),
) -> (Vec<Vec<Device>>, i64) {
    let mut pages = vec![];
    loop {
        let (mut page, total) = list(&query).await;
        query.after = page.items.last().map(|last| Cursor::of(last, query.sort));
        page.items.iter_mut().for_each(|device| device.duplicates = None);
        pages.push(page.items);
        if !page.has_more {
            return (pages, total);
        }
    }
}

/// What the read model says now, at this moment of the log.
struct Remembered {
    as_of: AsOf,
    /// Whoever was heard of since then counts as online.
    online_since: DateTime<Utc>,
    answers: Vec<(Vec<Vec<Device>>, i64)>,
}

async fn remember(log: &EventLog, nth: usize, as_of: AsOf, online_since: DateTime<Utc>) -> Remembered {
    let tenant = t0(log);
    let mut answers = vec![];
    for query in queries(nth) {
        let at = log.now();
        let rule = Rule { at, within: (at - online_since).to_std().unwrap_or_default() };
        let list = async |query: &Query| {
            let page = devices::list(&tenant, query, rule).await.expect("listed");
            (page, devices::count(&tenant, query, rule).await.expect("counted"))
        };
        answers.push(walk(query, list).await);
    }
    Remembered { as_of, online_since, answers }
}

async fn database_now(log: &EventLog) -> DateTime<Utc> {
    sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(log.pool()).await.expect("the time")
}

async fn newest(log: &EventLog, lane: Lane) -> AsOf {
    log.heads().refresh(log.pool()).await.expect("the heads");
    let log_id = log_of(log, lane);
    let position = log.heads().log(log_id).expect("a log").head;
    AsOf::Position(LogPosition { log_id, position })
}

/// Something that happens to one of four devices, and in which log.
async fn happens(log: &EventLog, nth: usize) -> Lane {
    let uid = format!("dev-{:02}", nth * 7 % 4);
    let labels = Labels::from([("nth".into(), nth.to_string())]);
    let stream = format!("t0/{uid}");
    // By the device's clock readings come in no order, and some at the same time.
    let taken = at("2026-03-01T00:00:00Z") + TimeDelta::hours((nth * 5 % 11) as i64);
    match nth % 9 {
        2 => {
            append(log, vec![status(&uid, "offline")]).await;
            return Lane::Telemetry;
        }
        3 => {
            let name = Some("Ölpumpe 3%".into());
            execute(log, &stream, update(Change { name, ..Change::default() })).await;
        }
        4 => {
            let online_within = Some(OnlineWithin::Seconds(3600));
            execute(log, &stream, update(Change { online_within, ..Change::default() })).await;
        }
        5 => execute(log, &stream, update(Change { labels: Some(labels), ..Change::default() })).await,
        7 => {
            execute(log, &stream, Command::Decommission).await;
            if nth > 9 {
                register(log, &uid, None).await;
            }
        }
        _ => {
            let readings = (0..3).map(|n| reading(&uid, 10 * nth + n, taken, &format!(r#""t":{n}"#)));
            append(log, readings.collect()).await;
            return Lane::Telemetry;
        }
    }
    Lane::Control
}

fn update(change: Change) -> Command {
    Command::Update(change)
}

#[tokio::test]
async fn a_list_as_of_a_moment_is_the_list_that_the_read_model_had_then() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let running = Running::start(&log);
    // Telemetry may be ahead of a registration.
    append(&log, vec![reading("dev-00", 0, at("2026-03-01T00:00:00Z"), r#""t":0"#)]).await;
    for nth in 0..4 {
        register(&log, &format!("dev-{nth:02}"), Some("pump").filter(|_| nth == 1)).await;
    }
    let mut remembered = vec![];
    let mut online_since = database_now(&log).await;
    for nth in 0..20 {
        let lane = happens(&log, nth).await;
        running.catch_up().await;
        remembered.push(remember(&log, nth, newest(&log, lane).await, online_since).await);
        if nth % 4 == 3 {
            online_since = database_now(&log).await;
        }
    }
    let tenant = t0(&log);
    for (nth, Remembered { as_of, online_since, answers }) in remembered.into_iter().enumerate() {
        let prefix = tenant.prefix(as_of).await.expect("a prefix");
        let by_time = tenant.prefix(AsOf::Time(prefix.at)).await.expect("a prefix");
        assert_eq!(by_time, prefix, "the time of the last event is the same moment");
        let within = (prefix.at - online_since).to_std().unwrap_or_default();
        for (query, live) in queries(nth).zip(answers) {
            let list = async |query: &Query| {
                let listed = devices::as_of::list(&tenant, query, &prefix, within).await.expect("listed");
                (listed.found.page, listed.found.total)
            };
            let then = walk(query.clone(), list).await;
            assert_eq!(then, live, "{query:?} as of {as_of:?}");
        }
        let uids = ["dev-03", "dev-01", "nobody"].map(|uid| uid.parse().expect("a uid"));
        let got = devices::as_of::get(&tenant, &uids, &prefix, within).await.expect("found");
        assert_eq!(
            got.found.iter().map(|device| device.uid.as_str()).collect::<Vec<_>>(),
            ["dev-01", "dev-03"]
        );
    }
}

async fn prefix_now(log: &EventLog) -> Prefix {
    let as_of = newest(log, Lane::Control).await;
    t0(log).prefix(as_of).await.expect("a prefix")
}

#[tokio::test]
async fn what_the_read_model_has_parked_is_left_out_as_of_a_moment_too() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let running = Running::start(&log);
    register(&log, "dev-01", Some("known")).await;
    smuggle(&log, "Device", "t0/dev-01", 2, r#"{"DeviceExploded":{}}"#).await;
    smuggle(&log, "Device", "t0/dev-01", 3, r#"{"DeviceUpdated":{"name":"after the poison"}}"#).await;
    running.catch_up().await;
    let prefix = prefix_now(&log).await;
    let uids = ["dev-01".parse().expect("a uid")];
    let live = devices::get(&t0(&log), &uids, now(&log)).await.expect("found").remove(0);
    let one =
        devices::as_of::get(&t0(&log), &uids, &prefix, Duration::ZERO).await.expect("found").found.remove(0);
    let all =
        devices::as_of::list(&t0(&log), &Query::default(), &prefix, Duration::ZERO).await.expect("listed");
    let listed = all.found.page.items.into_iter().next().expect("a device");
    let names = [live.name, one.name, listed.name].map(Option::unwrap_or_default);
    assert_eq!(names, ["known", "known", "known"]);
}

#[tokio::test]
async fn readings_are_read_up_to_a_bound_and_of_whole_devices() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let noon = at("2026-03-01T12:00:00Z");
    let readings =
        |uid: &'static str, from: usize| (from..from + 3).map(move |n| reading(uid, n, noon, r#""t":1"#));
    append(&log, readings("dev-02", 0).chain(readings("dev-01", 10)).chain(readings("dev-03", 20)).collect())
        .await;
    let (tenant, telemetry) = (t0(&log), log_of(&log, Lane::Telemetry));
    // The one without readings is complete as soon as those before it are.
    let uids = ["dev-03", "none", "dev-01", "dev-02"].map(|uid| uid.parse().expect("a uid"));
    for (until, limit, complete, read) in
        [(9, 9, 4, 9), (9, 8, 3, 8), (9, 6, 3, 6), (9, 5, 2, 5), (9, 2, 0, 2), (7, 7, 4, 7), (0, 0, 4, 0)]
    {
        let mut seen = vec![];
        let each = |event: &Event| seen.push((event.aggregate_id.clone(), event.position));
        let told = tenant.each_reading_of(telemetry, &uids, until, limit, each).await.expect("read");
        assert_eq!((told, seen.len()), (complete, read), "up to {until}, at most {limit}: {seen:?}");
        assert!(seen.iter().all(|(_, position)| *position <= until), "{seen:?}");
    }
}

#[tokio::test]
async fn what_would_fold_too_much_is_refused_before_it_is_read() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let tenant = t0(&log);
    register(&log, "dev-01", None).await;
    let list = async |query: Query, prefix: &Prefix| {
        devices::as_of::list(&tenant, &query, prefix, Duration::ZERO).await.map(|listed| listed.found.total)
    };
    let full = Prefix {
        telemetry: devices::as_of::READINGS as i64 + 1,
        telemetry_begins: 1,
        ..prefix_now(&log).await
    };
    let sorted =
        list(Query { sort: "last_seen_at".parse().expect("a sort"), ..Query::default() }, &full).await;
    assert!(matches!(sorted, Err(devices::Error::TooManyToSort)), "{sorted:?}");
    let online = list(Query { status: Some(Status::Online), ..Query::default() }, &full).await;
    assert!(matches!(online, Err(devices::Error::TooManyLately)), "{online:?}");
    assert_eq!(list(Query::default(), &full).await.expect("listed"), 1, "the page's own devices decide");
    let name = "x".repeat(devices::as_of::CHANGES_BYTES / 16);
    for sequence in 2..18 {
        let payload = format!(r#"{{"DeviceUpdated":{{"name":"{name}"}}}}"#);
        smuggle(&log, "Device", "t0/dev-01", sequence, &payload).await;
    }
    let large = list(Query::default(), &prefix_now(&log).await).await;
    assert!(matches!(large, Err(devices::Error::TooManyChanges)), "{large:?}");
}
