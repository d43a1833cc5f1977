//! Two servers on one database, each with an endpoint: one dispatches, and the device is connected to the other.

use std::net::SocketAddr;

use fleetlog_aggregates::command::Status;
use fleetlog_engine::commands::{Commands, NewCommand};
use fleetlog_event_log::EventLog;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{actor, ping, register, until};
use crate::support::mqtt::{Device, V5};
use crate::support::{Database, Server, eventually, t0};

const COMMANDS: &str = "t0/devices/dev-01/commands";
const ACKS: &str = "t0/devices/dev-01/command_ack";

/// A server that dispatches, another one, and a log on their database.
struct Pair {
    dispatching: Server,
    other: Server,
    log: EventLog,
    database: Database,
}

fn address(server: &Server) -> SocketAddr {
    ([127, 0, 0, 1], server.mqtt()).into()
}

impl Pair {
    /// Starts both, the first with one fault and the second with another.
    async fn start(faults: [Option<(&str, &str)>; 2]) -> Self {
        let database = Database::fresh().await;
        let dispatching = Server::serve_endpoint(&database.options(), faults[0]).await;
        dispatches(&dispatching).await;
        let other = Server::serve_endpoint(&database.options(), faults[1]).await;
        let log = database.event_log().await;
        register(&log, "dev-01").await;
        Self { dispatching, other, log, database }
    }

    async fn command(&self, wish: NewCommand) -> Uuid {
        let sent = Commands::default().send(&t0(&self.log), wish, None, actor("user:1")).await;
        sent.expect("accepted").id
    }

    async fn ends(&self, cmd_id: Uuid, status: Status) -> usize {
        let (state, steps) = until(&self.log, cmd_id, |state| state.status.is_terminal()).await;
        assert_eq!(state.status, status, "{steps:?}");
        assert_eq!(steps.iter().filter(|step| step.status.is_terminal()).count(), 1, "{steps:?}");
        state.attempts as usize
    }
}

/// Waits until a server dispatches: it has numbers of open commands then.
async fn dispatches(server: &Server) {
    eventually("it dispatches", async || {
        let metrics = server.text("/metrics").await;
        if metrics.contains("fleetlog_commands_open{") { Ok(()) } else { Err("not yet") }
    })
    .await;
}

async fn listen(address: SocketAddr) -> Device {
    let mut device = Device::connect(address, V5, "dev-01").await;
    device.subscribe(COMMANDS).await;
    device
}

/// Takes commands and acknowledges them until this one has come, and returns how often it came.
async fn obey(device: &mut Device, cmd_id: Uuid) {
    loop {
        let command: Value = serde_json::from_slice(&device.message().await).expect("JSON");
        let came = command["cmd_id"].as_str().expect("an id").to_owned();
        device.report(ACKS, json!({ "cmd_id": came, "status": "ack" }).to_string()).await;
        if came == cmd_id.to_string() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_reaches_a_device_at_another_node_whether_it_is_there_or_comes_later() {
    let pair = Pair::start([None, None]).await;
    let waiting = pair.command(ping("dev-01")).await;
    let mut device = listen(address(&pair.other)).await;
    obey(&mut device, waiting).await;
    assert_eq!(pair.ends(waiting, Status::Acked).await, 1);
    let there = pair.command(ping("dev-01")).await;
    obey(&mut device, there).await;
    assert_eq!(pair.ends(there, Status::Acked).await, 1);
    // It goes over to the node that dispatches, and back.
    let mut here = listen(address(&pair.dispatching)).await;
    let moved = pair.command(ping("dev-01")).await;
    obey(&mut here, moved).await;
    assert_eq!(pair.ends(moved, Status::Acked).await, 1);
    drop(here);
    let mut back = listen(address(&pair.other)).await;
    let again = pair.command(ping("dev-01")).await;
    obey(&mut back, again).await;
    assert_eq!(pair.ends(again, Status::Acked).await, 1);
    let handed_over = pair.dispatching.text("/metrics").await;
    assert!(handed_over.contains("fleetlog_commands_handed_over_total"), "{handed_over}");
    pair.dispatching.stop().await;
    pair.other.stop().await;
}

#[rstest]
#[case::asked("handover.made")]
#[case::answered("command.published")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_dispatching_node_is_killed_reaches_the_device_at_the_other_one(#[case] point: &str) {
    let pair = Pair::start([Some(("CRASH_AT", point)), None]).await;
    let mut device = listen(address(&pair.other)).await;
    let cmd_id = pair.command(NewCommand { timeout_s: Some(60), ..ping("dev-01") }).await;
    obey(&mut device, cmd_id).await;
    pair.dispatching.wait_killed().await;
    let (state, steps) = until(&pair.log, cmd_id, |state| state.status.is_terminal()).await;
    assert_eq!((state.status, state.attempts), (Status::Acked, 1), "{steps:?}");
    pair.other.stop().await;
}

#[rstest]
#[case::before_the_device_has_it("handover.taken")]
#[case::after_it("handover.published")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_devices_node_is_killed_reaches_it_when_it_is_back_at_another(#[case] point: &str) {
    let pair = Pair::start([None, Some(("CRASH_AT", point))]).await;
    let device = listen(address(&pair.other)).await;
    let cmd_id = pair.command(NewCommand { timeout_s: Some(60), ..ping("dev-01") }).await;
    pair.other.wait_killed().await;
    drop(device);
    let mut device = listen(address(&pair.dispatching)).await;
    obey(&mut device, cmd_id).await;
    let (state, steps) = until(&pair.log, cmd_id, |state| state.status.is_terminal()).await;
    assert_eq!((state.status, state.attempts), (Status::Acked, 1), "{steps:?}");
    pair.dispatching.stop().await;
    drop(pair.database);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_node_takes_nothing_and_a_command_that_it_held_up_ends() {
    let pair = Pair::start([None, Some(("FREEZE_AT", "handover.taken"))]).await;
    let mut device = listen(address(&pair.other)).await;
    let quick = NewCommand { timeout_s: Some(60), ..ping("dev-01") };
    let cmd_id = pair.command(quick).await;
    eventually("it is frozen", async || {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pair.other.id())).expect("a process");
        if state.contains(") T ") { Ok(()) } else { Err(state) }
    })
    .await;
    // It wakes when the asking node has given up, and publishes nothing that it had taken.
    let mut owner = pair.log.pool().acquire().await.expect("a connection");
    eventually("the handover is withdrawn", async || {
        let left: i64 =
            sqlx::query_scalar("SELECT count(*) FROM command_handovers WHERE taken_at IS NOT NULL")
                .fetch_one(&mut *owner)
                .await
                .expect("read");
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    pair.other.signal("CONT").await;
    obey(&mut device, cmd_id).await;
    let (state, steps) = until(&pair.log, cmd_id, |state| state.status.is_terminal()).await;
    assert_eq!((state.status, state.attempts), (Status::Acked, 1), "{steps:?}");
    pair.dispatching.stop().await;
    pair.other.stop().await;
}
