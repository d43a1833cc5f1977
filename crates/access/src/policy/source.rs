//! Whether a text is a policy, and if not, where it goes wrong.

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Policy, PolicyId, PolicySet, ValidationMode, Validator};

use super::builtin::SCHEMA_FOR_TENANTS;

/// The longest a policy may be, in bytes.
pub const MAX_SOURCE: usize = 16 << 10;

/// How deep brackets and conditions may nest. The parser takes a piece of the stack for each, and a process whose stack
/// is used up is dead.
const MAX_DEPTH: usize = 16;
/// How many `&&`, `||`, `+`, `-` and `*` there may be, and how many dots and indices. A chain of them nests as well, and
/// the validator passes over what is nested too deep for its stack without a word.
const MAX_CHAIN: usize = 64;
/// How long a pattern after `like` may be, in bytes, and how many `*` it may have. Matching takes up to the product of the
/// pattern's and the label's lengths, for each device of each list.
const MAX_PATTERN: usize = 128;
const MAX_WILDCARDS: usize = 4;

/// Why a text is no policy, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// One policy, without slots, that the schema knows all words of and that can apply to something.
pub fn check(name: &str, source: &str) -> Result<Policy, Invalid> {
    bound(source)?;
    let policy = parse(name, source)?;
    let set = PolicySet::from_policies([policy.clone()]).map_err(|error| Invalid(error.to_string()))?;
    let result = Validator::new(SCHEMA_FOR_TENANTS.clone()).validate(&set, ValidationMode::Strict);
    let error = result.validation_errors().next().map(DetailedError::from);
    // What is only a warning to Cedar, such as a policy that can never apply, is a mistake nevertheless.
    let error = error.or_else(|| result.validation_warnings().next().map(DetailedError::from));
    match error {
        Some(mut error) => {
            // Whoever asks knows which policy it is about.
            let own = format!("for policy `{name}`");
            if let Some(rest) = error.message.strip_prefix(&own) {
                error.message = rest.trim_start_matches([',', ':', ' ']).to_owned();
            }
            Err(describe(&error, source))
        }
        None => Ok(policy),
    }
}

/// Refuses what would be too much for the parser, without understanding it.
fn bound(source: &str) -> Result<(), Invalid> {
    let refuse = |max, what| Err(Invalid(format!("expected at most {max} {what}")));
    if source.len() > MAX_SOURCE {
        return refuse(MAX_SOURCE, "bytes");
    }
    let (mut depth, mut deepest, mut conditions, mut joints, mut accesses) = (0_usize, 0, 0, 0, 0);
    let mut is_pattern = false;
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '"' => {
                let length = text(rest);
                if is_pattern {
                    bound_pattern(&rest[..length])?;
                }
                is_pattern = false;
                length
            }
            '/' if rest.starts_with("//") => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            '&' | '|' if rest.starts_with("&&") || rest.starts_with("||") => {
                joints += 1;
                2
            }
            next if next.is_alphanumeric() || next == '_' => {
                let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                conditions += usize::from(&rest[..word] == "if");
                is_pattern = &rest[..word] == "like";
                word
            }
            next => {
                match next {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                deepest = deepest.max(depth);
                joints += usize::from("+-*".contains(next));
                accesses += usize::from(".[".contains(next));
                next.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    if deepest + conditions > MAX_DEPTH {
        return refuse(MAX_DEPTH, "brackets and conditions within each other");
    }
    if joints > MAX_CHAIN {
        return refuse(MAX_CHAIN, "of && || + - *");
    }
    if accesses > MAX_CHAIN { refuse(MAX_CHAIN, "dots and opening square brackets") } else { Ok(()) }
}

/// Refuses a pattern, in its quotes, that would take too long to match.
fn bound_pattern(pattern: &str) -> Result<(), Invalid> {
    let refuse = |max, what| Err(Invalid(format!("expected at most {max} {what} in a pattern after `like`")));
    if pattern.len() > MAX_PATTERN + 2 {
        return refuse(MAX_PATTERN, "bytes");
    }
    let wildcards = pattern.matches('*').count() - pattern.matches("\\*").count();
    if wildcards > MAX_WILDCARDS { refuse(MAX_WILDCARDS, "`*`") } else { Ok(()) }
}

/// How many patterns a policy has.
pub(super) fn patterns(source: &str) -> usize {
    source.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| *word == "like").count()
}

/// How long the text in quotes is with which this begins.
fn text(source: &str) -> usize {
    let mut is_escaped = false;
    let end = source.char_indices().skip(1).find(|(_, next)| {
        let ends = *next == '"' && !is_escaped;
        is_escaped = *next == '\\' && !is_escaped;
        ends
    });
    end.map_or(source.len(), |(at, _)| at + 1)
}

/// One policy, without slots.
pub(super) fn parse(name: &str, source: &str) -> Result<Policy, Invalid> {
    Policy::parse(Some(PolicyId::new(name)), source)
        .map_err(|errors| describe(&DetailedError::from(&errors), source))
}

fn describe(error: &DetailedError, source: &str) -> Invalid {
    let label = error.source_locations.first();
    let place = label.map(|label| {
        let before = source.get(..label.loc.start).unwrap_or(source);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let what = label.label.as_deref().map(|what| format!(": {what}")).unwrap_or_default();
        format!(" (line {line}, column {column}{what})")
    });
    let help = error.help.as_deref().map(|help| format!("; {help}")).unwrap_or_default();
    Invalid(format!("{}{}{help}", error.message, place.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The words of a policy, those that the bound counts, and what may hide them.
    const WORDS: [&str; 32] = [
        "permit",
        "forbid",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "principal",
        "action",
        "resource",
        ",",
        ";",
        "when",
        "unless",
        "if",
        "then",
        "else",
        "true",
        "&&",
        "||",
        "+",
        "-",
        "*",
        ".",
        "==",
        "\"",
        "\\",
        "//",
        "\n",
        "é",
        "context",
    ];

    proptest! {
        // Validation takes a millisecond: fewer texts, each of many words.
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_a_policy_or_is_refused_in_few_words(
            words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..200),
            spaced in any::<bool>(),
        ) {
            let source = words.join(if spaced { " " } else { "" });
            if let Err(refusal) = check("mine", &source) {
                prop_assert!(refusal.to_string().len() <= source.len() + 1_000, "{refusal}");
            }
        }

        #[test]
        fn the_bound_is_the_same_for_a_policy_within_a_comment_or_in_quotes(
            words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..200),
        ) {
            let hidden = words.concat().replace(['"', '\\', '\n'], "");
            prop_assert_eq!(bound(&format!("// {hidden}")), Ok(()));
            prop_assert_eq!(bound(&format!("\"{hidden}\"")), Ok(()));
        }
    }

    fn refusal(source: &str) -> String {
        check("mine", source).expect_err("refused").to_string()
    }

    #[test]
    fn a_policy_may_ask_for_a_devices_labels_and_a_commands_name() {
        let source = r#"
            forbid (principal == User::"019a0000-0000-7000-8000-000000000001", action == Action::"commands.write", resource is Device)
            unless { context has cmd && context.cmd == "set_interval" && resource.hasTag("site") && resource.getTag("site") == "hanoi" };"#;
        assert!(check("mine", source).is_ok(), "{source}");
        assert!(check("mine", r#"permit (principal in Role::"viewer", action, resource is Device) when { resource.uid like "pump-*" };"#).is_ok());
    }

    #[test]
    fn a_refusal_says_why_and_where() {
        insta::assert_snapshot!(refusal(""), @r#"unexpected end of input (line 1, column 1: expected `@` or identifier)"#);
        insta::assert_snapshot!(refusal("permit"), @r#"unexpected end of input (line 1, column 7: expected `(`)"#);
        insta::assert_snapshot!(refusal("permit (principal, action, resource)\nwhen { x };"), @r#"invalid variable: x (line 2, column 8); the valid Cedar variables are `principal`, `action`, `resource`, and `context`; did you mean to enclose `x` in quotes to make a string?"#);
        insta::assert_snapshot!(refusal("permit (principal == ?principal, action, resource);"), @r#"expected a static policy, got a template containing the slot ?principal (line 1, column 22); try removing the template slot(s) from this policy"#);
        insta::assert_snapshot!(refusal("permit (principal, action, resource); forbid (principal, action, resource);"), @r#"unexpected token `forbid` (line 1, column 39)"#);
        insta::assert_snapshot!(refusal(r#"permit (principal in Role::"boss", action, resource);"#), @r#"entity `Role::"boss"` is of an enumerated entity type, but `"boss"` is not declared as a valid eid (line 1, column 22); valid entity eids: "admin", "operator", "analyst", "auditor", "viewer""#);
        insta::assert_snapshot!(refusal(r#"permit (principal, action == Action::"devices.rea", resource);"#), @r#"unrecognized action `Action::"devices.rea"` (line 1, column 30); did you mean `Action::"devices.read"`?"#);
        let reserved = refusal(r#"permit (principal, action == Action::"policies.write", resource);"#);
        assert!(
            reserved.starts_with(r#"unrecognized action `Action::"policies.write"` (line 1, column 30)"#)
        );
        insta::assert_snapshot!(refusal(r#"forbid (principal, action, resource is Device) when { resource.getTag("site") == "x" };"#), @r#"unable to guarantee safety of access to tag `"site"` on entity type `Device` (line 1, column 55); try testing for the tag's presence with `.hasTag("site") && ..`"#);
        insta::assert_snapshot!(refusal(r#"forbid (principal, action == Action::"users.read", resource is Device);"#), @r#"unable to find an applicable action given the policy scope constraints (line 1, column 1)"#);
        insta::assert_snapshot!(refusal(&" ".repeat(MAX_SOURCE + 1)), @r#"expected at most 16384 bytes"#);
    }

    #[test]
    fn a_pattern_is_short_and_has_few_wildcards() {
        let like = |pattern: &str| {
            format!(
                r#"permit (principal, action, resource is Device) when {{ resource.uid like "{pattern}" }};"#
            )
        };
        assert!(check("mine", &like(r"a*b*c*d*\*\*")).is_ok());
        assert!(check("mine", &like(&"a".repeat(MAX_PATTERN))).is_ok());
        insta::assert_snapshot!(refusal(&like("*a*b*c*d*")), @"expected at most 4 `*` in a pattern after `like`");
        insta::assert_snapshot!(refusal(&like(&"a".repeat(MAX_PATTERN + 1))), @"expected at most 128 bytes in a pattern after `like`");
    }

    /// A policy with as much of something as fits.
    fn with(open: &str, close: &str, times: usize) -> String {
        format!(
            "permit (principal, action, resource) when {{ {}true{} }};",
            open.repeat(times),
            close.repeat(times)
        )
    }

    #[test]
    fn a_monstrous_policy_is_refused_before_it_is_read() {
        for (open, close, is_valid) in [
            ("(", ")", true),
            ("[", "]", false),
            ("{a:", "}", false),
            ("if true then ", " else true", true),
            ("if principal == principal then true else ", "", true),
            ("true && ", "", true),
            ("context has cmd || ", "", true),
            ("", ".a", false),
            ("", "[\"a\"]", false),
            ("", ".contains(true)", false),
            ("1 + ", "", false),
            ("\"//\" != \"\\\"\" && ", "", true),
        ] {
            let times = (MAX_SOURCE - 100) / (open.len() + close.len());
            let refusal = refusal(&with(open, close, times));
            assert!(refusal.starts_with("expected at most"), "{open}{close}: {refusal}");
            // The most that is read does not use up the stack of a thread, and is looked at to its end.
            let most = (1..times).take_while(|times| bound(&with(open, close, *times)).is_ok()).last();
            let most = with(open, close, most.unwrap_or_else(|| panic!("{open}{close}")));
            assert_eq!(check("most", &most).is_ok(), is_valid, "{open}{close}");
        }
        let long = format!(
            "permit (principal, action, resource in [{}]);",
            "Tenant::\"((((((((((((((((((((((\",".repeat(300)
        );
        assert!(bound(&long).is_ok(), "what is in quotes counts for nothing");
    }
}
