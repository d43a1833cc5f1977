//! Making a cluster, starting its server, and waiting until it answers.

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

/// How long what remains of a killed server may hold the directory.
const PREDECESSOR: Duration = Duration::from_secs(15);
/// How long a server may say nothing at all. One that says it recovers has all the time it needs.
const SILENCE: Duration = Duration::from_mins(1);
/// A start that takes longer than this is a recovery.
const ORDINARY_START: Duration = Duration::from_secs(1);

/// Makes a cluster. It is complete and on the disk when it gets its name, so a crash leaves all of it or nothing.
pub(super) async fn create(binaries: &Binaries, directory: &Directory) -> Result<(), Error> {
    let dir = directory.new_cluster()?;
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
    ]);
    if cfg!(target_os = "linux") {
        // Below, in one call: initdb would do it file by file, and there are about a thousand.
        command.arg("--no-sync");
    }
    // Nothing is worth keeping of a cluster that is not finished.
    let process = spawn(command, directory, &log, libc::SIGKILL, libc::SIGKILL).await?;
    let status = process.exited().await;
    if !status.success() {
        return Err(Error::Creation { dir, status, log: log.tail() });
    }
    let written = dir.clone();
    let synced = spawn_blocking(move || process::sync_filesystem(&written)).await;
    synced.map_err(io::Error::from).flatten().map_err(Error::file("sync", &dir))?;
    directory.adopt(&dir)
}

/// Starts the server and returns when it answers.
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
        if let Some(pid) = foreign_pid(&directory.cluster()) {
            // Postgres disregards a lock file with the id of its starter's starter, as pg_ctl tells it that way.
            command.env("PG_GRANDPARENT_PID", pid.to_string());
        }
        // Without a checkpoint, which could take long with nobody there to wait for it.
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
    progress(Phase::Ready);
    Ok(Cluster { process, socket_dir, log, directory })
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

/// Whether the log of a server that ended says that another one is not gone yet.
fn is_held(log: &str) -> bool {
    ["lock file \"", "pre-existing shared memory block"].iter().any(|sign| log.contains(sign))
}

/// The process id in a killed server's lock file, where it now is some other program's: after a container's restart the
/// ids begin anew, and Postgres would wait for that program for ever. It still checks that no server uses the memory.
fn foreign_pid(cluster: &Path) -> Option<u32> {
    let pid = fs::read_to_string(cluster.join("postmaster.pid")).ok()?.lines().next()?.parse().ok()?;
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (program.trim() != "postgres").then_some(pid)
}

/// Returns when the server answers from its database, which is the first start's to name.
async fn answer(socket_dir: &Path, root: &Path, progress: &mut impl FnMut(Phase)) -> Result<(), Error> {
    let began = Instant::now();
    let mut heard = began;
    let mut recovering = false;
    loop {
        match timeout(SILENCE, query(&connect_options(socket_dir, NAME), "SELECT 1")).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if has_code(&error, "3D000") => {
                // The empty database of a new cluster gets our name: copying a template takes 0.3 s here and 0.6 s more
                // at the first stop.
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
        // Each attempt at a server that recovers is a line in its log.
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

/// Whether there is no server to talk to: not yet, or no longer, which its end tells.
fn is_unreachable(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() != ErrorKind::PermissionDenied)
}
