//! The launcher's promises, tested on a real server.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Instant;

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use super::*;
use crate::postgres::folder::Folder;
use crate::process::{RunAs, effective_user};

const BOUND: Duration = Duration::from_secs(20);

/// A small server, with little memory.
fn options(dir: &Path) -> Options {
    Options { settings: vec![("shared_buffers".into(), "16MB".into())], ..Options::new(dir) }
}

async fn start(dir: &Path) -> Cluster {
    tokio::spawn(Cluster::start(options(dir), |_| {})).await.unwrap().unwrap()
}

async fn connect(cluster: &Cluster) -> PgConnection {
    PgConnection::connect_with(&cluster.connect_options()).await.unwrap()
}

async fn show(cluster: &Cluster, setting: &str) -> String {
    sqlx::query_scalar(&format!("SHOW {setting}")).fetch_one(&mut connect(cluster).await).await.unwrap()
}

async fn write_a_row(cluster: &Cluster) {
    let mut connection = connect(cluster).await;
    sqlx::raw_sql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
        .execute(&mut connection)
        .await
        .unwrap();
}

async fn has_the_row(cluster: &Cluster) -> bool {
    let row: i32 =
        sqlx::query_scalar("SELECT n FROM kept").fetch_one(&mut connect(cluster).await).await.unwrap();
    row == 7
}

#[tokio::test]
async fn a_cluster_starts_from_nothing_and_says_how_far_it_is() {
    let dir = TempDir::new().unwrap();
    let mut phases = Vec::new();
    let data_dir = dir.path().join("not/there/yet");
    let cluster = Cluster::start(options(&data_dir), |phase| phases.push(phase)).await.unwrap();
    assert_eq!(phases, [Phase::Creating, Phase::Starting, Phase::Ready]);
    let encoding: String =
        sqlx::query_scalar("SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = $1")
            .bind("fleetlog")
            .fetch_one(&mut connect(&cluster).await)
            .await
            .unwrap();
    assert_eq!(encoding, "UTF8");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_start_finds_what_was_stored() {
    let dir = TempDir::new().unwrap();
    let cluster = start(dir.path()).await;
    write_a_row(&cluster).await;
    cluster.stop().await.unwrap();
    let mut phases = Vec::new();
    let cluster = Cluster::start(options(dir.path()), |phase| phases.push(phase)).await.unwrap();
    assert_eq!(phases, [Phase::Starting, Phase::Ready]);
    assert!(has_the_row(&cluster).await);
}

#[tokio::test]
async fn a_second_owner_is_refused_and_told_the_directory() {
    let dir = TempDir::new().unwrap();
    let first = start(dir.path()).await;
    let error = Cluster::start(options(dir.path()), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
    assert_eq!(show(&first, "fsync").await, "on", "the first is not disturbed");
}

#[tokio::test]
async fn a_half_made_cluster_is_made_anew() {
    let dir = TempDir::new().unwrap();
    let rubbish = dir.path().join("postgres.new");
    fs::create_dir_all(rubbish.join("base")).unwrap();
    fs::write(rubbish.join("PG_VERSION"), "15\n").unwrap();
    let _cluster = start(dir.path()).await;
    assert!(!rubbish.exists());
}

#[tokio::test]
async fn data_of_another_major_version_is_refused() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("postgres")).unwrap();
    fs::write(dir.path().join("postgres/PG_VERSION"), "9.6\n").unwrap();
    let error = Cluster::start(options(dir.path()), |_| {}).await.unwrap_err();
    assert!(matches!(&error, Error::WrongVersion { data, .. } if data == "9.6"), "{error}");
}

#[tokio::test]
async fn binaries_that_are_not_there_are_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let options = Options { binaries: Some(dir.path().join("bin")), ..Options::new(dir.path()) };
    let error = Cluster::start(options, |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::UnusableBinaries { .. }), "{error}");
}

#[tokio::test]
async fn a_setting_that_is_wrong_is_quoted_from_the_log() {
    let dir = TempDir::new().unwrap();
    let options =
        Options { settings: vec![("no_such_setting".into(), "1".into())], ..Options::new(dir.path()) };
    let error = Cluster::start(options, |_| {}).await.unwrap_err();
    assert!(
        error.to_string().contains("unrecognized configuration parameter \"no_such_setting\""),
        "{error}"
    );
}

#[tokio::test]
async fn a_killed_server_is_noticed_and_the_next_start_recovers() {
    let dir = TempDir::new().unwrap();
    let cluster = start(dir.path()).await;
    write_a_row(&cluster).await;
    let ended = cluster.ended();
    cluster.kill();
    let error = timeout(BOUND, ended).await.unwrap();
    assert!(matches!(error, Error::Ended { .. }), "{error}");
    assert_eq!(cluster.id(), None);
    assert!(cluster.stop().await.is_err());
    assert!(has_the_row(&start(dir.path()).await).await);
}

#[tokio::test]
async fn a_server_stopped_at_once_has_lost_nothing() {
    let dir = TempDir::new().unwrap();
    let cluster = start(dir.path()).await;
    write_a_row(&cluster).await;
    let began = Instant::now();
    let _open = connect(&cluster).await;
    cluster.stop_immediately().await.unwrap();
    assert!(began.elapsed() < BOUND);
    assert!(has_the_row(&start(dir.path()).await).await);
}

#[tokio::test]
async fn a_lock_file_that_names_another_program_does_not_block_a_start() {
    let dir = TempDir::new().unwrap();
    start(dir.path()).await.stop().await.unwrap();
    let lock_file = dir.path().join("postgres/postmaster.pid");
    fs::write(&lock_file, format!("{}\n", std::process::id())).unwrap();
    let began = Instant::now();
    let _cluster = start(dir.path()).await;
    assert!(began.elapsed() < BOUND);
}

#[tokio::test]
async fn commits_are_durable_whatever_the_caller_sets() {
    let dir = TempDir::new().unwrap();
    let mut options = options(dir.path());
    options
        .settings
        .extend(["fsync", "full_page_writes", "synchronous_commit"].map(|name| (name.into(), "off".into())));
    let cluster = Cluster::start(options, |_| {}).await.unwrap();
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        assert_eq!(show(&cluster, setting).await, "on", "{setting}");
    }
    assert_eq!(show(&cluster, "shared_buffers").await, "16MB", "others are the caller's");
}

#[tokio::test]
async fn a_long_path_with_odd_characters_is_no_obstacle() {
    let dir = TempDir::new().unwrap();
    let odd = dir.path().join("it's, a \"path\"").join("x".repeat(120));
    let cluster = start(&odd).await;
    assert_eq!(fs::metadata(&cluster.socket_dir).unwrap().permissions().mode() & 0o777, 0o700);
    let socket_dir = cluster.socket_dir.clone();
    cluster.stop().await.unwrap();
    assert!(!socket_dir.exists());
}

/// Root runs another user's data as that user, which also works in containers that forbid user namespaces.
#[tokio::test]
async fn root_serves_the_data_of_another_user_as_that_user() {
    if effective_user() != 0 {
        return;
    }
    let dir = TempDir::new().unwrap();
    chown(dir.path(), Some(65_534), Some(65_534)).unwrap();
    let cluster = start(dir.path()).await;
    let owner =
        |name: &str| std::os::unix::fs::MetadataExt::uid(&fs::metadata(dir.path().join(name)).unwrap());
    assert_eq!(["postgres", "postgres/base", "postgres.log", "postgres.socket"].map(owner), [65_534; 4]);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_visitor_reads_beside_the_owner_or_alone_and_makes_nothing() {
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().join("x".repeat(120));
    let nothing = Visit::begin(options(&data_dir), |_| {}).await.unwrap_err();
    assert!(matches!(nothing, Error::NoCluster { .. }) && !data_dir.exists(), "{nothing}");

    let owner = start(&data_dir).await;
    write_a_row(&owner).await;
    let beside = Visit::begin(options(&data_dir), |_| {}).await.unwrap();
    let select = "SELECT n FROM kept";
    let mut connection = PgConnection::connect_with(&beside.connect_options()).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, i32>(select).fetch_one(&mut connection).await.unwrap(), 7);
    beside.end().await.unwrap();
    assert!(has_the_row(&owner).await, "the owner's server goes on");
    owner.stop().await.unwrap();

    let alone = Visit::begin(options(&data_dir), |_| {}).await.unwrap();
    let mut connection = PgConnection::connect_with(&alone.connect_options()).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, i32>(select).fetch_one(&mut connection).await.unwrap(), 7);
    alone.end().await.unwrap();
    start(&data_dir).await.stop().await.unwrap();
}

#[tokio::test]
async fn a_lock_that_is_about_to_be_released_is_waited_for() {
    let dir = TempDir::new().unwrap();
    let held = Folder::open(dir.path()).unwrap().file("postgres.lock", account_of_test()).unwrap();
    held.lock().unwrap();
    let mut held = Some(held);
    let mut phases = Vec::new();
    let started = Cluster::start(options(dir.path()), |phase| {
        phases.push(phase);
        held.take();
    });
    let _cluster = started.await.unwrap();
    assert_eq!(phases, [Phase::Waiting, Phase::Creating, Phase::Starting, Phase::Ready]);
}

#[tokio::test]
async fn what_a_killed_creator_has_left_running_does_not_stop_the_next_one() {
    let dir = TempDir::new().unwrap();
    let rubbish = dir.path().join("postgres.new");
    fs::create_dir(&rubbish).unwrap();
    let mut writer = tokio::process::Command::new("/bin/sh")
        .args(["-c", r#"n=0; while n=$((n+1)); do echo > "$0/$n"; done 2>/dev/null"#])
        .arg(&rubbish)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    timeout(BOUND, async {
        while fs::read_dir(&rubbish).unwrap().next().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    start(dir.path()).await.stop().await.unwrap();
    writer.kill().await.unwrap();
    start(dir.path()).await.stop().await.unwrap();
    assert!(!rubbish.exists(), "and the next start clears it");
}

#[tokio::test]
async fn pages_have_checksums() {
    let dir = TempDir::new().unwrap();
    assert_eq!(show(&start(dir.path()).await, "data_checksums").await, "on");
}

/// The user that a server in a directory of this test's own user runs as.
fn account_of_test() -> RunAs {
    if effective_user() == 0 { RunAs::UnprivilegedRoot } else { RunAs::Caller }
}

/// A file that a link, of either kind, must not lead to: what it holds, and its mode.
fn treasure(dir: &Path) -> PathBuf {
    let file = dir.join("treasure");
    fs::write(&file, "root's, 19 bytes: x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

fn is_untouched(file: &Path) -> bool {
    let found = fs::metadata(file).unwrap();
    fs::read(file).unwrap() == b"root's, 19 bytes: x"
        && std::os::unix::fs::MetadataExt::uid(&found) == effective_user()
        && found.permissions().mode() & 0o777 == 0o600
}

async fn refusal(dir: &Path) -> Error {
    Cluster::start(options(dir), |_| {}).await.unwrap_err()
}

#[tokio::test]
async fn no_link_in_the_data_directory_leads_to_a_file_elsewhere() {
    let elsewhere = TempDir::new().unwrap();
    let treasure = treasure(elsewhere.path());
    for name in ["postgres.lock", "postgres.log"] {
        for hard in [false, true] {
            let dir = TempDir::new_in(elsewhere.path()).unwrap();
            let link = dir.path().join(name);
            if hard { fs::hard_link(&treasure, &link) } else { std::os::unix::fs::symlink(&treasure, &link) }
                .unwrap();
            if effective_user() == 0 {
                std::os::unix::fs::lchown(&link, Some(65_534), Some(65_534))
                    .and_then(|()| chown(&treasure, Some(0), Some(0)))
                    .unwrap();
                chown(dir.path(), Some(65_534), Some(65_534)).unwrap();
            }
            let error = refusal(dir.path()).await;
            assert!(matches!(&error, Error::Unsafe { path, .. } if path.ends_with(name)), "{name}: {error}");
            assert!(is_untouched(&treasure), "{name}");
        }
    }
    let dir = TempDir::new_in(elsewhere.path()).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("postgres")).unwrap();
    let error = refusal(dir.path()).await;
    assert!(matches!(&error, Error::Unsafe { path, .. } if path.ends_with("postgres")), "{error}");
}

#[tokio::test]
async fn a_directory_that_others_may_write_to_is_refused() {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = refusal(dir.path()).await;
    assert!(matches!(&error, Error::Unsafe { .. }), "{error}");
    assert!(error.to_string().contains("chmod go-w"), "{error}");
}

#[tokio::test]
async fn the_lock_is_closed_to_other_users() {
    let dir = TempDir::new().unwrap();
    let lock = dir.path().join("postgres.lock");
    fs::write(&lock, "").unwrap();
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
    start(dir.path()).await.stop().await.unwrap();
    for name in ["postgres.lock", "postgres.log"] {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// Only root can have another user's files, so this needs root.
#[tokio::test]
async fn root_follows_no_link_of_another_user_and_mixes_no_owners() {
    if effective_user() != 0 {
        eprintln!("not run: only root can make another user's links");
        return;
    }
    let dir = TempDir::new().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(65_534), Some(65_534)).unwrap();
    let error = refusal(&link.join("data")).await;
    assert!(matches!(&error, Error::Unsafe { path, .. } if *path == link), "{error}");
    assert_eq!(fs::read_dir(&real).unwrap().count(), 0);

    let theirs = dir.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    chown(&theirs, Some(65_534), Some(65_534)).unwrap();
    fs::create_dir(theirs.join("postgres")).unwrap();
    let error = refusal(&theirs).await;
    assert!(matches!(&error, Error::Unsafe { path, .. } if path.ends_with("postgres")), "{error}");

    fs::remove_dir(theirs.join("postgres")).unwrap();
    fs::write(theirs.join("postgres.lock"), "").unwrap();
    let error = refusal(&theirs).await;
    assert!(error.to_string().contains("another user's"), "{error}");
}

const OWNER_DIR: &str = "FLEETLOG_TEST_OWNER_DIR";
/// The line that the owner process writes when it has a row to lose.
const READY: &str = "ready";

/// The owner process of the next test; on its own it does nothing.
#[tokio::test]
async fn an_owner_that_waits_to_be_killed() {
    let Some(dir) = std::env::var_os(OWNER_DIR) else { return };
    let cluster = start(Path::new(&dir)).await;
    write_a_row(&cluster).await;
    println!("{READY}");
    cluster.ended().await;
}

#[tokio::test]
async fn a_server_dies_with_its_owner_and_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let name = "postgres::tests::an_owner_that_waits_to_be_killed";
    let mut owner = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(OWNER_DIR, dir.path())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    timeout(BOUND, async { while lines.next_line().await.unwrap().expect("it goes on") != READY {} })
        .await
        .unwrap();
    owner.kill().await.unwrap();
    assert!(has_the_row(&start(dir.path()).await).await);
}
