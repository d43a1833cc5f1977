//! The page's own check of proofs, in a real browser: what docs/PROOF.md has by hand, what a service answers, and what is forged.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fleetlog_access::Role;
use fleetlog_dashboard::build;
use fleetlog_event_log::Lane;
use fleetlog_proof::bundle::Bundle;
use fleetlog_proof::note::{Checkpoint, Kind, SigningKey};
use fleetlog_proof::{Custody, read};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::Api;
use crate::support::browser::{Browser, Page};

const DOCUMENT: &str = include_str!("../../docs/PROOF.md");
/// What is asked of the module: the verdict, and the reason of each step that is not good.
const ASK: &str = "globalThis.reasons = ({ steps }) => steps.flatMap(({ reason }) => reason ?? []);
    globalThis.refused = async (work) => {
        try { return await work(); } catch (error) { return check.malformed(error).code; }
    };
    globalThis.checked = (text, keys) => refused(async () => {
        const { events, proofs } = await given.readGiven(text);
        const trusted = await Promise.all(keys.map((key) => note.readKey(key)));
        const report = await check.checkEvent(events[0], proofs[0], trusted);
        return [report.verdict, ...reasons(report)].join(' ');
    });
    globalThis.grown = (old, newest, hashes, keys) => refused(async () => {
        const trusted = await Promise.all(keys.map((key) => note.readKey(key)));
        const proof = hashes.map((hash) => bytes.fromHash(hash));
        const report = await check.checkGrowth(note.readCheckpoint(old), note.readCheckpoint(newest), proof, trusted);
        return [report.verdict, ...reasons(report)].join(' ');
    });
    globalThis.bundled = (files, keys, kept) => refused(async () => {
        const trusted = await Promise.all(keys.map((key) => note.readKey(key)));
        const blob = (text) => new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
        const map = new Map(Object.entries(files).map(([path, text]) => [path, blob(text)]));
        const [log] = await bundle.checkBundle(map, { keys: trusted, kept: kept.map(note.readCheckpoint) });
        return [log.findings.map(({ code, values }) => [code, values.position ?? values.first ?? 0].join(' ')), log.range.events];
    });";

/// A page of the service with the module, as the page itself loads it.
async fn module(browser: &Browser, api: &Api) -> Page {
    let page = browser.open(&format!("{}/login.html", api.url())).await;
    for name in ["bytes", "tree", "note", "record", "given", "check", "bundle"] {
        let path = format!("/public/{}/js/proof/{name}.js", build());
        page.run(&format!("import({}).then((module) => {{ globalThis.{name} = module; }})", json!(path)))
            .await;
    }
    page.run(ASK).await;
    page
}

async fn checked(page: &Page, text: &str, keys: &[&str]) -> String {
    let verdict = page.run(&format!("checked({}, {})", json!(text), json!(keys))).await;
    verdict.as_str().expect("a verdict").to_owned()
}

/// A line of the document that begins so.
fn line(begin: &str) -> &'static str {
    DOCUMENT.lines().find(|line| line.starts_with(begin)).expect("a line of the document")
}

/// A hash of the document's example, in base64.
fn hash(name: &str) -> String {
    let hex = line(&format!("{name} ")).split(' ').next_back().expect("a hash");
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    BASE64_STANDARD.encode((0..hex.len()).step_by(2).map(byte).collect::<Vec<u8>>())
}

/// The verifier key of the document's example.
fn example_key() -> &'static str {
    let key = DOCUMENT.split('`').find(|text| text.starts_with("fleetlog-example+"));
    key.expect("a key")
}

/// The document's first reading with its proof, as a person may be given it.
fn example() -> String {
    let event = line("{\"log_id\":2");
    let note = &DOCUMENT[DOCUMENT.find("fleetlog-example/2\n3\n").expect("a checkpoint")..];
    let note = note.split("\n```").next().expect("its end");
    let (leaf1, leaf2) = (hash("leaf 1"), hash("leaf 2"));
    format!("# From an auditor.\n{event}\nc2sp.org/tlog-proof@v1\nindex 0\n{leaf1}\n{leaf2}\n\n{note}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_example_is_proved_and_each_forgery_of_it_has_a_reason_of_its_own() {
    let Some(browser) = Browser::start().await else { return };
    let api = Api::start().await;
    let page = module(&browser, &api).await;
    assert_eq!(checked(&page, &example(), &[example_key()]).await, "good");
    let of_log = line("`fleetlog-example/2+").trim_matches('`').split('`').next().expect("a key");
    assert_eq!(checked(&page, &example(), &[of_log]).await, "good", "the key of the log itself");
    let control = json!({
        "log_id": 1, "position": 1, "aggregate_type": "Device", "aggregate_id": "t0/dev-01", "sequence": 1,
        "event_type": "DeviceRegistered", "event_version": "1.0", "payload": "{\"DeviceRegistered\":{}}",
        "metadata": "{\"actor\":\"user:admin\"}", "occurred_at": "2026-11-20T13:00:00.000000Z",
        "recorded_at": "2026-11-20T13:00:00.000001Z"
    });
    let leaf = page.run(&format!("tree.leaf(record.record({control})).then(bytes.hex)")).await;
    assert!(DOCUMENT.contains(leaf.as_str().expect("a hash")), "{leaf}");

    let (leaf1, signature) = (hash("leaf 1"), "0KHX8NqrmKaZ");
    let (root, other_root) = ("veJSUyBrslDP", "veJSUyBrslDQ");
    for (what, old, new, found) in [
        ("an altered payload", "21.5", "21.6", "bad root_differs"),
        ("a space in the payload", "{\\\"metrics", "{ \\\"metrics", "bad root_differs"),
        ("another device", "t0/dev-01", "t0/dev-02", "bad root_differs"),
        ("a later time", "47.250000Z", "47.250001Z", "bad root_differs"),
        ("other flags", "\"flags\":0", "\"flags\":2", "bad root_differs"),
        ("another position", "\"position\":1", "\"position\":2", "bad other_position moved"),
        ("another log", "\"log_id\":2", "\"log_id\":3", "bad other_log root_differs"),
        ("a proof of another position", "index 0", "index 1", "bad other_position root_differs"),
        ("a hash of the proof", &leaf1[..8], "AAAAAAAA", "bad root_differs"),
        ("a proof without a hash", format!("{leaf1}\n").as_str(), "", "bad path_length"),
        ("another signature", signature, "0KHX8NqrmKab", "bad signature_wrong"),
        ("another root", root, other_root, "bad root_differs signature_wrong"),
        ("more events", "/2\n3\n", "/2\n4\n", "bad signature_wrong"),
        ("fewer events", "/2\n3\n", "/2\n0\n", "bad beyond path_length signature_wrong"),
        ("no signature in the log's name", "\u{2014} fleetlog-example/2", "\u{2014} other/2", "bad unsigned"),
        ("a column too many", "\"flags\":0", "\"flags\":0,\"note\":1", "column_extra"),
        ("a column twice", "\"flags\":0", "\"flags\":1,\"flags\":0", "event_twice"),
        ("a column too few", "\"flags\":0,", "\"flags\":0,\"msg_ID\":1,", "column_extra"),
        ("a time that is none", "2026-11-20T13:32:47.0", "2026-11-31T13:32:47.0", "column_bad"),
        ("a number as a text", "\"position\":1", "\"position\":\"1\"", "column_bad"),
        ("no event", "\"payload\":", "\"payload\"", "event_not_json"),
        ("no proof", "index 0", "index x", "no_proof"),
        ("no checkpoint", "/2\n3\n", "/2\n03\n", "no_checkpoint"),
        ("something else", "# From", "From", "line"),
    ] {
        assert!(example().contains(old), "{what}: {old}");
        let forged = example().replacen(old, new, 1);
        assert_eq!(checked(&page, &forged, &[example_key()]).await, found, "{what}");
    }
    assert_eq!(page.complaints().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_keys_that_are_known_count_and_a_witnesss_forged_line_is_found() {
    let Some(browser) = Browser::start().await else { return };
    let api = Api::start().await;
    let page = module(&browser, &api).await;
    let other = SigningKey::generate("fleetlog-example", Kind::Note).expect("a key").verifier().to_string();
    let elsewhere = SigningKey::generate("elsewhere", Kind::Note).expect("a key").verifier().to_string();
    assert_eq!(checked(&page, &example(), &[&other]).await, "bad other_key", "of the same name");
    assert_eq!(checked(&page, &example(), &[&elsewhere]).await, "bad other_key");
    assert_eq!(checked(&page, &example(), &[]).await, "unknown keyless");
    let altered = example_key().replace("AQOhB7", "AQOhB8");
    assert_eq!(checked(&page, &example(), &[&altered]).await, "key_id", "a key that was altered");

    let witness = SigningKey::generate("witness.example/w1", Kind::Cosignature).expect("a key");
    let key = witness.verifier().to_string();
    let root =
        fleetlog_proof::hash::Hash::parse("veJSUyBrslDP5mg59n5Em4eLdapb3lCoXC8yxLRWRqg=").expect("a root");
    let checkpoint = Checkpoint { origin: "fleetlog-example/2".to_owned(), size: 3, root };
    let signed = example() + &witness.cosign(&checkpoint, 1_795_181_567);
    assert_eq!(checked(&page, &signed, &[example_key(), &key]).await, "good");
    assert_eq!(checked(&page, &signed, &[&key]).await, "unknown keyless", "a witness is not the log");
    let forged = example() + &witness.cosign(&Checkpoint { size: 4, ..checkpoint }, 1_795_181_567);
    assert_eq!(checked(&page, &forged, &[example_key(), &key]).await, "bad witness_wrong");
    assert_eq!(checked(&page, &forged, &[example_key()]).await, "good", "nobody knows its key");
}

/// A reading's payload whose bytes a JSON parser would not give back.
fn odd(n: usize) -> Value {
    json!({ "n": n, "big": 12_345_678_901_234_567_890_u64, "word": "gr\u{fc}\u{df}\u{2028}\"\\", "x": 1.50 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_service_answers_of_an_event_proves_it_and_a_kept_checkpoint_its_growth() {
    let Some(browser) = Browser::start().await else { return };
    let api = Api::start().await;
    api.publish("dev-01", (0..300).map(odd)).await;
    api.prove().await;
    let page = module(&browser, &api).await;
    let text = async |path: &str| {
        let answer = api.send_as(Role::Auditor, Method::GET, path, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.text
    };
    let (log, control) = (api.log_of("t0", Lane::Telemetry), api.log_of("t0", Lane::Control));
    let key = text("/audit/key").await;
    for place in [format!("{log}/1"), format!("{log}/256"), format!("{log}/300"), format!("{control}/1")] {
        let (record, proof) =
            (text(&format!("/events/{place}/record")).await, text(&format!("/events/{place}/proof")).await);
        assert_eq!(
            checked(&page, &format!("{record}\n{proof}"), &[key.trim()]).await,
            "good",
            "{place}: {record}"
        );
        let shown = text(&format!("/events/{place}")).await;
        assert_eq!(
            checked(&page, &format!("{shown}\n{proof}"), &[key.trim()]).await,
            "event_shown",
            "{place}"
        );
    }

    let kept = text(&format!("/audit/{log}/checkpoint")).await;
    api.publish("dev-01", (300..777).map(odd)).await;
    api.prove().await;
    let newest = text(&format!("/audit/{log}/checkpoint")).await;
    let grown = async |old: &str, newest: &str, hashes: &Value| {
        let keys = json!([key.trim()]);
        let answer = page.run(&format!("grown({}, {}, {hashes}, {keys})", json!(old), json!(newest))).await;
        answer.as_str().expect("a verdict").to_owned()
    };
    let proof = api.get(&format!("/audit/{log}/consistency?old=300&size=777")).await.json();
    let (hashes, none) = (&proof["hashes"], json!([]));
    assert_eq!(grown(&kept, &newest, hashes).await, "good");
    assert_eq!(grown(&kept, &kept, &none).await, "good");
    assert_eq!(grown(&newest, &kept, &none).await, "bad rollback");
    assert_eq!(grown(&kept, &newest, &none).await, "bad growth_length");
    let mut changed = hashes.clone();
    changed[0] = json!(hash("root"));
    assert_eq!(grown(&kept, &newest, &changed).await, "bad history_changed");
    // Whoever holds the key signs two histories.
    let custody = Custody::open(api.custody.path()).expect("a key");
    let fork = |size| {
        let root = fleetlog_proof::hash::Hash::parse(&hash("root")).expect("a root");
        let origin = custody.verifier().origin_of(log);
        custody.key().sign(&Checkpoint { origin, size, root })
    };
    assert_eq!(grown(&fork(777), &newest, &none).await, "bad fork");
    assert_eq!(grown(&fork(300), &newest, hashes).await, "bad history_changed");
    let strange = kept.replace("\u{2014} ", "\u{2014} x");
    assert_eq!(grown(&strange, &newest, hashes).await, "bad unsigned");
}

/// The files of a folder by their paths, in base64.
fn files(folder: &Path, within: &str, found: &mut serde_json::Map<String, Value>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        let name = format!("{within}/{}", path.file_name().expect("a name").to_string_lossy());
        if path.is_dir() {
            files(&path, &name, found);
        } else {
            found.insert(name, json!(BASE64_STANDARD.encode(std::fs::read(&path).expect("bytes"))));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_is_proved_in_the_browser_and_what_was_forged_in_it_is_found_with_its_position() {
    let Some(browser) = Browser::start().await else { return };
    let api = Api::start().await;
    api.publish("dev-01", (0..700).map(odd)).await;
    api.prove().await;
    let (page, log_id) = (module(&browser, &api).await, api.log_of("t0", Lane::Telemetry));
    let custody = Custody::open(api.custody.path()).expect("a key");
    let log = api.log.heads().log(log_id).expect("the log");
    let (note, key) = (custody.last(log_id).expect("signed"), read::key_of(&custody.verifier(), log_id));
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = Bundle { log: &log, note, key: &key, from: 250, to: 520, kept: &[], removed: None };
    bundle.write(&mut api.database.owner().await, folder.path(), |_| ()).await.expect("written");
    let mut honest = serde_json::Map::new();
    files(folder.path(), "bundle", &mut honest);
    let key = custody.verifier().to_string();
    let check = async |files: &serde_json::Map<String, Value>, kept: &[&str]| {
        page.run(&format!("bundled({}, {}, {})", json!(files), json!([key]), json!(kept))).await
    };
    assert_eq!(check(&honest, &[note.text()]).await, json!([[], 271]));
    let forged = |path: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let mut files = honest.clone();
        let path = format!("bundle/log-{log_id}/{path}");
        let bytes = BASE64_STANDARD.decode(files[&path].as_str().expect("base64")).expect("bytes");
        files[&path] = json!(BASE64_STANDARD.encode(change(bytes)));
        files
    };
    let lines = |change: &dyn Fn(&mut Vec<String>)| {
        forged("events.ndjson", &|bytes| {
            let text = String::from_utf8(bytes).expect("text");
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            change(&mut lines);
            (lines.join("\n") + "\n").into()
        })
    };
    let replaced = |nth: usize, old: &'static str, new: &'static str| {
        lines(&move |lines| lines[nth] = lines[nth].replacen(old, new, 1))
    };
    for (what, files, found) in [
        ("an altered event", replaced(10, "12345678901234567890", "12345678901234567891"), "differs 260"),
        ("a column too many", replaced(0, "{", "{\"note\":1,"), "differs 250"),
        ("a missing one", lines(&|lines| drop(lines.remove(50))), "missing 300"),
        ("a repeated one", lines(&|lines| lines.insert(20, lines[20].clone())), "extra 270"),
        ("one under another position", replaced(0, "\"position\":250", "\"position\":249"), "moved 249"),
        (
            "a tile",
            forged("tile/0/001", &|mut bytes| {
                bytes[7] ^= 1;
                bytes
            }),
            "tile 0",
        ),
        (
            "the tile of the root",
            forged("tile/1/000.p/2", &|mut bytes| {
                bytes[7] ^= 1;
                bytes
            }),
            "tiles_root 0",
        ),
    ] {
        let answer = check(&files, &[]).await;
        assert_eq!(answer[0][0], found, "{what}: {answer}");
    }
    let other = forged("checkpoint", &|bytes| {
        String::from_utf8(bytes).expect("text").replace("\n700\n", "\n701\n").into()
    });
    assert_eq!(check(&other, &[]).await[0][0], "signature_wrong 0");
    assert_eq!(page.run(&format!("bundled({}, [], [])", json!({"x": ""}))).await, "no_bundle");
}
