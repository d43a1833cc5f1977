//! The web page for people: the files of `dashboard/`, within the binary, and how they are answered.
//!
//! Knows nothing of fleetlog but the page's own addresses, and no HTTP server: `api` routes these addresses here, by a
//! function that `src` gives it. So a change of the page builds this crate and the binary again, and no other.
//!
//! - [`answer()`]: what a browser gets at each address
//! - `files`: what `build.rs` has put in

mod answer;
mod files;

pub use answer::{OPEN, answer};
pub use files::{Served, build, served};
