//! Access tokens, and the keys that sign them: short-lived JWTs, one pinned algorithm (Ed25519).

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::Tenant;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::Error;
use super::role::Role;
use super::secret::{self, Bits};
use super::users::User;

/// How long an access token is good for.
pub const LIFETIME: Duration = Duration::from_mins(15);
/// How far two nodes' knowledge of Postgres's clock may differ.
const LEEWAY: Duration = Duration::from_secs(10);

const ISSUER: &str = "fleetlog";
const AUDIENCE: &str = "fleetlog-api";
/// The `typ` claim of an access token: no other token of ours passes for one.
const ACCESS: &str = "access";

/// Why a token says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unverified {
    /// The key that has signed it is not known, perhaps not yet.
    UnknownKey,
    /// It is not ours, not for this, or not good any more.
    Invalid,
}

/// A key that signs, and those that verify. Cheap to clone.
#[derive(Clone)]
pub(super) struct Keys {
    inner: Arc<Inner>,
}

struct Inner {
    signing: EncodingKey,
    kid: String,
    verifying: HashMap<String, DecodingKey>,
    validation: Validation,
    /// Tokens whose signature and claims were found good, by their digest: to check a signature again costs more than
    /// all the rest of a request's admission. Who is calling is not remembered, only to which session a token belongs
    /// and until when; with other keys, all of it is forgotten.
    verified: Mutex<LruCache<Bits, Verified>>,
}

/// What a token was found to say.
#[derive(Clone, Copy)]
struct Verified {
    session_id: Uuid,
    /// In seconds of the epoch.
    not_before: i64,
    expires: i64,
}

/// How many tokens are remembered; about 150 bytes each.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    /// The session. What the token says beside it is for the client to read; the service asks the database.
    sid: Uuid,
    tenant: Tenant,
    role: Role,
    typ: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl Keys {
    pub(super) fn from_stored(stored: &[StoredKey]) -> Result<Self, Error> {
        let signing =
            stored.iter().find(|key| !key.retired).ok_or_else(|| crypto(&"none is left to sign"))?;
        let verifying = stored.iter().map(|key| {
            let pair = Ed25519KeyPair::from_pkcs8(&key.private_key).map_err(|error| crypto(&error))?;
            Ok((key.kid.to_string(), DecodingKey::from_ed_der(pair.public_key().as_ref())))
        });
        let mut validation = Validation::new(Algorithm::EdDSA);
        // By Postgres's clock, in `verify`: the library would ask this node's.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "nbf", "exp"]);
        let inner = Inner {
            signing: EncodingKey::from_ed_der(&signing.private_key),
            kid: signing.kid.to_string(),
            verifying: verifying.collect::<Result<_, Error>>()?,
            validation,
            verified: Mutex::new(LruCache::new(REMEMBERED)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// An access token for a user in a session, good from `now` on for [`LIFETIME`], and no longer than the session.
    pub(super) fn issue(&self, user: &User, session_id: Uuid, now: DateTime<Utc>) -> Result<String, Error> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user.user_id,
            sid: session_id,
            tenant: user.tenant.clone(),
            role: user.role,
            typ: ACCESS.to_owned(),
            iat: now.timestamp(),
            nbf: now.timestamp(),
            exp: (now + LIFETIME).timestamp(),
        };
        let header = Header { kid: Some(self.inner.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &self.inner.signing).map_err(|error| crypto(&error))
    }

    /// The session that a token belongs to, if it is good at `now`.
    pub(super) fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Uuid, Unverified> {
        let digest = secret::digest_of(token.as_bytes());
        let remembered = self.verified().get(&digest).copied();
        let verified = match remembered {
            Some(verified) => verified,
            None => self.verify_anew(token)?,
        };
        let (now, leeway) = (now.timestamp(), LEEWAY.as_secs().cast_signed());
        if now > verified.expires + leeway || now < verified.not_before - leeway {
            return Err(Unverified::Invalid);
        }
        if remembered.is_none() {
            self.verified().put(digest, verified);
        }
        Ok(verified.session_id)
    }

    fn verified(&self) -> MutexGuard<'_, LruCache<Bits, Verified>> {
        self.inner.verified.lock()
    }

    fn verify_anew(&self, token: &str) -> Result<Verified, Unverified> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Unverified::Invalid)?;
        let kid = header.kid.ok_or(Unverified::Invalid)?;
        let key = self.inner.verifying.get(&kid).ok_or(Unverified::UnknownKey)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.inner.validation);
        match claims.map(|token| token.claims) {
            Ok(Claims { typ, sid, nbf, exp, .. }) if typ == ACCESS => {
                Ok(Verified { session_id: sid, not_before: nbf, expires: exp })
            }
            Ok(_) | Err(_) => Err(Unverified::Invalid),
        }
    }
}

/// A key as the database has it, opened.
pub(super) struct StoredKey {
    pub(super) kid: Uuid,
    /// Ed25519, PKCS #8.
    pub(super) private_key: Vec<u8>,
    /// It verifies, and signs no more.
    pub(super) retired: bool,
}

pub(super) fn crypto(reason: &dyn std::fmt::Display) -> Error {
    Error::Crypto { what: "signing key", reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_772_366_400, 0).expect("a time")
    }

    fn new_key(retired: bool) -> StoredKey {
        let key = Ed25519KeyPair::generate().and_then(|key| key.to_pkcs8v1()).expect("a key");
        StoredKey { kid: Uuid::now_v7(), private_key: key.as_ref().to_vec(), retired }
    }

    fn issue(keys: &Keys, now: DateTime<Utc>) -> String {
        let tenant = "t0".parse().expect("a tenant");
        let user = User { user_id: Uuid::nil(), tenant, role: Role::Operator, password_hash: None };
        keys.issue(&user, Uuid::max(), now).expect("a token")
    }

    fn forged(keys: &Keys, header: &Header, change: impl FnOnce(&mut serde_json::Value)) -> String {
        let now = now().timestamp();
        let mut claims = serde_json::json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": Uuid::nil(), "sid": Uuid::max(), "tenant": "t0", "role": "admin", "typ": ACCESS,
            "iat": now, "nbf": now, "exp": now + 60,
        });
        change(&mut claims);
        jsonwebtoken::encode(header, &claims, &keys.inner.signing).expect("signs")
    }

    #[test]
    fn a_token_says_which_session_it_belongs_to() {
        let keys = Keys::from_stored(&[new_key(false)]).expect("keys");
        assert_eq!(keys.verify(&issue(&keys, now()), now()), Ok(Uuid::max()));
    }

    #[test]
    fn a_token_expires_and_is_not_good_before_its_time() {
        let keys = Keys::from_stored(&[new_key(false)]).expect("keys");
        for shift in [-LIFETIME.as_secs().cast_signed() - 11, 11] {
            let then = now() + chrono::TimeDelta::seconds(shift);
            let token = issue(&keys, then);
            assert_eq!(keys.verify(&token, now()), Err(Unverified::Invalid), "{shift}");
        }
    }

    #[test]
    fn what_a_retired_key_has_signed_stays_good_and_another_installations_is_not() {
        let (old, new) = (new_key(false), new_key(false));
        let before = Keys::from_stored(std::slice::from_ref(&old)).expect("keys");
        let token = issue(&before, now());
        let after = Keys::from_stored(&[StoredKey { retired: true, ..old }, new]).expect("keys");
        assert!(after.verify(&token, now()).is_ok());
        let elsewhere = Keys::from_stored(&[new_key(false)]).expect("keys");
        assert_eq!(elsewhere.verify(&token, now()), Err(Unverified::UnknownKey));
    }

    #[test]
    fn every_claim_is_checked() {
        let keys = Keys::from_stored(&[new_key(false)]).expect("keys");
        let header = Header { kid: Some(keys.inner.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        assert!(keys.verify(&forged(&keys, &header, |_| ()), now()).is_ok());
        for (claim, value) in [
            ("iss", "someone"),
            ("aud", "fleetlog-mail"),
            ("typ", "refresh"),
            ("sub", "admin"),
            ("sid", "mine"),
            ("role", "root"),
            ("tenant", "a/b"),
        ] {
            let token = forged(&keys, &header, |claims| claims[claim] = value.into());
            assert_eq!(keys.verify(&token, now()), Err(Unverified::Invalid), "{claim}");
        }
        for claim in ["iss", "aud", "typ", "sub", "sid", "role", "tenant", "exp", "nbf"] {
            let token = forged(&keys, &header, |claims| {
                claims.as_object_mut().expect("an object").remove(claim);
            });
            assert_eq!(keys.verify(&token, now()), Err(Unverified::Invalid), "no {claim}");
        }
        let no_kid = forged(&keys, &Header::new(Algorithm::EdDSA), |_| ());
        assert_eq!(keys.verify(&no_kid, now()), Err(Unverified::Invalid));
    }

    #[test]
    fn no_other_algorithm_passes() {
        let keys = Keys::from_stored(&[new_key(false)]).expect("keys");
        let claims = forged(&keys, &Header::new(Algorithm::EdDSA), |_| ());
        let claims = claims.split('.').nth(1).expect("claims").to_owned();
        let kid = &keys.inner.kid;
        let none = base64::Engine::encode(
            &base64::prelude::BASE64_URL_SAFE_NO_PAD,
            format!(r#"{{"alg":"none","kid":"{kid}"}}"#),
        );
        assert_eq!(keys.verify(&format!("{none}.{claims}."), now()), Err(Unverified::Invalid));
        let header = Header { kid: Some(kid.clone()), ..Header::new(Algorithm::HS256) };
        let public = keys.inner.verifying[kid].try_get_as_bytes().expect("a key").to_vec();
        let hmac = jsonwebtoken::encode(
            &header,
            &serde_json::json!({"sub": Uuid::nil()}),
            &EncodingKey::from_secret(&public),
        )
        .expect("signs");
        assert_eq!(keys.verify(&hmac, now()), Err(Unverified::Invalid));
        for nonsense in ["", ".", "..", "a.b.c", "\u{1F600}"] {
            assert_eq!(keys.verify(nonsense, now()), Err(Unverified::Invalid), "{nonsense}");
        }
    }
}
