//! The caller's sessions: list them, and end them.

use axum::Json;
use fleetlog_access::action::typed::{UserRead, UserWrite};
use fleetlog_access::principal::Oneself;
use fleetlog_access::sessions::{self, Session};
use fleetlog_aggregates::acts::SessionEnd;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::error::Error;
use super::extract::Named;
use super::page::List;
use super::{RequestId, wire};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::resource::{Resource, uuid};

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_sessions, end_other_sessions, end_session)
}

impl Resource for Session {
    type Id = Uuid;
    const MISSING: &'static str = "there is no such session";

    fn id(name: &str) -> Option<Uuid> {
        uuid(name)
    }
}

/// One of the caller's sessions.
#[derive(Serialize, ToSchema)]
#[schema(as = OwnSession)]
struct Own {
    #[serde(flatten)]
    session: wire::Session,
    /// Whether this request belongs to the session.
    current: bool,
}

/// Lists the caller's open sessions, newest first.
#[utoipa::path(
    get, path = "/auth/sessions", tag = "auth", operation_id = "list_sessions",
    responses((status = 200, description = "All of the sessions", body = List<Own>)),
)]
async fn list_sessions(door: May<UserRead, Oneself>) -> Result<Json<List<Own>>, Error> {
    let sessions = sessions::list(door.log(), door.id.user_id).await?.into_iter();
    let own = sessions
        .map(|session| Own { current: session.session_id == door.id.session_id, session: session.into() });
    Ok(Json(List::whole(own.collect())))
}

/// Ends one of the caller's sessions. Its tokens stop being valid at once; streams that they have opened end within 3 s.
#[utoipa::path(
    delete, path = "/auth/sessions/{id}", tag = "auth", operation_id = "end_session",
    params(("id" = Uuid, Path, description = "The session's id")),
    responses(
        (status = 204, description = "The session is ended"),
        (status = 404, description = "No such session, or it is over"),
    ),
)]
async fn end_session(
    door: May<UserWrite, Oneself>,
    request: RequestId,
    Named(session_id): Named<Session>,
) -> Result<StatusCode, Error> {
    let metadata = request.metadata(&door.caller);
    let ended =
        sessions::end_one(door.log(), door.id.user_id, session_id, SessionEnd::Revoked, metadata).await?;
    if ended { Ok(StatusCode::NO_CONTENT) } else { Err(Error::missing::<Session>()) }
}

/// Ends all of the caller's sessions except the one of this request.
#[utoipa::path(
    delete, path = "/auth/sessions", tag = "auth", operation_id = "end_other_sessions",
    responses((status = 204, description = "The other sessions are ended")),
)]
async fn end_other_sessions(door: May<UserWrite, Oneself>, request: RequestId) -> Result<StatusCode, Error> {
    let metadata = request.metadata(&door.caller);
    sessions::end_all(door.log(), door.id.user_id, Some(door.id.session_id), metadata).await?;
    Ok(StatusCode::NO_CONTENT)
}
