//! Sessions: where one is logged in, and ending that.

use axum::Json;
use axum::extract::State;
use fleetlog_access::sessions::{self, Session};
use fleetlog_access::{Action, Forbidden, Principal, Resource, Who, authorize};
use fleetlog_aggregates::acts::SessionEnd;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::error::{Error, NO_SESSION};
use super::extract::{Caller, SessionId};
use super::page::List;
use super::problem::Problem;
use super::{App, RequestId};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list_sessions, end_other_sessions)).routes(routes!(end_session))
}

/// One of the caller's sessions.
#[derive(Serialize, ToSchema)]
#[schema(as = OwnSession)]
struct Own {
    #[serde(flatten)]
    session: Session,
    /// Whether it is the one of this request.
    current: bool,
}

/// The caller's sessions that are not over, the newest first.
#[utoipa::path(
    get, path = "/auth/sessions", tag = "auth", operation_id = "list_sessions",
    responses((status = 200, description = "The sessions", body = List<Own>)),
    extensions(("x-action" = json!("user.read"))),
)]
async fn list_sessions(State(app): State<App>, Caller(caller): Caller) -> Result<Json<List<Own>>, Error> {
    let (user_id, session_id) = own(&caller, Action::UserRead)?;
    let sessions = sessions::list(&app.tenant_log(&caller), user_id).await?.into_iter();
    let own = sessions.map(|session| Own { current: session.session_id == session_id, session });
    Ok(Json(List::whole(own.collect())))
}

/// Ends one of the caller's sessions: its tokens are good no more, from this moment.
#[utoipa::path(
    delete, path = "/auth/sessions/{id}", tag = "auth", operation_id = "end_session",
    params(("id" = Uuid, Path, description = "The session")),
    responses(
        (status = 204, description = "Ended"),
        (status = 404, description = "No such session, or it is over", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("user.write"))),
)]
async fn end_session(
    State(app): State<App>,
    Caller(caller): Caller,
    request: RequestId,
    SessionId(id): SessionId,
) -> Result<StatusCode, Error> {
    let (user_id, _) = own(&caller, Action::UserWrite)?;
    let metadata = request.metadata(&caller);
    let ended =
        sessions::end_one(&app.tenant_log(&caller), user_id, id, SessionEnd::Revoked, metadata).await?;
    if ended { Ok(StatusCode::NO_CONTENT) } else { Err(Error::NotFound(NO_SESSION)) }
}

/// Ends all of the caller's sessions but the one of this request.
#[utoipa::path(
    delete, path = "/auth/sessions", tag = "auth", operation_id = "end_other_sessions",
    responses((status = 204, description = "Ended")),
    extensions(("x-action" = json!("user.write"))),
)]
async fn end_other_sessions(
    State(app): State<App>,
    Caller(caller): Caller,
    request: RequestId,
) -> Result<StatusCode, Error> {
    let (user_id, session_id) = own(&caller, Action::UserWrite)?;
    let metadata = request.metadata(&caller);
    sessions::end_all(&app.tenant_log(&caller), user_id, Some(session_id), metadata).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who the caller is, and in which session. A key is no user, and in none.
fn own(caller: &Principal, action: Action) -> Result<(Uuid, Uuid), Error> {
    authorize(caller, action, &Resource::Tenant(&caller.tenant))?;
    match caller.who {
        Who::User { user_id, session_id, .. } => Ok((user_id, session_id)),
        Who::Key { .. } => Err(Forbidden(action).into()),
    }
}
