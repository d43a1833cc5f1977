//! Standard output, for results. A reader that has read enough and closes the pipe ends the command quietly, as it ends
//! other programs.

use std::io::{self, ErrorKind, Stdout, Write};

/// Standard output, whose errors tell apart a reader who has gone: see [`is_reader_gone`].
pub struct Output(Stdout);

/// Nobody reads standard output any more.
#[derive(Debug, thiserror::Error)]
#[error("write to standard output: its reader has gone")]
struct ReaderGone;

/// The process's standard output.
#[must_use]
pub fn output() -> Output {
    Output(io::stdout())
}

/// Whether a command failed only because nobody reads its output any more.
#[must_use]
pub fn is_reader_gone(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| matches!(cause.get_ref(), Some(inner) if inner.is::<ReaderGone>()))
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(told_apart)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(told_apart)
    }
}

fn told_apart(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::BrokenPipe => io::Error::new(ErrorKind::BrokenPipe, ReaderGone),
        _ => error,
    }
}
