//! `fleetlog user`: users without a login, for whoever has the database: also when nobody can log in any more.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use fleetlog_access::accounts::Refused;
use fleetlog_access::directory::Account;
use fleetlog_access::{Role, console};
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::EventLog;

use super::source::Source;

/// Users.
#[derive(Debug, Args)]
pub struct User {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Tell who there is, of all tenants.
    List {
        /// Where the log is.
        #[command(flatten)]
        source: Source,
    },
    /// Add a user, with a new password that is printed once.
    Add {
        /// The address to log in with.
        #[arg(long)]
        email: String,
        /// What the user may do: admin, operator, analyst, auditor or viewer.
        #[arg(long)]
        role: Role,
        /// What people call the user.
        #[arg(long)]
        name: Option<String>,
        /// Whose user it is.
        #[arg(long, default_value = "t0")]
        tenant: Tenant,
        /// Where the log is.
        #[command(flatten)]
        source: Source,
    },
    /// Give a user a new password, which is printed once, and end the user's sessions.
    Password {
        /// The address to log in with.
        #[arg(long)]
        email: String,
        /// Where the log is.
        #[command(flatten)]
        source: Source,
    },
}

/// Does it, on the record.
pub async fn run(User { what }: User) -> anyhow::Result<()> {
    match what {
        What::List { source } => {
            within(source, async |log| Ok(table(&console::list(log.pool()).await?))).await
        }
        What::Add { email, role, name, tenant, source } => {
            within(source, async |log| {
                let password = console::add(log, tenant.clone(), &email, name.as_deref(), role).await?;
                Ok(shown_once(&email, &password))
            })
            .await
        }
        What::Password { email, source } => {
            within(source, async |log| Ok(shown_once(&email, &console::reset_password(log, &email).await?)))
                .await
        }
    }
}

/// Does something with the log, and prints what it tells.
async fn within(
    source: Source,
    work: impl AsyncFnOnce(&EventLog) -> Result<String, Refused>,
) -> anyhow::Result<()> {
    let opened = source.open_to_write().await?;
    let told = work(&opened.log).await;
    opened.close().await?;
    let mut out = io::stdout().lock();
    out.write_all(told?.as_bytes())?;
    Ok(out.flush()?)
}

fn shown_once(email: &str, password: &str) -> String {
    format!("e-mail     {email}\npassword   {password}    shown only now: keep it\n")
}

fn table(accounts: &[Account]) -> String {
    let width = accounts.iter().map(|account| account.email.len()).max().unwrap_or_default();
    let line = |Account { user_id, email, tenant, role, status, .. }: &Account| {
        format!("{user_id}  {email:width$}  {role:8}  {:11}  {tenant}\n", status.as_str())
    };
    accounts.iter().map(line).collect()
}
