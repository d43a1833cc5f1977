//! Where the buckets of a range begin: the rule that [`WindowsQuery`] states, in one place. Pure.
//!
//! All of it happens here and none in the database, whose time zone data may differ.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

use super::{Invalid, MAX_BUCKETS, STEPS, Step, WindowsQuery};

/// The Monday from which steps of whole days count.
const MONDAY: NaiveDate = NaiveDate::from_ymd_opt(2000, 1, 3).expect("a date");
const MAX_STEP: TimeDelta = TimeDelta::days(366);
const DAY: TimeDelta = TimeDelta::days(1);

/// The start of each bucket, in order, and the end of the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Buckets {
    pub(super) boundaries: Vec<DateTime<Utc>>,
}

impl Buckets {
    /// The buckets of a query.
    pub(super) fn of(query: &WindowsQuery) -> Result<Self, Invalid> {
        if let Step::Length(length) = query.step
            && (length != TimeDelta::minutes(length.num_minutes())
                || !(TimeDelta::minutes(1)..=MAX_STEP).contains(&length))
        {
            return Err(Invalid::Step);
        }
        let in_calendar = |time: DateTime<Utc>| (0..=9999).contains(&time.year());
        if query.from >= query.to || !in_calendar(query.from) || !in_calendar(query.to) {
            return Err(Invalid::Range);
        }
        let rule = Rule::of(query.step, query.tz);
        let mut boundaries = vec![rule.start(query.from)];
        let (mut last, mut midnight) = (boundaries[0], boundaries[0]);
        while last < query.to {
            if boundaries.len() > MAX_BUCKETS {
                return Err(Invalid::TooManyBuckets);
            }
            last = rule.next(last, &mut midnight);
            boundaries.push(last);
        }
        // Before 1972 some offsets were not whole minutes, but stored windows start on whole minutes.
        let boundaries = boundaries.into_iter().map(floor_to_minute).collect();
        Ok(Self { boundaries })
    }

    /// The start of the first bucket and the end of the last, in seconds of the Unix epoch.
    pub(super) fn span(&self) -> (i64, i64) {
        let seconds = |boundary: Option<&DateTime<Utc>>| boundary.map_or(0, DateTime::timestamp);
        (seconds(self.boundaries.first()), seconds(self.boundaries.last()))
    }

    /// How many buckets there are.
    pub(super) fn count(&self) -> usize {
        self.boundaries.len() - 1
    }

    /// The longest stored step, in seconds, on whose boundaries every bucket starts and ends.
    pub(super) fn stored_step(&self) -> i32 {
        let fits = |step: i32| self.boundaries.iter().all(|start| start.timestamp() % i64::from(step) == 0);
        STEPS.into_iter().rev().find(|&step| fits(step)).unwrap_or(STEPS[0])
    }
}

fn floor_to_minute(time: DateTime<Utc>) -> DateTime<Utc> {
    time - TimeDelta::seconds(time.timestamp().rem_euclid(60))
}

/// What buckets count from. Times in and out are instants; local times stay inside.
enum Rule {
    /// A step below a day: counts from each local midnight, and is cut off at the next.
    OfDay(TimeDelta, Tz),
    /// A step of this many local days.
    Days(i64, Tz),
    /// A step of this many local months, which divides a year: counts from January.
    Months(i32, Tz),
    /// Any other step: counts from the Unix epoch.
    Absolute(TimeDelta),
}

impl Rule {
    fn of(step: Step, tz: Tz) -> Self {
        match step {
            Step::Length(length) if length < DAY => Self::OfDay(length, tz),
            Step::Length(length) if length == TimeDelta::days(length.num_days()) => {
                Self::Days(length.num_days(), tz)
            }
            Step::Length(length) => Self::Absolute(length),
            Step::Month => Self::Months(1, tz),
            Step::Quarter => Self::Months(3, tz),
            Step::Year => Self::Months(12, tz),
        }
    }

    /// The start of the bucket that holds `time`.
    fn start(&self, time: DateTime<Utc>) -> DateTime<Utc> {
        match *self {
            Self::OfDay(step, tz) => floor(time, midnight(day_of(time, tz), tz), step),
            Self::Days(days, tz) => {
                let day = day_of(time, tz);
                midnight(day - TimeDelta::days((day - MONDAY).num_days().rem_euclid(days)), tz)
            }
            Self::Months(months, tz) => {
                let month = month_of(day_of(time, tz));
                midnight(first_of(month - month.rem_euclid(months)), tz)
            }
            Self::Absolute(step) => floor(time, DateTime::UNIX_EPOCH, step),
        }
    }

    /// The start of the bucket after the one that starts at `start`. `next_midnight` is kept from bucket to bucket,
    /// because it takes a look at the calendar, and a day may have 1,440 buckets.
    fn next(&self, start: DateTime<Utc>, next_midnight: &mut DateTime<Utc>) -> DateTime<Utc> {
        match *self {
            Self::OfDay(step, tz) => {
                if start >= *next_midnight {
                    *next_midnight = midnight(day_of(start, tz) + DAY, tz);
                }
                (start + step).min(*next_midnight)
            }
            Self::Days(days, tz) => {
                let day = day_of(start, tz);
                let into = (day - MONDAY).num_days().rem_euclid(days);
                midnight(day + TimeDelta::days(days - into), tz)
            }
            Self::Months(months, tz) => {
                let month = month_of(day_of(start, tz));
                midnight(first_of(month - month.rem_euclid(months) + months), tz)
            }
            Self::Absolute(step) => start + step,
        }
    }
}

/// The last of the times `origin + n * step` that is not after `time`.
fn floor(time: DateTime<Utc>, origin: DateTime<Utc>, step: TimeDelta) -> DateTime<Utc> {
    time - TimeDelta::microseconds(
        (time - origin).num_microseconds().unwrap_or(0).rem_euclid(step.num_microseconds().unwrap_or(1)),
    )
}

/// The month of a day, counted from January of year 0.
fn month_of(day: NaiveDate) -> i32 {
    day.year() * 12 + day.month0() as i32
}

/// The first day of a month, which is counted from January of year 0.
fn first_of(month: i32) -> NaiveDate {
    let (year, month0) = (month.div_euclid(12), month.rem_euclid(12));
    NaiveDate::from_ymd_opt(year, month0 as u32 + 1, 1).unwrap_or_default()
}

/// The last local day that has begun. If clocks are set back over midnight, the new day goes on, although the clocks
/// show the day before once more.
fn day_of(time: DateTime<Utc>, tz: Tz) -> NaiveDate {
    let mut day = time.with_timezone(&tz).date_naive();
    while midnight(day + DAY, tz) <= time {
        day += DAY;
    }
    day
}

/// The start of a local day: the first of two midnights or, if clocks skip midnight, the moment at which they do.
fn midnight(date: NaiveDate, tz: Tz) -> DateTime<Utc> {
    let midnight = date.and_time(NaiveTime::MIN);
    tz.from_local_datetime(&midnight)
        .earliest()
        .or_else(|| GapInfo::new(&midnight, &tz)?.end)
        .map_or_else(|| midnight.and_utc(), |time| time.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        time.parse().unwrap_or_else(|error| panic!("{time}: {error}"))
    }

    fn query(from: &str, to: &str, step: impl Into<Step>, tz: &str) -> WindowsQuery {
        let (step, tz) = (step.into(), tz.parse().expect("a time zone"));
        let (from, to) = (at(from), at(to));
        WindowsQuery { metric: None, from, to, since: None, step, tz, points: None, fill: None }
    }

    /// The buckets' boundaries, as the clocks of the zone show them.
    fn local(from: &str, to: &str, step: impl Into<Step>, tz: &str) -> Vec<String> {
        let query = query(from, to, step, tz);
        let buckets = Buckets::of(&query).expect("valid");
        let show = |start: &DateTime<Utc>| start.with_timezone(&query.tz).format("%m-%dT%H:%M%z").to_string();
        buckets.boundaries.iter().map(show).collect()
    }

    fn stored(from: &str, to: &str, step: impl Into<Step>, tz: &str) -> i32 {
        Buckets::of(&query(from, to, step, tz)).expect("valid").stored_step()
    }

    #[test]
    fn the_first_bucket_holds_from_and_the_last_starts_before_to() {
        let buckets = local("2026-03-01T10:07:00Z", "2026-03-01T10:15:00Z", TimeDelta::minutes(5), "UTC");
        assert_eq!(buckets, ["03-01T10:05+0000", "03-01T10:10+0000", "03-01T10:15+0000"]);
        let buckets = local("2026-03-01T10:05:00Z", "2026-03-01T10:10:01Z", TimeDelta::minutes(5), "UTC");
        assert_eq!(buckets, ["03-01T10:05+0000", "03-01T10:10+0000", "03-01T10:15+0000"]);
    }

    #[test]
    fn a_day_on_which_clocks_change_has_23_or_25_hours() {
        let count = |day: &str, next: &str| local(day, next, TimeDelta::hours(1), "Europe/Berlin").len() - 1;
        assert_eq!(count("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"), 23);
        assert_eq!(count("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"), 25);
        let days = local("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z", DAY, "Europe/Berlin");
        assert_eq!(days, ["03-28T00:00+0100", "03-29T00:00+0100", "03-30T00:00+0200", "03-31T00:00+0200"]);
    }

    #[test]
    fn a_step_that_does_not_divide_the_day_is_cut_off_at_midnight() {
        let buckets = local("2026-03-01T12:00:00Z", "2026-03-02T01:00:00Z", TimeDelta::hours(7), "UTC");
        let expected = [
            "03-01T07:00+0000",
            "03-01T14:00+0000",
            "03-01T21:00+0000",
            "03-02T00:00+0000",
            "03-02T07:00+0000",
        ];
        assert_eq!(buckets, expected);
    }

    #[test]
    fn hours_of_a_zone_with_half_hours_begin_at_the_half() {
        let buckets =
            local("2026-03-01T00:00:00Z", "2026-03-01T00:31:00Z", TimeDelta::hours(1), "Asia/Kolkata");
        assert_eq!(buckets, ["03-01T05:00+0530", "03-01T06:00+0530", "03-01T07:00+0530"]);
    }

    #[test]
    fn seven_days_are_iso_weeks() {
        let buckets = local("2026-01-01T00:00:00Z", "2026-01-06T00:00:00Z", TimeDelta::days(7), "UTC");
        assert_eq!(buckets, ["12-29T00:00+0000", "01-05T00:00+0000", "01-12T00:00+0000"]);
    }

    #[test]
    fn months_quarters_and_years_are_those_of_the_zones_calendar() {
        let starts = |from, to, step, tz: &str| {
            let query = query(from, to, step, tz);
            let show = |start: &DateTime<Utc>| start.with_timezone(&query.tz).format("%F %R").to_string();
            Buckets::of(&query).expect("valid").boundaries.iter().map(show).collect::<Vec<_>>()
        };
        let (from, to) = ("2024-02-29T12:00:00Z", "2024-04-01T00:00:00Z");
        let months = ["2024-02-01 00:00", "2024-03-01 00:00", "2024-04-01 00:00"];
        assert_eq!(starts(from, to, Step::Month, "UTC"), months, "April starts at the end");
        // In Berlin, April has begun two hours before, and summer time in between.
        let and_april = [&months[..], &["2024-05-01 00:00"]].concat();
        assert_eq!(starts(from, to, Step::Month, "Europe/Berlin"), and_april);
        let quarters = ["2024-01-01 00:00", "2024-04-01 00:00"];
        assert_eq!(starts(from, to, Step::Quarter, "UTC"), quarters);
        let turn = ("2023-12-31T23:30:00Z", "2024-01-01T00:00:00Z");
        assert_eq!(starts(turn.0, turn.1, Step::Year, "UTC"), ["2023-01-01 00:00", "2024-01-01 00:00"]);
        let in_berlin = ["2024-01-01 00:00", "2025-01-01 00:00"];
        assert_eq!(starts(turn.0, turn.1, Step::Year, "Europe/Berlin"), in_berlin);
    }

    #[test]
    fn the_calendar_has_its_first_and_its_last_year() {
        let years = |from, to| Buckets::of(&query(from, to, Step::Year, "UTC")).map(|b| b.boundaries);
        let first = years("0000-06-01T00:00:00Z", "0001-01-01T00:00:00Z").expect("valid");
        assert_eq!(first, [at("0000-01-01T00:00:00Z"), at("0001-01-01T00:00:00Z")]);
        let last = years("9999-06-01T00:00:00Z", "9999-12-30T00:00:00Z").expect("valid");
        assert_eq!(last, [at("9999-01-01T00:00:00Z"), at("+10000-01-01T00:00:00Z")]);
        assert_eq!(years("0000-01-01T00:00:00Z", "9999-12-30T00:00:00Z").map(|b| b.len()), Ok(10_001));
    }

    #[test]
    fn a_step_of_a_day_and_a_half_counts_from_the_epoch() {
        let buckets =
            local("1970-01-01T00:00:00Z", "1970-01-02T13:00:00Z", TimeDelta::hours(36), "Asia/Kolkata");
        assert_eq!(buckets, ["01-01T05:30+0530", "01-02T17:30+0530", "01-04T05:30+0530"]);
    }

    #[test]
    fn a_day_begins_when_its_clocks_do() {
        // Clocks go from 24:00 to 01:00; midnight does not exist.
        let buckets = local("2018-11-04T02:00:00Z", "2018-11-04T04:00:00Z", DAY, "America/Sao_Paulo");
        assert_eq!(buckets, ["11-03T00:00-0300", "11-04T01:00-0200", "11-05T00:00-0200"]);
        // Clocks go back from 00:01 to 23:01; the new day has begun, and goes on.
        let buckets =
            local("2006-10-28T12:00:00Z", "2006-10-29T06:00:00Z", TimeDelta::hours(6), "America/St_Johns");
        let expected = ["10-28T06:00-0230", "10-28T12:00-0230", "10-28T18:00-0230", "10-29T00:00-0230"];
        assert_eq!(buckets[..4], expected);
        // A zone that skipped 30 December altogether.
        let buckets = local("2011-12-29T12:00:00Z", "2011-12-31T12:00:00Z", DAY, "Pacific/Apia");
        assert_eq!(buckets, ["12-29T00:00-1000", "12-31T00:00+1400", "01-01T00:00+1400", "01-02T00:00+1400"]);
    }

    #[test]
    fn boundaries_only_ever_move_on() {
        let zones =
            ["UTC", "America/St_Johns", "America/Havana", "Pacific/Apia", "Africa/Cairo", "Asia/Kolkata"];
        let lengths = [90, 360, 1440, 2880, 2160].map(|minutes| Step::Length(TimeDelta::minutes(minutes)));
        let steps = lengths.into_iter().chain([Step::Month, Step::Quarter, Step::Year]).collect::<Vec<_>>();
        for (tz, &step) in zones.into_iter().flat_map(|tz| steps.iter().map(move |step| (tz, step))) {
            let query = query("2004-01-01T00:00:00Z", "2004-12-31T00:00:00Z", step, tz);
            let boundaries = Buckets::of(&query).expect("valid").boundaries;
            assert!(boundaries.is_sorted_by(|a, b| a < b), "{tz} {step:?}");
            assert!(boundaries[0] <= query.from && query.from < boundaries[1], "{tz} {step:?}");
        }
    }

    #[test]
    fn times_before_the_epoch_and_in_year_0_have_buckets_too() {
        let buckets = local("1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", TimeDelta::minutes(5), "UTC");
        assert_eq!(buckets, ["12-31T23:55+0000", "01-01T00:00+0000"]);
        let buckets = local("0000-01-01T00:00:00Z", "0000-01-02T00:00:00Z", DAY, "UTC");
        assert_eq!(buckets, ["01-01T00:00+0000", "01-02T00:00+0000"]);
        let query = query("0000-01-01T00:00:00Z", "0000-01-02T00:00:00Z", DAY, "Europe/Amsterdam");
        let starts = Buckets::of(&query).expect("valid").boundaries;
        assert!(starts.iter().all(|start| start.timestamp() % 60 == 0));
    }

    #[test]
    fn buckets_are_made_of_the_longest_windows_that_fit() {
        let (from, to) = ("2026-03-01T00:00:00Z", "2026-03-09T00:00:00Z");
        for (step, tz, expected) in [
            (DAY, "UTC", 86_400),
            (TimeDelta::days(7), "UTC", 86_400),
            (DAY, "Europe/Berlin", 3_600),
            (TimeDelta::hours(6), "UTC", 3_600),
            (TimeDelta::minutes(90), "UTC", 60),
            (TimeDelta::hours(1), "Asia/Kolkata", 60),
            (DAY, "Asia/Kolkata", 60),
        ] {
            assert_eq!(stored(from, to, step, tz), expected, "{step} {tz}");
        }
        for step in [Step::Month, Step::Quarter, Step::Year] {
            assert_eq!(stored(from, to, step, "UTC"), 86_400, "{step:?}");
        }
        // London is UTC in winter.
        assert_eq!(stored(from, to, DAY, "Europe/London"), 86_400);
    }

    #[test]
    fn a_query_that_makes_no_sense_is_refused() {
        let (from, to) = ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
        let of = |from, to, step| Buckets::of(&query(from, to, step, "UTC"));
        for step in [TimeDelta::zero(), TimeDelta::seconds(90), TimeDelta::minutes(-5), TimeDelta::days(367)]
        {
            assert_eq!(of(from, to, step), Err(Invalid::Step));
        }
        for (from, to) in
            [(to, from), (from, from), ("-0001-01-01T00:00:00Z", to), (from, "+10000-01-01T00:00:00Z")]
        {
            assert_eq!(of(from, to, DAY), Err(Invalid::Range), "{from} {to}");
        }
        assert_eq!(of("0000-01-01T00:00:00Z", to, TimeDelta::minutes(1)), Err(Invalid::TooManyBuckets));
        let ten_thousand_minutes = "2026-03-07T22:40:00Z";
        assert_eq!(
            of(from, ten_thousand_minutes, TimeDelta::minutes(1)).map(|b| b.boundaries.len()),
            Ok(10_001)
        );
        assert_eq!(of(from, "2026-03-07T22:41:00Z", TimeDelta::minutes(1)), Err(Invalid::TooManyBuckets));
    }
}
