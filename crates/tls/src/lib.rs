//! TLS 1.2 and 1.3. The certificate of a listener is read again when its files change, and connections that are open stay
//! open.
//!
//! - [`clients`]: the certificates that a listener's clients show
//! - [`client`]: TLS as a client: whom it trusts, and the certificate that it shows

pub mod client;
pub mod clients;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use parking_lot::RwLock;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, InconsistentKeys, RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;

use clients::Clients;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The most bytes of either file. A chain of ten certificates has 20 KiB.
const MOST: u64 = 1 << 20;

/// The files of a certificate, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, followed by those of the authorities between it and the root.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is longer than any certificate or key.
    #[error("{} is longer than {} KiB, so it is no certificate or key", .0.display(), MOST / 1024)]
    Long(PathBuf),
    /// A file is not in PEM, or lacks what is looked for.
    #[error("{}: found no {what} in PEM: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is looked for.
        what: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// The key is not that of the certificate.
    #[error("the key in {} is not that of the certificate in {}", .0.key.display(), .0.certificate.display())]
    OtherKey(Files),
    /// The cryptography lacks what TLS 1.2 and 1.3 need.
    #[error("TLS cannot be used: {0}")]
    Cryptography(rustls::Error),
    /// The certificate or the key is of a kind that cannot be used.
    #[error("the certificate in {} cannot be used: {source}", files.certificate.display())]
    Unusable {
        /// The files.
        files: Files,
        /// Why.
        source: rustls::Error,
    },
}

/// A certificate that is in use. Cheap to clone; all clones change together.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<Current>);

#[derive(Debug)]
struct Current {
    files: Files,
    provider: Arc<CryptoProvider>,
    /// What the files had when they were last read.
    text: RwLock<Text>,
    key: RwLock<Arc<CertifiedKey>>,
}

/// What the files have.
#[derive(Debug, PartialEq, Eq)]
struct Text {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    /// Reads a certificate and its key.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub fn load(files: Files) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let text = Text::read(&files)?;
        let key = RwLock::new(Arc::new(text.certified(&files, &provider)?));
        Ok(Self(Arc::new(Current { files, provider, text: RwLock::new(text), key })))
    }

    /// What makes a TLS connection out of a TCP connection, for these application protocols (ALPN), the best first. A
    /// client that names none of them may connect only if it names none at all. Without any, whatever it names is fine. With
    /// `clients`, it may show a certificate.
    ///
    /// # Errors
    ///
    /// [`Error::Cryptography`]
    pub fn acceptor(&self, protocols: &[&str], clients: Option<&Clients>) -> Result<TlsAcceptor, Error> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.0.provider))
            .with_safe_default_protocol_versions()
            .map_err(Error::Cryptography)?;
        let builder = match clients {
            Some(clients) => builder.with_client_cert_verifier(clients.verifier()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&self.0) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Looks at the files every 10 s until `shutdown`, and uses what they have from then on. Files that cannot be used change
    /// nothing, and are told of once.
    pub async fn watch(self, shutdown: CancellationToken) {
        let (file, certificate) = (self.0.files.certificate.clone(), self);
        watch(&file, move || certificate.look(), shutdown).await;
    }

    /// Uses what the files have now. `false` if that is what is in use.
    ///
    /// # Errors
    ///
    /// [`Error`]; the certificate before is still in use then.
    pub fn look(&self) -> Result<bool, Error> {
        let Current { files, provider, text, key } = &*self.0;
        let now = Text::read(files)?;
        if *text.read() == now {
            return Ok(false);
        }
        *key.write() = Arc::new(now.certified(files, provider)?);
        *text.write() = now;
        Ok(true)
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.key.read()))
    }
}

impl Text {
    fn read(files: &Files) -> Result<Self, Error> {
        Ok(Self { certificate: read(&files.certificate)?, key: read(&files.key)? })
    }

    fn certified(&self, files: &Files, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
        let pem = |path: &Path, what| {
            let path = path.to_owned();
            move |source| Error::Pem { path, what, source }
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain =
            chain.and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) });
        let chain = chain.map_err(pem(&files.certificate, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(pem(&files.key, "private key"))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|source| match source {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Error::OtherKey(files.clone()),
            source => Error::Unusable { files: files.clone(), source },
        })
    }
}

/// Looks every 10 s until `shutdown`. Files that cannot be used are told of once.
async fn watch(
    file: &Path,
    look: impl Fn() -> Result<bool, Error> + Clone + Send + 'static,
    shutdown: CancellationToken,
) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = String::new();
    while shutdown.run_until_cancelled(looks.tick()).await.is_some() {
        match tokio::task::spawn_blocking(look.clone()).await {
            Ok(Ok(true)) => {
                told.clear();
                tracing::info!(file = %file.display(), "the new certificate is in use");
            }
            Ok(Err(error)) if told != error.to_string() => {
                told = error.to_string();
                tracing::warn!(%error, "a changed certificate cannot be used; the one before is still in use");
            }
            // Nothing new, or nothing new to tell.
            Ok(Ok(false) | Err(_)) | Err(_) => {}
        }
    }
}

/// The authorities whose certificates a file has.
fn roots(path: &Path, text: &[u8]) -> Result<RootCertStore, Error> {
    let unusable = |source| Error::Pem { path: path.to_owned(), what: "certificate", source };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates.map_err(unusable)?);
    if usable == 0 { Err(unusable(pem::Error::NoItemsFound)) } else { Ok(roots) }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > MOST {
        return Err(Error::Long(path.to_owned()));
    }
    fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey as Made, generate_simple_self_signed};

    use super::*;

    fn made() -> (String, String) {
        let Made { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        (cert.pem(), signing_key.serialize_pem())
    }

    fn files(folder: &Path, certificate: &str, key: &str) -> Files {
        let files = Files { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") };
        fs::write(&files.certificate, certificate).expect("written");
        fs::write(&files.key, key).expect("written");
        files
    }

    #[test]
    fn a_replaced_certificate_is_used_once_its_key_is_there_too() {
        let folder = tempfile::tempdir().expect("a directory");
        let ((first, first_key), (second, second_key)) = (made(), made());
        let certificate = Certificate::load(files(folder.path(), &first, &first_key)).expect("loaded");
        let in_use = || certificate.0.key.read().cert[0].clone();
        let before = in_use();
        assert!(!certificate.look().expect("the same"));
        files(folder.path(), &second, &first_key);
        assert!(matches!(certificate.look(), Err(Error::OtherKey(_))));
        assert_eq!(in_use(), before);
        files(folder.path(), &second, &second_key);
        assert!(certificate.look().expect("another") && in_use() != before);
    }

    #[test]
    fn what_is_no_certificate_or_key_is_refused_with_the_file_and_the_reason() {
        let folder = tempfile::tempdir().expect("a directory");
        let (certificate, key) = made();
        for (certificate, key, why) in [
            ("", &*key, "certificate.pem: found no certificate in PEM"),
            (&*key, &*key, "certificate.pem: found no certificate in PEM"),
            (&*certificate, "", "key.pem: found no private key in PEM"),
            (&*certificate, &*certificate, "key.pem: found no private key in PEM"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &*key, "cannot be used"),
            (&*certificate, &*made().1, "is not that of the certificate"),
        ] {
            let refused =
                Certificate::load(files(folder.path(), certificate, key)).expect_err(why).to_string();
            assert!(refused.contains(why), "{refused}");
        }
        let nowhere = Files { certificate: folder.path().join("none"), key: folder.path().join("none") };
        assert!(matches!(Certificate::load(nowhere), Err(Error::Read { .. })));
    }
}
