//! The conversation with a client that has been let in, in one task: its packets, what becomes of them, and commands.
//!
//! A publish is handed to ingest and acknowledged in its turn; it holds up nothing that comes after it. Nothing more is
//! read while ingest has no room for the next message, while [`UNDER_WAY`](crate::protocol::UNDER_WAY) of them are being
//! stored, or while the client does not read what it is sent. What a packet asks for is in `requests`.

mod requests;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chrono::TimeDelta;
use fleetlog_engine::devices::connections::Link;
use fleetlog_engine::devices::sessions::{Client, Lost, Session, Will};
use fleetlog_engine::ingest::{self, Closed, Receipt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Server;
use super::acks::Acks;
use super::auth::Access;
use super::greeting::Guest;
use super::input::{Input, Next};
use super::limits::{COMMANDS, Network, Share};
use super::line::{End, Line};
use super::outgoing::Outgoing;
use super::subscriptions::{Command, Subscription};
use crate::instruments;
use crate::protocol::{Ack, Grant, MAX_PACKET, Protocol, Reason, Violation, Wanted};

/// A connection whose client has been let in.
pub(super) struct Connection<S> {
    server: Arc<Server>,
    stream: S,
    network: Network,
    number: u64,
    client: Client,
    access: Access,
    /// When the certificate expires that the client has logged in with.
    until: Option<Instant>,
    ingest: Arc<ingest::Handle>,
    line: Arc<Line>,
    protocol: Protocol,
    input: Input,
    outgoing: Outgoing,
    acks: Acks,
    /// Room for the ids of publishes that the client does not release.
    unreleased: Vec<Share>,
    /// The client's session, if it has one.
    session: Option<Session>,
    /// How long it outlives the connection, if the client has said so anew.
    expiry: Option<Duration>,
    /// What is to be said if the connection ends without a goodbye, and how long after.
    will: Option<(Will, Duration)>,
    /// The device whose connection this is, if it is one device's.
    link: Option<Link>,
    /// What has to be done before more is read.
    task: Option<Task>,
    subscriptions: Vec<Subscription>,
    /// The commands that the client has not acknowledged.
    unacknowledged: Vec<(u16, Command)>,
    /// The longest silence of the client.
    silence: Option<Duration>,
    heard: Instant,
    alarm: Option<Pin<Box<Sleep>>>,
}

/// What has to be done before more is read.
struct Task {
    work: Pin<Box<dyn Future<Output = Done> + Send>>,
    since: Instant,
    /// The packet's share of the budget, for as long as ingest has not counted the message.
    _share: Option<Share>,
}

/// What was done, and is to be answered.
enum Done {
    /// Ingest has the message, or is closing.
    Submitted(Result<Receipt, Closed>, Option<Ack>),
    /// The session has the new subscriptions, or belongs to another connection.
    Granted(Result<(), Lost>, u16, Vec<Grant>),
    /// The session is without the old subscriptions.
    Ended(Result<(), Lost>, u16, Vec<bool>),
    /// The session has forgotten the packet id.
    Released(u16),
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    /// The client has left, or its network.
    Left,
    /// The client has broken the protocol, and knows it.
    Violated,
    /// The client has published what it may not, and its protocol has no word for that.
    HungUp,
    /// The client has said nothing for too long, does not finish a packet, or does not read.
    Silent,
    /// There is no room for the packet that the client has begun.
    NoRoom,
    /// The client publishes and does not release, and there is no room for more.
    Unreleased,
    /// A message's fate is not known in time.
    Unacknowledged,
    /// Somebody else says so.
    Told(End),
    /// The service stops.
    Shutdown,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes a place among the connections.
    ///
    /// Boxed, it is moved without being copied: a future keeps room for both ends of a move.
    pub(super) fn new(server: Arc<Server>, stream: S, network: Network, guest: Guest) -> Box<Self> {
        let Guest { protocol, hello, access, client, until, begun, input, outgoing } = guest;
        let will = hello.will.and_then(|will| {
            let taken = access.will(&will.topic, &will.payload);
            if taken.is_none() {
                instruments::WILLS_DROPPED.increment(1);
            }
            let taken = taken?;
            // The row of a session, in which a will waits, does not say whose a foreign topic is.
            let delay_s = if taken.is_foreign() { 0 } else { will.delay_s };
            Some((taken, Duration::from_secs(delay_s.into())))
        });
        // A gateway's devices do not take each other's place.
        let line = Arc::new(Line::new(COMMANDS.max(access.most_subscriptions())));
        let number = server.roster.number();
        server.roster.enter(server.sessions.arrived(client), number, access.clone(), Arc::clone(&line));
        let (session, earlier) = begun.map_or((None, None), |begun| (Some(begun.session), begun.earlier));
        let mut connection = Box::new(Self {
            ingest: Arc::new(
                server.ingest.for_connection().of_sender(access.sender(server.options.tenant.as_ref())),
            ),
            server,
            stream,
            network,
            number,
            client,
            access,
            until,
            line,
            protocol,
            input,
            outgoing,
            acks: Acks::default(),
            unreleased: Vec::new(),
            session,
            // An earlier session that the client goes on with and has not asked to be kept ends with this connection.
            expiry: hello.expiry_s.is_none().then_some(Duration::ZERO),
            will,
            link: None,
            task: None,
            subscriptions: Vec::new(),
            unacknowledged: Vec::new(),
            silence: hello.keep_alive.map(|keep_alive| keep_alive * 3 / 2),
            heard: Instant::now(),
            alarm: None,
        });
        connection.note_device();
        for kept in earlier.into_iter().flatten() {
            connection.subscribe(&Wanted { filter: kept.filter, qos: kept.quality, number: kept.number });
        }
        connection
    }

    /// Serves the client to the end of its connection.
    pub(super) async fn serve(mut self: Box<Self>, shutdown: CancellationToken) {
        let parting = tokio::select! {
            biased;
            parting = poll_fn(|context| self.poll(context)) => parting,
            () = shutdown.cancelled() => Parting::Shutdown,
        };
        // What is under way may still be acknowledged, unless the client is not there to hear it or must not be heard.
        let patience = match parting {
            Parting::Shutdown => Some(self.server.options.drain),
            Parting::HungUp => Some(self.server.options.patience),
            _ => None,
        };
        if let Some(patience) = patience {
            let settled = poll_fn(|context| self.poll_settled(context));
            let _ = Box::pin(timeout_at(Instant::now() + patience, settled)).await;
        }
        let reason = match parting {
            Parting::Left | Parting::Violated => None,
            Parting::HungUp | Parting::Told(End::Dismissed) => Some(Reason::NotAuthorized),
            Parting::Silent => Some(Reason::KeepAliveTimeout),
            Parting::NoRoom => Some(Reason::QuotaExceeded),
            Parting::Unreleased => Some(Reason::ReceiveMaximumExceeded),
            Parting::Unacknowledged => Some(Reason::ServerBusy),
            Parting::Told(End::TakenOver) => Some(Reason::SessionTakenOver),
            Parting::Shutdown => Some(Reason::ServerShuttingDown),
        };
        if let Some(reason) = reason {
            self.protocol.disconnect(reason, &mut self.outgoing.bytes);
        }
        match parting {
            Parting::Unacknowledged => instruments::UNACKNOWLEDGED.increment(1),
            Parting::NoRoom => instruments::UNFINISHED_REFUSED.increment(1),
            Parting::Unreleased => instruments::UNRELEASED_REFUSED.increment(1),
            _ => {}
        }
        self.leave();
        // At a shutdown all of them are left at once.
        if parting != Parting::Shutdown {
            Box::pin(self.leave_behind(parting)).await;
        }
        if parting != Parting::Left {
            let Self { outgoing, stream, .. } = *self;
            Box::pin(outgoing.farewell(stream)).await;
        }
    }

    /// Leaves the session, and has the will said, at once or when the client has not come back in time.
    async fn leave_behind(&mut self, parting: Parting) {
        // A client that has connected again is not gone, and one whose access has ended may say nothing more: no will.
        let will = self.will.take().filter(|_| !matches!(parting, Parting::Told(_)));
        let heard_at = self.ingest.now() - TimeDelta::from_std(self.heard.elapsed()).unwrap_or_default();
        let will = will.map(|(will, delay)| will.left(delay, heard_at));
        let session = self.session.take();
        let lasts = session.is_some() && self.expiry != Some(Duration::ZERO);
        // A session that is over waits for nobody.
        let (waiting, now) = match will {
            Some(left) if lasts && !left.delay.is_zero() => (Some(left), None),
            will => (None, will),
        };
        if let Some(session) = session
            && let Err(error) = self.server.sessions.leave(&session, self.expiry, waiting.as_ref()).await
        {
            tracing::warn!(%error, "failed to note that a device's session was left; it is taken for left later");
        }
        if let Some(left) = now {
            self.server.say(self.client, left).await;
        }
    }

    /// Gives its place up, and the commands that its device may not have.
    fn leave(&mut self) {
        self.link = None;
        self.server.roster.leave(self.client, self.number);
        self.server.after_login.give_up(self.number);
        self.subscriptions.clear();
        // Before the farewell, which may take a moment.
        (self.input, self.unreleased) = (Input::default(), Vec::new());
        let waiting = self.line.close();
        for command in self.unacknowledged.drain(..).map(|(_, command)| command).chain(waiting) {
            self.server.subscriptions.leave_behind(command);
        }
    }

    /// Does all that can be done now. Returns when the connection is to end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Parting> {
        self.line.register(context.waker());
        loop {
            if let Some(end) = self.line.ending() {
                return Poll::Ready(Parting::Told(end));
            }
            if let Poll::Ready(parting) = self.poll_input(context) {
                return Poll::Ready(parting);
            }
            self.send_commands();
            let was_full = self.is_full();
            if self.acks.poll_send(&mut self.protocol, &mut self.outgoing, context) == Err(Closed) {
                return Poll::Ready(Parting::Unacknowledged);
            }
            let was_full = was_full || self.is_full();
            if let Poll::Ready(Err(_)) = self.outgoing.poll_flush(&mut self.stream, context) {
                return Poll::Ready(Parting::Left);
            }
            if !was_full || self.is_full() {
                break;
            }
        }
        self.poll_alarm(context)
    }

    /// Whether nothing more may be read, since there is no room for the answers.
    fn is_full(&self) -> bool {
        !self.acks.has_room() || !self.outgoing.has_room()
    }

    /// Acknowledges what is under way, and returns when that is all.
    fn poll_settled(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if matches!(self.poll_task(context), Poll::Ready(Err(_)))
                || self.acks.poll_send(&mut self.protocol, &mut self.outgoing, context) == Err(Closed)
            {
                return Poll::Ready(());
            }
            let was_full = !self.outgoing.has_room();
            match self.outgoing.poll_flush(&mut self.stream, context) {
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) if self.task.is_none() && self.acks.is_empty() => {
                    return Poll::Ready(());
                }
                _ if was_full && self.outgoing.has_room() => {}
                _ => return Poll::Pending,
            }
        }
    }

    /// Reads packets for as long as there are any, and room for what they ask for.
    fn poll_input(&mut self, context: &mut Context<'_>) -> Poll<Parting> {
        loop {
            if let Err(parting) = ready!(self.poll_task(context)) {
                return Poll::Ready(parting);
            }
            if self.is_full() {
                return Poll::Pending;
            }
            let more = match self.input.next(MAX_PACKET) {
                Ok(Next::Packet(length)) => {
                    if let Some(parting) = self.read(length) {
                        return Poll::Ready(parting);
                    }
                    continue;
                }
                Ok(Next::More(more)) => more,
                Err(Violation(reason)) => {
                    self.protocol.disconnect(reason, &mut self.outgoing.bytes);
                    return Poll::Ready(Parting::Violated);
                }
            };
            if let Some(length) = more {
                let budget = &self.server.after_login;
                let (tenant, number) = (self.access.tenant(), self.number);
                let Poll::Ready(share) = budget.poll_take_of(self.network, tenant, length, number, context)
                else {
                    return Poll::Pending;
                };
                self.input.hold(share, length);
            }
            match self.input.poll_read(&mut self.stream, context) {
                Poll::Ready(Ok(1..)) => {
                    self.heard = Instant::now();
                    if let Some(link) = &mut self.link {
                        link.heard();
                    }
                }
                Poll::Ready(_) => return Poll::Ready(Parting::Left),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Does what is to be done before more is read, and answers it.
    fn poll_task(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Parting>> {
        let Some(task) = &mut self.task else { return Poll::Ready(Ok(())) };
        let done = ready!(task.work.as_mut().poll(context));
        self.task = None;
        let out = &mut self.outgoing.bytes;
        match done {
            Done::Submitted(Err(Closed), _) => return Poll::Ready(Err(Parting::Unacknowledged)),
            Done::Granted(Err(Lost), ..) | Done::Ended(Err(Lost), ..) => {
                return Poll::Ready(Err(Parting::Told(End::TakenOver)));
            }
            Done::Submitted(Ok(receipt), Some(ack)) => self.acks.owe(ack, receipt),
            // Nobody waits for its fate.
            Done::Submitted(Ok(receipt), None) => drop(receipt),
            Done::Granted(Ok(()), id, grants) => self.protocol.grant(id, &grants, out),
            Done::Ended(Ok(()), id, existed) => self.protocol.end(id, &existed, out),
            Done::Released(id) => self.protocol.complete(id, out),
        }
        Poll::Ready(Ok(()))
    }

    /// When something has to have happened, or else the connection ends.
    fn due(&self) -> Option<(Instant, Parting)> {
        let patience = self.server.options.patience;
        let unstored = self.acks.oldest().into_iter().chain(self.task.as_ref().map(|task| task.since));
        let unstored = unstored.map(|since| (since + patience, Parting::Unacknowledged));
        let unread = self.outgoing.stalled().map(|since| (since + patience, Parting::Silent));
        let silent = self.silence.map(|silence| (self.heard + silence, Parting::Silent));
        let unfinished = self.input.due().map(|due| (due, Parting::NoRoom));
        let expired = self.until.map(|until| (until, Parting::Told(End::Dismissed)));
        // While nothing is read, the client is not to blame for what does not come.
        let is_read = self.task.is_none() && !self.is_full();
        let late = silent.into_iter().chain(unfinished).filter(|_| is_read);
        unstored.chain(unread).chain(expired).chain(late).min_by_key(|(due, _)| *due)
    }

    /// Waits for the next moment of [`Connection::due`]. The alarm is set once in that time, not for every message.
    fn poll_alarm(&mut self, context: &mut Context<'_>) -> Poll<Parting> {
        while let Some((due, parting)) = self.due() {
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if alarm.is_elapsed() || alarm.deadline() > due {
                alarm.as_mut().reset(due);
            }
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= due {
                return Poll::Ready(parting);
            }
        }
        Poll::Pending
    }
}
