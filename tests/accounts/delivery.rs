//! From the table to a mail server, or into files.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fleetlog_access::mail::{Delivery, Transport};
use fleetlog_event_log::EventLog;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{Database, until};

/// A mail server that speaks as much SMTP as there is to speak, and tells what it was told.
struct MailServer {
    address: SocketAddr,
    /// Whole conversations, one line each.
    conversations: mpsc::UnboundedReceiver<Vec<String>>,
}

impl MailServer {
    /// With a word that it refuses, if it is to.
    async fn start(refuses: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (told, conversations) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("a client");
                let told = told.clone();
                tokio::spawn(async move { told.send(converse(client, refuses).await) });
            }
        });
        Self { address, conversations }
    }

    fn transport(&self, parameters: &str) -> Transport {
        let url = format!("smtp://fleet:p%40ss@{}{parameters}", self.address);
        Transport::smtp(&url, "Fleet <fleet@example.com>").expect("settings")
    }

    async fn conversation(&mut self) -> Vec<String> {
        let conversation = tokio::time::timeout(Duration::from_secs(20), self.conversations.recv());
        conversation.await.expect("in time").expect("a conversation")
    }
}

async fn converse(client: TcpStream, refuses: Option<&str>) -> Vec<String> {
    let (reader, mut writer) = client.into_split();
    let (mut lines, mut said, mut in_data) = (BufReader::new(reader).lines(), vec![], false);
    writer.write_all(b"220 mail.test ESMTP\r\n").await.expect("a greeting");
    while let Ok(Some(line)) = lines.next_line().await {
        said.push(line.clone());
        let word = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        let answer = match word.as_str() {
            _ if in_data && line != "." => continue,
            word if refuses == Some(word) => "451 try later",
            "EHLO" => "250-mail.test\r\n250 AUTH PLAIN",
            "AUTH" => "235 welcome",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        in_data = word == "DATA" && answer.starts_with("354");
        if writer.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
            break;
        }
    }
    said
}

/// Delivers until it goes out of scope.
fn deliver(log: &EventLog, transport: Transport) -> DropGuard {
    let stop = CancellationToken::new();
    tokio::spawn(Delivery::new(log.clone(), transport).run(stop.clone()));
    stop.drop_guard()
}

async fn post(database: &Database, recipient: &str) {
    sqlx::query(
        "INSERT INTO mail_outbox (mail_id, tenant, recipient, subject, body)
         VALUES (gen_random_uuid(), 't0', $1, 'Choose a new password', E'Hello,\n\n#token=SECRET\n.\n')",
    )
    .bind(recipient)
    .execute(&mut database.owner().await)
    .await
    .expect("posted");
}

/// Waits until a mail is as expected.
async fn until_mail(database: &Database, condition: &str) {
    let mut owner = database.owner().await;
    let select = format!("SELECT EXISTS (SELECT FROM mail_outbox WHERE {condition})");
    until(condition, async || sqlx::query_scalar(&select).fetch_one(&mut owner).await.expect("an answer"))
        .await;
}

const SENT: &str = "done_at IS NOT NULL AND body = '' AND attempts = 1";

#[tokio::test]
async fn a_mail_goes_to_the_mail_server_and_its_token_is_forgotten() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let mut server = MailServer::start(None).await;
    post(&database, "jo@example.com").await;
    let _delivery = deliver(&log, server.transport("?tls=none"));
    let said = server.conversation().await;
    until_mail(&database, SENT).await;
    let word = |word: &str| said.iter().find(|line| line.starts_with(word)).map(String::as_str);
    // `\0fleet\0p@ss`, in base64.
    assert_eq!(word("AUTH"), Some("AUTH PLAIN AGZsZWV0AHBAc3M="));
    assert_eq!(word("MAIL"), Some("MAIL FROM:<fleet@example.com>"));
    assert_eq!(word("RCPT"), Some("RCPT TO:<jo@example.com>"));
    assert_eq!(word("From:"), Some("From: Fleet <fleet@example.com>"));
    assert_eq!(word("To:"), Some("To: jo@example.com"));
    assert_eq!(word("Subject:"), Some("Subject: Choose a new password"));
    assert_eq!(word("#token"), Some("#token=SECRET"));
    assert!(said.contains(&"..".to_owned()), "a lone dot does not end the mail: {said:?}");
    assert!(word("Message-ID:").is_some_and(|id| id.ends_with("@example.com>")), "{said:?}");
}

#[tokio::test]
async fn without_the_encryption_that_is_asked_for_nothing_is_said() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let mut server = MailServer::start(None).await;
    post(&database, "jo@example.com").await;
    let _delivery = deliver(&log, server.transport(""));
    let said = server.conversation().await;
    assert!(said.iter().all(|line| ["EHLO", "QUIT"].iter().any(|word| line.starts_with(word))), "{said:?}");
    until_mail(&database, "attempts = 1 AND done_at IS NULL AND body <> ''").await;
}

#[tokio::test]
async fn a_refused_mail_is_tried_again_later_and_given_up_after_a_day() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let mut server = MailServer::start(Some("RCPT")).await;
    post(&database, "jo@example.com").await;
    let _delivery = deliver(&log, server.transport("?tls=none"));
    server.conversation().await;
    until_mail(&database, "attempts = 1 AND next_attempt_at > now() + interval '55 seconds'").await;
    let mut owner = database.owner().await;
    let due = "UPDATE mail_outbox SET next_attempt_at = now()";
    sqlx::raw_sql(due).execute(&mut owner).await.expect("due");
    server.conversation().await;
    until_mail(&database, "attempts = 2 AND next_attempt_at > now() + interval '115 seconds'").await;
    let late = "UPDATE mail_outbox SET next_attempt_at = now(), created_at = now() - interval '25 hours'";
    sqlx::raw_sql(late).execute(&mut owner).await.expect("late");
    until_mail(&database, "done_at IS NOT NULL AND body = '' AND attempts = 2").await;
    let old = "UPDATE mail_outbox SET done_at = now() - interval '8 days'";
    sqlx::raw_sql(old).execute(&mut owner).await.expect("old");
    let forgotten = "SELECT NOT EXISTS (SELECT FROM mail_outbox)";
    until("the mail is forgotten", async || {
        sqlx::query_scalar(forgotten).fetch_one(&mut owner).await.expect("an answer")
    })
    .await;
}

#[tokio::test]
async fn of_many_nodes_one_sends_each_mail() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let mut server = MailServer::start(None).await;
    let mut expected: Vec<String> = (0..20).map(|n| format!("RCPT TO:<user{n:02}@example.com>")).collect();
    for n in 0..20 {
        post(&database, &format!("user{n:02}@example.com")).await;
    }
    let _nodes: Vec<_> = (0..4).map(|_| deliver(&log, server.transport("?tls=none"))).collect();
    let mut recipients = vec![];
    while recipients.len() < 20 {
        recipients.extend(server.conversation().await.into_iter().filter(|line| line.starts_with("RCPT")));
    }
    recipients.sort();
    expected.sort();
    assert_eq!(recipients, expected);
    until_mail(&database, &format!("(SELECT count(*) FROM mail_outbox WHERE {SENT}) = 20")).await;
    assert!(server.conversations.try_recv().is_err(), "nothing is sent twice");
}

#[tokio::test]
async fn without_a_mail_server_a_mail_is_a_file_for_the_services_own_user() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let directory = tempfile::tempdir().expect("a directory");
    let outbox = directory.path().join("data/outbox");
    post(&database, "jo@example.com").await;
    let _delivery = deliver(&log, Transport::Files(outbox.clone()));
    until_mail(&database, SENT).await;
    let file = std::fs::read_dir(&outbox).expect("a folder").next().expect("a file").expect("a file");
    assert_eq!(file.metadata().expect("metadata").permissions().mode() & 0o777, 0o600);
    assert_eq!(outbox.metadata().expect("metadata").permissions().mode() & 0o777, 0o700);
    let text = std::fs::read_to_string(file.path()).expect("a text");
    assert!(text.starts_with("To: jo@example.com\nSubject: Choose a new password\n\nHello,"), "{text}");
    assert!(text.contains("#token=SECRET"));
}
