//! What people and administrators do, as audit events: who may do what, since when, and who decided it.
//!
//! Users, sessions, keys and policies are ordinary rows, because the log is no place for secrets or for personal data
//! that a person may ask to have erased. These events only inform an auditor: nothing is decided from them or folded.
//! None carries a password, a token, an e-mail address or a person's name. The `actor` in an event's metadata says
//! who did it.
//!
//! Stored for ever: only add to this.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A kind of audit event.
pub trait Act: DomainEvent + Serialize + DeserializeOwned {
    /// The aggregate type of the streams that hold these events.
    const TYPE: &'static str;
}

macro_rules! acts {
    ($($(#[$doc:meta])* $act:ident as $kind:literal { $($(#[$event_doc:meta])* $event:ident { $($(#[$field_doc:meta])* $field:ident: $of:ty),* $(,)? },)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub enum $act {
            $($(#[$event_doc])* $event { $($(#[$field_doc])* $field: $of),* },)*
        }

        impl DomainEvent for $act {
            fn event_type(&self) -> String {
                match self {
                    $(Self::$event { .. } => stringify!($event),)*
                }
                .to_owned()
            }

            fn event_version(&self) -> String {
                "1.0".to_owned()
            }
        }

        impl Act for $act {
            const TYPE: &'static str = $kind;
        }
    )*

    /// The aggregate types of all acts.
    pub const TYPES: &[&str] = &[$($kind),*];
    };
}

acts! {
    /// What happens to a user. Stream `tenant/<user id>`.
    User as "User" {
        /// The user exists from this event on.
        UserRegistered {
            /// The name of the user's role.
            role: String,
            /// How the user was registered.
            via: Registration,
        },
        /// The user was mailed another invitation; the one before is worth nothing from this event on.
        UserReinvited {},
        /// The user has another role from this event on.
        UserRoleChanged {
            /// The new role's name.
            role: String,
        },
        /// The user's name or e-mail address changed.
        UserProfileChanged {},
        /// The user confirmed the e-mail address.
        UserVerified {},
        /// The user has a new password from this event on.
        UserPasswordChanged {
            /// How the password was chosen.
            how: PasswordChange,
        },
        /// The user may no longer log in.
        UserDeactivated {},
        /// The user may log in again.
        UserReactivated {},
        /// A login as this user was refused.
        UserLoginFailed {},
    }

    /// A session, from login to its end. Stream `tenant/<session id>`.
    Session as "Session" {
        /// The user has logged in.
        SessionStarted {
            /// The user who logged in.
            user_id: Uuid,
        },
        /// None of the session's tokens is valid any more.
        SessionEnded {
            /// The user whose session ended.
            user_id: Uuid,
            /// Why the session ended.
            why: SessionEnd,
        },
    }

    /// A program's API key. Stream `tenant/<key id>`.
    ApiKey as "ApiKey" {
        /// The key exists from this event on.
        ApiKeyIssued {
            /// The names of the actions that the key may perform.
            actions: Vec<String>,
            /// When the key expires. `None` means never.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            expires_at: Option<DateTime<Utc>>,
        },
        /// The key is no longer valid.
        ApiKeyRevoked {},
    }

    /// A tenant's own rule about who may do what. Stream `tenant/<name>`.
    Policy as "Policy" {
        /// The policy has this text from this event on.
        PolicyDefined {
            /// The policy's text, in Cedar.
            source: String,
        },
        /// The policy no longer applies.
        PolicyRemoved {},
    }

    /// What administrators decide about a tenant. Stream `tenant/<tenant>`.
    Tenant as "Tenant" {
        /// The tenant exists from this event on.
        TenantCreated {},
        /// No user and no device of the tenant may log in from this event on.
        TenantSuspended {},
        /// The tenant's users and devices may log in again.
        TenantResumed {},
        /// The tenant's settings have these values from this event on.
        TenantSettingsChanged {
            /// The new values, by the setting's name.
            settings: serde_json::Map<String, serde_json::Value>,
        },
        /// Readings of the tenant left the database, because its retention is over.
        ReadingsRemoved {
            /// The telemetry log.
            log_id: i32,
            /// The position of the first of these readings.
            first: i64,
            /// The position of the last one.
            last: i64,
            /// When the week begins in which they were recorded.
            week: DateTime<Utc>,
            /// The hash of the file that has them now, in hexadecimal digits. `None` means that no copy is kept.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            sha256: Option<String>,
        },
        /// Messages that were in quarantine were taken in again.
        QuarantineReprocessed {
            /// How many became events.
            recorded: u64,
            /// How many were on the record already.
            duplicates: u64,
            /// How many are refused again, and stay in quarantine.
            refused: u64,
            /// The smallest of their numbers in quarantine.
            first: i64,
            /// The largest of them.
            last: i64,
        },
        /// Readings that were removed are in the database again.
        ReadingsRestored {
            /// The telemetry log.
            log_id: i32,
            /// The position of the first of these readings.
            first: i64,
            /// The position of the last one.
            last: i64,
        },
    }

    /// A webhook, to which events are sent. Stream `tenant/<webhook id>`.
    Webhook as "Webhook" {
        /// The webhook exists from this event on.
        WebhookCreated {
            /// Where it is: scheme, host and port. The path may hold a secret, and is not here.
            origin: String,
            /// Which events are sent to it.
            follow: serde_json::Value,
            /// The position of each log after which it begins.
            after: String,
        },
        /// The webhook is as this event says from here on. What is absent stays as it was.
        WebhookChanged {
            /// Where it is: scheme, host and port, if its address changed.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            origin: Option<String>,
            /// Which events are sent to it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            follow: Option<serde_json::Value>,
        },
        /// Nothing is sent to the webhook until it is resumed.
        WebhookPaused {},
        /// The webhook is sent what came since it was paused or suspended.
        WebhookResumed {},
        /// The webhook took nothing for too long, or wants no more. Its place is kept.
        WebhookSuspended {
            /// Why, for people.
            reason: String,
        },
        /// The webhook has a new secret. The one before is good for a day more.
        WebhookSecretRotated {},
        /// The webhook is sent again what came after an earlier position.
        WebhookReplayed {
            /// The position of each log after which it begins again.
            after: String,
        },
        /// The webhook no longer exists.
        WebhookRemoved {},
    }

    /// A refusal. Stream `tenant/<id>`, one for each event.
    Denial as "Denial" {
        /// Logins named accounts that do not exist. The event does not keep the accounts' names.
        LoginRefused {
            /// How many there were within the minute that this event covers. Absent for one.
            #[serde(default = "once", skip_serializing_if = "is_once")]
            times: u64,
        },
        /// The actor asked for an action that it may not perform.
        AccessDenied {
            /// The name of the action.
            action: String,
            /// How many times it was refused within the minute that this event covers.
            times: u64,
        },
    }

    /// What administrators decide about the platform. Stream `t0/<subject>`.
    Platform as "Platform" {
        /// Access tokens are signed with this key from this event on.
        SigningKeyRotated {
            /// The key's id.
            kid: Uuid,
        },
        /// A tier has these limits from this event on.
        TierChanged {
            /// The tier's name.
            tier: String,
            /// The tier's new limits.
            limits: serde_json::Value,
            /// How much devices may send, if the request says so.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            ingest: Option<serde_json::Value>,
        },
        /// The tier no longer exists.
        TierRemoved {
            /// The tier's name.
            tier: String,
        },
        /// A new version of a read model is folded from the log.
        RebuildRequested {
            /// The name of the projection.
            projection: String,
            /// The rebuild's id.
            rebuild_id: Uuid,
            /// The new version.
            version: i32,
            /// The version that it is compared with.
            from_version: i32,
            /// Whether it may go live although it differs.
            accept: bool,
        },
        /// A version that was live before is brought back.
        RollbackRequested {
            /// The name of the projection.
            projection: String,
            /// The rollback's id.
            rebuild_id: Uuid,
            /// The version that is brought back.
            version: i32,
        },
        /// A rebuild or rollback was paused, resumed, cancelled, or accepted with its differences.
        RebuildSteered {
            /// The name of the projection.
            projection: String,
            /// The id of the rebuild or rollback.
            rebuild_id: Uuid,
            /// What was asked: `pause`, `resume`, `cancel` or `accept`.
            how: String,
        },
        /// Readers see another version of a read model from this event on.
        VersionSwapped {
            /// The name of the projection.
            projection: String,
            /// The id of the rebuild or rollback.
            rebuild_id: Uuid,
            /// The version that readers see now.
            version: i32,
            /// The version that they saw before.
            instead_of: i32,
            /// How many rows differed; absent if they were not compared.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            differences: Option<i64>,
        },
    }
}

fn once() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_once(times: &u64) -> bool {
    *times == 1
}

macro_rules! word {
    ($($(#[$doc:meta])* $word:ident { $($(#[$case_doc:meta])* $case:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $word {
            $($(#[$case_doc])* $case,)*
        }

        $crate::words! { $word { $($case = $text,)* } }
    )*};
}

word! {
    /// How a user was registered.
    Registration {
        /// The platform's first start created the first admin.
        FirstStart = "first_start",
        /// The user signed up.
        Oneself = "oneself",
        /// The user accepted an admin's invitation.
        Invitation = "invitation",
        /// An admin created the user.
        Admin = "admin",
    }

    /// How a password was chosen.
    PasswordChange {
        /// The user changed it and knew the previous one.
        Changed = "changed",
        /// The user reset it with the link of an e-mail.
        Reset = "reset",
        /// The user chose it when accepting an invitation.
        Invited = "invited",
        /// The operator of the service set it, on the machine itself.
        Assigned = "assigned",
    }

    /// Why a session ended.
    SessionEnd {
        /// The user logged out.
        Logout = "logout",
        /// The user or an admin ended the session from elsewhere.
        Revoked = "revoked",
        /// A refresh token was used twice: a second party holds it.
        Reuse = "reuse",
        /// The password was changed or reset.
        Password = "password",
        /// The user was deactivated.
        Deactivated = "deactivated",
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    fn stored<A: Act + PartialEq + fmt::Debug>(json: &str, act: &A) {
        assert_eq!(serde_json::to_string(act).expect("serializes"), json);
        assert_eq!(&serde_json::from_str::<A>(json).expect("deserializes"), act);
        assert!(json.starts_with(&format!("{{\"{}\":", act.event_type())), "{json}");
    }

    #[test]
    fn the_stored_form_of_every_act_stays_readable() {
        let user_id = Uuid::nil();
        stored(
            r#"{"UserRegistered":{"role":"admin","via":"first_start"}}"#,
            &User::UserRegistered { role: "admin".into(), via: Registration::FirstStart },
        );
        stored(r#"{"UserRoleChanged":{"role":"viewer"}}"#, &User::UserRoleChanged { role: "viewer".into() });
        stored(
            r#"{"UserPasswordChanged":{"how":"reset"}}"#,
            &User::UserPasswordChanged { how: PasswordChange::Reset },
        );
        stored(
            r#"{"UserPasswordChanged":{"how":"assigned"}}"#,
            &User::UserPasswordChanged { how: PasswordChange::Assigned },
        );
        stored(r#"{"UserReinvited":{}}"#, &User::UserReinvited {});
        stored(r#"{"UserVerified":{}}"#, &User::UserVerified {});
        stored(r#"{"UserProfileChanged":{}}"#, &User::UserProfileChanged {});
        stored(r#"{"UserDeactivated":{}}"#, &User::UserDeactivated {});
        stored(r#"{"UserReactivated":{}}"#, &User::UserReactivated {});
        stored(r#"{"UserLoginFailed":{}}"#, &User::UserLoginFailed {});
        stored(
            r#"{"SessionStarted":{"user_id":"00000000-0000-0000-0000-000000000000"}}"#,
            &Session::SessionStarted { user_id },
        );
        stored(
            r#"{"SessionEnded":{"user_id":"00000000-0000-0000-0000-000000000000","why":"reuse"}}"#,
            &Session::SessionEnded { user_id, why: SessionEnd::Reuse },
        );
        stored(
            r#"{"ApiKeyIssued":{"actions":["devices.read"]}}"#,
            &ApiKey::ApiKeyIssued { actions: vec!["devices.read".into()], expires_at: None },
        );
        stored(r#"{"ApiKeyRevoked":{}}"#, &ApiKey::ApiKeyRevoked {});
        stored(
            r#"{"PolicyDefined":{"source":"permit(principal, action, resource);"}}"#,
            &Policy::PolicyDefined { source: "permit(principal, action, resource);".into() },
        );
        stored(r#"{"PolicyRemoved":{}}"#, &Policy::PolicyRemoved {});
        stored(r#"{"TenantCreated":{}}"#, &Tenant::TenantCreated {});
        stored(r#"{"TenantSuspended":{}}"#, &Tenant::TenantSuspended {});
        stored(r#"{"TenantResumed":{}}"#, &Tenant::TenantResumed {});
        stored(
            r#"{"TenantSettingsChanged":{"settings":{"self_registration":false}}}"#,
            &Tenant::TenantSettingsChanged {
                settings: [("self_registration".to_owned(), false.into())].into_iter().collect(),
            },
        );
        let week = DateTime::from_timestamp(1_767_571_200, 0).expect("in range");
        stored(
            r#"{"ReadingsRemoved":{"log_id":2,"first":1,"last":9,"week":"2026-01-05T00:00:00Z","sha256":"ab"}}"#,
            &Tenant::ReadingsRemoved { log_id: 2, first: 1, last: 9, week, sha256: Some("ab".into()) },
        );
        stored(
            r#"{"ReadingsRestored":{"log_id":2,"first":1,"last":9}}"#,
            &Tenant::ReadingsRestored { log_id: 2, first: 1, last: 9 },
        );
        stored(r#"{"LoginRefused":{}}"#, &Denial::LoginRefused { times: 1 });
        stored(r#"{"LoginRefused":{"times":3}}"#, &Denial::LoginRefused { times: 3 });
        stored(
            r#"{"AccessDenied":{"action":"devices.write","times":3}}"#,
            &Denial::AccessDenied { action: "devices.write".into(), times: 3 },
        );
        stored(
            r#"{"SigningKeyRotated":{"kid":"00000000-0000-0000-0000-000000000000"}}"#,
            &Platform::SigningKeyRotated { kid: user_id },
        );
        stored(
            r#"{"TierChanged":{"tier":"free","limits":[]}}"#,
            &Platform::TierChanged { tier: "free".into(), limits: serde_json::json!([]), ingest: None },
        );
        stored(r#"{"TierRemoved":{"tier":"trial"}}"#, &Platform::TierRemoved { tier: "trial".into() });
        let (projection, rebuild_id) = ("devices".to_owned(), user_id);
        stored(
            r#"{"RebuildRequested":{"projection":"devices","rebuild_id":"00000000-0000-0000-0000-000000000000","version":2,"from_version":1,"accept":false}}"#,
            &Platform::RebuildRequested {
                projection: projection.clone(),
                rebuild_id,
                version: 2,
                from_version: 1,
                accept: false,
            },
        );
        stored(
            r#"{"RollbackRequested":{"projection":"devices","rebuild_id":"00000000-0000-0000-0000-000000000000","version":1}}"#,
            &Platform::RollbackRequested { projection: projection.clone(), rebuild_id, version: 1 },
        );
        stored(
            r#"{"RebuildSteered":{"projection":"devices","rebuild_id":"00000000-0000-0000-0000-000000000000","how":"accept"}}"#,
            &Platform::RebuildSteered { projection: projection.clone(), rebuild_id, how: "accept".into() },
        );
        stored(
            r#"{"VersionSwapped":{"projection":"devices","rebuild_id":"00000000-0000-0000-0000-000000000000","version":2,"instead_of":1,"differences":0}}"#,
            &Platform::VersionSwapped {
                projection,
                rebuild_id,
                version: 2,
                instead_of: 1,
                differences: Some(0),
            },
        );
    }

    #[test]
    fn the_stored_form_of_every_act_on_a_webhook_stays_readable() {
        let follow = serde_json::json!({ "device": ["dev-01"] });
        stored(
            r#"{"WebhookCreated":{"origin":"https://erp.example:8443","follow":{"device":["dev-01"]},"after":"1:42,2:977"}}"#,
            &Webhook::WebhookCreated {
                origin: "https://erp.example:8443".into(),
                follow: follow.clone(),
                after: "1:42,2:977".into(),
            },
        );
        stored(r#"{"WebhookChanged":{}}"#, &Webhook::WebhookChanged { origin: None, follow: None });
        stored(
            r#"{"WebhookChanged":{"origin":"https://erp.example","follow":{"device":["dev-01"]}}}"#,
            &Webhook::WebhookChanged { origin: Some("https://erp.example".into()), follow: Some(follow) },
        );
        stored(r#"{"WebhookPaused":{}}"#, &Webhook::WebhookPaused {});
        stored(r#"{"WebhookResumed":{}}"#, &Webhook::WebhookResumed {});
        stored(
            r#"{"WebhookSuspended":{"reason":"it took nothing for 72 h"}}"#,
            &Webhook::WebhookSuspended { reason: "it took nothing for 72 h".into() },
        );
        stored(r#"{"WebhookSecretRotated":{}}"#, &Webhook::WebhookSecretRotated {});
        stored(r#"{"WebhookReplayed":{"after":"2:9"}}"#, &Webhook::WebhookReplayed { after: "2:9".into() });
        stored(r#"{"WebhookRemoved":{}}"#, &Webhook::WebhookRemoved {});
    }
}
