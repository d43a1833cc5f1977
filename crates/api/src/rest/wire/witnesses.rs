//! Witnesses of the logs' checkpoints, as REST shows them.

use chrono::{DateTime, Utc};
use fleetlog_proof::note::Cosignature;
use fleetlog_proof::witness::store::Standing;
use serde::Serialize;
use utoipa::ToSchema;

/// A witness that the service sends a log's checkpoints to, and what it took last. This is the service's word: what a
/// witness has signed, its signature proves.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct Witness {
    /// How it is reached: `https` or `http` (it checks and signs), `file`, `mqtts`, `mqtt` or `mailto` (it keeps).
    #[schema(example = "https")]
    pub(in crate::rest) kind: String,
    /// Its address, without a password. Only people of the platform's tenant are told.
    #[schema(example = "https://witness.example/fleet")]
    pub(in crate::rest) address: Option<String>,
    /// The name of the key that it signed with; null if it has not signed.
    #[schema(example = "witness.example/w1")]
    pub(in crate::rest) key_name: Option<String>,
    /// The name that the log had in the checkpoint that it took last; null if it took none.
    #[schema(example = "fleetlog-example/2")]
    pub(in crate::rest) origin: Option<String>,
    /// The size of that checkpoint; 0 if it took none.
    #[schema(example = 3)]
    pub(in crate::rest) size: u64,
    /// The root of that checkpoint, in base64.
    #[schema(example = "veJSUyBrslDP5mg59n5Em4eLdapb3lCoXC8yxLRWRqg=")]
    pub(in crate::rest) root: Option<String>,
    /// When it took the checkpoint, by the database's clock.
    pub(in crate::rest) taken_at: Option<DateTime<Utc>>,
    /// When it says that it signed, by its own clock.
    pub(in crate::rest) signed_at: Option<DateTime<Utc>>,
    /// The line with which it signed, as it stands under the checkpoint.
    pub(in crate::rest) cosignature: Option<String>,
    /// Why it has not taken the newest checkpoint; null if it has, or has not been asked yet.
    pub(in crate::rest) problem: Option<String>,
    /// Since when it has not.
    pub(in crate::rest) problem_since: Option<DateTime<Utc>>,
}

impl Witness {
    /// A witness as somebody may know it who is of the platform's tenant, or is not.
    pub(in crate::rest) fn shown(standing: Standing, to_platform: bool) -> Self {
        let signed = standing.cosignature.as_deref().and_then(Cosignature::parse);
        let signed_at = signed
            .as_ref()
            .and_then(|signed| DateTime::from_timestamp(i64::try_from(signed.seconds()).ok()?, 0));
        let (problem, problem_since) = standing.problem.unzip();
        let told =
            |text: String| if to_platform { text } else { "the service's log has the reason".to_owned() };
        Self {
            kind: standing.witness.split(':').next().unwrap_or_default().to_owned(),
            address: Some(standing.witness).filter(|_| to_platform),
            key_name: signed.as_ref().map(|signed| signed.name().to_owned()),
            origin: standing.origin,
            size: standing.size,
            root: standing.root.map(|root| root.to_string()),
            taken_at: standing.taken_at,
            signed_at,
            cosignature: standing.cosignature,
            problem: problem.map(told),
            problem_since,
        }
    }
}
