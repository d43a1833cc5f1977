//! What the console proposes and how it reads unfinished GraphQL, in a real browser and against the service's own schema.

use fleetlog_dashboard::build;
use serde_json::{Value, json};

use crate::support::Api;
use crate::support::browser::{Browser, Page};

/// What is proposed where `|` stands.
const ASK: &str = "globalThis.proposed = (marked) => {
        const at = marked.indexOf('|');
        const { items } = complete.complete(marked.replace('|', ''), at, told);
        return items.map((item) => item.text);
    };";

async fn module(browser: &Browser, api: &Api) -> Page {
    let page = browser.open(&format!("{}/login.html", api.url())).await;
    for name in ["tokens", "schema", "complete"] {
        let path = format!("/public/{}/js/graphql/{name}.js", build());
        page.run(&format!("import({}).then((module) => {{ globalThis.{name} = module; }})", json!(path)))
            .await;
    }
    let question = page.run("schema.INTROSPECTION").await;
    let answer = api.ask(question.as_str().expect("a question")).await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    page.run(&format!("globalThis.told = new schema.Schema({}); 0", answer["data"])).await;
    page.run(ASK).await;
    page
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_written_at_a_place_follows_from_the_services_schema() {
    let Some(browser) = Browser::start().await else { return };
    let api = Api::start().await;
    let page = module(&browser, &api).await;
    for (marked, first) in [
        ("|", "query"),
        ("sub|", "subscription"),
        ("{ dev|", "devices"),
        ("query A { device(|", "uid"),
        ("query A { device(uid: \"a\", as| ) { uid } }", "asOf"),
        ("{ device(uid: \"a\") { tele| } }", "telemetry"),
        ("{ device(uid: \"a\") { last: lastReading { pay| } } }", "payload"),
        ("{ devices(sort: | ) { nodes { uid } } }", "UID"),
        ("{ devices(filter: { sta| }) { nodes { uid } } }", "status"),
        ("{ devices(filter: { status: ON| }) { nodes { uid } } }", "ONLINE"),
        ("{ devices { nodes { ... on | } } }", "Query"),
        ("{ devices { nodes { ...| } } } fragment F on Device { uid }", "on"),
        ("fragment F on Device { mess|", "messages"),
        ("query ($uid: Str|", "String"),
        ("query ($uid: String!) { device(uid: |) { uid } }", "$uid"),
        ("subscription { tele|", "telemetry"),
        ("mutation { sendCommand(input: { dev|", "deviceUid"),
        ("{ devices { nodes { uid } pageI| } }", "pageInfo"),
        ("{ device(uid: \"}{\") { na| } }", "name"),
        ("{ device(uid: \"a\") { name @sk| } }", "@skip"),
    ] {
        let proposed = page.run(&format!("proposed({})", json!(marked))).await;
        assert_eq!(proposed[0], first, "{marked}: {proposed}");
    }
    for nothing in
        ["# dev|", "{ device(uid: \"dev|\") { uid } }", "{ nope { | } }", "{ devices { nodes { zzz| } } }"]
    {
        let proposed = page.run(&format!("proposed({})", json!(nothing))).await;
        assert_eq!(proposed, json!([]), "{nothing}");
    }
    let given = page.run("proposed('{ device(uid: \"a\", |')").await;
    assert!(!given.as_array().expect("words").contains(&json!("uid")), "it is given already: {given}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_operations_is_asked_by_itself_with_its_fragments() {
    let Some(browser) = Browser::start().await else { return };
    let api = Api::start().await;
    let page = module(&browser, &api).await;
    let text = "# two\nquery A { devices { nodes { ...D } } }\nsubscription B($u: String) { telemetry(deviceUid: $u) { at } }\n\
        fragment D on Device { uid }";
    let found = page.run(&format!("tokens.operations({})", json!(text))).await;
    let named: Vec<Value> =
        found.as_array().expect("operations").iter().map(|one| one["name"].clone()).collect();
    assert_eq!((named, &found[1]["type"]), (vec![json!("A"), json!("B")], &json!("subscription")));
    let alone = page.run(&format!("tokens.alone({0}, tokens.operations({0})[1])", json!(text))).await;
    let alone = alone.as_str().expect("text");
    assert!(
        alone.starts_with("subscription B(") && alone.ends_with("{ uid }") && !alone.contains("query A"),
        "{alone}"
    );
    let plain = "query A($n:Int=5,$on:[String!]!){devices(first:$n,filter:{status:ONLINE}){totalCount nodes{uid x:name @skip(if:true)\
        ...on Device{labels}...F}}}fragment F on Device{uid}";
    let laid_out = page.run(&format!("tokens.laidOut({})", json!(plain))).await;
    insta::assert_snapshot!(laid_out.as_str().expect("text"), @r"
    query A($n: Int = 5, $on: [String!]!) {
      devices(first: $n, filter: {status: ONLINE}) {
        totalCount
        nodes {
          uid
          x: name @skip(if: true)
          ... on Device {
            labels
          }
          ...F
        }
      }
    }

    fragment F on Device {
      uid
    }
    ");
    let again = page.run(&format!("tokens.laidOut({laid_out})")).await;
    assert_eq!(again, laid_out);
}
