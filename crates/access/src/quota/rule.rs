//! Which limit holds for a request: the most specific of its tier's, alone.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use fleetlog_event_log::Error;
use http::Method;
use sqlx::{PgPool, Row};

/// The longest a pattern may be, in bytes.
const MAX_PATTERN: usize = 200;
/// Limits of so few requests are counted exactly: Postgres is asked about each.
const EXACT: u32 = 60;

/// Sending a command, in whatever way.
pub const COMMAND: Call<'static> = Call { method: &Method::POST, path: "/devices/{uid}/commands" };

/// A request, as limits tell requests apart.
#[derive(Debug, Clone, Copy)]
pub struct Call<'c> {
    /// The method.
    pub method: &'c Method,
    /// The path as the API's document writes it, without the version before it.
    pub path: &'c str,
}

/// Which requests a limit is about: `*`, or how a path begins, with a method before it where only that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    method: Option<Method>,
    path: usize,
}

/// A text that is no [`Pattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected * or the beginning of a path such as /devices, with a method before it if need be")]
pub struct BadPattern;

impl FromStr for Pattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => (Some(method), path),
            None => (None, text),
        };
        let is_path = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic());
        let is_method = |method: &str| !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
        if text.len() > MAX_PATTERN || !(path == "*" || is_path) || !method.is_none_or(is_method) {
            return Err(BadPattern);
        }
        let method = method.map(str::parse).transpose().map_err(|_| BadPattern)?;
        Ok(Self { text: text.to_owned(), method, path: text.len() - path.len() })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    fn path(&self) -> &str {
        &self.text[self.path..]
    }

    /// Whether it is about a request.
    fn matches(&self, call: Call<'_>) -> bool {
        let path = self.path();
        let below =
            || call.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.method.as_ref().is_none_or(|method| method == call.method) && (path == "*" || below())
    }

    /// The longer the path, the more specific; of two with the same, the one with a method.
    fn specificity(&self) -> (usize, bool) {
        (if self.path() == "*" { 0 } else { self.path().len() }, self.method.is_some())
    }
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// For which requests.
    pub pattern: Pattern,
    /// How many.
    pub requests: u32,
    /// In how many seconds.
    pub window_s: u32,
}

/// When a window begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first second, since the epoch.
    pub start: i64,
    /// The next one's.
    pub end: i64,
}

impl Rule {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.pattern.text == "*" { "default" } else { &self.pattern.text }
    }

    /// Whether every single request is counted over all nodes.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.requests <= EXACT
    }

    /// The window that a moment is in.
    #[must_use]
    pub fn window_at(&self, now: DateTime<Utc>) -> Window {
        let length = i64::from(self.window_s);
        let start = now.timestamp() - now.timestamp().rem_euclid(length);
        Window { start, end: start + length }
    }
}

/// The tiers' limits.
#[derive(Debug, Clone, Default)]
pub struct Tiers(HashMap<String, Vec<Arc<Rule>>>);

impl Tiers {
    /// The limit that holds for a request in a tier. Whoever is in a tier that is not known here has the default one.
    #[must_use]
    pub fn find(&self, tier: &str, call: Call<'_>) -> Option<Arc<Rule>> {
        let rules = self.0.get(tier).or_else(|| self.0.get(super::DEFAULT))?;
        let matching = rules.iter().filter(|rule| rule.pattern.matches(call));
        matching.max_by_key(|rule| rule.pattern.specificity()).cloned()
    }
}

/// Reads all tiers with their limits.
pub(super) async fn load(pool: &PgPool) -> Result<Tiers, Error> {
    let rows =
        sqlx::query("SELECT tier, path, requests, window_s FROM tiers LEFT JOIN rate_limits USING (tier)");
    let mut tiers = HashMap::<String, Vec<Arc<Rule>>>::new();
    for row in rows.fetch_all(pool).await? {
        let rules = tiers.entry(row.try_get("tier")?).or_default();
        if let Some(path) = row.try_get::<Option<&str>, _>("path")? {
            let pattern = path.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            let (requests, window_s): (i32, i32) = (row.try_get("requests")?, row.try_get("window_s")?);
            rules.push(Arc::new(Rule { pattern, requests: requests as u32, window_s: window_s as u32 }));
        }
    }
    Ok(Tiers(tiers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &Method, path: &str) -> Option<String> {
        let patterns = ["*", "/devices", "/devices/{uid}/commands", "POST /devices/{uid}/commands", "GET *"];
        let rule = |pattern: &str| {
            Arc::new(Rule { pattern: pattern.parse().expect("a pattern"), requests: 1, window_s: 1 })
        };
        let tiers = Tiers([("free".to_owned(), patterns.map(rule).to_vec())].into_iter().collect());
        tiers.find("free", Call { method, path }).map(|rule| rule.pattern.to_string())
    }

    #[test]
    fn the_most_specific_limit_holds_alone() {
        for (method, path, expected) in [
            (Method::POST, "/devices/{uid}/commands", "POST /devices/{uid}/commands"),
            (Method::GET, "/devices/{uid}/commands", "/devices/{uid}/commands"),
            (Method::GET, "/devices/{uid}", "/devices"),
            (Method::GET, "/devices", "/devices"),
            (Method::POST, "/devices-of-others", "*"),
            (Method::GET, "/events", "GET *"),
        ] {
            assert_eq!(found(&method, path).as_deref(), Some(expected), "{method} {path}");
        }
    }

    #[test]
    fn a_pattern_is_a_star_or_a_path_with_a_method_if_need_be() {
        for good in ["*", "/a", "POST *", "GET /a/{b}"] {
            assert_eq!(good.parse::<Pattern>().map(|pattern| pattern.to_string()).as_deref(), Ok(good));
        }
        for bad in
            ["", "a", "post /a", " /a", "/a b", "POST  /a", "POST", "**", &format!("/{}", "a".repeat(200))]
        {
            assert_eq!(bad.parse::<Pattern>(), Err(BadPattern), "{bad:?}");
        }
    }
}
