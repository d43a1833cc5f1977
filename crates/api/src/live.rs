//! Live streams: what happens, from the log, for as long as a client listens. REST, WebSocket and `GraphQL` say it each in
//! their own form.
//!
//! - [`follow`]: what to follow, and from where, as clients ask for it
//! - [`feed`]: what a client is told next
//! - [`rights`]: what its caller may see, asked again every few seconds
//! - [`seats`]: how many streams there may be

pub mod feed;
pub mod follow;
pub mod rights;
pub mod seats;
