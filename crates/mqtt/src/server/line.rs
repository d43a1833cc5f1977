//! The way to one connection, for everybody else: commands for its device, and the word that it is to end.

use std::collections::VecDeque;
use std::task::Waker;

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use super::subscriptions::Command;

/// The line to a connection.
pub(super) struct Line {
    /// The most commands that wait.
    most: usize,
    inbox: Mutex<Inbox>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Inbox {
    commands: VecDeque<Command>,
    end: Option<End>,
    is_closed: bool,
}

/// Why a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The same client is there again, over another connection.
    TakenOver,
    /// The device may not be here any more.
    Dismissed,
}

impl Line {
    /// A line with room for so many commands.
    pub(super) fn new(most: usize) -> Self {
        Self { most, inbox: Mutex::default(), waker: AtomicWaker::new() }
    }

    /// Has this waker woken when something comes.
    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Hands a command over, and says whether the connection has taken it.
    pub(super) fn send(&self, command: Command) -> bool {
        let mut inbox = self.inbox.lock();
        if inbox.is_closed || inbox.commands.len() >= self.most {
            return false;
        }
        inbox.commands.push_back(command);
        drop(inbox);
        self.waker.wake();
        true
    }

    /// Tells the connection to end.
    pub(super) fn end(&self, end: End) {
        self.inbox.lock().end.get_or_insert(end);
        self.waker.wake();
    }

    /// Whether the connection is to end.
    pub(super) fn ending(&self) -> Option<End> {
        self.inbox.lock().end
    }

    /// The next command.
    pub(super) fn next(&self) -> Option<Command> {
        self.inbox.lock().commands.pop_front()
    }

    /// Puts a command back that cannot be sent yet.
    pub(super) fn put_back(&self, command: Command) {
        self.inbox.lock().commands.push_front(command);
    }

    /// Takes no more commands, and returns those that wait.
    pub(super) fn close(&self) -> VecDeque<Command> {
        let mut inbox = self.inbox.lock();
        inbox.is_closed = true;
        std::mem::take(&mut inbox.commands)
    }
}
