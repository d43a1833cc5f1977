//! What is kept of a credential, and what a device shows of it.

use fleetlog_aggregates::device::Certificate;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::secret::Hash;

/// What is kept of a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// The hash of its secret.
    Secret(Vec<u8>),
    /// The certificate that it stands for.
    Certificate(Certificate),
}

/// What a device shows.
#[derive(Clone, Copy)]
pub(super) enum Shown<'a> {
    /// A password, hashed.
    Password(Hash),
    /// A certificate whose key the device has.
    Certificate {
        /// Its fingerprint.
        sha256: &'a str,
        /// Its subject, if an authority that is trusted has signed it.
        subject: Option<&'a str>,
    },
}

impl Known {
    /// Reads the columns `secret_hash`, `certificate_sha256` and `certificate_subject`.
    pub(super) fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(match certificate(row)? {
            Some(certificate) => Self::Certificate(certificate),
            None => Self::Secret(row.try_get("secret_hash")?),
        })
    }
}

/// Reads the columns `certificate_sha256` and `certificate_subject`.
pub(super) fn certificate(row: &PgRow) -> Result<Option<Certificate>, sqlx::Error> {
    let sha256: Option<String> = row.try_get("certificate_sha256")?;
    let subject: Option<String> = row.try_get("certificate_subject")?;
    Ok(sha256.map(Certificate::Sha256).or(subject.map(Certificate::Subject)))
}

impl Shown<'_> {
    /// Whether it is what is kept. A secret is compared in constant time; certificates are no secrets.
    pub(super) fn is(&self, known: &Known) -> bool {
        match (self, known) {
            (Self::Password(hash), Known::Secret(stored)) => hash.is(stored),
            (Self::Certificate { sha256, .. }, Known::Certificate(Certificate::Sha256(known))) => {
                sha256 == known
            }
            (Self::Certificate { subject, .. }, Known::Certificate(Certificate::Subject(known))) => {
                *subject == Some(known)
            }
            (Self::Password(_), Known::Certificate(_)) | (Self::Certificate { .. }, Known::Secret(_)) => {
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Secret;
    use super::*;

    #[test]
    fn a_password_proves_no_certificate_and_a_certificate_no_password() {
        let hash = Secret::random().hash();
        let digits = hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let secret = Known::Secret(hash.as_bytes().to_vec());
        let one = Known::Certificate(Certificate::Sha256(digits.clone()));
        let all = Known::Certificate(Certificate::Subject("CN=dev-01".into()));
        let password = Shown::Password(hash);
        let unsigned = Shown::Certificate { sha256: &digits, subject: None };
        let signed = Shown::Certificate { sha256: "", subject: Some("CN=dev-01") };
        for (shown, is) in [
            (password, [true, false, false]),
            (unsigned, [false, true, false]),
            (signed, [false, false, true]),
        ] {
            assert_eq!([&secret, &one, &all].map(|known| shown.is(known)), is);
        }
    }
}
