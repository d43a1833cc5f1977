//! The open commands of one log: whose turn it is, and when each is due.
//!
//! A device gets its commands in the order in which they were requested, one at a time: while one is under way, those
//! behind it wait, and may expire. Pure: no clock, no log, no broker.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use fleetlog_aggregates::command::{Command, Event, Next, Status};
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::Position;
use uuid::Uuid;

/// The first pause before a command to an absent device is published again, and the longest.
const ABSENT: (TimeDelta, TimeDelta) = (TimeDelta::seconds(1), TimeDelta::seconds(15));
/// The pause after the broker did not answer, or after the record turned out to be ahead of the followed log.
const AGAIN: TimeDelta = TimeDelta::seconds(1);

/// What is due for a command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Due {
    /// Publish this attempt.
    Send { attempt: u32 },
    /// Record that the command timed out.
    TimeOut,
}

/// The outcome of what was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// The event at this position was appended, and is still to be read.
    Recorded(Position),
    /// The device was not there.
    Absent,
    /// The broker did not answer, or the record was ahead of the followed log.
    Again,
    /// An attempt that is under way was published again, or is over: nothing follows from it.
    Repeated,
}

/// A command that has not ended.
pub(super) struct OpenCommand {
    pub(super) state: Command,
    pub(super) uid: Uid,
    pub(super) requested_at: DateTime<Utc>,
    pub(super) correlation_id: Option<String>,
    /// The position of the last event that was applied.
    pub(super) last: Position,
    /// The position of the request, which orders the device's queue.
    place: Position,
    /// Set while work is in flight, or until the event at this position has been applied.
    busy: Option<Position>,
    not_before: DateTime<Utc>,
    absences: u32,
    /// Whether the device has begun to listen since the command was last due.
    arrived: bool,
    wake: Option<DateTime<Utc>>,
}

impl OpenCommand {
    /// When the command is given up that may time out from `or_time_out` on: not before its device was found absent or the
    /// command has expired. A dispatcher that was away itself still makes the attempt.
    fn gives_up(&self, or_time_out: DateTime<Utc>) -> DateTime<Utc> {
        match self.state.request() {
            Some(request) if self.absences == 0 => request.expires_at,
            _ => or_time_out,
        }
    }
}

/// The open commands of one log.
#[derive(Default)]
pub(super) struct Schedule {
    open: HashMap<Uuid, OpenCommand>,
    queues: HashMap<Uid, BTreeMap<Position, Uuid>>,
    timers: BTreeSet<(DateTime<Utc>, Uuid)>,
    /// The commands whose device has begun to listen while their attempt is under way: it may not have had them.
    returned: Vec<Uuid>,
}

/// An event of a command, as read from the log.
pub(super) struct CommandEvent {
    pub(super) cmd_id: Uuid,
    pub(super) event: Event,
    pub(super) position: Position,
    pub(super) occurred_at: DateTime<Utc>,
    pub(super) correlation_id: Option<String>,
}

impl Schedule {
    /// Applies an event. One that was applied before changes nothing.
    pub(super) fn apply(&mut self, happened: CommandEvent) {
        let CommandEvent { cmd_id, event, position, occurred_at, correlation_id } = happened;
        if let Event::CommandRequested(request) = &event
            && !self.open.contains_key(&cmd_id)
        {
            let uid = request.device_uid.clone();
            self.queues.entry(uid.clone()).or_default().insert(position, cmd_id);
            let open = OpenCommand {
                state: Command::default(),
                uid,
                requested_at: occurred_at,
                correlation_id,
                last: 0,
                place: position,
                busy: None,
                not_before: DateTime::<Utc>::MIN_UTC,
                absences: 0,
                arrived: false,
                wake: None,
            };
            self.open.insert(cmd_id, open);
        }
        let Some(open) = self.open.get_mut(&cmd_id) else { return };
        if position <= open.last {
            return;
        }
        open.last = position;
        open.state.apply(event);
        open.busy = open.busy.filter(|&until| until > position);
        (open.not_before, open.absences) = (DateTime::<Utc>::MIN_UTC, 0);
        if open.state.status().is_some_and(Status::is_terminal) {
            self.close(cmd_id);
        } else {
            self.reschedule(cmd_id);
            self.note_return(cmd_id);
        }
    }

    /// Notes that the device of a command whose attempt is under way has begun to listen since the publish.
    fn note_return(&mut self, cmd_id: Uuid) {
        let Some(open) = self.open.get_mut(&cmd_id) else { return };
        if open.arrived && open.busy.is_none() && open.state.status() == Some(Status::Sent) {
            open.arrived = false;
            self.returned.push(cmd_id);
        }
    }

    /// Takes the commands whose device has come back while their attempt is under way.
    pub(super) fn returned(&mut self) -> Vec<Uuid> {
        std::mem::take(&mut self.returned)
    }

    /// The devices that have open commands.
    pub(super) fn devices(&self) -> Vec<Uid> {
        self.queues.keys().cloned().collect()
    }

    /// The number of open commands.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn get(&self, cmd_id: Uuid) -> Option<&OpenCommand> {
        self.open.get(&cmd_id)
    }

    /// When the next command is due, or must be looked at.
    pub(super) fn next_wake(&self) -> Option<DateTime<Utc>> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes what is due now. Each command stays busy until [`Schedule::done`] reports its outcome.
    pub(super) fn due(&mut self, now: DateTime<Utc>) -> Vec<(Uuid, Due)> {
        let mut due = Vec::new();
        while let Some(&(at, cmd_id)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            let is_first = self.is_first(cmd_id);
            let Some(open) = self.open.get_mut(&cmd_id) else { continue };
            open.wake = None;
            let what = match open.state.next() {
                Some(Next::Send { or_time_out, .. }) if now >= open.gives_up(or_time_out) => Due::TimeOut,
                Some(Next::Send { attempt, at, .. }) if is_first && now >= at.max(open.not_before) => {
                    Due::Send { attempt }
                }
                Some(Next::TimeOut { at }) if now >= at => Due::TimeOut,
                _ => {
                    self.reschedule(cmd_id);
                    continue;
                }
            };
            (open.busy, open.arrived) = (Some(Position::MAX), false);
            due.push((cmd_id, what));
        }
        due
    }

    /// Reports the outcome of what was due.
    pub(super) fn done(&mut self, cmd_id: Uuid, done: Done, now: DateTime<Utc>) {
        let Some(open) = self.open.get_mut(&cmd_id).filter(|_| done != Done::Repeated) else { return };
        open.busy = None;
        match done {
            Done::Recorded(position) => open.busy = Some(position).filter(|&position| position > open.last),
            // The device was absent at the publish, but listens now.
            Done::Absent if open.arrived => {}
            Done::Absent => {
                open.not_before = now + (ABSENT.0 * (1 << open.absences.min(8))).min(ABSENT.1);
                open.absences += 1;
            }
            Done::Again => open.not_before = now + AGAIN,
            Done::Repeated => {}
        }
        self.reschedule(cmd_id);
        self.note_return(cmd_id);
    }

    /// The devices that were absent at the last attempt.
    pub(super) fn absent(&self) -> BTreeSet<Uid> {
        let absent = self.open.values().filter(|open| open.absences > 0);
        absent.map(|open| open.uid.clone()).collect()
    }

    /// A device listens again: its first command is tried at once.
    pub(super) fn arrived(&mut self, uid: &Uid) {
        let Some(&first) = self.queues.get(uid).and_then(|queue| queue.values().next()) else { return };
        if let Some(open) = self.open.get_mut(&first) {
            (open.not_before, open.arrived) = (DateTime::<Utc>::MIN_UTC, true);
        }
        self.reschedule(first);
        self.note_return(first);
    }

    fn is_first(&self, cmd_id: Uuid) -> bool {
        let queue = self.open.get(&cmd_id).and_then(|open| self.queues.get(&open.uid));
        queue.and_then(|queue| queue.values().next()) == Some(&cmd_id)
    }

    fn reschedule(&mut self, cmd_id: Uuid) {
        let is_first = self.is_first(cmd_id);
        let Some(open) = self.open.get_mut(&cmd_id) else { return };
        if let Some(wake) = open.wake.take() {
            self.timers.remove(&(wake, cmd_id));
        }
        if open.busy.is_some() {
            return;
        }
        let wake = match open.state.next() {
            Some(Next::Send { at, or_time_out, .. }) if is_first => {
                at.max(open.not_before).min(open.gives_up(or_time_out))
            }
            Some(Next::Send { or_time_out, .. }) => or_time_out,
            Some(Next::TimeOut { at }) => at.max(open.not_before),
            None => return,
        };
        open.wake = Some(wake);
        self.timers.insert((wake, cmd_id));
    }

    /// Forgets a command that has ended, and gives the device's next command its turn.
    fn close(&mut self, cmd_id: Uuid) {
        let Some(open) = self.open.remove(&cmd_id) else { return };
        if let Some(wake) = open.wake {
            self.timers.remove(&(wake, cmd_id));
        }
        let Some(queue) = self.queues.get_mut(&open.uid) else { return };
        queue.remove(&open.place);
        match queue.values().next().copied() {
            Some(first) => self.reschedule(first),
            None => drop(self.queues.remove(&open.uid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetlog_aggregates::command::{Ack, Input, Request};
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_772_366_400 + seconds, 0).expect("in range")
    }

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    /// A schedule, and the head of the log whose events it applies.
    #[derive(Default)]
    struct Story {
        schedule: Schedule,
        head: Position,
    }

    impl Story {
        fn append(&mut self, number: u128, event: Event) -> Position {
            self.head += 1;
            let (cmd_id, position) = (id(number), self.head);
            let (occurred_at, correlation_id) = (at(0), None);
            self.schedule.apply(CommandEvent { cmd_id, event, position, occurred_at, correlation_id });
            self.head
        }

        fn request(&mut self, number: u128, uid: &str) {
            let request = Request {
                device_uid: uid.parse().expect("a uid"),
                cmd: "ping".into(),
                params: json!({}),
                requested_by: "user:1".into(),
                timeout_s: 10,
                max_attempts: 2,
                expires_at: at(100),
                batch_id: None,
                request_digest: None,
            };
            self.append(number, Event::CommandRequested(request));
        }

        fn sent(&mut self, number: u128, attempt: u32, seconds: i64) {
            let position = self.head + 1;
            self.schedule.done(id(number), Done::Recorded(position), at(seconds));
            self.append(number, Event::CommandSent { attempt, deadline: at(seconds + 10) });
        }

        fn acked(&mut self, number: u128) {
            self.append(number, Event::CommandAcknowledged { result: None });
        }

        fn due(&mut self, seconds: i64) -> Vec<(u128, Due)> {
            let due = self.schedule.due(at(seconds));
            due.into_iter().map(|(cmd_id, due)| (cmd_id.as_u128(), due)).collect()
        }
    }

    const FIRST: Due = Due::Send { attempt: 1 };

    #[test]
    fn a_device_gets_its_commands_one_at_a_time_in_their_order() {
        let mut story = Story::default();
        story.request(1, "dev-01");
        story.request(2, "dev-01");
        story.request(3, "dev-02");
        assert_eq!(story.due(0), [(1, FIRST), (3, FIRST)]);
        story.sent(1, 1, 0);
        assert_eq!(story.due(5), [], "the second waits for the first to end");
        story.acked(1);
        assert_eq!(story.due(5), [(2, FIRST)]);
    }

    #[test]
    fn what_is_being_done_is_not_done_twice_even_before_its_event_comes() {
        let mut story = Story::default();
        story.request(1, "dev-01");
        assert_eq!(story.due(0), [(1, FIRST)]);
        assert_eq!(story.due(50), [], "it is being sent");
        story.schedule.done(id(1), Done::Recorded(2), at(0));
        assert_eq!(story.due(50), [], "its event is still to come");
        story.append(1, Event::CommandSent { attempt: 1, deadline: at(10) });
        assert_eq!(story.due(10), [], "the pause between attempts");
        assert_eq!(story.due(11), [(1, Due::Send { attempt: 2 })]);
    }

    #[test]
    fn a_silent_device_is_given_up_after_the_last_attempt() {
        let mut story = Story::default();
        story.request(1, "dev-01");
        story.due(0);
        story.sent(1, 1, 0);
        story.due(11);
        story.sent(1, 2, 11);
        assert_eq!(story.due(20), []);
        assert_eq!(story.due(21), [(1, Due::TimeOut)]);
    }

    #[test]
    fn a_device_that_is_not_there_is_tried_less_and_less_often_and_at_once_when_it_is_back() {
        let mut story = Story::default();
        story.request(1, "dev-01");
        let mut tried = vec![];
        for second in 0..60 {
            for (number, _) in story.due(second) {
                tried.push(second);
                story.schedule.done(id(number), Done::Absent, at(second));
            }
        }
        assert_eq!(tried, [0, 1, 3, 7, 15, 30, 45]);
        assert_eq!(story.schedule.absent().len(), 1);
        story.schedule.arrived(&"dev-01".parse().expect("a uid"));
        assert_eq!(story.due(60), [(1, FIRST)]);
    }

    #[test]
    fn a_device_that_comes_back_while_it_is_being_found_absent_is_tried_at_once() {
        let mut story = Story::default();
        story.request(1, "dev-01");
        story.due(0);
        story.schedule.arrived(&"dev-01".parse().expect("a uid"));
        story.schedule.done(id(1), Done::Absent, at(0));
        assert_eq!(story.due(0), [(1, FIRST)]);
        story.schedule.done(id(1), Done::Absent, at(0));
        assert_eq!(story.due(0), [], "it has gone again");
    }

    #[test]
    fn what_expires_while_it_waits_is_given_up_in_or_out_of_turn() {
        let mut story = Story::default();
        story.request(1, "dev-01");
        story.request(2, "dev-01");
        story.due(0);
        story.schedule.done(id(1), Done::Absent, at(0));
        let due: BTreeSet<u128> = story
            .due(100)
            .into_iter()
            .map(|(number, due)| {
                assert_eq!(due, Due::TimeOut);
                number
            })
            .collect();
        assert_eq!(due, BTreeSet::from([1, 2]));
    }

    #[test]
    fn a_device_that_goes_away_after_an_attempt_is_waited_for_as_long_as_a_silent_one() {
        let mut story = Story::default();
        story.request(1, "dev-01");
        story.due(0);
        story.sent(1, 1, 0);
        let mut tried = vec![];
        for second in 0..60 {
            for (number, due) in story.due(second) {
                tried.push((second, due));
                story.schedule.done(id(number), Done::Absent, at(second));
            }
            if tried.last().is_some_and(|(_, due)| *due == Due::TimeOut) {
                break;
            }
        }
        let again = || Due::Send { attempt: 2 };
        assert_eq!(tried, [(11, again()), (12, again()), (14, again()), (18, again()), (21, Due::TimeOut)]);
    }

    #[test]
    fn an_attempt_that_comes_late_because_nobody_dispatched_is_still_made() {
        let mut story = Story::default();
        story.request(1, "dev-01");
        story.due(0);
        story.sent(1, 1, 0);
        assert_eq!(story.due(90), [(1, Due::Send { attempt: 2 })]);
        story.schedule.done(id(1), Done::Again, at(90));
        assert_eq!(story.due(91), [(1, Due::Send { attempt: 2 })], "the broker did not answer");
        story.schedule.done(id(1), Done::Absent, at(91));
        assert_eq!(story.due(91), [(1, Due::TimeOut)]);
    }

    #[test]
    fn an_event_that_is_known_already_changes_nothing() {
        let mut story = Story::default();
        story.request(1, "dev-01");
        story.due(0);
        story.sent(1, 1, 0);
        let again = Event::CommandSent { attempt: 7, deadline: at(99) };
        let (occurred_at, correlation_id) = (at(0), None);
        story.schedule.apply(CommandEvent {
            cmd_id: id(1),
            event: again,
            position: 2,
            occurred_at,
            correlation_id,
        });
        let attempts = story.schedule.get(id(1)).map(|open| open.state.attempts());
        assert_eq!(attempts, Some(1));
    }

    #[test]
    fn nothing_is_kept_of_what_has_ended() {
        let mut story = Story::default();
        story.request(1, "dev-01");
        story.due(0);
        let answer = Ack::Ack { result: None };
        let (device_uid, ack) = ("dev-01".parse().expect("a uid"), answer);
        let state = &story.schedule.get(id(1)).expect("open").state;
        let events = state.decide(Input::Acknowledge { device_uid, ack, at: at(1) }).expect("accepted");
        for event in events {
            story.append(1, event);
        }
        story.schedule.done(id(1), Done::Again, at(1));
        assert_eq!(
            (story.schedule.len(), story.schedule.queues.len(), story.schedule.timers.len()),
            (0, 0, 0)
        );
    }
}
