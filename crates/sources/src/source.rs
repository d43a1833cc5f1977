//! A source as it is used: a definition whose every part has been checked and compiled.

use chrono_tz::Tz;

use crate::commands::Commands;
use crate::formats::Format;
use crate::invalid::{Findings, Invalids, Why};
use crate::limits::{MAX_ENTRIES, MAX_PLACES, MAX_SEARCHES, MAX_TITLE, MAX_TOPICS};
use crate::measure::MetricsRule;
use crate::path::Path;
use crate::pattern::{Levels, Pattern, overlaps};
use crate::spec::{Many, OtherCharacters, SourceSpec, StatusSpec, TimeSpec, TopicSpec, Unit};
use crate::status::StatusRule;
use crate::template::Template;
use crate::time::{Clock, ClockUnit};

/// A tenant's rule for foreign topics and payloads, ready to be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    spec: SourceSpec,
    rules: Vec<Rule>,
    commands: Option<Commands>,
}

/// How the messages of some topics are read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) format: Format,
    pub(crate) uid: Template,
    pub(crate) other_characters: OtherCharacters,
    pub(crate) each: Option<Path>,
    pub(crate) time: Option<TimeRule>,
    pub(crate) id: Vec<Template>,
    /// The definition's text of `id`, for people.
    pub(crate) id_text: String,
    pub(crate) metrics: Vec<MetricsRule>,
    pub(crate) status: Option<StatusRule>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TimeRule {
    pub(crate) places: Vec<Template>,
    pub(crate) clock: Clock,
}

impl TryFrom<SourceSpec> for Source {
    type Error = Invalids;

    fn try_from(spec: SourceSpec) -> Result<Self, Invalids> {
        let mut findings = Findings::default();
        if let Some(title) = &spec.title {
            findings.count("/title", title.chars().count(), "characters", 1, MAX_TITLE);
            if title.chars().any(char::is_control) {
                findings.note("/title", Why::Form("expected no control characters".to_owned()));
            }
        }
        findings.count("/topics", spec.topics.len(), "topics", 1, MAX_TOPICS);
        let mut rules: Vec<Rule> = Vec::new();
        for (nth, topic) in spec.topics.iter().enumerate().take(MAX_TOPICS) {
            let at = format!("/topics/{nth}");
            if let Some(rule) = Rule::compile(topic, &at, &mut findings) {
                find_shadowed(&rule, &rules, topic, &at, &mut findings);
                rules.push(rule);
            }
        }
        let commands =
            spec.commands.as_ref().map(|commands| Commands::compile(commands, &rules, &mut findings));
        let commands = match commands {
            None => Some(None),
            Some(commands) => commands.map(Some),
        };
        let source = commands.map(|commands| Self { spec, rules, commands });
        findings.into_result(source)
    }
}

impl Source {
    /// The definition.
    #[must_use]
    pub fn spec(&self) -> &SourceSpec {
        &self.spec
    }

    /// The topic patterns of its messages, in the order in which they count.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.rules.iter().flat_map(|rule| &rule.patterns)
    }

    /// The topic patterns of its devices' answers to commands.
    pub fn answer_patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.commands.iter().flat_map(Commands::answer_patterns)
    }

    /// The MQTT topic filters to subscribe to, each once: of messages and of answers.
    #[must_use]
    pub fn filters(&self) -> Vec<String> {
        let mut filters: Vec<String> =
            self.patterns().chain(self.answer_patterns()).map(Pattern::filter).collect();
        filters.sort_unstable();
        filters.dedup();
        filters
    }

    /// The first pair of patterns, one of this source and one of the other, that match the same topic.
    #[must_use]
    pub fn overlap<'s>(&'s self, other: &'s Self) -> Option<(&'s Pattern, &'s Pattern)> {
        let all = |source: &'s Self| source.patterns().chain(source.answer_patterns());
        all(self).find_map(|one| all(other).find(|theirs| overlaps(one, theirs)).map(|theirs| (one, theirs)))
    }

    /// Whether messages on a topic are this source's.
    #[must_use]
    pub fn takes(&self, topic: &str) -> bool {
        self.rule(topic).is_some()
    }

    pub(crate) fn commands(&self) -> Option<&Commands> {
        self.commands.as_ref()
    }

    pub(crate) fn rule<'s>(&'s self, topic: &'s str) -> Option<(&'s Rule, Levels<'s>)> {
        self.rules.iter().find_map(|rule| {
            rule.patterns.iter().find_map(|pattern| pattern.matches(topic)).map(|levels| (rule, levels))
        })
    }
}

/// Notes the patterns that an earlier rule leaves nothing for.
fn find_shadowed(rule: &Rule, before: &[Rule], topic: &TopicSpec, at: &str, findings: &mut Findings) {
    let earlier = || before.iter().flat_map(|rule| &rule.patterns);
    for (nth, (at, _)) in topic.topic.placed(&format!("{at}/topic")).enumerate() {
        let Some(pattern) = rule.patterns.get(nth) else { continue };
        let own = rule.patterns[..nth].iter();
        if let Some(first) = earlier().chain(own).find(|first| first.covers(pattern)) {
            findings.note(&at, Why::Shadowed(first.to_string()));
        }
    }
}

impl Rule {
    fn compile(spec: &TopicSpec, at: &str, findings: &mut Findings) -> Option<Self> {
        let topic_at = format!("{at}/topic");
        findings.count(&topic_at, spec.topic.as_slice().len(), "patterns", 1, MAX_TOPICS);
        let patterns: Option<Vec<Pattern>> =
            spec.topic.placed(&topic_at).map(|(at, text)| findings.keep(&at, Pattern::parse(text))).collect();
        let patterns = patterns.filter(|patterns| !patterns.is_empty())?;
        let default = if spec.status.is_some() { Format::Text } else { Format::LenientJson };
        let format = spec.format.clone().unwrap_or(default);
        check_columns(&format, at, findings);
        let names = Names::new(&patterns);
        let uid = Self::uid(spec, &format, &names, at, findings);
        let each = spec.each.as_deref().map_or(Some(default_each(&format)), |text| {
            findings.keep(&format!("{at}/each"), Path::parse(text)).map(Some)
        });
        let time = match &spec.time {
            // The payload of a last will was written when its device connected.
            None => Some(default_time(&format).filter(|_| spec.status.is_none())),
            Some(time) => TimeRule::compile(time, &names, &format!("{at}/time"), findings).map(Some),
        };
        let id = Self::id(spec, &names, at, findings);
        let metrics = MetricsRule::compile_all(
            spec.metrics.as_ref(),
            &format,
            &names,
            &format!("{at}/metrics"),
            findings,
        );
        let status =
            spec.status.as_ref().map(|status| StatusRule::compile(status, &format!("{at}/status"), findings));
        if status.is_some() {
            let is_read = [spec.each.is_some(), spec.metrics.is_some()].contains(&true);
            if is_read {
                findings.note(
                    &format!("{at}/status"),
                    Why::Contradiction("a status has neither readings nor metrics"),
                );
            }
        }
        let says = |status: &StatusSpec| matches!(status, StatusSpec::Says(_));
        if spec.status.as_ref().is_some_and(says)
            && !matches!(format, Format::Text | Format::Json | Format::LenientJson)
        {
            findings.note(
                &format!("{at}/format"),
                Why::Contradiction("a status that says a word is text or JSON"),
            );
        }
        let rule = Self {
            patterns,
            format,
            uid: uid?,
            other_characters: spec.other_characters,
            each: each?,
            time: time?,
            id: id?,
            id_text: spec.id.as_ref().map(|id| id.as_slice().join(":")).unwrap_or_default(),
            metrics: metrics?,
            status: match status {
                None => None,
                Some(status) => Some(status?),
            },
        };
        findings.count(at, rule.searches(), "JSONPaths with [*], a filter, .. or a slice", 0, MAX_SEARCHES);
        Some(rule)
    }

    /// How many of its paths look through many values.
    fn searches(&self) -> usize {
        let metrics = self.metrics.iter().flat_map(MetricsRule::paths);
        self.headers().chain(&self.each).chain(metrics).filter(|path| path.is_search()).count()
    }

    fn uid(
        spec: &TopicSpec,
        format: &Format,
        names: &Names<'_>,
        at: &str,
        findings: &mut Findings,
    ) -> Option<Template> {
        let text = match &spec.uid {
            Some(text) => text,
            None if names.has("uid") => "{uid}",
            // A base name says which device it is.
            None if *format == Format::Senml => "$.bn",
            None => {
                findings.note(&format!("{at}/topic"), Why::NoUid);
                return None;
            }
        };
        names.template(text, &format!("{at}/uid"), findings)
    }

    fn id(spec: &TopicSpec, names: &Names<'_>, at: &str, findings: &mut Findings) -> Option<Vec<Template>> {
        let Some(id) = &spec.id else { return Some(Vec::new()) };
        let at = format!("{at}/id");
        findings.count(&at, id.as_slice().len(), "parts", 1, MAX_PLACES);
        id.placed(&at).map(|(at, text)| names.template(text, &at, findings)).collect()
    }

    /// The paths whose values describe the reading, and are no measurements.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &Path> {
        let time = self.time.iter().flat_map(|time| &time.places);
        time.chain(&self.id).chain([&self.uid]).flat_map(Template::paths)
    }
}

impl TimeRule {
    fn compile(spec: &TimeSpec, names: &Names<'_>, at: &str, findings: &mut Findings) -> Option<Self> {
        let path_at = format!("{at}/path");
        findings.count(&path_at, spec.path.as_slice().len(), "places", 1, MAX_PLACES);
        let places: Option<Vec<_>> =
            spec.path.placed(&path_at).map(|(at, text)| names.template(text, &at, findings)).collect();
        let zone_at = format!("{at}/zone");
        let zone = match &spec.zone {
            None => Some(None),
            Some(name) => {
                let zone = name.parse::<Tz>().map_err(|_| Why::UnknownZone(name.clone()));
                findings.keep(&zone_at, zone).map(Some)
            }
        };
        if spec.zone.is_none() && spec.unit == Unit::Local {
            findings.note(&zone_at, Why::NoZone);
        }
        let counts =
            matches!(spec.unit, Unit::Seconds | Unit::Milliseconds | Unit::Microseconds | Unit::Nanoseconds);
        if spec.zone.is_some() && counts {
            findings.note(&zone_at, Why::Contradiction("a number since 1970 has no zone"));
        }
        Some(Self { places: places?, clock: Clock { unit: ClockUnit::Said(spec.unit), zone: zone? } })
    }
}

fn check_columns(format: &Format, at: &str, findings: &mut Findings) {
    let Format::CsvLine(csv) = format else { return };
    let at = format!("{at}/format/csv_line");
    findings.count(&format!("{at}/columns"), csv.columns.len(), "columns", 1, MAX_ENTRIES);
    let named: Vec<_> = csv.columns.iter().filter(|column| !column.is_empty()).collect();
    if (1..named.len()).any(|nth| named[..nth].contains(&named[nth])) {
        findings.note(&format!("{at}/columns"), Why::Contradiction("two columns have the same name"));
    }
    if matches!(csv.separator, '"' | '\n' | '\r') {
        findings.note(
            &format!("{at}/separator"),
            Why::Contradiction("a quote or the end of a line separates no values"),
        );
    }
}

/// Where the readings of a format are that has several in a message.
fn default_each(format: &Format) -> Option<Path> {
    let text = if format.is_pack() {
        "$.readings"
    } else if format.is_list() {
        "$"
    } else {
        return None;
    };
    Path::parse(text).ok()
}

fn default_time(format: &Format) -> Option<TimeRule> {
    let unit = match format {
        Format::Senml => ClockUnit::Senml,
        Format::SparkplugB => ClockUnit::Said(Unit::Milliseconds),
        _ => return None,
    };
    let places = ["$.t", "$.timestamp"].into_iter().filter_map(|text| Template::parse(text).ok()).collect();
    Some(TimeRule { places, clock: Clock { unit, zone: None } })
}

/// The names that a template of a rule may have: those that each of its patterns has.
pub(crate) struct Names<'p> {
    levels: Vec<&'p str>,
}

impl<'p> Names<'p> {
    pub(crate) fn new(patterns: &'p [Pattern]) -> Self {
        let in_all = |name: &&str| patterns.iter().all(|pattern| pattern.names().any(|own| own == *name));
        Self { levels: patterns.first().into_iter().flat_map(Pattern::names).filter(in_all).collect() }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.levels.contains(&name)
    }

    pub(crate) fn template(&self, text: &str, at: &str, findings: &mut Findings) -> Option<Template> {
        self.template_with(text, &["key", "login"], at, findings)
    }

    /// A template that may have other names than those of levels, too.
    pub(crate) fn template_with(
        &self,
        text: &str,
        others: &[&str],
        at: &str,
        findings: &mut Findings,
    ) -> Option<Template> {
        let template = findings.keep(at, Template::parse(text))?;
        let unknown = template.names().find(|name| !self.has(name) && !others.contains(name));
        if let Some(unknown) = unknown {
            let there =
                self.levels.iter().chain(others).map(|name| format!("{{{name}}}")).collect::<Vec<_>>();
            findings.note(at, Why::UnknownName(unknown.to_owned(), there.join(", ")));
            return None;
        }
        Some(template)
    }
}

/// The paths of a list, each with what is wrong with it noted.
pub(crate) fn paths(many: &Many<String>, at: &str, findings: &mut Findings) -> Option<Vec<Path>> {
    findings.count(at, many.as_slice().len(), "paths", 1, MAX_PLACES);
    many.placed(at).map(|(at, text)| findings.keep(&at, Path::parse(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid(spec: &str) -> Vec<String> {
        let spec = SourceSpec::from_json(spec).and_then(Source::try_from);
        spec.expect_err("invalid").0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_all_at_once() {
        let spec = r#"{"title":"","topics":[
            {"topic":["a/{uid}","a/#"]},
            {"topic":"b/{x}"},
            {"topic":"c/{uid}","time":{"path":["$.t","$.a b"],"unit":"local"},"each":"$..*..*","id":"{nothing}"},
            {"topic":"d/{uid}","time":{"path":"$.t","unit":"s","zone":"Mars/Base"},"metrics":{"from":"$[","prefix":"{y}"}},
            {"topic":"e/{uid}","status":"online","metrics":{}},
            {"topic":"g/{uid}","metrics":{"except":["$.*","$.*","$.*","$.*","$.*","$.*","$.*","$.*","$.*","$.*","$.*","$.*","$.*","$.*","$.*","$.*","$.*"]}},
            {"topic":"f/{uid}","format":{"csv_line":{"columns":["a","a"],"separator":"\""}}}
        ]}"#;
        let expected = [
            "/title: expected 1 to 200 characters",
            "/topics/0/topic/1: no topic pattern: write {*name} for the rest of a topic, not #",
            "/topics/1/topic: nothing names the device: name a level of the topic {uid}, or say where the uid is",
            "/topics/2/each: a path that may cost too much: it has more than one ..",
            "/topics/2/time/path/1: no JSONPath: at position 3, parser error",
            "/topics/2/time/zone: a local time needs a zone, such as Europe/Berlin",
            "/topics/2/id: there is no {nothing} here; there is {uid}, {key}, {login}",
            "/topics/3/time/zone: there is no time zone Mars/Base",
            "/topics/3/time/zone: a number since 1970 has no zone",
            "/topics/3/metrics/from: no JSONPath: at position 1, parser error",
            "/topics/3/metrics/prefix: there is no {y} here; there is {uid}, {key}",
            "/topics/4/status: a status has neither readings nor metrics",
            "/topics/5: expected 0 to 16 JSONPaths with [*], a filter, .. or a slice",
            "/topics/6/format/csv_line/columns: two columns have the same name",
            "/topics/6/format/csv_line/separator: a quote or the end of a line separates no values",
        ];
        assert_eq!(invalid(spec), expected);
    }

    #[test]
    fn a_definition_of_another_form_is_refused_with_its_place() {
        for (spec, expected) in [
            (
                r#"{"topics":[{"topic":"a/{uid}","time":{"path":"$.t","unit":"hours"}}]}"#,
                "/topics/0/time/unit: unknown variant `hours`",
            ),
            (r#"{"topics":[{"topic":"a/{uid}","tiem":1}]}"#, "/topics/0/tiem: unknown field `tiem`"),
            (
                r#"{"topics":[{"topic":3}]}"#,
                "/topics/0/topic: invalid type: integer `3`, expected one, or a list",
            ),
            (r#"{"topics":[{}]}"#, "/topics/0: missing field `topic`"),
            (r#"{"topics":[]}"#, "/topics: expected 1 to 32 topics"),
            (r#"{"topics":[{"topic":[]}]}"#, "/topics/0/topic: expected 1 to 32 patterns"),
            ("{", ": EOF while parsing an object"),
        ] {
            let found = invalid(spec).join("\n");
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn a_topic_for_which_an_earlier_one_leaves_nothing_is_refused() {
        let found = invalid(
            r#"{"topics":[{"topic":"a/{*uid}"},{"topic":["b/{uid}","a/{uid}/x"]},{"topic":"b/{uid}"}]}"#,
        );
        let expected = [
            "/topics/1/topic/1: a/{*uid} comes first and takes every message of this topic",
            "/topics/2/topic: b/{uid} comes first and takes every message of this topic",
        ];
        assert_eq!(found, expected);
    }

    fn source(spec: &str) -> Source {
        SourceSpec::from_json(spec)
            .and_then(Source::try_from)
            .unwrap_or_else(|invalid| panic!("{spec}: {invalid}"))
    }

    #[test]
    fn two_sources_that_match_one_topic_are_found() {
        let tasmota = source(r#"{"topics":[{"topic":["tele/{uid}/SENSOR","tele/{uid}/STATE"]}]}"#);
        let other = source(r#"{"topics":[{"topic":"x/{uid}"},{"topic":"tele/{uid}/{kind}"}]}"#);
        let (one, theirs) = tasmota.overlap(&other).expect("an overlap");
        assert_eq!((one.as_str(), theirs.as_str()), ("tele/{uid}/SENSOR", "tele/{uid}/{kind}"));
        assert_eq!(tasmota.overlap(&source(r#"{"topics":[{"topic":"x/{uid}"}]}"#)), None);
        assert_eq!(tasmota.filters(), ["tele/+/SENSOR", "tele/+/STATE"]);
    }

    #[test]
    fn a_definition_comes_back_from_its_stored_form() {
        let text = r#"{"topics":[{"topic":"a/{uid}","format":{"csv_line":{"columns":["t"]}},"other_characters":"drop","time":{"path":["$.t","{uid}"],"zone":"UTC"},"id":"$.i","metrics":[{"from":"$.m","words":{"these":{"ON":1.0}},"lists":{"by":{"name":"id"}}},{"lists":"left_out"}]}]}"#;
        let spec = SourceSpec::from_json(text).expect("a definition");
        assert_eq!(serde_json::to_string(&spec).expect("JSON"), text);
    }
}
