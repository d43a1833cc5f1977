//! The walls between the crates, as `docs/ARCHITECTURE.md` draws them: which crate may name what.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The crates from the ground up. Each may use those before it, never those after it.
const FLOORS: [&str; 18] = [
    "fleetlog-embedded",
    "fleetlog-tls",
    "fleetlog-http-client",
    "fleetlog-dashboard",
    "fleetlog-aggregates",
    "fleetlog-sources",
    "fleetlog-event-log",
    "fleetlog-proof",
    "fleetlog-archive",
    "fleetlog-projections",
    "fleetlog-access",
    "fleetlog-engine",
    "fleetlog-mqtt",
    "fleetlog-live",
    "fleetlog-webhooks",
    "fleetlog-api",
    "fleetlog-lab",
    "fleetlog",
];

/// What only some crates may name, and which do.
const HOMES: &[(&[&str], &[&str])] = &[
    (
        &["sqlx"],
        &[
            "fleetlog-embedded",
            "fleetlog-event-log",
            "fleetlog-proof",
            "fleetlog-projections",
            "fleetlog-access",
            "fleetlog-engine",
            "fleetlog-webhooks",
            "fleetlog-lab",
            "fleetlog",
        ],
    ),
    (&["axum"], &["fleetlog-api", "fleetlog-lab"]),
    (&["axum-server", "tower-http", "utoipa-axum", "utoipa-swagger-ui"], &["fleetlog-api"]),
    (&["async-graphql"], &["fleetlog-api"]),
    (&["utoipa"], &["fleetlog-api"]),
    (&["tungstenite"], &["fleetlog-mqtt", "fleetlog-api"]),
    (&["tokio-rustls"], &["fleetlog-tls", "fleetlog-mqtt", "fleetlog-api"]),
    (&["rustls", "rustls-native-certs", "x509-cert"], &["fleetlog-tls"]),
    (&["hyper-rustls"], &["fleetlog-http-client"]),
    (&["mqtt-protocol-core"], &["fleetlog-mqtt"]),
    (&["rumqttc"], &["fleetlog-mqtt", "fleetlog-lab"]),
    (&["cedar-policy", "argon2", "jsonwebtoken", "lettre", "zxcvbn"], &["fleetlog-access"]),
    (&["jsonschema"], &["fleetlog-aggregates"]),
    (&["lttb"], &["fleetlog-projections"]),
    (&["serde_json_path", "ciborium-ll", "rmp-serde"], &["fleetlog-sources"]),
    (&["parquet", "object_store"], &["fleetlog-archive"]),
    (&["hdrhistogram"], &["fleetlog-lab"]),
    (&["clap"], &["fleetlog-lab", "fleetlog"]),
];

/// What the crates on the ground floor do without: no database, no clock of their own, no network, no fleetlog.
const IGNORANCE: &[(&str, &[&str])] = &[
    ("fleetlog-aggregates", &["tokio", "sqlx", "tracing", "metrics", "http"]),
    ("fleetlog-sources", &["tokio", "sqlx", "tracing", "metrics", "http"]),
    ("fleetlog-access", &["hyper", "tower-http", "axum-server"]),
    ("fleetlog-engine", &["hyper", "http"]),
];

/// Each crate's own dependencies, those of its tests aside.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
            let own = dependencies.filter(|dependency| dependency["kind"].is_null());
            (text(&package["name"]), own.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

#[test]
fn every_crate_has_a_floor_and_uses_only_those_below_it() {
    let crates = dependencies();
    assert_eq!(crates.keys().map(String::as_str).collect::<BTreeSet<_>>(), FLOORS.into());
    let floor = |name: &str| FLOORS.iter().position(|floor| *floor == name);
    for (name, dependencies) in &crates {
        for used in dependencies.iter().filter(|used| floor(used).is_some()) {
            assert!(floor(used) < floor(name), "{name} must not use {used}, which lies above it");
        }
    }
}

#[test]
fn a_heavy_dependency_is_named_in_its_home_only() {
    for (name, dependencies) in dependencies() {
        for (heavy, homes) in HOMES.iter().filter(|(_, homes)| !homes.contains(&name.as_str())) {
            let named = heavy.iter().find(|heavy| dependencies.contains(**heavy));
            assert_eq!(named, None, "{name} must not name it: its home is {}", homes.join(", "));
        }
    }
}

#[test]
fn what_a_crate_promises_not_to_know_it_cannot_name() {
    let crates = dependencies();
    for (name, unknown) in IGNORANCE {
        let named = unknown.iter().find(|unknown| crates[*name].contains(**unknown));
        assert_eq!(named, None, "{name}");
    }
    for (ignorant, known) in [
        ("fleetlog-embedded", None),
        ("fleetlog-tls", None),
        ("fleetlog-dashboard", None),
        ("fleetlog-http-client", Some("fleetlog-tls")),
        ("fleetlog-sources", Some("fleetlog-aggregates")),
    ] {
        let knows = crates[ignorant].iter().find(|name| name.starts_with("fleetlog"));
        assert_eq!(knows.map(String::as_str), known, "{ignorant} knows nothing else of fleetlog");
    }
}

#[test]
fn production_code_does_not_use_the_lab() {
    let users = dependencies().into_iter().filter(|(_, uses)| uses.contains("fleetlog-lab"));
    // The command line offers it.
    assert_eq!(users.map(|(name, _)| name).collect::<Vec<_>>(), ["fleetlog"]);
}

#[test]
fn the_image_is_built_from_every_crate() {
    let image = include_str!("../Dockerfile");
    let members = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/crates")).expect("crates");
    for member in members {
        let name = member.expect("a crate").file_name().into_string().expect("UTF-8");
        let copied = format!("COPY crates/{name}/Cargo.toml crates/{name}/Cargo.toml\n");
        assert!(image.contains(&copied), "the Dockerfile does not copy the manifest of {name}");
    }
}
