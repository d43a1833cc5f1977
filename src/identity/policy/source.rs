//! Whether a text is a policy, and if not, where it goes wrong.

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Policy, PolicyId, PolicySet, ValidationMode, Validator};

use super::shipped::SCHEMA_FOR_TENANTS;

/// The longest a policy may be, in bytes.
pub const MAX_SOURCE: usize = 16 << 10;

/// Why a text is no policy, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// One policy, without slots, that the schema knows all words of and that can apply to something.
pub fn check(name: &str, source: &str) -> Result<Policy, Invalid> {
    if source.len() > MAX_SOURCE {
        return Err(Invalid(format!("expected at most {MAX_SOURCE} bytes")));
    }
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
    use super::*;

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
        insta::assert_snapshot!(refusal(r#"permit (principal, action == Action::"devices.rule", resource);"#), @r#"unrecognized action `Action::"devices.rule"` (line 1, column 30); did you mean `Action::"devices.read"`?"#);
        insta::assert_snapshot!(refusal(r#"permit (principal, action == Action::"policies.write", resource);"#), @r#"unrecognized action `Action::"policies.write"` (line 1, column 30); did you mean `Action::"users.write"`?"#);
        insta::assert_snapshot!(refusal(r#"forbid (principal, action, resource is Device) when { resource.getTag("site") == "x" };"#), @r#"unable to guarantee safety of access to tag `"site"` on entity type `Device` (line 1, column 55); try testing for the tag's presence with `.hasTag("site") && ..`"#);
        insta::assert_snapshot!(refusal(r#"forbid (principal, action == Action::"users.read", resource is Device);"#), @r#"unable to find an applicable action given the policy scope constraints (line 1, column 1)"#);
        insta::assert_snapshot!(refusal(&" ".repeat(MAX_SOURCE + 1)), @r#"expected at most 16384 bytes"#);
    }
}
