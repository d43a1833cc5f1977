//! Users on the command line, and the first admin's password.

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::process::{Output, Stdio};

use super::{STRONG, add, events, log_in, me, session};
use crate::support::server::EMAIL;
use crate::support::{Api, Database, Server, binary, eventually, tool, url};

async fn user(database: &Database, arguments: &[&str]) -> Output {
    let mut command = tool("user");
    command.args(arguments).env("DATABASE_URL", url(&database.options()));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().await.expect("the binary")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn password(output: &Output) -> String {
    let line = text(&output.stdout).lines().find(|line| line.starts_with("password")).expect("a password");
    line.split_whitespace().nth(1).expect("a password").to_owned()
}

#[tokio::test]
async fn whoever_has_the_database_adds_a_user_and_gives_another_password() {
    let api = Api::start().await;
    let added = user(&api.database, &["add", "--email", "jo@example.com", "--role", "operator"]).await;
    assert!(added.status.success(), "{}", text(&added.stderr));
    let first = password(&added);
    let token = session(&api, "jo@example.com", &first).await;
    let user_id = me(&api, &token).await.json()["user_id"].as_str().expect("an id").to_owned();

    let changed = user(&api.database, &["password", "--email", "Jo@example.com"]).await;
    assert!(changed.status.success(), "{}", text(&changed.stderr));
    assert_eq!(me(&api, &token).await.refusal(), "401 unauthenticated");
    assert_eq!(log_in(&api, "jo@example.com", &first).await.refusal(), "401 bad_credentials");
    assert_eq!(log_in(&api, "jo@example.com", &password(&changed)).await.status, StatusCode::OK);
    insta::assert_snapshot!(events(&api, &format!("t0/{user_id}")).await.join("\n"), @r#"
    {"UserRegistered":{"role":"operator","via":"admin"}}
    {"UserPasswordChanged":{"how":"assigned"}}
    {"UserLoginFailed":{}}
    "#);
    let actor = "SELECT DISTINCT metadata->>'actor' FROM control_events
        WHERE aggregate_id = $1 AND event_type <> 'UserLoginFailed'";
    let owner = &mut api.database.owner().await;
    let actors: Vec<String> =
        sqlx::query_scalar(actor).bind(format!("t0/{user_id}")).fetch_all(owner).await.expect("actors");
    assert_eq!(actors, ["cli"]);

    let listed = user(&api.database, &["list"]).await;
    let line = text(&listed.stdout).lines().find(|line| line.contains("jo@example.com")).expect("a line");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, [&user_id, "jo@example.com", "operator", "active", "t0"]);
}

#[tokio::test]
async fn where_everything_is_on_this_machine_mails_are_files_and_users_are_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::up(directory.path()).await;
    let body = json!({ "email": EMAIL });
    let forgot = server.request(Method::POST, "/auth/password/forgot").json(&body);
    assert_eq!(forgot.send().await.expect("an answer").status(), StatusCode::ACCEPTED);
    let mail = eventually("the mail is in the outbox", async || {
        let files = std::fs::read_dir(directory.path().join("outbox"));
        let texts = files.into_iter().flatten().flatten().map(|file| std::fs::read_to_string(file.path()));
        let texts: Vec<String> = texts.flatten().collect();
        texts.iter().find(|text| text.contains("fleetlog at")).cloned().ok_or(texts)
    })
    .await;
    let link = mail.lines().find(|line| line.contains("#token=")).expect("a link").trim();
    assert!(link.starts_with("http://127.0.0.1:"), "{link}");
    let token = link.split_once('=').expect("a token").1;
    let body = json!({ "token": token, "password": STRONG });
    let reset = server.request(Method::POST, "/auth/password/reset").json(&body);
    assert_eq!(reset.send().await.expect("an answer").status(), StatusCode::NO_CONTENT);

    let mut command = tool("user");
    command.arg("list").arg("--data-dir").arg(directory.path());
    let listed = command.stdout(Stdio::piped()).output().await.expect("the binary");
    assert!(text(&listed.stdout).contains("auditor@example.com  admin"), "{}", text(&listed.stdout));
    server.kill().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_a_line() {
    let api = Api::start().await;
    add(&api, "jo@example.com", Role::Viewer).await;
    for (arguments, reason) in [
        (&["add", "--email", "Jo@example.com", "--role", "viewer"][..], "there is an account"),
        (&["add", "--email", "nobody", "--role", "viewer"], "expected an e-mail address"),
        (
            &["add", "--email", "al@example.com", "--role", "viewer", "--tenant", "t9"],
            "there is no such tenant",
        ),
        (&["password", "--email", "nobody@example.com"], "there is no such user"),
    ] {
        let refused = user(&api.database, arguments).await;
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(text(&refused.stderr).contains(reason), "{}", text(&refused.stderr));
        assert!(refused.stdout.is_empty());
    }
    assert_eq!(log_in(&api, "jo@example.com", STRONG).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_start_with_an_empty_or_a_weak_admin_password_ends_with_the_reason() {
    for (password, code, reason) in [
        ("", 2, "FLEETLOG_ADMIN_PASSWORD is set but empty"),
        ("short", 1, "a password has 12 characters or more"),
        ("password1234", 1, "this is too easy to guess"),
        ("auditor@example.com", 1, "this is too easy to guess"),
    ] {
        let database = Database::fresh().await;
        let mut command = binary("serve", 0);
        command
            .env("DATABASE_URL", url(&database.options()))
            .env("FLEETLOG_MQTT_URL", "mqtt://127.0.0.1:1")
            .env("FLEETLOG_ADMIN_PASSWORD", password)
            .stderr(Stdio::piped());
        let output = command.output().await.expect("the binary");
        let said: Vec<&str> =
            text(&output.stderr).lines().filter(|line| line.starts_with("fleetlog: ")).collect();
        assert_eq!((output.status.code(), said.len()), (Some(code), 1), "{password}: {said:?}");
        assert!(said[0].contains(reason), "{said:?}");
        assert!(password.is_empty() || !text(&output.stderr).contains(password), "{said:?}");
    }
}
