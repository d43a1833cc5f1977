//! Shutdown signals: the first Ctrl-C or SIGTERM drains, the second ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that a second Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// A token that the first Ctrl-C or SIGTERM cancels. The second ends the process without a drain: acknowledged messages
/// are committed, and the others will be sent again.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        tracing::info!("stopping after the work under way; press Ctrl-C again to stop at once");
        token.cancel();
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        std::process::exit(INTERRUPTED);
    });
    Ok(shutdown)
}
