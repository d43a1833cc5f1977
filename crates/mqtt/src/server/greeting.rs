//! A connection before its client is let in: CONNECT, and the answer to it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fleetlog_engine::devices::sessions::{Begun, Client, KEPT};
use fleetlog_event_log::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::auth::{Access, Admission};
use super::input::{Input, Next};
use super::limits::{LOGIN, MAX_CONNECT, Network};
use super::outgoing::Outgoing;
use super::{Peer, Server};
use crate::instruments;
use crate::protocol::Protocol;
use crate::protocol::opening::{self, Granted, Hello, Refusal, Unfit};

/// A client that has been let in.
pub(super) struct Guest {
    pub(super) protocol: Protocol,
    pub(super) hello: Hello,
    pub(super) access: Access,
    pub(super) client: Client,
    /// When the connection ends, if the client has logged in with a certificate: that is not in force any more.
    pub(super) until: Option<Instant>,
    /// Its session, if it has one or has asked for one.
    pub(super) begun: Option<Begun>,
    /// What the client has sent after CONNECT.
    pub(super) input: Input,
    pub(super) outgoing: Outgoing,
}

/// Reads CONNECT, and lets the client in; or says why not, and returns what is left to be said.
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    server: &Arc<Server>,
    stream: &mut S,
    peer: Peer,
) -> Result<Guest, Outgoing> {
    let (mut input, mut outgoing) = (Input::default(), Outgoing::default());
    let first = poll_fn(|context| poll_first(server, &mut input, stream, peer.network, context));
    let Ok(Some(length)) = timeout(LOGIN, first).await else { return Err(outgoing) };
    let opened = {
        // Nobody closes the semaphore.
        let _place = server.turnstile.acquire().await;
        yield_now().await;
        opening::open(input.packet(length))
    };
    input.consume(length);
    let (mut protocol, mut hello) = match opened {
        Ok(opened) => opened,
        Err(Unfit(answer)) => {
            outgoing.bytes = answer;
            return Err(outgoing);
        }
    };
    match server.gate.admit(&hello, &peer).await {
        Ok(Admission { access, may_have_session, lasts }) => {
            let until = lasts.and_then(|lasts| Instant::now().checked_add(lasts));
            let assigned = hello.client_id.is_empty().then(|| format!("auto-{}", Uuid::now_v7().simple()));
            if let Some(assigned) = &assigned {
                hello.client_id.clone_from(assigned);
            }
            let user = access.user();
            let client = Client::new(user.as_deref(), &hello.client_id);
            let earlier = may_have_session && assigned.is_none();
            let Ok(begun) = session(server, &hello, (client, earlier), user.as_deref()).await else {
                protocol.refuse(Refusal::Unavailable, &mut outgoing.bytes);
                return Err(outgoing);
            };
            let granted = begun.as_ref().map(|begun| Granted {
                is_present: begun.earlier.is_some(),
                expiry_s: kept(&hello).as_secs() as u32,
            });
            protocol.accept(granted, assigned.as_deref(), &mut outgoing.bytes);
            if protocol.is_speechless() {
                if let Some(begun) = begun {
                    let _ = server.sessions.leave(&begun.session, None, None).await;
                }
                return Err(outgoing);
            }
            Ok(Guest { protocol, hello, access, client, until, begun, input, outgoing })
        }
        Err(refusal) => {
            instruments::LOGINS_REFUSED.increment(1);
            protocol.refuse(refusal, &mut outgoing.bytes);
            Err(outgoing)
        }
    }
}

/// The session that the client goes on with, or a new one; none if it asks for none and has none.
async fn session(
    server: &Server,
    hello: &Hello,
    (client, may_have_one): (Client, bool),
    user: Option<&str>,
) -> Result<Option<Begun>, Error> {
    let begun = if hello.expiry_s.is_some() {
        server.sessions.begin(client, user, kept(hello), hello.starts_clean).await.map(Some)
    } else if !may_have_one {
        Ok(None)
    } else if hello.starts_clean {
        server.sessions.forget(client).await.map(|()| None)
    } else {
        server.sessions.resume(client).await
    };
    begun.inspect_err(|error| tracing::warn!(%error, "failed to look a device's session up"))
}

/// How long the client's session outlives the connection.
fn kept(hello: &Hello) -> Duration {
    Duration::from_secs(hello.expiry_s.unwrap_or_default().into()).min(KEPT)
}

/// Reads until the first packet is whole, and returns its length. `None` if it never will be.
fn poll_first<S: AsyncRead + Unpin>(
    server: &Server,
    input: &mut Input,
    stream: &mut S,
    network: Network,
    context: &mut Context<'_>,
) -> Poll<Option<usize>> {
    loop {
        if input.first().is_some_and(|first| first != opening::CONNECT) {
            return Poll::Ready(None);
        }
        match input.next(MAX_CONNECT) {
            Ok(Next::Packet(length)) => return Poll::Ready(Some(length)),
            Ok(Next::More(None)) => {}
            Ok(Next::More(Some(length))) => {
                let Some(share) = server.before_login.take(network, length) else {
                    instruments::UNFINISHED_REFUSED.increment(1);
                    return Poll::Ready(None);
                };
                input.hold(share, length);
            }
            Err(_) => return Poll::Ready(None),
        }
        if !matches!(ready!(input.poll_read(stream, context)), Ok(1..)) {
            return Poll::Ready(None);
        }
    }
}
