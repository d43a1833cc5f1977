//! Policies: what a tenant adds to what roles and keys allow; and what they would decide.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use fleetlog_access::api_keys;
use fleetlog_access::authorize::decide;
use fleetlog_access::policy::store::{self, Stored};
use fleetlog_access::{Action, Device, Principal, Resource, Who, authorize};
use fleetlog_aggregates::device::{Device as Aggregate, Labels};
use fleetlog_aggregates::identity::{Uid, aggregate_id};
use fleetlog_event_log::control::Committed;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::error::{Error, NO_POLICY};
use super::extract::{Body, Caller, NamedPolicy, NoParameters, Query, parse, present};
use super::page::List;
use super::parameters::LogPosition;
use super::problem::Problem;
use super::{App, RequestId};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(list_policies))
        .routes(routes!(read_policy, define_policy, remove_policy))
        .routes(routes!(check_policies))
}

/// A policy, as it holds.
#[derive(Serialize, ToSchema)]
struct Policy {
    /// Its name within the tenant.
    name: String,
    /// What it says, in Cedar.
    source: String,
    /// What it is for, for people.
    description: Option<String>,
    /// Since when it says that.
    updated_at: DateTime<Utc>,
    /// Who decided so.
    updated_by: String,
}

impl From<Stored> for Policy {
    fn from(Stored { name, source, description, updated_at, updated_by }: Stored) -> Self {
        Self { name, source, description, updated_at, updated_by }
    }
}

/// The tenant's own policies, by name.
#[utoipa::path(
    get, path = "/policies", tag = "policies", operation_id = "list_policies",
    responses((status = 200, description = "The policies", body = List<Policy>)),
    extensions(("x-action" = json!("policies.read"))),
)]
async fn list_policies(
    State(app): State<App>,
    Caller(caller): Caller,
    nothing: Result<Query<NoParameters>, Error>,
) -> Result<Json<List<Policy>>, Error> {
    authorize(&caller, Action::PoliciesRead, &Resource::Tenant(&caller.tenant))?;
    nothing?;
    let policies = store::list(&app.tenant_log(&caller)).await?;
    Ok(Json(List::whole(policies.into_iter().map(Policy::from).collect())))
}

/// One policy.
#[utoipa::path(
    get, path = "/policies/{name}", tag = "policies", operation_id = "read_policy",
    params(("name" = String, Path, description = "The policy")),
    responses(
        (status = 200, description = "The policy", body = Policy),
        (status = 404, description = "No such policy", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("policies.read"))),
)]
async fn read_policy(
    State(app): State<App>,
    Caller(caller): Caller,
    name: Result<NamedPolicy, Error>,
    nothing: Result<Query<NoParameters>, Error>,
) -> Result<Json<Policy>, Error> {
    authorize(&caller, Action::PoliciesRead, &Resource::Tenant(&caller.tenant))?;
    let (NamedPolicy(name), _) = (name?, nothing?);
    let policy = store::get(&app.tenant_log(&caller), &name).await?;
    policy.map(Policy::from).map(Json).ok_or(Error::NotFound(NO_POLICY))
}

/// What a policy is to say.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPolicy)]
struct New {
    /// One policy in Cedar, without slots: at most 16 KiB.
    #[schema(
        example = "forbid (principal in Role::\"operator\", action == Action::\"commands.write\", resource is Device) unless { context has cmd && context.cmd == \"set_interval\" };"
    )]
    source: String,
    /// What it is for, for people: 1 to 500 characters.
    #[serde(default, deserialize_with = "present")]
    description: Option<String>,
}

/// What a write has done.
#[derive(Serialize, ToSchema)]
#[schema(as = PolicyWritten)]
struct Written {
    /// The policy.
    name: String,
    /// Where it is on the record; null if there was nothing to change.
    #[schema(example = "1:42")]
    position: Option<String>,
}

impl Written {
    fn new(name: String, at: Option<Committed>) -> Self {
        Self { name, position: at.map(|at| LogPosition::from(at).to_string()) }
    }
}

/// Makes a policy hold, or say something else, from the next request on.
#[utoipa::path(
    put, path = "/policies/{name}", tag = "policies", operation_id = "define_policy", request_body = New,
    params(("name" = String, Path, description = "The policy: 1 to 64 of `A-Z a-z 0-9 _ . -`")),
    responses((status = 200, description = "It holds", body = Written)),
    extensions(("x-action" = json!("policies.write"))),
)]
async fn define_policy(
    State(app): State<App>,
    Caller(caller): Caller,
    request: RequestId,
    name: Result<NamedPolicy, Error>,
    policy: Result<Body<New>, Error>,
) -> Result<Json<Written>, Error> {
    authorize(&caller, Action::PoliciesWrite, &Resource::Tenant(&caller.tenant))?;
    let why = "expected 1 to 64 characters of A-Z, a-z, 0-9, '_', '.' and '-'";
    let NamedPolicy(name) = name.map_err(|_| Error::field("name", why))?;
    let Body(New { source, description }) = policy?;
    if description
        .as_ref()
        .is_some_and(|text| !(1..=500).contains(&text.chars().count()) || text.chars().any(char::is_control))
    {
        return Err(Error::field("description", "expected 1 to 500 characters without control characters"));
    }
    let metadata = request.metadata(&caller);
    let at = store::define(&app.tenant_log(&caller), &name, source, description, metadata).await?;
    Ok(Json(Written::new(name.into(), at)))
}

/// Takes a policy away: from the next request on it holds no more.
#[utoipa::path(
    delete, path = "/policies/{name}", tag = "policies", operation_id = "remove_policy",
    params(("name" = String, Path, description = "The policy")),
    responses(
        (status = 200, description = "It holds no more", body = Written),
        (status = 404, description = "No such policy", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("policies.write"))),
)]
async fn remove_policy(
    State(app): State<App>,
    Caller(caller): Caller,
    request: RequestId,
    name: Result<NamedPolicy, Error>,
) -> Result<Json<Written>, Error> {
    authorize(&caller, Action::PoliciesWrite, &Resource::Tenant(&caller.tenant))?;
    let NamedPolicy(name) = name?;
    let at = store::remove(&app.tenant_log(&caller), &name, request.metadata(&caller)).await?;
    Ok(Json(Written::new(name.into(), Some(at))))
}

/// A question about what would be decided.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PolicyQuestion)]
struct Question {
    /// What is to be done.
    #[schema(example = "commands.write")]
    action: String,
    /// By which of the tenant's users. Without it: by oneself.
    #[serde(default, deserialize_with = "present")]
    user_id: Option<Uuid>,
    /// By which of the tenant's API keys.
    #[serde(default, deserialize_with = "present")]
    key_id: Option<Uuid>,
    /// To which device. Without it: to things of that kind, as for a list.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, example = "dev-01")]
    device: Option<Uid>,
    /// With which command.
    #[serde(default, deserialize_with = "present")]
    #[schema(example = "set_interval")]
    cmd: Option<String>,
}

/// What would be decided.
#[derive(Serialize, ToSchema)]
#[schema(as = PolicyAnswer)]
struct Answer {
    /// Whether it would be allowed.
    allowed: bool,
    /// The policies that decide: `role:operator` and the like, `key`, or the tenant's own by their names. None where none
    /// allows it.
    #[schema(example = json!(["only-hanoi"]))]
    policies: Vec<String>,
}

/// What would be decided at this moment, and by which policies.
#[utoipa::path(
    post, path = "/policies/check", tag = "policies", operation_id = "check_policies", request_body = Question,
    responses((status = 200, description = "The decision", body = Answer)),
    extensions(("x-action" = json!("policies.read"))),
)]
async fn check_policies(
    State(app): State<App>,
    Caller(caller): Caller,
    question: Result<Body<Question>, Error>,
) -> Result<Json<Answer>, Error> {
    authorize(&caller, Action::PoliciesRead, &Resource::Tenant(&caller.tenant))?;
    let Body(Question { action, user_id, key_id, device, cmd }) = question?;
    let action = parse("action", Some(&action))?.ok_or_else(|| Error::field("action", "missing"))?;
    let who = match (user_id, key_id) {
        (Some(user_id), None) => user(&app, &caller, user_id).await?,
        (None, Some(key_id)) => key(&app, &caller, key_id).await?,
        (None, None) => caller.who.clone(),
        (Some(_), Some(_)) => return Err(Error::field("key_id", "expected either a user or a key")),
    };
    let labels = match &device {
        Some(uid) => app
            .tenant_log(&caller)
            .load::<Aggregate>(&aggregate_id(&caller.tenant, uid))
            .await?
            .labels()
            .clone(),
        None => Labels::new(),
    };
    let device = device.as_ref().map(|uid| Device { uid, labels: &labels });
    let resource = match (&cmd, device) {
        (Some(cmd), device) => Resource::Command(&caller.tenant, cmd, device),
        (None, Some(device)) => Resource::Device(&caller.tenant, device),
        (None, None) => Resource::Tenant(&caller.tenant),
    };
    let decision = decide(&caller.colleague(who), action, &resource);
    Ok(Json(Answer { allowed: decision.allowed, policies: decision.policies }))
}

async fn user(app: &App, caller: &Principal, user_id: Uuid) -> Result<Who, Error> {
    let role = store::role_of(&app.tenant_log(caller), user_id).await?;
    let role = role.and_then(|role| role.parse().ok());
    let role = role.ok_or_else(|| Error::field("user_id", "there is no such user"))?;
    Ok(Who::User { user_id, role, session_id: Uuid::nil() })
}

async fn key(app: &App, caller: &Principal, key_id: Uuid) -> Result<Who, Error> {
    let key = api_keys::get(&app.tenant_log(caller), key_id).await?;
    let key = key.ok_or_else(|| Error::field("key_id", "there is no such key"))?;
    let actions = key.actions.iter().filter_map(|action| action.parse().ok()).collect();
    Ok(Who::Key { key_id, actions })
}
