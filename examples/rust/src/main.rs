//! A client in Rust: `cargo run --manifest-path examples/rust/Cargo.toml` (see `examples/README.md`).

use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::Context;
use serde_json::{Value, json};

const ENDED: [&str; 4] = ["acked", "failed", "timed_out", "cancelled"];

fn main() -> anyhow::Result<()> {
    let url = env::var("FLEETLOG_URL").unwrap_or_else(|_| "http://127.0.0.1:8080".into()) + "/api/v1";
    let set = |name| env::var(name).with_context(|| format!("set {name} first"));
    let login = json!({"email": set("FLEETLOG_EMAIL")?, "password": set("FLEETLOG_PASSWORD")?});
    let session: Value = ureq::post(format!("{url}/auth/login")).send_json(login)?.body_mut().read_json()?;
    let bearer = format!("Bearer {}", session["access_token"].as_str().context("no token")?);
    let get = |path: &str| -> anyhow::Result<Value> {
        let request = ureq::get(format!("{url}{path}")).header("authorization", &bearer);
        Ok(request.call()?.body_mut().read_json()?)
    };

    let devices = get("/devices?status=online")?;
    let uids: Vec<_> =
        devices["items"].as_array().into_iter().flatten().filter_map(|d| d["uid"].as_str()).collect();
    println!("online: {uids:?}");
    let chosen = env::var("FLEETLOG_DEVICE").ok();
    let uid = chosen.as_deref().or(uids.first().copied()).context("no device is online")?;

    let ping = ureq::post(format!("{url}/devices/{uid}/commands")).header("authorization", &bearer);
    let mut command: Value =
        ping.send_json(json!({"cmd": "ping", "timeout_s": 10}))?.body_mut().read_json()?;
    let until = Instant::now() + Duration::from_secs(20);
    while !command["status"].as_str().is_some_and(|status| ENDED.contains(&status)) {
        anyhow::ensure!(
            Instant::now() < until,
            "{uid} has not answered within 20 s: is it connected? FLEETLOG_DEVICE chooses another"
        );
        thread::sleep(Duration::from_millis(200));
        command = get(&format!("/commands/{}", command["cmd_id"].as_str().context("no id")?))?;
    }
    println!("ping: {} {}", command["status"], command["result"]);

    let reading = &get(&format!("/telemetry/{uid}?limit=1"))?["items"][0];
    println!("last reading: {} {}", reading["ts"], reading["payload"]);
    Ok(())
}
