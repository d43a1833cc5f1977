//! Where mails go: to a mail server over SMTP, or, without one, into files and the log.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use uuid::Uuid;

use super::Mail;

/// How long a mail server may take for one step of the conversation.
const STEP: Duration = Duration::from_secs(10);
/// How long for all of it. Less than what the first retry waits, or two nodes would send the same mail.
const CONVERSATION: Duration = Duration::from_secs(45);
/// Who mails are from, unless somebody else is named.
pub const DEFAULT_FROM: &str = "fleetlog@localhost";

/// Where mails go.
#[derive(Clone)]
pub enum Transport {
    /// To a mail server.
    Smtp(Box<Server>),
    /// Into files of this folder, readable by this user only. The log says to whom, and what about.
    Files(PathBuf),
}

/// A mail server, and who mails are from.
#[derive(Clone)]
pub struct Server {
    smtp: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Default for Transport {
    fn default() -> Self {
        Self::Files(PathBuf::from("data/outbox"))
    }
}

/// Settings that no mail can be sent with.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    /// The server's URL. It is not repeated: there is a password in it.
    #[error(
        "the mail server's URL is not smtp://user:password@host:587, the same with ?tls=none, or smtps://user:password@host: {0}"
    )]
    Url(String),
    /// The sender's address.
    #[error("{0} is not an e-mail address to send mails from")]
    From(String),
}

/// Why a mail was not sent, this time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mail server refused it, or there is none.
    #[error("hand it to the mail server: {0}")]
    Smtp(#[from] lettre::transport::smtp::Error),
    /// It took too long.
    #[error("hand it to the mail server within {} s", CONVERSATION.as_secs())]
    TooSlow,
    /// No mail server knows such an address.
    #[error("address it: {0}")]
    Address(#[from] lettre::address::AddressError),
    /// It cannot be put into a form that can be sent.
    #[error("write it: {0}")]
    Form(#[from] lettre::error::Error),
    /// It could not be written.
    #[error("write {}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Transport {
    /// A mail server by its URL. With `smtp` the server must offer STARTTLS, unless `?tls=none` does without.
    pub fn smtp(url: &str, from: &str) -> Result<Self, BadSettings> {
        let bad = |why: &str| BadSettings::Url(why.to_owned());
        let (server, parameters) = url.split_once('?').map_or((url, None), |(url, rest)| (url, Some(rest)));
        let (scheme, place) = server.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
        let credentials = place.split('/').next().and_then(|place| place.rsplit_once('@'));
        if credentials.is_some_and(|(user, _)| !user.contains(':')) {
            return Err(bad("there is a user without a password"));
        }
        let url = match (scheme, parameters) {
            ("smtp", None) => format!("{server}?tls=required"),
            ("smtp", Some("tls=none")) | ("smtps", None) => server.to_owned(),
            ("smtp" | "smtps", Some(_)) => return Err(bad("its only parameter is tls=none, of smtp")),
            _ => return Err(bad("its scheme is another one")),
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(&url);
        let smtp = builder.map_err(|error| bad(&error.to_string()))?.timeout(Some(STEP)).build();
        let from = from.parse().map_err(|_| BadSettings::From(from.to_owned()))?;
        Ok(Self::Smtp(Box::new(Server { smtp, from })))
    }

    /// Sends a mail.
    pub(super) async fn send(&self, mail_id: Uuid, mail: &Mail) -> Result<(), Error> {
        match self {
            Self::Smtp(server) => {
                let Server { smtp, from } = &**server;
                let message = Message::builder()
                    .message_id(Some(format!("<{mail_id}@{}>", from.email.domain())))
                    .from(from.clone())
                    .to(Mailbox::new(None, mail.recipient.parse()?))
                    .subject(&mail.subject)
                    .header(ContentType::TEXT_PLAIN)
                    .body(mail.body.clone())?;
                let sent = tokio::time::timeout(CONVERSATION, smtp.send(message)).await;
                sent.map_err(|_| Error::TooSlow)??;
            }
            Self::Files(folder) => {
                let name = format!("{mail_id}.txt");
                let (file, within) = (folder.join(&name), folder.clone());
                let Mail { recipient, subject, body } = mail;
                let text = format!("To: {recipient}\nSubject: {subject}\n\n{body}");
                let written = tokio::task::spawn_blocking(move || write(&within, &name, &text)).await;
                let written = written.map_err(io::Error::from).flatten();
                written.map_err(|source| Error::File { file: file.clone(), source })?;
                tracing::info!(to = mail.recipient, subject = mail.subject, file = %file.display(), "a mail");
            }
        }
        Ok(())
    }
}

/// Writes a file of a folder, which must be this user's. Follows no link: in another user's folder it could lead anywhere.
fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = File::from(openat(CWD, folder, flags, Mode::empty())?);
    let found = folder.metadata()?;
    if found.uid() != geteuid().as_raw() || found.mode() & 0o002 != 0 {
        return Err(io::Error::other("its folder must belong to this user, and be closed to others"));
    }
    // One that a crash left half written is written anew.
    match unlinkat(&folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[tokio::test]
    async fn a_mail_server_is_named_by_its_url() {
        for good in [
            "smtp://user:p%40ss@mail.example.com:587",
            "smtp://mail.example.com",
            "smtp://127.0.0.1:2525?tls=none",
            "smtps://user:pass@mail.example.com",
        ] {
            assert!(Transport::smtp(good, "Fleet <fleet@example.com>").is_ok(), "{good}");
        }
        for bad in [
            "",
            "mail.example.com",
            "http://mail.example.com",
            "smtp://",
            "smtp://user@mail.example.com",
            "smtp://mail.example.com?tls=opportunistic",
            "smtp://mail.example.com?tls=none&x=1",
            "smtps://mail.example.com?tls=none",
        ] {
            assert!(matches!(Transport::smtp(bad, DEFAULT_FROM), Err(BadSettings::Url(_))), "{bad}");
        }
        let from = Transport::smtp("smtp://mail.example.com", "nobody");
        assert!(matches!(from, Err(BadSettings::From(_))));
    }

    #[test]
    fn a_mail_is_written_through_no_link_and_into_no_folder_of_others() {
        let dir = tempfile::tempdir().expect("a directory");
        let (folder, treasure) = (dir.path().join("outbox"), dir.path().join("treasure"));
        fs::write(&treasure, "kept").expect("written");
        write(&folder, "a.txt", "first").expect("written");
        fs::remove_file(folder.join("a.txt")).expect("removed");
        symlink(&treasure, folder.join("a.txt")).expect("a link");
        write(&folder, "a.txt", "second").expect("written");
        let read = |file: &Path| fs::read_to_string(file).expect("read");
        assert_eq!((read(&folder.join("a.txt")), read(&treasure)), ("second".into(), "kept".into()));
        assert_eq!(fs::metadata(folder.join("a.txt")).expect("a file").mode() & 0o777, 0o600);

        symlink(&folder, dir.path().join("link")).expect("a link");
        write(&dir.path().join("link"), "b.txt", "").expect_err("a link to a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("opened");
        write(&folder, "b.txt", "").expect_err("a folder of all");
        assert!(!folder.join("b.txt").exists());
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_its_password() {
        let Err(error) = Transport::smtp("smtp://user:hunter2@host:99999", DEFAULT_FROM) else {
            panic!("refused")
        };
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
