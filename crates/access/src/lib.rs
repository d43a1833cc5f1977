//! Who is calling, and what they may do. Knows no HTTP.
//!
//! - [`Identity`]: all of it together
//! - [`principal`]: the caller: a user in a session, or a program with a key
//! - [`mod@authorize`]: the only door: may this principal do that
//! - `coalesce`: what every request asks, asked for many at once
//! - [`policy`]: what decides that: the roles, and the rules that tenants add
//! - [`denials`]: what was refused, on the record
//! - [`password`]: slow hashes, off the async threads
//! - [`keys`], [`key_ring`]: access tokens; the keys that sign them, in the database and on this node
//! - [`sealing`]: the operator's secret, which seals them
//! - [`api_keys`]: what programs call with
//! - [`users`], [`directory`]: the table of users, and what others see of it
//! - [`accounts`]: how users come to be, change and go; its list says where
//! - [`tokens`], [`mail`]: what is sent to people, and what lets them answer
//! - [`attempts`]: how often one may try what could be a guess
//! - [`login`]: an e-mail address and a password against a session
//! - [`sessions`]: what a token is worth at this moment
//! - [`refresh`]: the tokens that keep a session going, each good once
//! - [`tenants`]: who uses the platform, and on which terms
//! - [`quota`]: how many requests may be made
//! - [`starter_types`]: the command types that every tenant starts with
//! - [`tiers`]: how many requests which tenants may make
//! - [`instruments`]: what this crate counts
//! - [`mod@first_start`]: the keys and the first admin
//!
//! Users, sessions and keys are ordinary rows. What is done with them is on the record, in the same transaction.

pub mod accounts;
pub mod administration;
pub mod api_keys;
pub mod attempts;
pub mod authorize;
mod coalesce;
pub mod console;
pub mod denials;
pub mod directory;
pub mod first_start;
pub mod instruments;
pub mod invitations;
pub mod key_ring;
pub mod keys;
pub mod login;
pub mod mail;
pub mod password;
pub mod policy;
pub mod principal;
pub mod profile;
pub mod quota;
pub mod recovery;
pub mod refresh;
pub mod sealing;
pub mod secret;
pub mod sessions;
pub mod sign_up;
pub mod starter_types;
pub mod tenants;
pub mod tiers;
mod tokens;
pub mod users;

use std::ops::Deref;
use std::sync::Arc;

use fleetlog_event_log::{EventLog, database};
use uuid::Uuid;

pub use authorize::{Action, Device, Forbidden, Resource, authorize};
pub use first_start::{FirstStart, first_start};
pub(crate) use fleetlog_event_log::database::parsed;
pub use key_ring::KeyRing;
pub use principal::{Principal, Role, Who};
pub use sealing::Secret;

use coalesce::Questions;
use quota::Limits;

/// Who there is, and who is calling. Cheap to clone; clones share the limits.
#[derive(Clone)]
pub struct Identity(Arc<Parts>);

/// What it is made of; each module adds what can be done with it.
pub struct Parts {
    /// Seen across tenants: whose a login is, is not known before it succeeds.
    log: EventLog,
    /// What signs access tokens.
    pub keys: KeyRing,
    passwords: password::Passwords,
    /// How often one may try what could be a guess.
    pub limiter: attempts::Limiter,
    /// How many requests may be made.
    pub limits: Limits,
    /// Who is calling in a session.
    sessions: Questions<Uuid, Principal>,
    /// What a key is good for.
    api_keys: Questions<Uuid, api_keys::Kept>,
    policies: policy::cache::Cache,
    /// What was refused, until it is on the record.
    pub denials: denials::Denials,
    /// What an operator may decide.
    pub settings: Settings,
}

/// What an operator may decide about users and their sessions.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where people reach the service, such as `https://fleet.example.com`: for links in mails. With `https`, cookies
    /// are sent over TLS only.
    pub public_url: Option<http::Uri>,
}

impl Deref for Identity {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Identity {
    /// The users of a log's database, with tokens that `keys` signs.
    #[must_use]
    pub fn new(log: EventLog, keys: KeyRing, settings: Settings) -> Self {
        let (passwords, pool) = (password::Passwords::default(), log.pool().clone());
        let (limiter, limits) = (attempts::Limiter::new(pool.clone()), Limits::new(pool));
        let (policies, denials) = (policy::cache::Cache::default(), denials::Denials::default());
        let sessions = Questions::new(log.clone(), sessions::callers);
        let api_keys = Questions::new(log.clone(), api_keys::kept);
        Self(Arc::new(Parts {
            log,
            keys,
            passwords,
            limiter,
            limits,
            sessions,
            api_keys,
            policies,
            denials,
            settings,
        }))
    }

    /// What links in mails begin with.
    fn base(&self) -> String {
        mail::letters::base(self.settings.public_url.as_ref())
    }
}

/// What fails in here, other than a refusal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// A stored key or hash is damaged, or the system has no randomness.
    #[error("use a {what}: {reason}")]
    Crypto {
        /// What was being used.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// The first admin's password is too easy to guess.
    #[error("take the first admin's password: {0}")]
    Weak(#[from] password::Weak),
    /// The first admin's e-mail address is none.
    #[error("take the first admin's e-mail address: 3 to 254 characters, with an @ and without spaces")]
    BadEmail,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
