//! Live streams: what happens, from the log, for as long as a client listens. REST, WebSocket and `GraphQL` say it each in
//! their own form.
//!
//! - [`follow`]: what to follow, and from where, as clients ask for it
//! - [`stream`]: a stream, of one of the two kinds below
//! - [`feed`]: what a client is told next of events
//! - [`minutes`]: what a client is told next of the minutes that readings change
//! - [`rights`]: what its caller may see, asked again every few seconds
//! - [`steps`]: the steps of streams, apart from whether their clients read
//! - [`pings`]: how many pings a WebSocket's client may send
//! - [`seats`]: how many streams there may be, and how many connections they may hold

pub mod feed;
pub mod follow;
pub mod minutes;
pub mod pings;
pub mod rights;
pub mod seats;
pub mod steps;
pub mod stream;
