//! Sign-up: people make their own accounts, where the tenant allows it. No answer tells which addresses have accounts.

use std::net::IpAddr;

use fleetlog_aggregates::acts;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::record::Recorder;
use sqlx::PgConnection;
use uuid::Uuid;

use super::accounts::{self, Refused, evenly};
use super::attempts::{Attempts, Kind};
use super::error::Error;
use super::mail::letters::Letters;
use super::password::Passwords;
use super::role::Role;
use super::tokens::{self, Purpose, Token};
use super::users::{self, Email, Name, NewUser};

/// An application for an account.
#[derive(Clone)]
pub struct Application {
    /// The address to log in with.
    pub email: String,
    /// The password to log in with.
    pub password: String,
    /// What people call the user.
    pub name: Option<String>,
    /// The tenant, as text: it need not name one.
    pub tenant: String,
}

/// Registers users in all tenants: whether a tenant exists is not told. Cheap to clone.
#[derive(Clone)]
pub struct SignUp {
    log: EventLog,
    passwords: Passwords,
    attempts: Attempts,
    letters: Letters,
}

impl SignUp {
    pub(super) fn new(log: EventLog, passwords: Passwords, attempts: Attempts, letters: Letters) -> Self {
        Self { log, passwords, attempts, letters }
    }

    /// Adds the applicant as a viewer, if the tenant is open to registrations, and mails a token to confirm the address.
    /// If the address has an account already, its owner gets a mail about that; the applicant is not told.
    pub async fn register(
        &self,
        application: Application,
        peer: Option<IpAddr>,
        request_id: String,
    ) -> Result<(), Refused> {
        let Application { email, password, name, tenant } = application;
        let email = Email::parse(&email).ok_or(Refused::BadEmail)?;
        let name = name.map(|name| Name::parse(&name).ok_or(Refused::BadName)).transpose()?;
        self.attempts.take(Kind::Register, Some(email.as_str()), peer).await??;
        let tenant: Tenant = tenant.parse().map_err(|_| Refused::RegistrationClosed)?;
        if !self.registration_is_open(&tenant).await? {
            return Err(Refused::RegistrationClosed);
        }
        evenly(async {
            let known = users::known(&email, name.as_ref());
            let password_hash = Some(self.passwords.accept(password, known).await??);
            let user = NewUser { tenant, email, name, password_hash, role: Role::Viewer };
            self.add_applicant(user, request_id).await
        })
        .await
    }

    async fn registration_is_open(&self, tenant: &Tenant) -> Result<bool, Error> {
        let open = "SELECT EXISTS (
            SELECT FROM tenants WHERE tenant = $1 AND registration = 'open' AND suspended_at IS NULL)";
        Ok(sqlx::query_scalar(open).bind(tenant.as_str()).fetch_one(self.log.pool()).await?)
    }

    async fn add_applicant(&self, user: NewUser, request_id: String) -> Result<(), Refused> {
        let (token, letters) = (Token::new(), self.letters.clone());
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    let rules = accounts::lock(recorder.connection(), &user.tenant).await?;
                    let rules = rules.filter(|rules| rules.open).ok_or(Refused::RegistrationClosed)?;
                    // Before the address is looked up: a full tenant refuses every address alike.
                    match rules.check_room(recorder.connection(), &user.tenant).await {
                        Err(Refused::Full) => return Err(Refused::RegistrationClosed),
                        other => other?,
                    }
                    match users::add(recorder.connection(), &user).await? {
                        Some(user_id) => {
                            welcome(recorder, &user, user_id, &token, &letters, request_id).await
                        }
                        None => tell_owner(recorder.connection(), &user.email, &letters).await,
                    }
                })
            })
            .await
    }
}

async fn welcome(
    recorder: &mut Recorder,
    user: &NewUser,
    user_id: Uuid,
    token: &Token,
    letters: &Letters,
    request_id: String,
) -> Result<(), Refused> {
    let NewUser { tenant, email, role, .. } = user;
    tokens::issue(recorder.connection(), token, (tenant, user_id), Purpose::Address, email).await?;
    letters.confirm_address(email, token).post(recorder.connection(), tenant).await?;
    let via = acts::Registration::Oneself;
    let registered = acts::User::UserRegistered { role: role.to_string(), via };
    let metadata = Metadata::within(request_id, Actor::User(user_id));
    recorder.tell(tenant, &user_id.to_string(), &registered, &metadata).await?;
    Ok(())
}

async fn tell_owner(connection: &mut PgConnection, email: &Email, letters: &Letters) -> Result<(), Refused> {
    let tenant: Option<String> = sqlx::query_scalar("SELECT tenant FROM users WHERE lower(email) = $1")
        .bind(email.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    // Absent if the owner was removed a moment ago.
    let Some(tenant) = tenant else { return Ok(()) };
    let tenant = tenant.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    letters.taken(email).post(connection, &tenant).await?;
    Ok(())
}
