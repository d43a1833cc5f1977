//! Reads files again, and compares them with what must be in them.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use fleetlog_event_log::archived::{Archived, Copy};
use fleetlog_event_log::{LogId, Position};

use crate::file::{Error, Fingerprint, Reader, Written, hash};
use crate::place::{self, Place};

/// What was found in a file all of whose events are there.
struct Found {
    fingerprint: Vec<u8>,
    recorded: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

/// Reads every event of a file.
fn read(path: &Path, log_id: LogId, positions: (Position, Position)) -> Result<Found, Error> {
    let mut reader = Reader::open(path, positions, 0)?;
    let (mut fingerprint, mut recorded) = (Fingerprint::new(), None::<(DateTime<Utc>, DateTime<Utc>)>);
    loop {
        let events = reader.batch()?;
        if events.is_empty() {
            return Ok(Found { fingerprint: fingerprint.finish(), recorded });
        }
        for event in &events {
            if event.log_id != log_id {
                return Err(Error::Content(format!("event {} is of log {}", event.position, event.log_id)));
            }
            fingerprint.add(event)?;
            let (earliest, latest) = recorded.unwrap_or((event.recorded_at, event.recorded_at));
            recorded = Some((earliest.min(event.recorded_at), latest.max(event.recorded_at)));
        }
    }
}

/// Verifies a file that was just written: that it has exactly the events that went into it.
pub(crate) fn just_written(written: &Written, log_id: LogId) -> Result<Copy, Error> {
    let found = read(&written.path, log_id, (written.first, written.last))?;
    if found.fingerprint != written.fingerprint {
        return Err(Error::Content("the file does not have the events that were written to it".into()));
    }
    Ok(Copy {
        location: written.path.display().to_string(),
        bytes: std::fs::metadata(&written.path)?.len() as i64,
        sha256: hash(&written.path)?,
    })
}

/// Verifies the copy of a range: that its bytes are those that were verified when it was removed, and that every event can be
/// read from it.
pub fn copy(place: Option<&Place>, range: &Archived) -> Result<(), Error> {
    let path = unchanged(place, range)?;
    let found = read(&path, range.log_id, (range.first, range.last))?;
    if found.recorded != Some((range.first_recorded_at, range.last_recorded_at)) {
        return Err(Error::Content("its events were recorded at other times than the database says".into()));
    }
    Ok(())
}

/// Finds the file of a range's copy, and checks that it has its length.
pub(crate) fn sized<'r>(place: Option<&Place>, range: &'r Archived) -> Result<(PathBuf, &'r Copy), Error> {
    let copy = range.copy.as_ref().ok_or_else(|| Error::Content("no copy was kept".into()))?;
    let path = place::find(place, range, copy);
    let explain = |error: std::io::Error| {
        Error::Content(format!("{}: {error}; where the files are now is set with --archive", path.display()))
    };
    let bytes = std::fs::metadata(&path).map_err(explain)?.len() as i64;
    if bytes != copy.bytes {
        return Err(Error::Content(format!(
            "{} has {bytes} bytes instead of {}",
            path.display(),
            copy.bytes
        )));
    }
    Ok((path, copy))
}

/// Finds the file of a range's copy, and checks that its bytes are the same as ever.
pub(crate) fn unchanged(place: Option<&Place>, range: &Archived) -> Result<PathBuf, Error> {
    let (path, copy) = sized(place, range)?;
    if hash(&path)? == copy.sha256 {
        return Ok(path);
    }
    // Which event is not as it was cannot be told from the hash; where the file cannot be read is.
    let damage = read(&path, range.log_id, (range.first, range.last)).err();
    let damage =
        damage.map_or_else(|| "though every event can be read".to_owned(), |error| error.to_string());
    Err(Error::Content(format!("{} is not as it was written: {damage}", path.display())))
}
