//! The policies that come with fleetlog: the roles. And the schema that tenants' own are checked against.

use std::collections::HashSet;
use std::sync::LazyLock;

use cedar_policy::{Authorizer, Decision, PolicyId, PolicySet, Schema};
use uuid::Uuid;

use super::super::action::{Action, PLATFORM_TENANT, Resource};
use super::super::role::Role;
use super::super::who::Who;
use super::entities;

const ROLES: &str = include_str!("roles.cedar");
const SCHEMA: &str = include_str!("schema.cedarschema");

/// The roles' policies, by their names.
#[expect(clippy::expect_used, reason = "it comes with the program, and tests read it")]
pub(super) static POLICIES: LazyLock<PolicySet> = LazyLock::new(|| {
    let parsed: PolicySet = ROLES.parse().expect("policies");
    let named = parsed
        .policies()
        .map(|policy| policy.new_id(PolicyId::new(policy.annotation("id").expect("a policy with a name"))));
    PolicySet::from_policies(named).expect("a set of policies")
});

/// What a tenant's own policies may speak of. The rest is in `reserved.cedarschema`.
#[expect(clippy::expect_used, reason = "it comes with the program, and tests read it")]
pub(super) static SCHEMA_FOR_TENANTS: LazyLock<Schema> = LazyLock::new(|| {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).expect("a schema");
    schema
});

/// Where tenants' own policies have a say.
static FOR_TENANTS: LazyLock<HashSet<Action>> = LazyLock::new(|| {
    let open: HashSet<_> = SCHEMA_FOR_TENANTS.actions().cloned().collect();
    Action::ALL.iter().copied().filter(|action| open.contains(&entities::action(*action))).collect()
});

/// What each role may do, as Cedar has decided once.
static TABLE: LazyLock<HashSet<(Role, Action)>> = LazyLock::new(|| {
    let pairs = Role::ALL.into_iter().flat_map(|role| Action::ALL.iter().map(move |action| (role, *action)));
    pairs.filter(|(role, action)| decide(*role, *action)).collect()
});

fn decide(role: Role, action: Action) -> bool {
    let Ok(tenant) = PLATFORM_TENANT.parse() else { return false };
    let who = Who::User { user_id: Uuid::nil(), role, session_id: Uuid::nil() };
    entities::question(&who, action, &Resource::Tenant(&tenant)).is_some_and(|(request, entities)| {
        Authorizer::new().is_authorized(&request, &POLICIES, &entities).decision() == Decision::Allow
    })
}

/// Whether a role may do something.
pub(crate) fn role_allows(role: Role, action: Action) -> bool {
    TABLE.contains(&(role, action))
}

/// Whether tenants' own policies have a say in it at all.
pub(crate) fn is_for_tenants(action: Action) -> bool {
    FOR_TENANTS.contains(&action)
}

#[cfg(test)]
mod tests {
    use cedar_policy::{SchemaFragment, ValidationMode, Validator};

    use super::*;

    /// With the actions where tenants' own policies have no say.
    fn whole_schema() -> Schema {
        let fragment = |text| SchemaFragment::from_cedarschema_str(text).expect("a part of a schema").0;
        let parts = [fragment(SCHEMA), fragment(include_str!("reserved.cedarschema"))];
        Schema::from_schema_fragments(parts).expect("a schema")
    }

    #[test]
    fn the_roles_are_valid_policies() {
        let result = Validator::new(whole_schema()).validate(&POLICIES, ValidationMode::Strict);
        assert!(result.validation_passed_without_warnings(), "{result}");
        assert_eq!(POLICIES.policies().count(), Role::ALL.len() + 1);
        for role in Role::ALL {
            assert!(POLICIES.policy(&PolicyId::new(format!("role:{role}"))).is_some(), "{role}");
        }
    }

    #[test]
    fn the_schema_has_exactly_the_actions_that_there_are() {
        let theirs: HashSet<_> = whole_schema().actions().cloned().collect();
        let ours: HashSet<_> = Action::ALL.iter().map(|action| entities::action(*action)).collect();
        assert_eq!(theirs, ours);
    }

    #[test]
    fn a_tenants_policies_have_no_say_in_ones_own_user_in_policies_and_in_the_platform() {
        let reserved = Action::ALL.iter().filter(|action| !is_for_tenants(**action));
        let reserved: Vec<_> = reserved.map(|action| action.as_str()).collect();
        assert_eq!(
            reserved,
            [
                "user.read",
                "user.write",
                "policies.read",
                "policies.write",
                "tenants.read",
                "tenants.write",
                "tiers.read",
                "tiers.write",
                "signing_keys.write",
                "projections.write",
                "metrics.read",
            ]
        );
    }
}
