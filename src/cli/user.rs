//! `fleetlog user`: manages users directly in the database, so that it also works when nobody can log in.

use std::io::Write;

use clap::{Args, Subcommand};
use fleetlog_access::accounts::Refused;
use fleetlog_access::directory::Account;
use fleetlog_access::{Role, console};
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::EventLog;

use super::output::output;
use super::source::Source;

/// Users.
#[derive(Debug, Args)]
pub struct User {
    /// The subcommand.
    #[command(subcommand)]
    pub what: What,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum What {
    /// List the users of all tenants.
    List {
        /// The log to use.
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
        /// The user's tenant.
        #[arg(long, default_value = "t0")]
        tenant: Tenant,
        /// The log to use.
        #[command(flatten)]
        source: Source,
    },
    /// Give a user a new password, which is printed once, and end the user's sessions.
    Password {
        /// The address to log in with.
        #[arg(long)]
        email: String,
        /// The log to use.
        #[command(flatten)]
        source: Source,
    },
}

/// Runs the subcommand. Changes become events in the log.
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

/// Opens the log, calls a function with it, and prints the text that the function returns.
async fn within(
    source: Source,
    work: impl AsyncFnOnce(&EventLog) -> Result<String, Refused>,
) -> anyhow::Result<()> {
    let told = source.write(work).await?;
    let mut out = output();
    out.write_all(told.as_bytes())?;
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
