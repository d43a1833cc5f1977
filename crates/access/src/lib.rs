//! Access: who is calling, what they may do, how often, and the accounts behind that. Knows no HTTP.
//!
//! Operations of one tenant are functions that take its [`TenantLog`](fleetlog_event_log::TenantLog). What must see all
//! tenants, as a login must, is a service over the [`EventLog`](fleetlog_event_log::EventLog), and says why. The modules,
//! in the order in which a request meets them:
//!
//! - [`access`]: all services, wired once
//! - [`quota`]: how many requests may be made
//! - [`callers`]: the principal behind a token, a key or a cookie
//! - [`access_tokens`], [`signing_keys`]: what a token says; the keys that sign it, in the database and on this node
//! - [`sealing`]: the operator's secret, which seals the signing keys
//! - [`api_keys`]: what programs call with
//! - [`coalesce`]: what every request asks the database, asked once for many
//! - [`action`], [`role`], [`who`], [`principal`]: what can be done; the roles; the caller
//! - [`mod@authorize`]: whether a principal may do something
//! - `decisions`: decides about a page of devices, in turns with other tenants
//! - [`policy`]: what decides that: the roles, and the rules that tenants add
//! - [`denials`]: what was refused, on the record
//! - [`login`]: an e-mail address and a password for a session
//! - [`attempts`]: how often a secret may be guessed at
//! - [`known_origins`]: where an account was logged in to before, and strangers' guesses do not count
//! - [`strangers`]: refused logins to accounts that do not exist, on the record together
//! - [`housekeeping`]: deletes what is over
//! - [`sessions`], [`refresh`]: from a login to its end, and the tokens that keep a session going
//! - [`session_tokens`], [`session_rows`]: what a session's client holds; the table of sessions
//! - [`accounts`]: what all changes of accounts share
//! - [`sign_up`], [`invitations`]: accounts that people make themselves, and that admins make
//! - [`profile`], [`recovery`]: what users change of their own; a new password without the old one
//! - [`reauthentication`]: a user in a session proves the password again
//! - [`administration`], [`console`]: what admins change of users, and the operator on the machine itself
//! - [`users`], [`directory`]: the table of users, and what is shown of it
//! - [`password`], [`secret`]: slow hashes, off the async threads; random secrets and fast hashes
//! - [`tokens`], [`mail`]: tokens in mails, and the mails
//! - [`tenants`], [`tiers`]: who uses the platform, and how many requests each tier allows
//! - [`starter_types`]: the command types that every tenant starts with
//! - [`mod@first_start`]: the first signing key and the first admin
//! - [`instruments`]: what this crate counts
//! - [`error`]: what fails, other than a refusal
//!
//! Users, sessions and keys are ordinary rows. Each change is on the record, in the same transaction.

pub mod access;
pub mod access_tokens;
pub mod accounts;
pub mod action;
pub mod administration;
pub mod api_keys;
pub mod attempts;
pub mod authorize;
pub mod callers;
mod coalesce;
pub mod console;
mod decisions;
pub mod denials;
pub mod directory;
pub mod error;
pub mod first_start;
pub mod housekeeping;
pub mod instruments;
pub mod invitations;
pub mod known_origins;
pub mod login;
pub mod mail;
pub mod password;
pub mod policy;
pub mod principal;
pub mod profile;
pub mod quota;
mod reauthentication;
pub mod recovery;
pub mod refresh;
pub mod role;
pub mod sealing;
pub mod secret;
mod session_rows;
pub mod session_tokens;
pub mod sessions;
pub mod sign_up;
pub mod signing_keys;
pub mod starter_types;
pub mod strangers;
pub mod tenants;
pub mod tickets;
pub mod tiers;
mod tokens;
pub mod users;
pub mod watches;
pub mod who;

pub use access::{Access, Settings};
pub use action::{Action, Device, Forbidden, Resource};
pub use authorize::{allowed, authorize};
pub use error::Error;
pub use first_start::{FirstStart, first_start};
pub(crate) use fleetlog_event_log::database::parsed;
pub use principal::Principal;
pub use role::Role;
pub use sealing::Secret;
pub use signing_keys::SigningKeys;
pub use who::Who;
