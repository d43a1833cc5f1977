//! Creates a cluster, starts its server, and waits until the server answers.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use super::binaries::Binaries;
use super::directory::Directory;
use super::log::Log;
use super::{Cluster, Error, NAME, Phase, connect_options, settings};
use crate::process::{self, Process};

/// How long processes of a killed server may hold the directory.
const PREDECESSOR: Duration = Duration::from_secs(15);
/// How long a server may give no answer at all. A recovering server has unlimited time.
const SILENCE: Duration = Duration::from_mins(1);
/// A start that takes longer than this is shown as a recovery.
const ORDINARY_START: Duration = Duration::from_secs(1);

/// Creates a cluster. It is complete and on the disk when it gets its name, so a crash leaves all of it or nothing.
pub(super) async fn create(binaries: &Binaries, directory: &Directory) -> Result<(), Error> {
    let new = directory.new_cluster()?;
    let dir = new.path().to_owned();
    let log = directory.log()?;
    let mut command = binaries.command("initdb");
    command.arg("--pgdata").arg(&dir);
    command.args([
        "--username",
        NAME,
        "--auth=trust",
        "--locale=C.UTF-8",
        "--encoding=UTF8",
        "--no-instructions",
        "--data-checksums",
    ]);
    if cfg!(target_os = "linux") {
        // One sync of the file system below replaces initdb's, which would sync about a thousand files one by one.
        command.arg("--no-sync");
    }
    // An unfinished cluster is worthless, so it may be killed.
    let process = spawn(command, directory, &log, libc::SIGKILL, libc::SIGKILL).await?;
    let status = process.exited().await;
    if !status.success() {
        return Err(Error::Creation { dir, status, log: log.tail() });
    }
    let written = dir.clone();
    let synced = spawn_blocking(move || process::sync_filesystem(&written)).await;
    synced.map_err(io::Error::from).flatten().map_err(Error::file("sync", &dir))?;
    directory.adopt(&new)
}

/// Starts the server, and returns when it answers.
pub(super) async fn launch(
    binaries: &Binaries,
    directory: Directory,
    extra: &[(String, String)],
    progress: &mut impl FnMut(Phase),
) -> Result<Cluster, Error> {
    let socket_dir = directory.socket_dir()?;
    let arguments = settings::arguments(&directory.cluster(), &socket_dir, extra);
    let began = Instant::now();
    let mut pause = Duration::from_millis(50);
    progress(Phase::Starting);
    let (process, log) = loop {
        let log = directory.log()?;
        let mut command = binaries.command("postgres");
        command.args(&arguments);
        if let Some(pid) = foreign_pid(&directory) {
            // Postgres ignores a lock file with the id of its grandparent process; pg_ctl passes that id in this way.
            command.env("PG_GRANDPARENT_PID", pid.to_string());
        }
        // These signals stop without a checkpoint, which could take long with nobody left to wait for it.
        let process = spawn(command, &directory, &log, libc::SIGQUIT, libc::SIGINT).await?;
        let outcome = tokio::select! {
            status = process.exited() => Err(Error::Ended { status, log: log.tail() }),
            outcome = answer(&socket_dir, directory.root(), progress) => outcome,
        };
        match outcome {
            Ok(()) => break (process, log),
            Err(Error::Ended { log, .. }) if is_held(&log) && began.elapsed() < PREDECESSOR => {
                progress(Phase::Waiting);
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
            Err(error) => return Err(error),
        }
    };
    if let Err(error) = warn_without_checksums(&socket_dir, &directory.cluster()).await {
        // Whether there is a warning to give decides nothing.
        tracing::warn!(%error, "failed to see whether the database has page checksums");
    }
    progress(Phase::Ready);
    Ok(Cluster { process, socket_dir, log, directory })
}

/// Says how to switch on the checksums of a cluster that an older fleetlog made without them. It takes a stopped server, and
/// reads all data, so it is the operator's to decide when.
async fn warn_without_checksums(socket_dir: &Path, cluster: &Path) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect_with(&connect_options(socket_dir, NAME)).await?;
    let on: String = sqlx::query_scalar("SHOW data_checksums").fetch_one(&mut connection).await?;
    connection.close().await?;
    if on != "on" {
        tracing::warn!(
            cluster = %cluster.display(),
            "the database has no page checksums, so damage on the disk may go unseen; to switch them on, stop fleetlog and \
             run `pg_checksums --enable -D <cluster>` as the owner of the cluster"
        );
    }
    Ok(())
}

async fn spawn(
    mut command: Command,
    directory: &Directory,
    log: &Log,
    on_owner_death: libc::c_int,
    on_drop: libc::c_int,
) -> Result<Process, Error> {
    command.stdout(log.writer()?).stderr(log.writer()?);
    let program = command.get_program().to_owned();
    Process::spawn(command, directory.run_as(), on_owner_death, on_drop)
        .await
        .map_err(Error::file("run", Path::new(&program)))
}

/// Whether the log of an ended server says that another one still holds the directory.
fn is_held(log: &str) -> bool {
    ["lock file \"", "pre-existing shared memory block"].iter().any(|sign| log.contains(sign))
}

/// The process id in a killed server's lock file, if another program has that id now. After a container's restart the
/// ids begin anew, and Postgres would wait for that program for ever. Postgres still checks that no server uses the
/// shared memory.
fn foreign_pid(directory: &Directory) -> Option<u32> {
    let pid = directory.read("postmaster.pid")?.lines().next()?.parse().ok()?;
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (program.trim() != "postgres").then_some(pid)
}

/// Returns when the server answers from its database. On the first start, gives the database its name.
async fn answer(socket_dir: &Path, root: &Path, progress: &mut impl FnMut(Phase)) -> Result<(), Error> {
    let began = Instant::now();
    let mut heard = began;
    let mut recovering = false;
    loop {
        match timeout(SILENCE, query(&connect_options(socket_dir, NAME), "SELECT 1")).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if has_code(&error, "3D000") => {
                // Renames the empty database of a new cluster: copying a template takes 0.3 s here and 0.6 s more at
                // the first stop.
                let template = connect_options(socket_dir, "template1");
                query(&template, &format!("ALTER DATABASE postgres RENAME TO {NAME}")).await?;
                continue;
            }
            Ok(Err(error)) if has_code(&error, "57P03") => {
                heard = Instant::now();
                if !recovering && began.elapsed() > ORDINARY_START {
                    recovering = true;
                    progress(Phase::Recovering);
                }
            }
            Ok(Err(error)) if !is_unreachable(&error) => return Err(error.into()),
            Ok(Err(_)) | Err(_) => {}
        }
        if heard.elapsed() > SILENCE {
            return Err(Error::Silent { dir: root.to_owned(), seconds: SILENCE.as_secs() });
        }
        // Each attempt at a recovering server writes a line to its log.
        sleep(Duration::from_millis(if recovering { 200 } else { 5 })).await;
    }
}

async fn query(options: &PgConnectOptions, statement: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    connection.execute(statement).await?;
    connection.close().await
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|found| found == code)
}

/// Whether there is no server to talk to: it does not listen yet, or it has ended, which [`Cluster::ended`] reports.
fn is_unreachable(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() != ErrorKind::PermissionDenied)
}
