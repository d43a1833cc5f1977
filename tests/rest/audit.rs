//! The proof of the logs over HTTP, to a client that knows nothing but the specifications: what it computes, it computes
//! by its own code.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetlog_access::Role;
use fleetlog_aggregates::telemetry::{Message, decide};
use fleetlog_event_log::{Lane, LogId};
use fleetlog_proof::note::{Checkpoint, Kind, SigningKey};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::Api;
use crate::support::api::{Answer, answer};

type Hash = [u8; 32];

fn hash(prefix: u8, parts: &[&[u8]]) -> Hash {
    let bytes = digest(&SHA256, &[&[prefix], parts.concat().as_slice()].concat());
    bytes.as_ref().try_into().expect("32 bytes")
}

fn node(left: &Hash, right: &Hash) -> Hash {
    hash(1, &[left, right])
}

/// RFC 6962, section 2.1: the root of leaves whose hashes are known.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => panic!("an empty log"),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(1 << (leaves.len() - 1).ilog2());
            node(&root(left), &root(right))
        }
    }
}

fn base64(text: &str) -> Hash {
    STANDARD.decode(text).expect("base64").try_into().expect("32 bytes")
}

/// RFC 9162, section 2.1.3.2.
fn is_included(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: Hash) -> bool {
    let (mut fn_, mut sn, mut r) = (index, size - 1, leaf);
    for p in proof {
        if sn == 0 {
            return false;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            r = node(p, &r);
            while fn_ & 1 == 0 && fn_ != 0 {
                (fn_, sn) = (fn_ >> 1, sn >> 1);
            }
        } else {
            r = node(&r, p);
        }
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    sn == 0 && r == root
}

/// RFC 9162, section 2.1.4.2.
fn is_consistent(old: (u64, Hash), new: (u64, Hash), proof: &[Hash]) -> bool {
    let mut proof = proof.to_vec();
    if old.0.is_power_of_two() {
        proof.insert(0, old.1);
    }
    let (mut fn_, mut sn) = (old.0 - 1, new.0 - 1);
    while fn_ & 1 == 1 {
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    let Some((first, rest)) = proof.split_first() else { return false };
    let (mut fr, mut sr) = (*first, *first);
    for c in rest {
        if sn == 0 {
            return false;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            (fr, sr) = (node(c, &fr), node(c, &sr));
            while fn_ & 1 == 0 && fn_ != 0 {
                (fn_, sn) = (fn_ >> 1, sn >> 1);
            }
        } else {
            sr = node(&sr, c);
        }
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    sn == 0 && fr == old.1 && sr == new.1
}

/// Checks a checkpoint's signature with a verifier key. Returns its size and root.
fn opened(note: &str, key: &str) -> (u64, Hash) {
    let (body, signatures) = note.split_once("\n\n").expect("a note");
    let body = format!("{body}\n");
    let mut key = key.trim().splitn(3, '+');
    let (name, id, key) = (key.next().expect("name"), key.next().expect("id"), key.next().expect("key"));
    let key = STANDARD.decode(key).expect("base64");
    assert_eq!(key[0], 1, "Ed25519");
    let hashed = digest(&SHA256, &[name.as_bytes(), b"\n", &key].concat());
    assert_eq!(u32::from_str_radix(id, 16).expect("hex").to_be_bytes(), hashed.as_ref()[..4]);
    let line = signatures.lines().find_map(|line| line.strip_prefix(&format!("\u{2014} {name} ")));
    let signature = STANDARD.decode(line.expect("a line of the log's")).expect("base64");
    let signature = signature.strip_prefix(&hashed.as_ref()[..4]).expect("the key's id");
    UnparsedPublicKey::new(&ED25519, &key[1..]).verify(body.as_bytes(), signature).expect("signed");
    let mut lines = body.lines();
    assert_eq!(lines.next(), Some(name));
    (lines.next().expect("size").parse().expect("a number"), base64(lines.next().expect("root")))
}

impl Api {
    async fn audit(&self, log: LogId, path: &str) -> Answer {
        self.get(&format!("/audit/{log}/{path}")).await
    }

    async fn checkpoint(&self, log: LogId) -> (u64, Hash) {
        let (note, key) = (self.audit(log, "checkpoint").await, self.audit(log, "key").await);
        assert_eq!(note.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(note.header("cache-control"), "no-store");
        opened(&note.text, &key.text)
    }

    async fn tile(&self, log: LogId, path: &str) -> Vec<Hash> {
        let request = self.request(Method::GET, &format!("/api/v1/audit/{log}/tile/{path}"));
        let response = request.bearer_auth(self.token("t0", Role::Auditor)).send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(header("content-type"), "application/octet-stream");
        assert_eq!(header("cache-control"), "private, max-age=31536000, immutable");
        let bytes = response.bytes().await.expect("bytes");
        bytes.chunks(32).map(|hash| hash.try_into().expect("32 bytes")).collect()
    }
}

fn readings(count: usize) -> impl Iterator<Item = Value> {
    (0..count).map(|n| json!({ "n": n }))
}

#[tokio::test]
async fn a_client_that_knows_only_the_specifications_agrees_with_the_log() {
    let api = Api::start().await;
    api.publish("dev-01", readings(700)).await;
    api.prove().await;
    let log = api.log_of("t0", Lane::Telemetry);
    let (size, signed) = api.checkpoint(log).await;
    assert_eq!(size, 700);

    let mut leaves = vec![];
    for path in ["0/000", "0/001", "0/002.p/188"] {
        leaves.extend(api.tile(log, path).await);
    }
    assert_eq!((leaves.len(), root(&leaves)), (700, signed));
    assert_eq!(api.tile(log, "1/000.p/2").await, [root(&leaves[..256]), root(&leaves[256..512])]);
    assert_eq!(api.tile(log, "0/001.p/9").await, leaves[256..265], "a beginning");

    for position in [1, 256, 257, 700] {
        let proof = api.get(&format!("/events/{log}/{position}/proof")).await;
        assert_eq!(proof.header("content-type"), "text/plain; charset=utf-8");
        let (head, note) = proof.text.split_once("\n\n").expect("a proof");
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
        assert_eq!(lines.next(), Some(format!("index {}", position - 1).as_str()));
        let hashes: Vec<_> = lines.map(base64).collect();
        let key = api.audit(log, "key").await;
        let (of, signed) = opened(note, &key.text);
        let leaf = leaves[position as usize - 1];
        assert!(is_included(leaf, position - 1, of, &hashes, signed), "{position}");
        assert!(!is_included(leaves[2], position - 1, of, &hashes, signed), "{position}");
    }

    api.publish("dev-01", readings(333)).await;
    api.prove().await;
    let newest = api.checkpoint(log).await;
    assert_eq!(newest.0, 1033);
    for (old, root) in [(700, signed), (512, root(&leaves[..512])), (1, leaves[0])] {
        let proof = api.audit(log, &format!("consistency?old={old}")).await.json();
        assert_eq!((&proof["old"], &proof["size"]), (&json!(old), &json!(1033)));
        assert_eq!(base64(proof["root"].as_str().expect("a root")), newest.1);
        let hashes = proof["hashes"].as_array().expect("hashes").iter();
        let hashes: Vec<_> = hashes.map(|hash| base64(hash.as_str().expect("base64"))).collect();
        assert!(is_consistent((old, root), newest, &hashes), "{old}");
        assert!(!is_consistent((old, newest.1), newest, &hashes), "{old}");
    }
    let earlier = api.audit(log, "consistency?old=512&size=700").await.json();
    assert_eq!(base64(earlier["root"].as_str().expect("a root")), signed);
    let same = api.audit(log, "consistency?old=700&size=700").await.json();
    assert_eq!((&same["hashes"], &same["root"]), (&json!([]), &earlier["root"]));
}

/// A record as docs/PROOF.md lays it out, from an event's columns.
fn record(event: &Value) -> Vec<u8> {
    const CONTROL: [&str; 11] = [
        "log_id",
        "position",
        "aggregate_type",
        "aggregate_id",
        "sequence",
        "event_type",
        "event_version",
        "payload",
        "metadata",
        "occurred_at",
        "recorded_at",
    ];
    const READING: [&str; 8] =
        ["log_id", "position", "occurred_at", "recorded_at", "flags", "aggregate_id", "msg_id", "payload"];
    let columns: &[&str] = if event.get("flags").is_some() { &READING } else { &CONTROL };
    let mut record = (columns.len() as u16).to_be_bytes().to_vec();
    for name in columns {
        let number = || event[*name].as_i64().expect("a number");
        let value = match *name {
            "log_id" => (number() as i32).to_be_bytes().to_vec(),
            "flags" => (number() as i16).to_be_bytes().to_vec(),
            "position" | "sequence" => number().to_be_bytes().to_vec(),
            "occurred_at" | "recorded_at" => {
                let at: chrono::DateTime<chrono::Utc> =
                    event[*name].as_str().expect("a time").parse().expect("a time");
                (at.timestamp_micros() - 946_684_800_000_000).to_be_bytes().to_vec()
            }
            _ => event[*name].as_str().expect("a text").as_bytes().to_vec(),
        };
        record.extend((value.len() as u32).to_be_bytes());
        record.extend(value);
    }
    record
}

#[tokio::test]
async fn the_record_of_an_event_is_byte_for_byte_what_its_leaf_covers() {
    let api = Api::start().await;
    api.publish("dev-01", readings(2)).await;
    let (log, control) = (api.log_of("t0", Lane::Telemetry), api.log_of("t0", Lane::Control));
    // A line of a shell ends so, and what answers JSON as a value loses it.
    let payload = " {\"n\" : 1.50,\t\"word\":\"gr\\u00fc\u{df}\"}\n";
    let message = Message {
        topic: "t0/devices/dev-01/telemetry",
        payload: payload.as_bytes(),
        received_at: chrono::Utc::now(),
    };
    let recorded = decide(message, || "made".to_owned()).expect("storable");
    api.log.append_telemetry(log, vec![recorded].into()).await.expect("appended");
    api.prove().await;
    for (log, position) in [(log, 1), (log, 3), (control, 1)] {
        let event = api.get(&format!("/events/{log}/{position}/record")).await.json();
        let proof = api.get(&format!("/events/{log}/{position}/proof")).await.text;
        let (head, note) = proof.split_once("\n\n").expect("a proof");
        let hashes: Vec<_> = head.lines().skip(2).map(base64).collect();
        let (size, root) = opened(note, &api.audit(log, "key").await.text);
        let leaf = hash(0, &[&record(&event)]);
        assert!(is_included(leaf, position - 1, size, &hashes, root), "{event}");
    }
    let event = api.get(&format!("/events/{log}/3/record")).await.json();
    assert_eq!(
        (&event["payload"], &event["msg_id"], &event["flags"]),
        (&json!(payload), &json!("made"), &json!(24))
    );
    assert_eq!(api.get(&format!("/events/{log}/4/record")).await.refusal(), "404 not_found");
}

#[tokio::test]
async fn a_log_has_a_list_of_what_each_witness_took_last_with_addresses_for_the_platform_only() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    api.publish("dev-01", readings(1)).await;
    api.publish_of("t1", "dev-01", readings(1)).await;
    let (log, theirs) = (api.log_of("t0", Lane::Telemetry), api.log_of("t1", Lane::Telemetry));
    assert_eq!(api.audit(log, "witnesses").await.json()["items"], json!([]));
    let signed =
        Checkpoint { origin: format!("x/{log}"), size: 1, root: fleetlog_proof::hash::Hash([7; 32]) };
    let witness = SigningKey::generate("witness.example/w1", Kind::Cosignature).expect("a key");
    let mut owner = api.database.owner().await;
    for log in [log, theirs] {
        let took = "INSERT INTO audit_witnesses (witness, log_id, origin, size, root, taken_at, cosignature)
            VALUES ('https://witness.example/fleet', $1, $2, 1, $3, now(), $4)";
        sqlx::query(took)
            .bind(log)
            .bind(&signed.origin)
            .bind(&signed.root.0[..])
            .bind(witness.cosign(&signed, 1_700_000_000))
            .execute(&mut owner)
            .await
            .expect("inserted");
        let failed = "INSERT INTO audit_witnesses (witness, log_id, problem, problem_since)
            VALUES ('mailto:jo@example.org', $1, 'no such mailbox', now())";
        sqlx::query(failed).bind(log).execute(&mut owner).await.expect("inserted");
    }
    let items = api.audit(log, "witnesses").await.json()["items"].clone();
    assert_eq!(
        (
            &items[0]["kind"],
            &items[0]["address"],
            &items[0]["key_name"],
            &items[0]["size"],
            &items[0]["signed_at"]
        ),
        (
            &json!("https"),
            &json!("https://witness.example/fleet"),
            &json!("witness.example/w1"),
            &json!(1),
            &json!("2023-11-14T22:13:20Z")
        )
    );
    assert_eq!(
        (&items[1]["address"], &items[1]["size"], &items[1]["origin"], &items[1]["problem"]),
        (&json!("mailto:jo@example.org"), &json!(0), &Value::Null, &json!("no such mailbox"))
    );
    let request = api.request(Method::GET, &format!("/api/v1/audit/{theirs}/witnesses"));
    let of_tenant = answer(request.bearer_auth(api.token("t1", Role::Admin))).await.json()["items"].clone();
    assert_eq!(of_tenant.as_array().map(Vec::len), Some(2));
    for item in of_tenant.as_array().expect("witnesses") {
        assert_eq!(item["address"], Value::Null);
    }
    assert_eq!(
        (&of_tenant[1]["kind"], &of_tenant[1]["problem"]),
        (&json!("mailto"), &json!("the service's log has the reason"))
    );
}

#[tokio::test]
async fn an_event_without_a_proof_yet_is_told_from_one_that_is_not_there() {
    let api = Api::start().await;
    let (log, first) = (api.log_of("t0", Lane::Telemetry), api.publish("dev-01", readings(1)).await);
    for path in ["/audit/key".to_owned(), format!("/audit/{log}/key"), format!("/audit/{log}/checkpoint")] {
        assert_eq!(api.get(&path).await.refusal(), "404 no_checkpoint", "{path}");
    }
    let listed = |list: &Value, lane: &str| {
        let items = list["items"].as_array().expect("logs").iter();
        items.clone().find(|log| log["lane"] == lane).expect("the log").clone()
    };
    let before = listed(&api.get("/audit").await.json(), "telemetry");
    assert_eq!((&before["head"], &before["unproved"]), (&json!(1), &json!(1)));
    assert_eq!((&before["checkpoint_size"], &before["checkpoint_at"]), (&Value::Null, &Value::Null));

    let pending = api.get(&format!("/events/{log}/{first}/proof")).await;
    assert_eq!((pending.refusal().as_str(), pending.header("retry-after")), ("503 not_yet", "5"));
    api.prove().await;
    assert_eq!(api.get(&format!("/events/{log}/{first}/proof")).await.status, StatusCode::OK);
    let next = api.publish("dev-01", readings(1)).await;
    let pending = api.get(&format!("/events/{log}/{next}/proof")).await;
    assert_eq!((pending.refusal().as_str(), pending.header("retry-after")), ("503 not_yet", "5"));
    assert_eq!(api.get(&format!("/events/{log}/{}/proof", next + 1)).await.refusal(), "404 not_found");

    let after = listed(&api.get("/audit").await.json(), "telemetry");
    let shown = ["head", "tree_size", "checkpoint_size", "unproved"].map(|field| after[field].clone());
    assert_eq!(shown, [json!(2), json!(1), json!(1), json!(1)]);
    assert!(after["checkpoint_at"].is_string(), "{after}");
    let control = api.log_of("t0", Lane::Control);
    let installation = api.get("/audit/key").await.text;
    let name = installation.split('+').next().expect("a name");
    assert!(api.audit(control, "key").await.text.starts_with(&format!("{name}/{control}+")));
}

#[tokio::test]
async fn what_names_no_log_no_tile_and_no_sizes_is_refused() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    api.publish("dev-01", readings(300)).await;
    api.publish_of("t1", "dev-01", readings(1)).await;
    api.prove().await;
    let (log, theirs) = (api.log_of("t0", Lane::Telemetry), api.log_of("t1", Lane::Telemetry));
    let missing_log = api.audit(LogId(99_999), "checkpoint").await;
    let logs = [
        theirs.to_string(),
        "0".into(),
        "-1".into(),
        format!("0{log}"),
        format!("+{log}"),
        "telemetry".into(),
    ];
    for other in logs.iter().chain(&["99999999999999999999".into(), "x".into(), "%C3%A9".into()]) {
        for path in ["key", "checkpoint", "tile/0/000.p/1", "consistency?old=0"] {
            let refused = api.get(&format!("/audit/{other}/{path}")).await;
            assert_eq!(refused.refusal(), "404 not_found", "{other} {path}: {}", refused.text);
            assert_eq!(refused.json()["detail"], missing_log.json()["detail"], "{other} {path}");
        }
        assert_eq!(api.get(&format!("/events/{other}/1/proof")).await.refusal(), "404 not_found", "{other}");
    }
    for tile in [
        "0/001",
        "0/001.p/45",
        "0/001.p/0",
        "0/001.p/-1",
        "0/001.p/045",
        "0/001.p/256",
        "0/000.p/256",
        "0/1",
        "0/0000",
        "0/x000/001",
        "0/001/",
        "0//001",
        "00/000",
        "+0/000",
        "-1/000",
        "8/000",
        "63/000",
        "99999999999999999999/000",
        "1/001",
        "1/000.p/2",
        "2/000.p/1",
        "0/999",
        "0/x999/x999/x999/x999/x999/x999/999",
        "0/abc",
        "0/0e1",
        "0/%C3%A9",
        "0/00%00",
        "entries/000",
        "0/000.p/1/2",
        "0/000.p",
        "0/000.P/1",
    ] {
        let refused = api.audit(log, &format!("tile/{tile}")).await;
        assert_eq!(refused.refusal(), "404 not_found", "{tile}: {}", refused.text);
    }
    for (position, refusal) in [
        ("301", "404 not_found"),
        ("9223372036854775807", "404 not_found"),
        ("9223372036854775808", "422 invalid"),
        ("0", "422 invalid"),
        ("-1", "422 invalid"),
        ("01", "422 invalid"),
        ("+1", "422 invalid"),
        ("x", "422 invalid"),
        ("1.0", "422 invalid"),
        ("%C3%A9", "422 invalid"),
    ] {
        let refused = api.get(&format!("/events/{log}/{position}/proof")).await;
        assert_eq!(refused.refusal(), refusal, "{position}: {}", refused.text);
    }
    for (query, field) in [
        ("", "old"),
        ("old=", "old"),
        ("old=-1", "old"),
        ("old=%2B1", "old"),
        ("old=01", "old"),
        ("old=x", "old"),
        ("old=1.5", "old"),
        ("old=301", "old"),
        ("old=18446744073709551615", "old"),
        ("old=18446744073709551616", "old"),
        ("old=2&size=1", "old"),
        ("old=1&size=301", "size"),
        ("old=1&size=18446744073709551615", "size"),
        ("old=1&size=-5", "size"),
        ("old=1&old=2", "old"),
        ("old=1&root=x", "root"),
    ] {
        let refused = api.audit(log, &format!("consistency?{query}")).await;
        assert_eq!(refused.refusal(), "422 invalid", "{query}: {}", refused.text);
        assert_eq!(refused.json()["errors"][0]["field"], field, "{query}: {}", refused.text);
    }
    let all = api.audit(log, "consistency?old=0&size=0").await.json();
    assert_eq!(base64(all["root"].as_str().expect("a root")).as_slice(), digest(&SHA256, b"").as_ref());
}

#[tokio::test]
async fn a_witness_adds_one_line_to_a_checkpoint_and_no_more_than_there_is_room_for() {
    let api = Api::start().await;
    api.publish("dev-01", readings(3)).await;
    api.prove().await;
    let log = api.log_of("t0", Lane::Telemetry);
    let note = api.audit(log, "checkpoint").await.text;
    let path = format!("/audit/{log}/cosignatures");
    let (origin, (_, root)) = (note.lines().next().expect("a name").to_owned(), api.checkpoint(log).await);
    let signed = Checkpoint { origin: origin.clone(), size: 3, root: fleetlog_proof::hash::Hash(root) };
    let line =
        |name: &str, at| SigningKey::generate(name, Kind::Cosignature).expect("a key").cosign(&signed, at);
    let add = async |size: u64, line: &str| {
        let body = json!({"size": size, "line": line});
        api.send_as(Role::Auditor, Method::POST, &path, Some(body)).await
    };

    let witness = SigningKey::generate("witness.example/w1", Kind::Cosignature).expect("a key");
    let first = witness.cosign(&signed, 1_700_000_000);
    for again in [first.as_str(), first.trim_end(), &witness.cosign(&signed, 1_800_000_000)] {
        assert_eq!(add(3, again).await.status, StatusCode::NO_CONTENT);
        assert_eq!(api.audit(log, "checkpoint").await.text, format!("{note}{first}"));
    }
    api.checkpoint(log).await;
    let proof = api.get(&format!("/events/{log}/1/proof")).await.text;
    assert!(proof.ends_with(&first), "{proof}");

    assert_eq!(add(2, &first).await.refusal(), "404 no_checkpoint");
    assert_eq!(add(u64::MAX, &first).await.refusal(), "404 no_checkpoint");
    let own = note.lines().last().expect("a signature");
    let too_long = format!("\u{2014} w {}", STANDARD.encode([7; 4096]));
    for odd in [
        "",
        "x",
        own,
        &line(&origin, 1),
        &(first.clone() + &first),
        &too_long,
        "\u{2014} a b",
        "\u{2014}  AAAA",
    ] {
        let refused = add(3, odd).await;
        assert_eq!(refused.refusal(), "422 invalid", "{odd}: {}", refused.text);
        assert_eq!(refused.json()["errors"][0]["field"], "line", "{odd}");
    }
    let viewer =
        api.send_as(Role::Operator, Method::POST, &path, Some(json!({"size": 3, "line": first}))).await;
    assert_eq!(viewer.refusal(), "403 forbidden");

    let many: Vec<_> = (0..40).map(|n| line(&format!("witness.example/{n}"), 1)).collect();
    let answers = futures::future::join_all(many.iter().map(|line| add(3, line))).await;
    let added = answers.iter().filter(|answer| answer.status == StatusCode::NO_CONTENT).count();
    let full = answers.iter().filter(|answer| answer.refusal() == "409 full").count();
    assert_eq!((added, full), (30, 10));
    assert_eq!(api.audit(log, "checkpoint").await.text.matches('\u{2014}').count(), 32);
    assert_eq!(add(3, &first).await.status, StatusCode::NO_CONTENT, "it is there");
}

#[tokio::test]
async fn a_witness_needs_no_more_than_a_key_for_its_own_actions() {
    let api = Api::start().await;
    api.publish("dev-01", readings(1)).await;
    api.prove().await;
    let log = api.log_of("t0", Lane::Telemetry);
    let key = json!({"name": "witness", "actions": ["events.read", "audit.cosign"]});
    let key =
        api.send(Method::POST, "/api-keys", key).await.json()["key"].as_str().expect("a key").to_owned();
    let with_key = |method, path: &str| api.request(method, path).bearer_auth(&key);
    let (_, root) = api.checkpoint(log).await;
    let note = answer(with_key(Method::GET, &format!("/audit/{log}/checkpoint"))).await.text;
    let origin = note.lines().next().expect("a name").to_owned();
    let witness = SigningKey::generate("witness.example/w1", Kind::Cosignature).expect("a key");
    let signed = Checkpoint { origin, size: 1, root: fleetlog_proof::hash::Hash(root) };
    let line = witness.cosign(&signed, 1_700_000_000);
    let request = with_key(Method::POST, &format!("/audit/{log}/cosignatures"));
    let added = answer(request.json(&json!({"size": 1, "line": line}))).await;
    assert_eq!(added.status, StatusCode::NO_CONTENT, "{}", added.text);
    assert!(api.audit(log, "checkpoint").await.text.ends_with(&line));
    assert_eq!(answer(with_key(Method::GET, "/devices")).await.refusal(), "403 forbidden");
}

#[tokio::test]
async fn graphql_shows_how_far_the_proof_is_and_the_proof_of_an_event() {
    let api = Api::start().await;
    api.ship_types().await;
    api.publish("dev-01", readings(2)).await;
    let command = api.send(Method::POST, "/devices/dev-01/commands", json!({"cmd": "ping"})).await.json();
    let question = format!(
        "{{ audit {{ lane treeSize checkpointSize unproved }} command(id: {}) {{ history {{ position proof }} }} }}",
        command["cmd_id"]
    );
    let before = api.ask(&question).await["data"].clone();
    assert_eq!(before["command"]["history"][0]["proof"], Value::Null, "{before}");
    assert!(before["audit"].as_array().expect("logs").iter().all(|log| log["checkpointSize"].is_null()));
    api.prove().await;
    let after = api.ask(&question).await["data"].clone();
    assert!(after["audit"].as_array().expect("logs").iter().all(|log| log["unproved"] == 0), "{after}");
    let step = &after["command"]["history"][0];
    let control = api.log_of("t0", Lane::Control);
    let proof = api.get(&format!("/events/{control}/{}/proof", step["position"])).await;
    assert_eq!(step["proof"], proof.text);
    let viewer = json!({"query": "{ audit { head } }"});
    let viewer = api.send_as(Role::Viewer, Method::POST, "/graphql", Some(viewer)).await.json();
    assert_eq!(viewer["errors"][0]["extensions"]["code"], "forbidden");
}
