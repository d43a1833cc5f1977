//! `GraphQL` over HTTP: the same reads and writes as REST, through the same functions. Holds no SQL.
//!
//! - `request`: the routes of questions that have one answer, and the steps to it
//! - `asker`: the caller of a question
//! - `question`: a question before it is answered, parsed and measured
//! - `cost`: limits on a question's size, checked before the library walks it
//! - `price`: what a question costs, and the most that it may cost
//! - `query`, `mutation`: the reads and the writes
//! - `device`, `command`, `alarm`, `telemetry`, `windows`, `metric`, `event`, `log`, `audit`, `projection`, `source`, `webhook`: the types of
//!   the answers
//! - `subscription`: what can be followed
//! - `followed`: a subscription that is under way, whichever way its messages go
//! - `sse`, `websocket`: the two ways, each by the protocol that clients have for it
//! - `answer`, `order`, `nulls`: the answer as JSON text, in the order of the question, with nulls for what failed
//! - `loaders`: shared queries for fields that need the same data of several devices
//! - `as_of`, `folding`: which moment of the past a field is asked as of, and how much of the log a question folds for that
//! - `scalars`, `error`: 64-bit numbers and JSON; errors with REST's codes

mod alarm;
mod answer;
mod as_of;
mod asker;
mod audit;
mod command;
mod cost;
mod device;
mod error;
mod event;
mod folding;
mod followed;
mod loaders;
mod log;
mod metric;
mod mutation;
mod nulls;
mod order;
mod price;
mod projection;
mod query;
mod question;
mod rebuild;
mod request;
mod scalars;
mod source;
mod sse;
mod subscription;
mod telemetry;
mod webhook;
mod websocket;
mod windows;

use std::sync::Arc;

use async_graphql::Schema;

use utoipa_axum::router::OpenApiRouter;

use crate::app::App;

type Api = Schema<query::Query, mutation::Mutation, subscription::Subscription>;

/// The routes of `GraphQL`.
#[must_use]
pub fn router() -> OpenApiRouter<App> {
    request::router().merge(sse::router()).merge(websocket::router())
}

/// The schema, built twice with different limits. Cheap to clone.
#[derive(Clone)]
pub struct Schemas {
    /// Answers questions about devices.
    data: Api,
    /// Answers questions about the schema itself, where introspection is allowed.
    types: Option<Api>,
    /// Which fields may be null.
    nulls: Arc<nulls::Types>,
}

impl Schemas {
    /// Builds the schema. `introspection`: whether questions about the schema itself are answered.
    #[must_use]
    pub fn new(introspection: bool) -> Self {
        let schema = || Schema::build(query::Query, mutation::Mutation, subscription::Subscription);
        let data = schema()
            .limit_depth(cost::DEPTH)
            .limit_directives(cost::DIRECTIVES)
            .disable_introspection()
            .disable_suggestions();
        // The introspection query that tools send is deeper than any query for data needs to be.
        let types =
            schema().limit_depth(cost::TYPES_DEPTH).limit_directives(cost::DIRECTIVES).introspection_only();
        let data = data.finish();
        let nulls = Arc::new(nulls::Types::of(&data.sdl()));
        Self { data, types: introspection.then(|| types.finish()), nulls }
    }

    /// The schema in the `GraphQL` schema language, as it is committed.
    #[must_use]
    pub fn sdl(&self) -> String {
        self.data.sdl()
    }
}
