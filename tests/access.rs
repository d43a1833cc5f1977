//! Who may see and do what.
//!
//! - [`matrix`]: every operation and every field, by every caller, on one's own, another tenant's and no thing at all
//! - [`isolation`]: the second wall: what Postgres shows of other tenants
//! - [`policies`]: rules that tenants add
//! - [`denials`]: what was refused, on the record

mod denials;
mod isolation;
pub(crate) mod matrix;
mod policies;
mod things;
