//! Remembers the newest runs as they were last written, so that they need not be read before they are written again.

use std::collections::HashMap;

use super::fold::Window;

/// How many runs are remembered: those of 16,000 metrics or, in a rebuild, of a third as many. A run takes at
/// most a kilobyte.
const REMEMBERED: usize = 16_000;

/// The newest runs of series, by the series' id and the step.
#[derive(Default)]
pub(super) struct OpenRuns {
    known: HashMap<(i64, usize), Run>,
}

struct Run {
    start: i64,
    windows: Vec<Window>,
}

impl OpenRuns {
    /// The windows of a run, if it is remembered.
    pub(super) fn get(&self, id: i64, step: usize, start: i64) -> Option<&[Window]> {
        self.known.get(&(id, step)).filter(|run| run.start == start).map(|run| &*run.windows)
    }

    /// Remembers the windows that a run has now.
    pub(super) fn keep(&mut self, id: i64, step: usize, start: i64, windows: &[Window]) {
        if self.known.len() >= REMEMBERED && !self.known.contains_key(&(id, step)) {
            self.known.clear();
        }
        let run = self.known.entry((id, step)).or_insert(Run { start, windows: vec![] });
        run.start = start;
        run.windows.clear();
        run.windows.extend_from_slice(windows);
    }
}
