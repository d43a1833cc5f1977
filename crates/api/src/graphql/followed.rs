//! A subscription that is under way, whichever way its messages go.

use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use async_graphql::{Response, ServerError, Value};
use fleetlog_access::action::typed::GraphqlQuery;
use fleetlog_access::callers::Credential;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::answer::text;
use super::asker::Asker;
use super::error::with_codes;
use super::folding::Folding;
use super::loaders::loaders;
use super::nulls::Types;
use super::order::Order;
use super::question::{Ask, Question};
use super::subscription::following::{Course, Opening};
use crate::door::May;
use crate::live::feed::Ending;
use crate::rest::RequestId;

/// What anything but a subscription is told.
const NEEDS_POST: &str = "only subscriptions are followed here: send queries and mutations to /graphql";

/// A subscription.
pub(super) struct Followed {
    responses: BoxStream<'static, Response>,
    order: Order,
    nulls: Arc<Types>,
    course: Arc<Course>,
    has_begun: bool,
}

/// What a subscription says.
pub(super) enum Said {
    /// A message: an answer, as JSON text on one line.
    Message(Vec<u8>),
    /// The subscription cannot be opened, for these reasons. Nothing comes after it.
    Refused(Vec<ServerError>),
    /// The subscription has ended, and why. Nothing comes after it.
    End(Ending),
}

/// Somebody who subscribes.
pub(super) struct Subscriber {
    pub(super) door: May<GraphqlQuery>,
    pub(super) credential: Credential,
    pub(super) request: RequestId,
    /// The `Last-Event-ID` of a client that comes back.
    pub(super) last: Option<String>,
}

impl Followed {
    /// Begins to follow what is asked for. Why it cannot is the first that it says.
    pub(super) fn begin(ask: Ask, subscriber: Subscriber) -> Self {
        let Subscriber { door, credential, request: request_id, last } = subscriber;
        let (course, schemas) = (Arc::<Course>::default(), &door.app.graphql);
        let (data, nulls) = (schemas.data.clone(), Arc::clone(&schemas.nulls));
        let question = Question::try_from(ask);
        let is_other = |kind| kind != OperationType::Subscription;
        let question = match question {
            Ok(question) if question.operation.is_some_and(is_other) => Err(NEEDS_POST.to_owned()),
            question => question,
        };
        let (responses, order) = match question {
            Ok(Question { request, order, .. }) => {
                let folding = Folding::default();
                let loaders = loaders(door.app.clone(), door.log().clone(), folding.clone());
                let opening = Opening { credential, last, course: Arc::clone(&course) };
                let asker = Asker::subscribing(door, request_id, folding);
                (data.execute_stream(request.data(loaders).data(asker).data(opening)).boxed(), order)
            }
            Err(why) => {
                let refusal = Response::from_errors(vec![ServerError::new(why, None)]);
                (futures::stream::iter([refusal]).boxed(), Order::default())
            }
        };
        Self { responses, order, nulls, course, has_begun: false }
    }

    /// What the subscription says next; `None` after its end. A call that is dropped loses nothing.
    pub(super) async fn next(&mut self) -> Option<Said> {
        let Some(response) = self.responses.next().await else {
            return self.course.ending().map(Said::End);
        };
        let mut response = with_codes(response);
        // The first message of every subscription that was opened is without errors.
        if !self.has_begun && response.data == Value::Null && !response.errors.is_empty() {
            self.responses = futures::stream::empty().boxed();
            return Some(Said::Refused(response.errors));
        }
        self.has_begun = true;
        self.nulls.settle(&mut response, &self.order, "Subscription");
        Some(Said::Message(text(&response, &self.order)))
    }

    /// The position to go on from.
    pub(super) fn at(&self) -> Option<String> {
        self.course.at()
    }

    /// An end as an error, for clients that have no other word for it.
    pub(super) fn as_error(&self, why: Ending) -> ServerError {
        let mut error = ServerError::new(why.detail(), None);
        let extensions = error.extensions.get_or_insert_default();
        extensions.set("code", why.code());
        if let Some(at) = self.at() {
            extensions.set("at", at);
        }
        error
    }
}

/// Errors as an answer without data, as JSON text on one line.
pub(super) fn without_data(errors: Vec<ServerError>) -> Vec<u8> {
    text(&with_codes(Response::from_errors(errors)), &Order::default())
}
