//! An account of one's own making. Nobody learns from it which addresses have accounts.

use std::net::IpAddr;

use chrono::Utc;
use fleetlog_aggregates::acts;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::record::Recorder;
use sqlx::PgConnection;

use super::accounts::{self, Refused, evenly};
use super::attempts::Kind;
use super::mail::letters::Letters;
use super::tokens::{self, Purpose, Token};
use super::users::{self, Email, Name, NewUser};
use super::{Error, Identity, Role};

/// What somebody says to get an account.
#[derive(Clone)]
pub struct Application {
    /// The address to log in with.
    pub email: String,
    /// The password to log in with.
    pub password: String,
    /// What people call them.
    pub name: Option<String>,
    /// Whose user they want to be; a text, which need not name a tenant.
    pub tenant: String,
}

impl Identity {
    /// Makes a viewer of whoever applies, if the tenant lets people do so, and asks them to confirm the address. To
    /// whoever has the address already goes a mail that says so, and the applicant learns nothing of it.
    pub async fn register(
        &self,
        application: Application,
        peer: Option<IpAddr>,
        request_id: String,
    ) -> Result<(), Refused> {
        let Application { email, password, name, tenant } = application;
        let email = Email::parse(&email).ok_or(Refused::BadEmail)?;
        let name = name.map(|name| Name::parse(&name).ok_or(Refused::BadName)).transpose()?;
        self.limiter.take(Kind::Register, Some(email.as_str()), peer, Utc::now()).await??;
        let tenant: Tenant = tenant.parse().map_err(|_| Refused::RegistrationClosed)?;
        if !self.registration_is_open(&tenant).await? {
            return Err(Refused::RegistrationClosed);
        }
        evenly(async {
            let known = known(&email, name.as_ref());
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
        let (token, base) = (Token::new(), self.base());
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    let letters = Letters::new(&base);
                    let rules = accounts::lock(recorder.connection(), &user.tenant).await?;
                    let rules = rules.filter(|rules| rules.open).ok_or(Refused::RegistrationClosed)?;
                    // Before the address is looked at: a full tenant says so of every address.
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
    user_id: uuid::Uuid,
    token: &Token,
    letters: &Letters<'_>,
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

async fn tell_owner(
    connection: &mut PgConnection,
    email: &Email,
    letters: &Letters<'_>,
) -> Result<(), Refused> {
    let tenant: Option<String> = sqlx::query_scalar("SELECT tenant FROM users WHERE lower(email) = $1")
        .bind(email.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    // Absent where the owner has just gone.
    let Some(tenant) = tenant else { return Ok(()) };
    let tenant = tenant.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    letters.taken(email).post(connection, &tenant).await?;
    Ok(())
}

/// What makes a password easy to guess, if it is in there.
pub(super) fn known(email: &Email, name: Option<&Name>) -> Vec<String> {
    [Some(email.as_str()), name.map(Name::as_str)].into_iter().flatten().map(str::to_owned).collect()
}
