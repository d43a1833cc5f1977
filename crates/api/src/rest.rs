//! REST over HTTP: the reads, the writes and the login. Holds no SQL and decides nothing about the domain.
//!
//! - [`middleware`]: what is done to every request and every answer
//! - [`rate_limits`], [`proxies`]: how many requests a caller may make; the address that a proxied request comes from
//! - [`shares`]: how much of the process each tenant may use at once
//! - [`authentication`]: who is calling, and for which tenant
//! - [`error`], [`problem`]: domain errors as HTTP statuses, and the one form of their answers
//! - [`framing`]: what HTTP/1.1 asks of a request's frame
//! - [`extract`], [`parameters`], [`headers`]: the parts of a request, checked
//! - [`json`]: JSON bodies, and plain words for what is wrong with one
//! - [`page`], [`min_position`], [`as_of`], [`archived`]: pages of lists; reading one's own writes; answers as of a moment of the
//!   past; what an answer passes over because it was removed
//! - [`cookies`]: a browser's session
//! - [`auth`], [`sessions`], [`browser`], [`api_keys`], [`signing_keys`], [`registration`], [`accounts`], [`users`]:
//!   logging in, users, and the keys of programs
//! - [`devices`], [`credentials`], [`simulations`], [`commands`], [`command_history`], [`command_types`], [`command_batches`], [`alarms`], [`alarm_rules`], [`sources`], [`telemetry`], [`windows`],
//!   [`logs`], [`events`], [`streams`], [`sockets`], [`audit`], [`proofs`], [`quarantine`], [`projections`], [`rebuilds`], [`policies`], [`roles`], [`tenants`], [`usage`],
//!   [`tiers`], [`mod@webhooks`], [`health`], [`metrics`]: the resources, each with its own `router()`
//! - [`wire`]: types of the crates below, as REST writes and reads them
//! - [`websocket`]: opens WebSockets for MQTT, and hands them over
//! - [`brokers`]: answers an external broker's questions about its clients
//! - [`docs`]: the `OpenAPI` document and its page
//! - [`pages`]: the web page for people, which `src` gives

pub mod accounts;
pub mod alarm_rules;
pub mod alarms;
pub mod api_keys;
pub mod archived;
pub mod as_of;
pub mod audit;
pub mod auth;
pub(crate) mod authentication;
pub mod brokers;
pub mod browser;
pub mod command_batches;
pub mod command_history;
pub mod command_types;
pub mod commands;
mod cookies;
pub mod credentials;
pub mod device_metrics;
pub mod devices;
pub mod docs;
pub mod error;
pub mod events;
pub mod extract;
mod framing;
mod headers;
pub mod health;
mod json;
pub mod logs;
pub mod metrics;
pub mod middleware;
pub mod min_position;
pub mod page;
pub mod pages;
pub mod parameters;
pub mod policies;
pub mod problem;
pub mod projections;
pub mod proofs;
pub mod proxies;
pub mod quarantine;
pub(crate) mod rate_limits;
pub mod rebuilds;
pub mod registration;
pub mod roles;
pub mod sessions;
pub mod shares;
pub mod signing_keys;
pub mod simulations;
pub mod sockets;
pub mod sources;
pub mod streams;
pub mod telemetry;
pub mod tenants;
pub mod tiers;
pub mod usage;
pub mod users;
pub mod webhooks;
pub mod websocket;
pub mod windows;
mod wire;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;

pub use error::Error;
pub use middleware::RequestId;
pub use pages::Pages;
pub use websocket::WebSockets;

use crate::app::App;
use crate::graphql;

/// The service's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The path prefix of the versioned API. The same routes also answer without the prefix.
pub const PREFIX: &str = "/api/v1";

/// The whole service over HTTP, with the web page for people. Without `websockets`, devices connect elsewhere.
pub fn router(app: App, pages: Pages, websockets: Option<WebSockets>) -> Router {
    let origins = app.settings.cors_origins.clone();
    let pages = pages::router(pages, &app);
    let websockets = websockets.map(|taking| websocket::router(taking, &app.settings.trusted_proxies));
    let (documented, document) = documented().split_for_parts();
    let authenticate = axum::middleware::from_fn_with_state(app.clone(), authentication::authenticate);
    // The last layer is the outermost: a request first meets the limit by address, then authentication, the limit by
    // caller, and its tenant's share.
    let by_caller = axum::middleware::from_fn_with_state(app.clone(), rate_limits::by_caller);
    let by_address = axum::middleware::from_fn_with_state(app.clone(), rate_limits::by_address);
    let in_turn = axum::middleware::from_fn_with_state(app.clone(), shares::within);
    let answered = documented.merge(Router::from(api()));
    let answered = answered.layer(in_turn.clone()).layer(by_caller).layer(authenticate);
    let answered = answered.merge(brokers::router()).with_state(app);
    let limited = answered.merge(docs::router(&document).layer(in_turn)).layer(by_address);
    middleware::wrap(limited.merge(pages).merge(websockets.unwrap_or_default()), &origins)
}

/// The `OpenAPI` document that describes the service.
#[must_use]
pub fn document() -> serde_json::Value {
    docs::complete(&documented().into_openapi())
}

/// The routes that the document lists: the versioned ones with their prefix only, and those at the root.
fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(docs::base())
        .nest(PREFIX, api())
        .merge(browser::router())
        .merge(health::router())
        .merge(metrics::router())
}

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .merge(auth::router())
        .merge(sessions::router())
        .merge(api_keys::router())
        .merge(signing_keys::router())
        .merge(registration::router())
        .merge(accounts::router())
        .merge(users::router())
        .merge(devices::router())
        .merge(credentials::router())
        .merge(simulations::router())
        .merge(commands::router())
        .merge(command_history::router())
        .merge(command_types::router())
        .merge(command_batches::router())
        .merge(alarms::router())
        .merge(alarm_rules::router())
        .merge(sources::router())
        .merge(telemetry::router())
        .merge(windows::router())
        .merge(device_metrics::router())
        .merge(logs::router())
        .merge(events::router())
        .merge(streams::router())
        .merge(sockets::router())
        .merge(audit::router())
        .merge(proofs::router())
        .merge(quarantine::router())
        .merge(projections::router())
        .merge(rebuilds::router())
        .merge(policies::router())
        .merge(roles::router())
        .merge(tenants::router())
        .merge(usage::router())
        .merge(tiers::router())
        .merge(webhooks::router())
        .merge(graphql::router())
}
