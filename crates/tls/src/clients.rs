//! The certificates that clients show to a listener. TLS proves that a client has the key of its certificate. Which client it is,
//! the listener's owner decides: by the fingerprint, whoever made the certificate, or by the subject, if an authority that the
//! operator names has signed it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::aws_lc_rs::digest;
use parking_lot::RwLock;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as Rejected, ServerConnection,
    SignatureScheme,
};
use tokio_util::sync::CancellationToken;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::{Error, read, roots};

/// What a listener makes of its clients' certificates. Cheap to clone; all clones change together.
#[derive(Debug, Clone)]
pub struct Clients(Arc<Asked>);

#[derive(Debug)]
struct Asked {
    provider: Arc<CryptoProvider>,
    authorities: Option<Authorities>,
}

/// The authorities whose certificates have subjects that can be believed.
#[derive(Debug)]
struct Authorities {
    file: PathBuf,
    /// What the file had when it was last read.
    text: RwLock<Vec<u8>>,
    verifier: RwLock<Arc<dyn ClientCertVerifier>>,
}

/// A certificate that a client has shown, and has the key of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its fingerprint: the SHA-256 of its DER, in 64 hexadecimal digits.
    pub sha256: String,
    /// Its subject as RFC 4514 writes one, if an authority that is trusted has signed it.
    pub subject: Option<String>,
    /// For how long it is in force from now on, by this machine's clock.
    pub good_for: Duration,
}

impl Clients {
    /// Reads the certificates of the authorities, in PEM. Without a file nobody's signature counts.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub fn load(authorities: Option<PathBuf>) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let load = |file: PathBuf| {
            let text = read(&file)?;
            let verifier = RwLock::new(verifier(&file, &text, &provider)?);
            Ok(Authorities { file, text: RwLock::new(text), verifier })
        };
        let authorities = authorities.map(load).transpose()?;
        Ok(Self(Arc::new(Asked { provider, authorities })))
    }

    /// The certificate of a client that has greeted, if it has shown one that is good at this time.
    #[must_use]
    pub fn shown(&self, connection: &ServerConnection) -> Option<Shown> {
        let (certificate, others) = connection.peer_certificates()?.split_first()?;
        // A client that goes on with an earlier session is not asked again.
        let (parsed, now) = (in_force(certificate, UnixTime::now()).ok()?, UnixTime::now());
        let signed = self.0.authorities.as_ref().is_some_and(|authorities| {
            authorities.verifier.read().verify_client_cert(certificate, others, now).is_ok()
        });
        // It is in force until the end of that second.
        let expires = parsed.tbs_certificate.validity.not_after.to_unix_duration() + Duration::from_secs(1);
        Some(Shown {
            sha256: fingerprint(certificate),
            good_for: expires.saturating_sub(Duration::from_secs(now.as_secs())),
            subject: signed.then(|| parsed.tbs_certificate.subject.to_string()),
        })
    }

    /// Looks at the authorities' file every 10 s until `shutdown`, and uses what it has from then on. A file that cannot be
    /// used changes nothing, and is told of once.
    pub async fn watch(self, shutdown: CancellationToken) {
        let Some(authorities) = &self.0.authorities else { return shutdown.cancelled().await };
        let (file, clients) = (authorities.file.clone(), self.clone());
        crate::watch(&file, move || clients.look(), shutdown).await;
    }

    /// Uses what the file has now. `false` if that is what is in use.
    ///
    /// # Errors
    ///
    /// [`Error`]; the authorities before are still in use then.
    pub fn look(&self) -> Result<bool, Error> {
        let Asked { provider, authorities: Some(Authorities { file, text, verifier: current }) } = &*self.0
        else {
            return Ok(false);
        };
        let now = read(file)?;
        if *text.read() == now {
            return Ok(false);
        }
        *current.write() = verifier(file, &now, provider)?;
        *text.write() = now;
        Ok(true)
    }

    /// What asks for a certificate in a listener's handshake.
    pub(crate) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.0) as Arc<dyn ClientCertVerifier>
    }
}

fn verifier(
    file: &Path,
    text: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let roots = Arc::new(roots(file, text)?);
    let built = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
    built.map_err(|error| Error::Cryptography(Rejected::General(error.to_string())))
}

/// The certificate, if this is one and it is in force.
fn in_force(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<Certificate, CertificateError> {
    let certificate = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = &certificate.tbs_certificate.validity;
    let now = now.as_secs();
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet);
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired);
    }
    Ok(certificate)
}

/// The fingerprint of the first certificate in a file, in PEM.
///
/// # Errors
///
/// [`Error`]
pub fn fingerprint_of(file: &Path) -> Result<String, Error> {
    let unusable = |source| Error::Pem { path: file.to_owned(), what: "certificate", source };
    Ok(fingerprint(&CertificateDer::from_pem_slice(&read(file)?).map_err(unusable)?))
}

/// The SHA-256 of a certificate's DER, in 64 hexadecimal digits.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = digest::digest(&digest::SHA256, certificate);
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        // It is written to memory.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A client need not show a certificate, and one that it shows may be anybody's, if only it is in force and the client has its
/// key.
impl ClientCertVerifier for Asked {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No names: a client may show what no authority has signed.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Rejected> {
        in_force(certificate, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Rejected> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Rejected> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
