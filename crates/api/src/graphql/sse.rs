//! Subscriptions as server-sent events: the protocol of graphql-sse, with a connection for each of them.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use fleetlog_access::Action;
use fleetlog_access::action::typed::GraphqlQuery;
use futures::stream;
use http::{HeaderValue, header};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;

use super::followed::{Followed, Said, Subscriber, without_data};
use super::question::Ask;
use super::request::AskByGet;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::live::feed::Ending;
use crate::live::steps;
use crate::rest::Error;
use crate::rest::extract::{Body as JsonBody, Query};
use crate::rest::streams::{COME_BACK, Held, Opener, X_ACCEL_BUFFERING};

/// `POST /graphql/stream`, and `GET` for a browser's `EventSource`.
pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(follow, follow_by_get)
}

/// A subscription in a query string.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct FollowByGet {
    /// The subscription, in `GraphQL`.
    #[param(example = "subscription { telemetry(deviceUid: \"dev-01\") { at reading { ts payload } } }")]
    query: String,
    /// The values of its variables: a JSON object.
    variables: Option<String>,
    /// The name of the operation to carry out, if the question holds several.
    operation_name: Option<String>,
    /// A JSON object, which is accepted for compatibility and ignored.
    extensions: Option<String>,
    /// A ticket from `POST /stream/tickets`, for clients that send no headers.
    #[serde(rename = "ticket")]
    _ticket: Option<String>,
}

/// Follows a `GraphQL` subscription: `text/event-stream`, by the protocol of graphql-sse.
///
/// Messages named `next` have the answers, each with an `id`, the position to go on from. `complete` comes last, unless the
/// service stops: then the client comes back, here or to another node, and goes on with `after` or `Last-Event-ID`.
#[utoipa::path(
    post, path = "/graphql/stream", tag = "graphql", operation_id = "follow_graphql", request_body = Ask,
    params(("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last message; counts before `after`")),
    responses((status = 200, description = "The stream of messages", body = String, content_type = "text/event-stream")),
)]
async fn follow(
    door: May<GraphqlQuery>,
    Opener { credential, held, request, last }: Opener,
    JsonBody(ask): JsonBody<Ask>,
) -> Result<Response, Error> {
    door.also(Action::StreamsFollow)?;
    Ok(streamed(ask, held, Subscriber { door, credential, request, last }))
}

/// Follows a `GraphQL` subscription in the query string, for a browser's `EventSource`: as `POST /graphql/stream` does.
#[utoipa::path(
    get, path = "/graphql/stream", tag = "graphql", operation_id = "follow_graphql_by_get",
    params(
        FollowByGet,
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last message; counts before `after`"),
    ),
    responses((status = 200, description = "The stream of messages", body = String, content_type = "text/event-stream")),
)]
async fn follow_by_get(
    door: May<GraphqlQuery>,
    Opener { credential, held, request, last }: Opener,
    Query(follow): Query<FollowByGet>,
) -> Result<Response, Error> {
    door.also(Action::StreamsFollow)?;
    let FollowByGet { query, variables, operation_name, extensions, _ticket } = follow;
    let ask = AskByGet { query, variables, operation_name, extensions }.try_into()?;
    Ok(streamed(ask, held, Subscriber { door, credential, request, last }))
}

fn streamed(ask: Ask, held: Held, subscriber: Subscriber) -> Response {
    let first = format!("retry: {}\n\n", fastrand::u64(COME_BACK.0..=COME_BACK.0 + COME_BACK.1));
    let followed = Some(Followed::begin(ask, subscriber));
    let messages = stream::unfold((followed, held, Some(first)), |(followed, held, first)| async move {
        if let Some(first) = first {
            return Some((Ok::<_, Infallible>(Bytes::from(first)), (followed, held, None)));
        }
        let mut followed = followed?;
        let step = steps::take(async move {
            let said = followed.next().await;
            (followed, said)
        });
        let (followed, said) = step.await.ok()?;
        let (text, goes_on) = match said {
            Some(Said::Message(answer)) => (next(followed.at(), &answer), true),
            Some(Said::Refused(errors)) => (complete(next(None, &without_data(errors))), false),
            // Without `complete`, the client comes back.
            Some(Said::End(Ending::Shutdown)) => return None,
            Some(Said::End(why)) => {
                let error = followed.as_error(why);
                (complete(next(followed.at(), &without_data(vec![error]))), false)
            }
            None => (complete(vec![]), false),
        };
        Some((Ok(Bytes::from(text)), (Some(followed).filter(|_| goes_on), held, None)))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(messages)).into_response()
}

fn next(at: Option<String>, answer: &[u8]) -> Vec<u8> {
    let mut text = at.map_or_else(String::new, |at| format!("id: {at}\n")).into_bytes();
    text.extend_from_slice(b"event: next\ndata: ");
    text.extend_from_slice(answer);
    text.extend_from_slice(b"\n\n");
    text
}

fn complete(mut text: Vec<u8>) -> Vec<u8> {
    text.extend_from_slice(b"event: complete\ndata:\n\n");
    text
}
