//! Coalesced look-ups: what every request asks the database, such as who is calling, asked once for many requests.
//!
//! Questions that come while a statement is under way share the next one. Nothing is remembered: each answer was read
//! after its request had come, so a revocation holds from the next request on, on every node.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use fleetlog_event_log::{EventLog, database};
use futures::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use sqlx::PgConnection;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long the database may take over an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers some questions in one statement that only reads: it may be asked twice. What has no answer is left out.
pub(super) type Answer<Q, A> =
    for<'c> fn(&'c mut PgConnection, Vec<Q>) -> BoxFuture<'c, database::Result<HashMap<Q, A>>>;

/// Somebody who waits for an answer.
type Asker<A> = oneshot::Sender<database::Result<Option<A>>>;
/// Those who wait for each.
type Askers<Q, A> = HashMap<Q, Vec<Asker<A>>>;

/// Look-ups of one kind. Cheap to clone; clones ask together, over one connection of their own: a pool would check
/// before and after each statement that the connection is alive.
pub(super) struct Coalesced<Q, A>(Arc<Inner<Q, A>>);

struct Inner<Q, A> {
    log: EventLog,
    answer: Answer<Q, A>,
    waiting: Mutex<Waiting<Q, A>>,
}

struct Waiting<Q, A> {
    askers: Askers<Q, A>,
    /// Whether somebody is asking the database, and will ask these next.
    is_under_way: bool,
    /// Kept from one statement to the next.
    connection: Option<PgConnection>,
}

impl<Q, A> Clone for Coalesced<Q, A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Q: Eq + Hash + Clone + Send + 'static, A: Clone + Send + 'static> Coalesced<Q, A> {
    pub(super) fn new(log: EventLog, answer: Answer<Q, A>) -> Self {
        let waiting = Waiting { askers: HashMap::new(), is_under_way: false, connection: None };
        Self(Arc::new(Inner { log, answer, waiting: Mutex::new(waiting) }))
    }

    /// Asks. `None` if the database knows no answer.
    pub(super) async fn ask(&self, question: Q) -> database::Result<Option<A>> {
        let (asker, answered) = oneshot::channel();
        if self.wait(question, asker) {
            // In a task of its own: others wait for it too, whether or not this request is given up.
            tokio::spawn(self.clone().work());
        }
        answered.await.unwrap_or_else(|_| Err(given_up()))
    }

    /// Says whether nobody is asking yet.
    fn wait(&self, question: Q, asker: Asker<A>) -> bool {
        let mut waiting = self.waiting();
        waiting.askers.entry(question).or_default().push(asker);
        !std::mem::replace(&mut waiting.is_under_way, true)
    }

    /// Asks what waits, until nothing does.
    async fn work(self) {
        let mut turn = Turn { lookups: self, is_over: false };
        while let Some((askers, connection)) = turn.next() {
            let asked = turn.lookups.asked(askers.keys().cloned().collect(), connection).await;
            let (answers, kept) = match asked {
                Ok((answers, connection)) => (Ok(answers), Some(connection)),
                Err(error) => (Err(error), None),
            };
            turn.lookups.waiting().connection = kept;
            tell(askers, answers);
        }
    }

    /// A connection that was kept may be broken by now: then once more, over a new one.
    async fn asked(
        &self,
        questions: Vec<Q>,
        kept: Option<PgConnection>,
    ) -> database::Result<(HashMap<Q, A>, PgConnection)> {
        if let Some(mut connection) = kept {
            match self.asked_over(&mut connection, questions.clone()).await {
                Err(database::Error::Unavailable(_)) => {}
                asked => return Ok((asked?, connection)),
            }
        }
        let connecting = timeout(PATIENCE, self.0.log.own_connection()).await;
        let mut connection = connecting.map_err(|_| given_up())??;
        let answers = self.asked_over(&mut connection, questions).await?;
        Ok((answers, connection))
    }

    async fn asked_over(
        &self,
        connection: &mut PgConnection,
        questions: Vec<Q>,
    ) -> database::Result<HashMap<Q, A>> {
        timeout(PATIENCE, (self.0.answer)(connection, questions)).await.unwrap_or_else(|_| Err(given_up()))
    }
}

impl<Q, A> Coalesced<Q, A> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<Q, A>> {
        self.0.waiting.lock()
    }
}

/// The turn to ask the database. The next look-up takes it over when it is dropped, also after a panic.
struct Turn<Q, A> {
    lookups: Coalesced<Q, A>,
    is_over: bool,
}

impl<Q, A> Turn<Q, A> {
    /// Those that wait, and the connection.
    fn next(&mut self) -> Option<(Askers<Q, A>, Option<PgConnection>)> {
        let mut waiting = self.lookups.waiting();
        if waiting.askers.is_empty() {
            waiting.is_under_way = false;
            self.is_over = true;
            return None;
        }
        Some((std::mem::take(&mut waiting.askers), waiting.connection.take()))
    }
}

impl<Q, A> Drop for Turn<Q, A> {
    fn drop(&mut self) {
        // After a panic: the requests that wait get an error.
        if !self.is_over {
            let mut waiting = self.lookups.waiting();
            waiting.is_under_way = false;
            waiting.askers.clear();
        }
    }
}

/// Answers every request. `database::Error` is not `Clone`: the first request gets it, the others get one that says
/// whether to try again.
fn tell<Q: Eq + Hash, A: Clone>(askers: Askers<Q, A>, answers: database::Result<HashMap<Q, A>>) {
    // A request that was given up receives nothing: the error is of no use.
    match answers {
        Ok(answers) => {
            for (question, askers) in askers {
                let answer = answers.get(&question);
                for asker in askers {
                    let _ = asker.send(Ok(answer.cloned()));
                }
            }
        }
        Err(error) => {
            let is_transient = matches!(error, database::Error::Unavailable(_));
            let mut error = Some(error);
            for asker in askers.into_values().flatten() {
                let shared = || if is_transient { given_up() } else { sqlx::Error::WorkerCrashed.into() };
                let _ = asker.send(Err(error.take().unwrap_or_else(shared)));
            }
        }
    }
}

fn given_up() -> database::Error {
    sqlx::Error::PoolTimedOut.into()
}
