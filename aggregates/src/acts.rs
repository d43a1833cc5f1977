//! What people and administrators do: the events that tell who may do what, since when, and who decided so.
//!
//! Users, sessions, keys and policies are ordinary rows, because the log is no place for secrets or for what a person
//! may ask to be erased. So there is nothing to decide or to fold here: these events only tell. None carries a
//! password, a token, an e-mail address or a name of a person. Who did it is the `actor` of an event's metadata.
//!
//! Stored for ever: only add to this.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A kind of event that only tells.
pub trait Act: DomainEvent + Serialize + DeserializeOwned {
    /// The aggregate type of the streams that these events make up.
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
    )*};
}

acts! {
    /// What happens to a user. Stream `tenant/<user id>`.
    User as "User" {
        /// There is this user from here on.
        UserRegistered {
            /// What the user may do: the role's name.
            role: String,
            /// How it came to be.
            via: Registration,
        },
        /// May do something else from here on.
        UserRoleChanged {
            /// The new role's name.
            role: String,
        },
        /// Has changed the name or the address.
        UserProfileChanged {},
        /// The address has proved to be the user's.
        UserVerified {},
        /// Has another password from here on.
        UserPasswordChanged {
            /// How it was chosen.
            how: PasswordChange,
        },
        /// Is let in no more.
        UserDeactivated {},
        /// Is let in again.
        UserReactivated {},
        /// Somebody tried to log in as this user, and was refused.
        UserLoginFailed {},
    }

    /// From a login to its end. Stream `tenant/<session id>`.
    Session as "Session" {
        /// The user has logged in.
        SessionStarted {
            /// The user.
            user_id: Uuid,
        },
        /// None of the session's tokens is good any more.
        SessionEnded {
            /// The user.
            user_id: Uuid,
            /// Why.
            why: SessionEnd,
        },
    }

    /// A key of a program. Stream `tenant/<key id>`.
    ApiKey as "ApiKey" {
        /// There is this key from here on.
        ApiKeyIssued {
            /// What it may be used for: actions' names.
            actions: Vec<String>,
            /// Until when; never ends where absent.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            expires_at: Option<DateTime<Utc>>,
        },
        /// It is good no more.
        ApiKeyRevoked {},
    }

    /// A rule of the tenant about who may do what. Stream `tenant/<name>`.
    Policy as "Policy" {
        /// It says this from here on.
        PolicyDefined {
            /// The rule, in Cedar.
            source: String,
        },
        /// It holds no more.
        PolicyRemoved {},
    }

    /// What is decided about a tenant. Stream `tenant/<tenant>`.
    Tenant as "Tenant" {
        /// There is this tenant from here on.
        TenantCreated {},
        /// Nobody of it is let in from here on, neither people nor devices.
        TenantSuspended {},
        /// They are let in again.
        TenantResumed {},
        /// These settings have these values from here on.
        TenantSettingsChanged {
            /// The settings by name.
            settings: serde_json::Map<String, serde_json::Value>,
        },
    }

    /// What was refused. Stream `tenant/<an id of its own>`.
    Denial as "Denial" {
        /// Somebody without an account here tried to log in. Of an unknown account nothing is kept.
        LoginRefused {},
        /// The actor may not do that.
        AccessDenied {
            /// What was to be done: the action's name.
            action: String,
            /// How often, within the minute that this event speaks for.
            times: u64,
        },
    }

    /// What is decided about the platform. Stream `t0/<what it is about>`.
    Platform as "Platform" {
        /// Access tokens are signed with this key from here on.
        SigningKeyRotated {
            /// The key's id.
            kid: Uuid,
        },
        /// A tier's limits are these from here on.
        TierChanged {
            /// The tier.
            tier: String,
            /// Its limits.
            limits: serde_json::Value,
        },
        /// There is no such tier from here on.
        TierRemoved {
            /// The tier.
            tier: String,
        },
    }
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
    /// How a user came to be.
    Registration {
        /// The first start made the first admin.
        FirstStart = "first_start",
        /// By oneself.
        Oneself = "oneself",
        /// An admin's invitation.
        Invitation = "invitation",
        /// An admin.
        Admin = "admin",
    }

    /// How a password was chosen.
    PasswordChange {
        /// By whoever knew the one before.
        Changed = "changed",
        /// By whoever got the mail.
        Reset = "reset",
        /// By an invited user.
        Invited = "invited",
        /// By whoever runs the service, on the machine itself.
        Assigned = "assigned",
    }

    /// Why a session ended.
    SessionEnd {
        /// The user logged out.
        Logout = "logout",
        /// The user, or an admin, ended it from elsewhere.
        Revoked = "revoked",
        /// A refresh token came a second time: somebody else has it too.
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
        stored(r#"{"LoginRefused":{}}"#, &Denial::LoginRefused {});
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
            &Platform::TierChanged { tier: "free".into(), limits: serde_json::json!([]) },
        );
        stored(r#"{"TierRemoved":{"tier":"trial"}}"#, &Platform::TierRemoved { tier: "trial".into() });
    }
}
