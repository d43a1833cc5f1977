//! Reads the minutes that have changed.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::{Error as Failure, LogId, TenantLog};
use fleetlog_projections::telemetry_windows::{
    self, DEVICE_METRICS, Error as WindowsError, Invalid, MAX_WINDOWS,
};

use super::Changed;
use crate::rest::telemetry::shown_since;

/// How many minutes one query reads at most, over all devices. With every metric that a device may have, it finds no more than a
/// query may.
const SPAN: usize = MAX_WINDOWS / DEVICE_METRICS;
/// The starts of the minutes that have changed, of each metric of each device.
pub(super) type Starts = BTreeMap<Uid, BTreeSet<(String, DateTime<Utc>)>>;

/// Reads the minutes that have changed, by device, metric and time.
pub(super) async fn read(
    log: &TenantLog,
    log_id: LogId,
    metrics: Option<&BTreeSet<String>>,
    changed: &Starts,
) -> Result<Vec<Changed>, WindowsError> {
    let metric = metrics.filter(|metrics| metrics.len() == 1).and_then(BTreeSet::first);
    let mut found = vec![];
    let mut queries = queries(changed);
    while let Some((mut uids, from, minutes)) = queries.pop() {
        let within = from..from + TimeDelta::minutes(minutes);
        let metric = metric.map(String::as_str);
        log.begin_answer();
        let all = match telemetry_windows::minutes(log, log_id, &uids, metric, within, shown_since(log)).await
        {
            Ok(all) => all,
            // Devices with so many metrics are read a few at a time.
            Err(error) if is_too_much(&error) && uids.len() > 1 => {
                let rest = uids.split_off(uids.len() / 2);
                queries.extend([(uids, from, minutes), (rest, from, minutes)]);
                continue;
            }
            Err(error) => return Err(error),
        };
        for series in all {
            let Some(starts) = changed.get(&series.uid) else { continue };
            for window in series.windows {
                if starts.contains(&(series.metric.clone(), window.start)) {
                    found.push(Changed { uid: series.uid.clone(), metric: series.metric.clone(), window });
                }
            }
        }
    }
    let key = |changed: &Changed| (changed.uid.clone(), changed.metric.clone(), changed.window.start);
    found.sort_by_cached_key(key);
    Ok(found)
}

fn is_too_much(error: &WindowsError) -> bool {
    matches!(
        error,
        WindowsError::Invalid(Invalid::TooManyWindows) | WindowsError::Database(Failure::TooLarge)
    )
}

/// The queries that find all of these minutes: the devices, the first minute, and how many minutes. A few minutes of many devices
/// or many minutes of a few, so that none finds more than a query may.
fn queries(changed: &Starts) -> Vec<(Vec<Uid>, DateTime<Utc>, i64)> {
    let minutes = (SPAN / changed.len().max(1)).max(1);
    let span = TimeDelta::minutes(minutes as i64);
    let of = |starts: &BTreeSet<(String, DateTime<Utc>)>| {
        starts.iter().map(|(_, start)| *start).collect::<BTreeSet<_>>()
    };
    let devices: Vec<(&Uid, BTreeSet<_>)> = changed.iter().map(|(uid, starts)| (uid, of(starts))).collect();
    let mut starts: BTreeSet<_> = devices.iter().flat_map(|(_, starts)| starts.iter().copied()).collect();
    let mut queries = vec![];
    while let Some(from) = starts.pop_first() {
        let to = from + span;
        starts = starts.split_off(&to);
        let within = devices.iter().filter(|(_, starts)| starts.range(from..to).next().is_some());
        let within: Vec<Uid> = within.map(|(uid, _)| Uid::clone(uid)).collect();
        let at_once = within.chunks((SPAN / minutes).max(1));
        queries.extend(at_once.map(|uids| (uids.to_vec(), from, minutes as i64)));
    }
    queries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(devices: usize, minutes: &[i64]) -> Starts {
        let start = |minute| DateTime::from_timestamp(minute * 60, 0).expect("a time");
        let starts = || minutes.iter().map(|minute| ("t".to_owned(), start(*minute))).collect();
        (0..devices).map(|n| (format!("dev-{n:04}").parse().expect("a uid"), starts())).collect()
    }

    #[test]
    fn the_queries_find_every_minute_of_every_device_and_none_finds_too_many() {
        for (devices, minutes) in
            [(1, vec![0, 1, 19, 20, 500]), (3, vec![7, 9, 12]), (1000, vec![5]), (40, vec![1, 2])]
        {
            let changed = changed(devices, &minutes);
            let mut left = changed.clone();
            for (uids, from, minutes) in queries(&changed) {
                assert!(uids.len() * minutes as usize <= SPAN, "{} devices, {minutes} minutes", uids.len());
                let to = from + TimeDelta::minutes(minutes);
                for uid in &uids {
                    left.get_mut(uid).expect("a device").retain(|(_, start)| !(from..to).contains(start));
                }
            }
            assert!(left.values().all(BTreeSet::is_empty), "{devices} devices: {left:?}");
        }
        assert_eq!(
            queries(&changed(1, &(0..20).collect::<Vec<_>>())).len(),
            1,
            "one device's minutes are read together"
        );
        assert_eq!(queries(&changed(20, &[0])).len(), 1, "and so are many devices in one minute");
    }
}
