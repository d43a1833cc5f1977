//! What foreign topics and payloads mean: from any device's bytes to the device, the time, the id and the metrics.
//!
//! Pure: no I/O, no clock, no database. Ingest asks [`Source::identify`] who sent a message, when and under which id; the
//! bytes go on the record as they came. Folds ask [`Source::metrics`] what was measured. `docs/SOURCES.md` explains the
//! definition to those who write one. The modules, in the order in which data flows:
//!
//! - [`spec`]: a definition as it is written and stored; [`invalid`]: what is wrong with one, and where
//! - [`pattern`]: topics with named levels
//! - `formats`: from bytes to a tree; `tree`: the tree and its budget
//! - `path`, `template`: where in the tree something is
//! - `source`: a definition, checked and compiled
//! - `readings`: the readings of a message
//! - `identify`: who, when, which id; `uid`, `time` and `status` read these
//! - `kept`: a message as it is on the record
//! - `measure`: the metrics; [`Aliases`]: what Sparkplug's births say of them
//! - `commands`: commands and answers in the devices' own words
//! - `trial`: all of that at once, for who writes a definition
//! - [`presets`]: definitions for families of devices
//! - [`limits`]: what a definition and a message may have at most

mod aliases;
mod commands;
mod formats;
mod identify;
pub mod invalid;
mod kept;
pub mod limits;
mod measure;
mod path;
pub mod pattern;
pub mod presets;
mod readings;
mod source;
pub mod spec;
mod status;
mod template;
mod time;
mod tree;
mod trial;
mod uid;

pub use aliases::Aliases;
pub use commands::{Address, Answer, CannotSend, Outgoing, ToSend, Unanswered};
pub use formats::{Csv, Format};
pub use identify::{Identified, Message, NoUid, Refused};
pub use invalid::{Invalid, Invalids, Why};
pub use kept::{Kept, NotKept};
pub use measure::{Metrics, Opened, Remark, Remarks};
pub use pattern::{Pattern, overlaps};
pub use readings::Part;
pub use source::Source;
pub use spec::SourceSpec;
pub use trial::{Trial, TriedAnswer, TriedReading};
