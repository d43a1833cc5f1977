//! Authorisation: may this principal do that to this thing. Every handler and every resolver asks here. The decision is
//! the [policies'](super::policy); what no policy can change is said here.

use super::action::{Action, Forbidden, PLATFORM_TENANT, Resource};
use super::policy::{Decision, builtin, tenant};
use super::principal::Principal;
use super::who::Who;

/// Whether a principal may do something to a thing.
pub fn authorize(principal: &Principal, action: Action, resource: &Resource<'_>) -> Result<(), Forbidden> {
    if decide(principal, action, resource).allowed { Ok(()) } else { Err(Forbidden(action)) }
}

/// What a principal may do: to its tenant's things in general, or to the platform.
pub fn allowed(principal: &Principal) -> impl Iterator<Item = Action> {
    Action::ALL.iter().copied().filter(|action| {
        let tenant = Resource::Tenant(&principal.tenant);
        let resource = if action.is_for_the_platform() { Resource::Platform } else { tenant };
        authorize(principal, *action, &resource).is_ok()
    })
}

/// Whether a principal may do something to a thing, and which policies decided that.
#[must_use]
pub fn decide(principal: &Principal, action: Action, resource: &Resource<'_>) -> Decision {
    // No policy reaches into another tenant, nor makes a key good for more than it was issued for.
    let within_reach = match resource {
        Resource::Tenant(tenant) | Resource::Device(tenant, _) | Resource::Command(tenant, ..) => {
            **tenant == principal.tenant
        }
        Resource::Platform => principal.tenant.as_str() == PLATFORM_TENANT,
    };
    if !within_reach {
        return Decision::refused();
    }
    // A key may do no more than those who issued it may do now.
    if !principal.issuers.iter().all(|issuer| decide_for(principal, issuer, action, resource).allowed) {
        return Decision::refused();
    }
    decide_for(principal, &principal.who, action, resource)
}

/// Whether `who`, the principal or who issued its key, may do something within reach.
fn decide_for(principal: &Principal, who: &Who, action: Action, resource: &Resource<'_>) -> Decision {
    if let Who::Key { actions, .. } = who
        && !actions.contains(&action)
    {
        return Decision::refused();
    }
    match (&principal.policies, resource) {
        (_, Resource::Platform) => tenant::without(who, action),
        (Some(policies), resource) if policies.concern(who, action) => policies.decide(who, action, resource),
        (None, _) if principal.policy_version > 0 && builtin::is_for_tenants(action) => {
            // There are policies, but whoever let the principal in has not fetched them.
            Decision::refused()
        }
        _ => tenant::without(who, action),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::Role;
    use super::super::policy::builtin::role_allows;
    use super::*;

    fn principal(tenant: &str, role: Role) -> Principal {
        let who = Who::User { user_id: Uuid::nil(), role, session_id: Uuid::nil() };
        Principal::new(who, tenant.parse().expect("a tenant"), "free".into(), 0)
    }

    #[test]
    fn nobody_reaches_into_another_tenant() {
        let stranger = principal("t1", Role::Admin);
        let (t0, t1) = ("t0".parse().expect("a tenant"), "t1".parse().expect("a tenant"));
        assert!(authorize(&stranger, Action::DevicesRead, &Resource::Tenant(&t1)).is_ok());
        let refused = authorize(&stranger, Action::DevicesRead, &Resource::Tenant(&t0));
        assert_eq!(refused, Err(Forbidden(Action::DevicesRead)));
        let refused = authorize(&stranger, Action::MetricsRead, &Resource::Platform);
        assert_eq!(refused, Err(Forbidden(Action::MetricsRead)));
    }

    #[test]
    fn a_key_may_do_exactly_what_it_is_for() {
        let (key, t0) = (principal("t0", Role::Admin), "t0".parse().expect("a tenant"));
        let actions = [Action::DevicesRead].into();
        let key = key.colleague(Who::Key { key_id: Uuid::nil(), actions });
        for &action in Action::ALL {
            let allowed = authorize(&key, action, &Resource::Tenant(&t0)).is_ok();
            assert_eq!(allowed, action == Action::DevicesRead, "{}", action.as_str());
        }
    }

    #[test]
    fn whoever_was_let_in_without_the_policies_that_hold_may_do_nothing_that_they_might_forbid() {
        let t0 = "t0".parse().expect("a tenant");
        let admin = Principal { policy_version: 1, ..principal("t0", Role::Admin) };
        assert!(authorize(&admin, Action::DevicesRead, &Resource::Tenant(&t0)).is_err());
        assert!(authorize(&admin, Action::PoliciesWrite, &Resource::Tenant(&t0)).is_ok());
    }

    #[test]
    fn each_role_has_its_column_in_the_table() {
        let table: Vec<String> = Action::ALL
            .iter()
            .map(|&action| {
                let roles = Role::ALL.into_iter().filter(|role| role_allows(*role, action));
                format!("{}: {}", action.as_str(), roles.map(Role::as_str).collect::<Vec<_>>().join(" "))
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        user.read: admin operator analyst auditor viewer
        user.write: admin operator analyst auditor viewer
        users.read: admin auditor
        users.write: admin
        api_keys.read: admin auditor
        api_keys.write: admin
        policies.read: admin auditor
        policies.write: admin
        tenant.read: admin operator analyst auditor viewer
        tenant.write: admin
        tenants.read: admin
        tenants.write: admin
        tiers.read: admin
        tiers.write: admin
        signing_keys.write: admin
        devices.read: admin operator analyst auditor viewer
        devices.write: admin operator
        credentials.read: admin operator auditor
        credentials.write: admin operator
        commands.read: admin operator analyst auditor
        commands.write: admin operator
        command_types.read: admin operator analyst auditor
        command_types.write: admin
        alarms.read: admin operator analyst auditor viewer
        alarms.acknowledge: admin operator
        alarm_rules.read: admin operator analyst auditor
        alarm_rules.write: admin operator
        sources.read: admin operator analyst auditor
        sources.write: admin operator
        telemetry.read: admin operator analyst auditor viewer
        logs.read: admin operator analyst auditor
        events.read: admin operator analyst auditor
        audit.cosign: admin auditor
        quarantine.read: admin operator analyst auditor
        quarantine.write: admin operator
        projections.read: admin operator analyst auditor
        projections.write: admin analyst
        metrics.read: admin operator
        streams.follow: admin operator analyst auditor viewer
        webhooks.read: admin auditor
        webhooks.write: admin
        graphql.query: admin operator analyst auditor viewer
        ");
    }
}
