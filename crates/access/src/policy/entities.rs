//! Principals, actions and resources in Cedar's words, as the schema has them.

use std::sync::LazyLock;

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
};
use fleetlog_aggregates::identity::Tenant;

use super::super::action::{Action, Resource};
use super::super::role::Role;
use super::super::who::Who;

/// The kinds of things, read once.
struct Kinds {
    role: EntityTypeName,
    user: EntityTypeName,
    api_key: EntityTypeName,
    tenant: EntityTypeName,
    device: EntityTypeName,
    action: EntityTypeName,
}

static KINDS: LazyLock<Kinds> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the constants are names, as every test of a policy says")]
    let kind = |name: &str| name.parse().expect("a name");
    Kinds {
        role: kind("Role"),
        user: kind("User"),
        api_key: kind("ApiKey"),
        tenant: kind("Tenant"),
        device: kind("Device"),
        action: kind("Action"),
    }
});

fn uid(kind: &EntityTypeName, id: impl AsRef<str>) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

pub(super) fn role(role: Role) -> EntityUid {
    uid(&KINDS.role, role.as_str())
}

pub(super) fn principal(who: &Who) -> EntityUid {
    match who {
        Who::User { user_id, .. } => uid(&KINDS.user, user_id.to_string()),
        Who::Key { key_id, .. } => uid(&KINDS.api_key, key_id.to_string()),
    }
}

pub(super) fn principal_kind(who: &Who) -> &EntityTypeName {
    match who {
        Who::User { .. } => &KINDS.user,
        Who::Key { .. } => &KINDS.api_key,
    }
}

pub(super) fn action(action: Action) -> EntityUid {
    uid(&KINDS.action, action.as_str())
}

fn tenant(tenant: &Tenant) -> EntityUid {
    uid(&KINDS.tenant, tenant.as_str())
}

/// What Cedar is asked, and what it has to know for that.
pub(super) fn question(who: &Who, wanted: Action, resource: &Resource<'_>) -> Option<(Request, Entities)> {
    let (of, device, cmd) = match resource {
        Resource::Tenant(of) => (of, None, None),
        Resource::Device(of, device) => (of, Some(device), None),
        Resource::Command(of, cmd, device) => (of, device.as_ref(), Some(*cmd)),
        Resource::Platform => return None,
    };
    let caller = principal(who);
    let roles = match who {
        Who::User { role: held, .. } => vec![role(*held)],
        Who::Key { .. } => vec![],
    };
    let mut entities = vec![Entity::new(caller.clone(), [].into(), roles.into_iter().collect()).ok()?];
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let thing = match device {
        None => tenant(of),
        Some(device) => {
            let thing = uid(&KINDS.device, device.uid.as_str());
            let labels = device.labels.iter().map(|(label, value)| (label.clone(), text(value)));
            let attributes = [("uid".to_owned(), text(device.uid.as_str()))];
            entities.push(Entity::new_with_tags(thing.clone(), attributes, [tenant(of)], labels).ok()?);
            thing
        }
    };
    let context = Context::from_pairs(cmd.map(|cmd| ("cmd".to_owned(), text(cmd)))).ok()?;
    let request = Request::new(caller, action(wanted), thing, context, None).ok()?;
    Some((request, Entities::from_entities(entities, None).ok()?))
}
