//! Serves a router on a socket until shutdown.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may run after `shutdown`.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until `shutdown`, then waits at most 10 s for open requests to end. The caller has bound the socket.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)?.handle(handle.clone());
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    server.http_builder().http2().timer(TokioTimer::new()).keep_alive_interval(HEADER_TIMEOUT);
    let serving = server.serve(router.into_make_service_with_connect_info::<SocketAddr>());
    let ending = async {
        shutdown.cancelled().await;
        handle.graceful_shutdown(Some(DRAIN));
        std::future::pending().await
    };
    tokio::select! {
        result = serving => result,
        result = ending => result,
    }
}
