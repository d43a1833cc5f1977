//! `GraphQL` over HTTP: the same reads and writes as REST, through the same functions. No SQL in here.
//!
//! - `request`: the route, and one question's way through
//! - `cost`: what a question may cost, before anything looks at all of it
//! - `query`, `mutation`: what can be asked for, and what can be done
//! - `device`, `command`, `telemetry`, `windows`, `log`, `projection`: the types of the answers
//! - `answer`: what goes back, as text
//! - `loaders`: what many fields need, fetched at once
//! - `scalars`, `error`: long numbers and JSON; errors with REST's codes

mod answer;
mod command;
mod cost;
mod device;
mod error;
mod loaders;
mod log;
mod mutation;
mod projection;
mod query;
mod request;
mod scalars;
mod telemetry;
mod windows;

use async_graphql::{EmptySubscription, Schema};

pub use request::router;

type Api = Schema<query::Query, mutation::Mutation, EmptySubscription>;

/// The schema, in the two ways that it is served. Cheap to clone.
#[derive(Clone)]
pub struct Schemas {
    /// Answers questions about devices.
    data: Api,
    /// Answers questions about the schema, where that is allowed.
    types: Option<Api>,
}

impl Schemas {
    /// The schema. `introspection`: whether it can be asked for its types.
    #[must_use]
    pub fn new(introspection: bool) -> Self {
        let schema = || Schema::build(query::Query, mutation::Mutation, EmptySubscription);
        let data = schema()
            .limit_depth(cost::DEPTH)
            .limit_complexity(cost::COMPLEXITY)
            .limit_directives(cost::DIRECTIVES)
            .disable_introspection()
            .disable_suggestions();
        // The question that every tool asks is deeper than any about data needs to be.
        let types = schema()
            .limit_depth(cost::TYPES_DEPTH)
            .limit_complexity(cost::COMPLEXITY)
            .limit_directives(cost::DIRECTIVES)
            .introspection_only();
        Self { data: data.finish(), types: introspection.then(|| types.finish()) }
    }

    /// The schema in its own language, as it is committed.
    #[must_use]
    pub fn sdl(&self) -> String {
        self.data.sdl()
    }
}
