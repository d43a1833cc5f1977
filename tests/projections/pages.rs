//! Pages of windows: every series once, whatever ends a page, and windows without readings as they are asked for.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::{EventLog, Lane};
use fleetlog_projections::telemetry_windows::{
    Cursor, Error, Fill, Invalid, SeriesPage, Step, WindowsQuery, windows,
};

use super::{Running, append, at, reading};
use crate::support::{Database, log_of, t0};

fn noon() -> DateTime<Utc> {
    at("2026-03-01T12:00:00Z")
}

/// The minutes of all metrics, from noon on.
fn from_noon(minutes: i64, fill: Option<Fill>) -> WindowsQuery {
    WindowsQuery {
        metric: None,
        from: noon(),
        to: noon() + TimeDelta::minutes(minutes),
        since: None,
        step: TimeDelta::minutes(1).into(),
        tz: "UTC".parse().expect("a zone"),
        points: None,
        fill,
    }
}

async fn page(
    log: &EventLog,
    uids: &[&str],
    query: &WindowsQuery,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<HashMap<Uid, SeriesPage>, Error> {
    let uids: Vec<Uid> = uids.iter().map(|uid| uid.parse().expect("a uid")).collect();
    windows(&t0(log), log_of(log, Lane::Telemetry), &uids, query, after, limit).await
}

/// The metrics of each page of a device.
async fn pages(log: &EventLog, query: &WindowsQuery, limit: usize) -> Vec<Vec<String>> {
    let (mut pages, mut after): (Vec<_>, Option<Cursor>) = (vec![], None);
    loop {
        let found = page(log, &["dev-01"], query, after.as_ref(), limit).await.expect("valid");
        let SeriesPage { series, next } = found.into_values().next().unwrap_or_default();
        pages.push(series.into_iter().map(|series| series.metric).collect());
        after = next;
        if after.is_none() {
            return pages;
        }
    }
}

fn lengths(pages: &[Vec<String>]) -> Vec<usize> {
    pages.iter().map(Vec::len).collect()
}

/// A reading a minute from noon on, each with as many metrics.
async fn publish(log: &EventLog, uid: &str, minutes: i64, metrics: usize) {
    let names: Vec<String> = (0..metrics).map(|nth| format!(r#""m{nth:02}":{nth}"#)).collect();
    let names = names.join(",");
    let one = |minute| reading(uid, minute as usize, noon() + TimeDelta::minutes(minute), &names);
    append(log, (0..minutes).map(one).collect()).await;
}

async fn project(log: &EventLog) {
    let running = Running::start(log);
    running.catch_up().await;
    running.stop().await;
}

#[tokio::test]
async fn a_page_ends_at_its_limit_or_before_it_would_have_too_many_windows_and_each_metric_comes_once() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    publish(&log, "dev-01", 1_000, 30).await;
    publish(&log, "dev-02", 1_000, 30).await;
    project(&log).await;
    let names: Vec<String> = (0..30).map(|nth| format!("m{nth:02}")).collect();
    for (minutes, fill, limit, expected) in [
        (10, None, 1_000, vec![30]),
        (10, None, 7, vec![7, 7, 7, 7, 2]),
        (10, None, 15, vec![15, 15]),
        // 20,000 windows at most.
        (1_000, None, 1_000, vec![20, 10]),
        (999, None, 1_000, vec![20, 10]),
        (1_000, None, 12, vec![12, 12, 6]),
        // Windows without readings are windows.
        (2_000, Some(Fill::Null), 1_000, vec![10, 10, 10]),
        (10_000, Some(Fill::Previous), 1_000, vec![2; 15]),
    ] {
        let found = pages(&log, &from_noon(minutes, fill), limit).await;
        assert_eq!(lengths(&found), expected, "{minutes} {fill:?} {limit}");
        assert_eq!(found.concat(), names, "{minutes} {fill:?} {limit}");
    }
    let both = ["dev-01", "dev-02"];
    let few = page(&log, &both, &from_noon(100, None), None, 3).await.expect("valid");
    assert!(few.len() == 2 && few.values().all(|page| page.series.len() == 3 && page.next.is_some()));
    for (minutes, fill) in [(1_000, None), (1_000, Some(Fill::Null))] {
        let many = page(&log, &both, &from_noon(minutes, fill), None, 1_000).await;
        assert!(matches!(many, Err(Error::Invalid(Invalid::TooManyWindows))), "{many:?}");
    }
}

#[tokio::test]
async fn a_page_without_windows_in_the_range_leads_on() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let later = noon() + TimeDelta::hours(1);
    append(&log, vec![reading("dev-01", 0, later, r#""a":1,"b":1,"c":1"#)]).await;
    append(&log, vec![reading("dev-01", 1, noon(), r#""d":1"#)]).await;
    project(&log).await;
    let found = pages(&log, &from_noon(10, None), 2).await;
    assert_eq!(found, [vec![], vec!["d".to_owned()]]);
    let named = WindowsQuery { metric: Some("d".to_owned()), ..from_noon(10, None) };
    assert_eq!(pages(&log, &named, 1).await, [["d"]]);
}

#[tokio::test]
async fn each_device_has_its_own_metrics_on_a_page() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, vec![reading("dev-01", 0, noon(), r#""a":1,"b":1,"c":1"#)]).await;
    append(&log, vec![reading("dev-02", 0, noon(), r#""b":1,"c":1,"d":1"#)]).await;
    project(&log).await;
    for fill in [None, Some(Fill::Previous)] {
        let found =
            page(&log, &["dev-01", "dev-02", "dev-03"], &from_noon(2, fill), None, 2).await.expect("valid");
        let mut shown: Vec<_> = found
            .iter()
            .map(|(uid, page)| {
                let names: Vec<&str> = page.series.iter().map(|series| series.metric.as_str()).collect();
                (uid.as_str(), names, page.next.clone())
            })
            .collect();
        shown.sort_by_key(|(uid, ..)| *uid);
        let expected = [
            ("dev-01", vec!["a", "b"], Some(Cursor::after("b"))),
            ("dev-02", vec!["b", "c"], Some(Cursor::after("c"))),
        ];
        assert_eq!(shown, expected, "{fill:?}");
    }
}

/// Of each window of the only series: how many readings, and its mean.
async fn values(log: &EventLog, query: &WindowsQuery) -> Vec<(i64, Option<f64>)> {
    let found = page(log, &["dev-01"], query, None, 10).await.expect("valid");
    let series = found.into_values().flat_map(|page| page.series).collect::<Vec<_>>();
    assert!(series.len() <= 1, "{series:?}");
    series.iter().flat_map(|series| &series.windows).map(|window| (window.count, window.avg)).collect()
}

#[tokio::test]
async fn windows_without_readings_are_given_what_is_known_from_outside_the_range_as_long_as_it_is_shown() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    // A day before the range, in the range, and a day after it.
    let times = [-1_440, 2, 1_444];
    let of = |(n, minutes): (usize, &i64)| {
        let value = format!(r#""t":{}"#, minutes / 2);
        reading("dev-01", n, noon() + TimeDelta::minutes(*minutes), &value)
    };
    append(&log, times.iter().enumerate().map(of).collect()).await;
    project(&log).await;
    let none = (0, None);
    let filled = |value: f64| (0, Some(value));
    let here = (1, Some(1.0));
    let null = from_noon(4, Some(Fill::Null));
    assert_eq!(values(&log, &null).await, [none, none, here, none]);
    let previous = from_noon(4, Some(Fill::Previous));
    assert_eq!(values(&log, &previous).await, [filled(-720.0), filled(-720.0), here, filled(1.0)]);
    // One in two minutes, before and after.
    let linear = from_noon(4, Some(Fill::Linear));
    let expected = [0.25, 0.75, 1.0, 1.75].map(Some);
    let found = values(&log, &linear).await;
    assert!(
        found.iter().zip(expected).all(|((_, found), expected)| {
            found.zip(expected).is_some_and(|(found, expected)| (found - expected).abs() < 1e-9)
        }),
        "{found:?}"
    );
    assert_eq!(found.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [0, 0, 1, 0]);

    // What is over age is not known.
    let since = Some(noon() - TimeDelta::hours(1));
    let shown = WindowsQuery { since, ..previous.clone() };
    assert_eq!(values(&log, &shown).await, [none, none, here, filled(1.0)]);
    let partly = WindowsQuery { since: Some(noon() + TimeDelta::minutes(1)), ..null };
    assert_eq!(values(&log, &partly).await, [none, here, none]);

    // A day without readings: the value holds, and lies on the line, but there is none to leave out.
    let silent = |fill| {
        let from = noon() + TimeDelta::hours(3);
        WindowsQuery {
            from,
            to: from + TimeDelta::hours(2),
            step: Step::from(TimeDelta::hours(1)),
            ..from_noon(0, fill)
        }
    };
    assert_eq!(values(&log, &silent(Some(Fill::Previous))).await, [filled(1.0), filled(1.0)]);
    assert_eq!(values(&log, &silent(Some(Fill::Linear))).await.len(), 2);
    for fill in [None, Some(Fill::Null)] {
        assert_eq!(values(&log, &silent(fill)).await, []);
    }
    let both = WindowsQuery { points: Some(2), ..previous };
    let both = page(&log, &["dev-01"], &both, None, 10).await;
    assert!(matches!(both, Err(Error::Invalid(Invalid::PointsAndFill))), "{both:?}");
}

#[tokio::test]
async fn months_without_readings_are_filled_like_any_window() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, vec![reading("dev-01", 0, at("2026-01-31T23:59:59Z"), r#""t":5"#)]).await;
    append(&log, vec![reading("dev-01", 1, at("2026-04-01T00:00:00Z"), r#""t":7"#)]).await;
    project(&log).await;
    let year = WindowsQuery {
        from: at("2026-01-01T00:00:00Z"),
        to: at("2026-06-01T00:00:00Z"),
        step: Step::Month,
        ..from_noon(0, Some(Fill::Previous))
    };
    let expected = [(1, 5.0), (0, 5.0), (0, 5.0), (1, 7.0), (0, 7.0)].map(|(count, avg)| (count, Some(avg)));
    assert_eq!(values(&log, &year).await, expected);
}
