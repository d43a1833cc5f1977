//! Policies, with which a tenant extends or restricts what roles and keys allow; and trial decisions.

use axum::Json;
use chrono::{DateTime, Utc};
use fleetlog_access::action::typed::{PoliciesRead, PoliciesWrite};
use fleetlog_access::api_keys;
use fleetlog_access::authorize::decide;
use fleetlog_access::policy::store::{self, Stored};
use fleetlog_access::{self as access, Action, Device, Principal, Who};
use fleetlog_aggregates::device::{Device as Aggregate, Labels};
use fleetlog_aggregates::identity::{PolicyName, Uid};
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::Committed;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::RequestId;
use super::error::Error;
use super::extract::{Body, NewName, NoParameters, Query, parse};
use super::page::List;
use super::parameters::LogPosition;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::resource::{Nameable, Resource};

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_policies, read_policy, define_policy, remove_policy, check_policies)
}

impl Resource for Stored {
    type Id = PolicyName;
    const MISSING: &'static str = "there is no such policy";

    fn id(name: &str) -> Option<PolicyName> {
        name.parse().ok()
    }
}

impl Nameable for Stored {
    const PARAMETER: &'static str = "name";
    const NAMES: &'static str = "expected 1 to 64 characters of A-Z, a-z, 0-9, '_', '.' and '-'";

    fn name(id: &PolicyName) -> &str {
        id.as_str()
    }
}

/// A policy that is in force.
#[derive(Serialize, ToSchema)]
struct Policy {
    /// The policy's name within the tenant.
    name: String,
    /// The policy's source, in Cedar.
    source: String,
    /// The policy's purpose, for people.
    description: Option<String>,
    /// When the policy was last changed.
    updated_at: DateTime<Utc>,
    /// The user who last changed the policy.
    updated_by: String,
}

impl From<Stored> for Policy {
    fn from(Stored { name, source, description, updated_at, updated_by }: Stored) -> Self {
        Self { name, source, description, updated_at, updated_by }
    }
}

/// Lists the tenant's own policies, by name.
#[utoipa::path(
    get, path = "/policies", tag = "policies", operation_id = "list_policies",
    responses((status = 200, description = "All of the policies", body = List<Policy>)),
)]
async fn list_policies(door: May<PoliciesRead>, _: Query<NoParameters>) -> Result<Json<List<Policy>>, Error> {
    let policies = store::list(door.log()).await?;
    Ok(Json(List::whole(policies.into_iter().map(Policy::from).collect())))
}

/// Returns one policy of the tenant.
#[utoipa::path(
    get, path = "/policies/{name}", tag = "policies", operation_id = "read_policy",
    params(("name" = String, Path, description = "The policy's name")),
    responses(
        (status = 200, description = "The policy, as it holds", body = Policy),
        (status = 404, description = "No such policy"),
    ),
)]
async fn read_policy(door: May<PoliciesRead, Stored>, _: Query<NoParameters>) -> Result<Json<Policy>, Error> {
    let policy = store::get(door.log(), &door.id).await?;
    policy.map(Policy::from).map(Json).ok_or_else(Error::missing::<Stored>)
}

/// The new content of a policy.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPolicy)]
struct New {
    /// One policy in Cedar, without slots: at most 16 KiB.
    #[schema(
        example = "forbid (principal in Role::\"operator\", action == Action::\"commands.write\", resource is Device) unless { context has cmd && context.cmd == \"set_interval\" };"
    )]
    source: String,
    /// The policy's purpose, for people: 1 to 500 characters.
    description: Option<String>,
}

/// The result of a write.
#[derive(Serialize, ToSchema)]
#[schema(as = PolicyWritten)]
struct Written {
    /// The name of the policy.
    name: String,
    /// The position of this write on the record; null if there was nothing to change.
    #[schema(example = "1:42")]
    position: Option<String>,
}

impl Written {
    fn new(name: String, at: Option<Committed>) -> Self {
        Self { name, position: at.map(|at| LogPosition::from(at).to_string()) }
    }
}

/// Adds or changes a policy, with effect from the next request on.
#[utoipa::path(
    put, path = "/policies/{name}", tag = "policies", operation_id = "define_policy", request_body = New,
    params(("name" = String, Path, description = "The policy: 1 to 64 of `A-Z a-z 0-9 _ . -`")),
    responses((status = 200, description = "The policy holds so", body = Written)),
)]
async fn define_policy(
    door: May<PoliciesWrite>,
    request: RequestId,
    NewName(name): NewName<Stored>,
    Body(New { source, description }): Body<New>,
) -> Result<Json<Written>, Error> {
    if description
        .as_ref()
        .is_some_and(|text| !(1..=500).contains(&text.chars().count()) || text.chars().any(char::is_control))
    {
        return Err(Error::field("description", "expected 1 to 500 characters without control characters"));
    }
    let metadata = request.metadata(&door.caller);
    let at = store::define(door.log(), &name, source, description, metadata).await?;
    Ok(Json(Written::new(name.into(), at)))
}

/// Removes a policy, with effect from the next request on.
#[utoipa::path(
    delete, path = "/policies/{name}", tag = "policies", operation_id = "remove_policy",
    params(("name" = String, Path, description = "The policy's name")),
    responses(
        (status = 200, description = "It holds no more", body = Written),
        (status = 404, description = "No such policy"),
    ),
)]
async fn remove_policy(door: May<PoliciesWrite, Stored>, request: RequestId) -> Result<Json<Written>, Error> {
    let at = store::remove(door.log(), &door.id, request.metadata(&door.caller)).await?;
    Ok(Json(Written::new(door.id.into(), Some(at))))
}

/// A request to try out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PolicyQuestion)]
struct Question {
    /// The action to try out.
    #[schema(example = "commands.write")]
    action: String,
    /// The tenant's user who acts. Without it: the caller.
    user_id: Option<Uuid>,
    /// The tenant's API key that acts.
    key_id: Option<Uuid>,
    /// The uid of the device to act on. Without it: things of that kind, as for a list.
    #[schema(value_type = Option<String>, example = "dev-01")]
    device: Option<Uid>,
    /// The name of the command to send.
    #[schema(example = "set_interval")]
    cmd: Option<String>,
}

/// The decision on a request that is tried out.
#[derive(Serialize, ToSchema)]
#[schema(as = PolicyAnswer)]
struct Answer {
    /// Whether the action would be allowed.
    allowed: bool,
    /// The policies that decide: `role:operator` and the like, `key`, or the tenant's own by name. Empty if no policy
    /// allows the action.
    #[schema(example = json!(["only-hanoi"]))]
    policies: Vec<String>,
}

/// Returns what would be decided now, and by which policies.
#[utoipa::path(
    post, path = "/policies/check", tag = "policies", operation_id = "check_policies", request_body = Question,
    responses((status = 200, description = "What would be decided", body = Answer)),
)]
async fn check_policies(
    door: May<PoliciesRead>,
    Body(Question { action, user_id, key_id, device, cmd }): Body<Question>,
) -> Result<Json<Answer>, Error> {
    let action: Action = parse("action", Some(&action))?.ok_or_else(|| Error::field("action", "missing"))?;
    let asked = match (user_id, key_id) {
        (Some(user_id), None) => Some(door.caller.colleague(user(door.log(), user_id).await?)),
        (None, Some(key_id)) => key(&door, key_id).await?,
        (None, None) => Some(door.caller.clone()),
        (Some(_), Some(_)) => return Err(Error::field("key_id", "expected either a user or a key")),
    };
    let labels = match &device {
        Some(uid) => {
            let stream = door.log().stream(uid);
            door.log().load::<Aggregate>(&stream).await?.labels().clone()
        }
        None => Labels::new(),
    };
    let device = device.as_ref().map(|uid| Device { uid, labels: &labels });
    let resource = match (&cmd, device) {
        _ if action.is_for_the_platform() => access::Resource::Platform,
        (Some(cmd), device) => access::Resource::Command(&door.caller.tenant, cmd, device),
        (None, Some(device)) => access::Resource::Device(&door.caller.tenant, device),
        (None, None) => access::Resource::Tenant(&door.caller.tenant),
    };
    let decision = asked.map(|asked| decide(&asked, action, &resource));
    let (allowed, policies) =
        decision.map_or((false, vec![]), |decision| (decision.allowed, decision.policies));
    Ok(Json(Answer { allowed, policies }))
}

async fn user(log: &TenantLog, user_id: Uuid) -> Result<Who, Error> {
    let role = store::role_of(log, user_id).await?;
    let role = role.and_then(|role| role.parse().ok());
    let role = role.ok_or_else(|| Error::field("user_id", "there is no such user"))?;
    Ok(Who::User { user_id, role, session_id: Uuid::nil() })
}

/// The caller with a key; `None` if the key is not good any more.
async fn key(door: &May<PoliciesRead>, key_id: Uuid) -> Result<Option<Principal>, Error> {
    let known = api_keys::get(door.log(), key_id).await?;
    known.ok_or_else(|| Error::field("key_id", "there is no such key"))?;
    Ok(door.app.access.callers.key(&door.caller.tenant, key_id).await?)
}
