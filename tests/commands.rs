//! A command's life, from the log to a device and back: a dispatcher, a broker, and devices that do what a test says.

mod batches;
mod crashes;
mod handover;
mod life;
mod two_nodes;

use std::sync::Arc;

use fleetlog_access::starter_types;
use fleetlog_aggregates::device::{self, Labels, Via};
use fleetlog_engine::commands::{Accepted, Commands, NewCommand};
use fleetlog_engine::dispatch::Dispatcher;
use fleetlog_engine::dispatch::outlet::CommandOutlet;
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_projections::commands::{Command, Step, history};
use fleetlog_projections::verify::verify;
use fleetlog_projections::{Options, Projections};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::support::mqtt::{self, Device, V5};
use crate::support::{LIMIT, Node, register_device, t0};

/// A node that dispatches, with its read models.
struct Fleet {
    node: Node,
    commands: Commands,
    projections: fleetlog_projections::Handle,
    /// Of the dispatcher.
    dispatching: DropGuard,
    _stopping: DropGuard,
}

fn actor(actor: &str) -> Metadata {
    Metadata::within("c-1".to_owned(), Actor::from(actor))
}

fn ping(uid: &str) -> NewCommand {
    NewCommand {
        device_uid: uid.parse().expect("a uid"),
        cmd: "ping".into(),
        params: None,
        timeout_s: None,
        max_attempts: None,
        expires_at: None,
    }
}

async fn register(log: &EventLog, uid: &str) {
    let command = register_device(Via::Api, None, Labels::new());
    let registered = log
        .execute::<device::Device>(&format!("t0/{uid}").parse().expect("a stream"), command, actor("test"))
        .await;
    registered.expect("registered");
}

/// A command's state and history, from the log.
async fn read(log: &EventLog, cmd_id: Uuid) -> (Command, Vec<Step>) {
    history(&t0(log), cmd_id, None).await.expect("read").expect("a command")
}

/// Waits until the log says what is expected of a command.
async fn until(log: &EventLog, cmd_id: Uuid, expected: impl Fn(&Command) -> bool) -> (Command, Vec<Step>) {
    let waiting = async {
        let mut heads = log.heads().watch();
        loop {
            let found = read(log, cmd_id).await;
            if expected(&found.0) {
                return found;
            }
            heads.changed().await.expect("a log");
        }
    };
    let Ok(found) = tokio::time::timeout(LIMIT, waiting).await else {
        panic!("it stays at {:?}", read(log, cmd_id).await);
    };
    found
}

fn words(steps: &[Step]) -> Vec<&str> {
    steps.iter().map(|step| step.event_type.as_str()).collect()
}

/// Starts a dispatcher. It stops when what this returns goes out of scope.
fn dispatch(node: &Node) -> DropGuard {
    dispatch_to(node, Arc::new(node.outlet.clone()))
}

fn dispatch_to(node: &Node, outlet: Arc<impl CommandOutlet>) -> DropGuard {
    let stop = CancellationToken::new();
    tokio::spawn(Dispatcher::new(node.log.clone(), outlet).run(stop.clone()));
    stop.drop_guard()
}

impl Fleet {
    async fn start() -> Self {
        let node = Node::start().await;
        let commands = Commands::default();
        starter_types::give_to_all(&node.log).await.expect("types");
        let stop = CancellationToken::new();
        let projections = Projections::new(node.log.clone(), Options::default());
        let handle = projections.handle();
        tokio::spawn(projections.run(stop.clone()));
        let dispatching = dispatch(&node);
        Self { node, commands, projections: handle, dispatching, _stopping: stop.drop_guard() }
    }

    /// Checks that the read model is what SQL over the log says.
    async fn assert_verified(&self) {
        self.projections.catch_up(LIMIT).await.expect("caught up");
        let facts = self.projections.facts("commands").expect("a projection");
        let verified = verify(&self.node.log, facts, 10, |_| {}).await.expect("verified");
        assert_eq!(verified.differences(), 0, "{:#?}", verified.listed);
    }

    /// Stops the dispatcher, and starts another that knows nothing but what the log says.
    fn dispatch_anew(&mut self) {
        self.dispatching = dispatch(&self.node);
    }

    async fn register(&self, uid: &str) {
        register(&self.node.log, uid).await;
    }

    async fn send(&self, command: NewCommand) -> Uuid {
        let accepted: Accepted =
            self.commands.send(&t0(&self.node.log), command, None, actor("user:1")).await.expect("accepted");
        accepted.id
    }

    async fn until(&self, cmd_id: Uuid, expected: impl Fn(&Command) -> bool) -> (Command, Vec<Step>) {
        until(&self.node.log, cmd_id, expected).await
    }

    /// A device that listens for its commands.
    async fn listener(&self, uid: &str) -> Listener {
        let mut device = Device::connect(self.node.address, V5, uid).await;
        device.subscribe(&format!("t0/devices/{uid}/commands")).await;
        Listener { device, uid: uid.to_owned() }
    }

    /// A listener that takes packets of at most so many bytes, up to 255.
    async fn small_listener(&self, uid: &str, most: u8) -> Listener {
        let mut device = Device::dial(self.node.address, V5).await;
        let connect =
            [&b"\0\x04MQTT\x05\x02\0\x3c\x05\x27\0\0\0"[..], &[most, 0, uid.len() as u8], uid.as_bytes()];
        device.send(&mqtt::packet(0x10, &connect.concat())).await;
        assert_eq!(device.packet().await.expect("CONNACK")[3], 0, "accepted");
        device.subscribe(&format!("t0/devices/{uid}/commands")).await;
        Listener { device, uid: uid.to_owned() }
    }

    async fn catch_up(&self) {
        self.projections.catch_up(LIMIT).await.expect("projections");
    }
}

/// A device that does with its commands what the test says.
struct Listener {
    device: Device,
    uid: String,
}

impl Listener {
    /// The next command.
    async fn command(&mut self) -> Value {
        serde_json::from_slice(&self.device.message().await).expect("JSON")
    }

    /// Publishes an answer and waits until it is acknowledged.
    async fn answer(&mut self, answer: impl ToString) {
        let topic = format!("t0/devices/{}/command_ack", self.uid);
        self.device.report(&topic, answer.to_string()).await;
    }

    async fn ack(&mut self, command: &Value) {
        self.answer(json!({ "cmd_id": command["cmd_id"], "status": "ack", "result": { "ok": true } })).await;
    }
}
