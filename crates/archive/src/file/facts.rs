//! What stands in a file's metadata.

use std::fs::File;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use fleetlog_event_log::{LogId, Position};
use fleetlog_proof::hash::Hash;
use fleetlog_proof::range::RangeProof;
use parquet::file::metadata::{FileMetaData, KeyValue};
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;

use super::Error;

/// What the keys begin with.
const PREFIX: &str = "fleetlog.";

/// What a file is about, and its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The log.
    pub log_id: LogId,
    /// When the week begins in which the readings were recorded.
    pub week: DateTime<Utc>,
    /// The first position and the last one.
    pub positions: (Position, Position),
    /// What proves that the events are the record's. `None`: nothing was signed when they were removed.
    pub proof: Option<RangeProof>,
}

impl Facts {
    /// Reads what a file says of itself.
    pub fn of(path: &Path) -> Result<Self, Error> {
        Self::read(SerializedFileReader::new(File::open(path)?)?.metadata().file_metadata())
    }

    pub(super) fn read(metadata: &FileMetaData) -> Result<Self, Error> {
        let values = metadata.key_value_metadata().map_or(&[][..], Vec::as_slice);
        let value = |key: &str| {
            let of_key = |entry: &&KeyValue| entry.key.strip_prefix(PREFIX) == Some(key);
            values.iter().find(of_key).and_then(|entry| entry.value.as_deref())
        };
        let bad = |key: &str| Error::Content(format!("the file is damaged: it has no {PREFIX}{key}"));
        let number = |key: &str| value(key).and_then(|text| text.parse().ok()).ok_or_else(|| bad(key));
        let time = |key: &str| {
            let time = value(key).and_then(|text| DateTime::parse_from_rfc3339(text).ok());
            time.map(|time| time.to_utc()).ok_or_else(|| bad(key))
        };
        let log_id = value("log_id").and_then(|text| text.parse().ok()).ok_or_else(|| bad("log_id"))?;
        let proof = match value("checkpoint") {
            None => None,
            Some(note) => {
                let hashes = value("range_proof").ok_or_else(|| bad("range_proof"))?;
                let hashes: Option<Vec<_>> = hashes.lines().map(Hash::parse).collect();
                Some(RangeProof {
                    note: note.parse()?,
                    signed_at: time("checkpoint_signed_at")?,
                    hashes: hashes.ok_or_else(|| bad("range_proof"))?,
                })
            }
        };
        let positions = (number("first_position")?, number("last_position")?);
        Ok(Self { log_id: LogId(log_id), week: time("week")?, positions, proof })
    }

    pub(super) fn write(&self) -> Vec<KeyValue> {
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let mut facts = vec![
            ("format", "1".to_owned()),
            ("log_id", self.log_id.to_string()),
            ("week", time(self.week)),
            ("first_position", self.positions.0.to_string()),
            ("last_position", self.positions.1.to_string()),
        ];
        if let Some(proof) = &self.proof {
            let hashes =
                proof.hashes.iter().fold(String::new(), |text, hash| text + &hash.to_string() + "\n");
            facts.extend([
                ("checkpoint", proof.note.text().to_owned()),
                ("checkpoint_signed_at", time(proof.signed_at)),
                ("range_proof", hashes),
            ]);
        }
        facts.into_iter().map(|(key, value)| KeyValue::new(format!("{PREFIX}{key}"), value)).collect()
    }
}
