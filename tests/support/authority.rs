//! Certificates for tests.

use std::fs::write;
use std::path::Path;

use fleetlog_tls::Files;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// An authority whose certificates a server and its clients trust.
pub(crate) struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// Makes one, and writes its certificate.
    pub(crate) fn new(file: &Path) -> Self {
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, file.display().to_string());
        let key = KeyPair::generate().expect("a key");
        write(file, params.self_signed(&key).expect("a certificate").pem()).expect("written");
        Self(Issuer::new(params, key))
    }

    /// Writes a certificate for a name or an address, and its key.
    pub(crate) fn issue(&self, name: &str, files: &Files) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        write(&files.key, key.serialize_pem()).expect("written");
        write(&files.certificate, params.signed_by(&key, &self.0).expect("a certificate").pem())
            .expect("written");
    }
}
