//! Live streams: every event that is followed, once, in order, by position, for as long as the caller may see it.

mod bad_input;
mod browser;
mod crashes;
mod ends;
mod follow;
mod graphql;
mod resume;
mod rights;
mod shares;
mod sockets;
mod windows;
