//! A tenant's own policies, ready to decide together with the shipped ones.

use cedar_policy::{
    ActionConstraint, Authorizer, Decision as CedarDecision, Policy, PolicySet, PrincipalConstraint,
};

use super::super::action::{Action, Resource};
use super::super::who::Who;
use super::builtin::{self, role_allows};
use super::{Decision, entities, source};

/// The policies of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policies {
    /// What they are about at all: without them having a say, there is no need to ask them.
    scopes: Vec<Scope>,
    /// With the shipped ones. `None` where one of them cannot be read any more: nothing is allowed then that they might
    /// forbid.
    all: Option<PolicySet>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Scope {
    principal: PrincipalConstraint,
    action: ActionConstraint,
}

impl Policies {
    /// Makes stored policies ready, of which each has been checked before it was stored.
    pub(super) fn compile<'s>(sources: impl IntoIterator<Item = (&'s str, &'s str)>) -> Self {
        let (mut scopes, mut all) = (vec![], builtin::POLICIES.clone());
        for (name, source) in sources {
            let added = source::parse(name, source).map_err(|error| error.to_string()).and_then(|policy| {
                scopes.push(Scope::of(&policy));
                all.add(policy).map_err(|error| error.to_string())
            });
            if let Err(error) = added {
                tracing::error!(
                    name,
                    error,
                    "failed to read a stored policy; nothing is allowed until it is replaced"
                );
                let anything = Scope { principal: PrincipalConstraint::Any, action: ActionConstraint::Any };
                return Self { scopes: vec![anything], all: None };
            }
        }
        Self { scopes, all: Some(all) }
    }

    /// Whether they have a say in whether this principal may do that to anything.
    pub(crate) fn concern(&self, who: &Who, action: Action) -> bool {
        builtin::is_for_tenants(action) && self.scopes.iter().any(|scope| scope.covers(who, action))
    }

    /// What they and the shipped ones decide.
    pub(crate) fn decide(&self, who: &Who, action: Action, resource: &Resource<'_>) -> Decision {
        let (Some(all), Some((request, entities))) = (&self.all, entities::question(who, action, resource))
        else {
            return Decision::refused();
        };
        let response = Authorizer::new().is_authorized(&request, all, &entities);
        // A policy that fails is passed over by Cedar. It might have forbidden this.
        let failed = response.diagnostics().errors().next().is_some();
        let mut policies: Vec<_> = response.diagnostics().reason().map(ToString::to_string).collect();
        policies.sort();
        Decision { allowed: !failed && response.decision() == CedarDecision::Allow, policies }
    }
}

/// What the shipped policies decide by themselves.
pub(crate) fn without(who: &Who, action: Action) -> Decision {
    let name = match who {
        Who::User { role, .. } => role_allows(*role, action).then(|| format!("role:{role}")),
        Who::Key { .. } => Some("key".to_owned()),
    };
    Decision { allowed: name.is_some(), policies: name.into_iter().collect() }
}

impl Scope {
    fn of(policy: &Policy) -> Self {
        Self { principal: policy.principal_constraint(), action: policy.action_constraint() }
    }

    fn covers(&self, who: &Who, action: Action) -> bool {
        self.covers_action(action) && self.covers_principal(who)
    }

    fn covers_action(&self, action: Action) -> bool {
        match &self.action {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(one) => *one == entities::action(action),
            ActionConstraint::In(some) => some.contains(&entities::action(action)),
        }
    }

    fn covers_principal(&self, who: &Who) -> bool {
        let held = match who {
            Who::User { role, .. } => Some(*role),
            Who::Key { .. } => None,
        };
        let is_in = |group: &_| {
            held.map(entities::role).as_ref() == Some(group) || entities::principal(who) == *group
        };
        match &self.principal {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Eq(one) => entities::principal(who) == *one,
            PrincipalConstraint::In(group) => is_in(group),
            PrincipalConstraint::Is(kind) => entities::principal_kind(who) == kind,
            PrincipalConstraint::IsIn(kind, group) => entities::principal_kind(who) == kind && is_in(group),
        }
    }
}
