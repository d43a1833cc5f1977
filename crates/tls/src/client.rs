//! TLS as a client: whom it trusts, and the certificate that it shows.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::{Error, Files, Text, read, roots};

/// Whom a client trusts, and the certificate that it shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The certificates of the authorities that are trusted, in PEM. `None`: those that this machine trusts, or what the
    /// variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    pub authorities: Option<PathBuf>,
    /// The client's own certificate, for a server that asks for one.
    pub certificate: Option<Files>,
}

impl Identity {
    /// Reads the files, and returns what opens connections of TLS 1.2 or 1.3. If nobody is trusted, none can be opened.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub fn config(&self) -> Result<ClientConfig, Error> {
        // The provider is named: another crate may have built in a second one, and then there is no default.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(Error::Cryptography)?
            .with_root_certificates(self.trusted()?);
        let Some(files) = &self.certificate else { return Ok(builder.with_no_client_auth()) };
        let certificate = Text::read(files)?.certified(files, &provider)?;
        Ok(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certificate))))
    }

    fn trusted(&self) -> Result<RootCertStore, Error> {
        let Some(path) = &self.authorities else {
            let mut of_this_machine = RootCertStore::empty();
            of_this_machine.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(of_this_machine);
        };
        roots(path, &read(path)?)
    }
}
