//! Every service of this crate, wired once per process.

use fleetlog_event_log::EventLog;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::api_keys::ApiKeys;
use super::attempts::Attempts;
use super::callers::Callers;
use super::decisions::Decisions;
use super::denials::Denials;
use super::housekeeping;
use super::invitations::Invitations;
use super::login::Logins;
use super::mail::letters::Letters;
use super::password::Passwords;
use super::policy::cache::PolicyCache;
use super::profile::Profile;
use super::quota::Quota;
use super::recovery::Recovery;
use super::sessions::Sessions;
use super::sign_up::SignUp;
use super::signing_keys::SigningKeys;
use super::tenants::Tenants;
use super::tickets::Tickets;
use super::tiers::Tiers;
use super::watches::Watches;

/// What an operator can set about users and their sessions.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where people reach the service, such as `https://fleet.example.com`: for links in mails. With `https`, cookies
    /// are sent over TLS only.
    pub public_url: Option<http::Uri>,
}

/// The services, for those who call them. Cheap to clone; clones share what the services share.
#[derive(Clone)]
pub struct Access {
    log: EventLog,
    /// How many requests may be made.
    pub quota: Quota,
    /// Who is calling.
    pub callers: Callers,
    /// Callers who have a stream open.
    pub watches: Watches,
    /// Tickets that open streams.
    pub tickets: Tickets,
    /// What was refused.
    pub denials: Denials,
    /// Logging in.
    pub logins: Logins,
    /// Refreshing sessions, and who is in one.
    pub sessions: Sessions,
    /// Accounts that people make themselves.
    pub sign_up: SignUp,
    /// Accounts that admins make.
    pub invitations: Invitations,
    /// What users change of their own accounts.
    pub profile: Profile,
    /// New passwords without the old ones.
    pub recovery: Recovery,
    /// The platform's tenants.
    pub tenants: Tenants,
    /// The platform's tiers.
    pub tiers: Tiers,
    /// The keys that sign access tokens.
    pub signing_keys: SigningKeys,
    /// What the operator has set.
    pub settings: Settings,
}

impl Access {
    /// Wires the services over the log of all tenants. Each of them says why it needs it.
    #[must_use]
    pub fn new(log: &EventLog, signing_keys: SigningKeys, settings: Settings) -> Self {
        let log = || log.clone();
        let (attempts, passwords) = (Attempts::new(log().pool().clone()), Passwords::default());
        let (attempts, passwords) = (|| attempts.clone(), || passwords.clone());
        let letters = Letters::new(settings.public_url.as_ref());
        let letters = || letters.clone();
        let quota = Quota::new(log().pool().clone(), log().clock().clone());
        let sessions = Sessions::new(log(), signing_keys.clone());
        let (api_keys, policies) = (ApiKeys::new(log()), PolicyCache::new(log()));
        let callers = Callers::new(sessions.clone(), api_keys, policies, Decisions::default());
        Self {
            log: log(),
            watches: Watches::new(callers.clone()),
            tickets: Tickets::new(log().pool().clone()),
            callers,
            denials: Denials::new(log()),
            logins: Logins::new(log(), sessions.clone(), passwords(), attempts()),
            sessions,
            sign_up: SignUp::new(log(), passwords(), attempts(), letters()),
            invitations: Invitations::new(log(), passwords(), attempts(), letters()),
            profile: Profile::new(log(), passwords(), attempts(), letters()),
            recovery: Recovery::new(log(), passwords(), attempts(), letters()),
            tenants: Tenants::new(log(), passwords()),
            tiers: Tiers::new(log(), quota.clone()),
            quota,
            signing_keys,
            settings,
        }
    }

    /// What the services do in the background, by name. Each part runs until `shutdown`, and needs to run once a process.
    #[must_use]
    pub fn background(&self, shutdown: &CancellationToken) -> [(&'static str, BoxFuture<'static, ()>); 4] {
        let Self { log, signing_keys, quota, denials, .. } = self.clone();
        [
            ("the signing keys' upkeep", Box::pin(signing_keys.run(shutdown.clone()))),
            ("the counts of requests", Box::pin(quota.run(shutdown.clone()))),
            ("the record of denials", Box::pin(denials.run(shutdown.clone()))),
            ("housekeeping", Box::pin(housekeeping::run(log, shutdown.clone()))),
        ]
    }
}
