//! A query and what it answers about one window: at once, or on a thread of its own when it takes
//! long, so that nothing waits for it.

use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::compiled::Compiled;
use super::unwound::unwound;

/// How long the query may take over one window.
const WINDOW_MAX: Duration = Duration::from_secs(5);
/// How long of that others may wait.
const SOON: Duration = Duration::from_millis(100);

/// The plans of a windowed detection, and how its key is read from their results.
#[derive(Debug)]
pub(crate) struct Plans {
    /// The query over one window, its key columns appended as `__key_N`.
    pub(crate) query: Compiled,
    /// One row per event of a window: `__key_N`, then the event columns.
    pub(crate) evidence: Compiled,
    /// Names of the key columns, without the cluster.
    pub(crate) key: Arc<[String]>,
    /// Which key columns the evidence rows carry.
    pub(crate) evidence_key: Vec<usize>,
    /// A row that appeared stays while events come.
    pub(crate) monotone: bool,
}

/// What the query says of a window.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) found: Vec<RecordBatch>,
    /// The rows of all its events, if it found anything.
    pub(crate) evidence: Vec<RecordBatch>,
}

impl Plans {
    async fn run(&self, rows: Vec<RecordBatch>) -> Result<Answer> {
        let found = self.query.run(rows.clone()).await?;
        let is_empty = found.iter().all(|rows| rows.num_rows() == 0);
        let evidence = if is_empty { Vec::new() } else { self.evidence.run(rows).await? };
        Ok(Answer { found, evidence })
    }

    /// The answer about a window, however long that takes.
    ///
    /// # Errors
    /// When the query fails, or takes very long.
    pub(super) async fn answer(&self, rows: Vec<RecordBatch>) -> Result<Answer> {
        timeout(WINDOW_MAX, self.run(rows)).await.unwrap_or_else(|_| Err(too_long()))
    }

    /// The answer about a window if it comes soon.
    ///
    /// # Errors
    /// When the query fails.
    pub(super) async fn answer_soon(&self, rows: Vec<RecordBatch>) -> Option<Result<Answer>> {
        timeout(SOON, self.run(rows)).await.ok()
    }
}

fn too_long() -> DataFusionError {
    let limit = WINDOW_MAX.as_secs();
    DataFusionError::Execution(format!("it took longer than {limit} seconds over one window"))
}

/// The thread on which slow queries run, one after the other. It ends with this.
#[derive(Debug)]
pub(crate) struct Apart(Sender<Question>);

#[derive(Debug)]
struct Question {
    plans: Arc<Plans>,
    rows: Vec<RecordBatch>,
    answer: Sender<(Result<Answer>, Duration)>,
}

impl Apart {
    /// Starts it.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let (questions, asked) = channel::<Question>();
        let thread = thread::Builder::new().name("slow queries".to_owned());
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the engine, and panics are caught"
        )]
        thread.spawn(move || {
            for Question { plans, rows, answer } in asked {
                let begun = Instant::now();
                let said = unwound(|| runtime.block_on(plans.answer(rows)));
                // Who asked may be gone.
                drop(answer.send((said, begun.elapsed())));
            }
        })?;
        Ok(Self(questions))
    }
}

/// What a detection has asked apart: one window of one cluster at a time.
#[derive(Debug, Default)]
pub(crate) struct AskedApart(Mutex<Whose>);

#[derive(Debug, Default)]
struct Whose {
    pending: Option<Pending>,
    /// The last answer took so long that the next question is not tried at once.
    is_slow: bool,
}

#[derive(Debug)]
struct Pending {
    cluster: String,
    end: i64,
    answer: Receiver<(Result<Answer>, Duration)>,
}

/// What has come of a question that was asked apart.
pub(super) enum Heard {
    /// Nothing is asked.
    Nothing,
    /// The answer is not there, or not for this cluster.
    NotYet,
    /// About the window that ends then, after so long.
    Answer(i64, Result<Answer>, Duration),
}

impl AskedApart {
    /// Asks about a window of a cluster.
    pub(super) fn ask(
        &self,
        apart: &Apart,
        plans: &Arc<Plans>,
        (cluster, end): (&str, i64),
        rows: Vec<RecordBatch>,
    ) {
        let (answer, said) = channel();
        // Without the thread there is no answer, and that is heard.
        drop(apart.0.send(Question { plans: Arc::clone(plans), rows, answer }));
        let pending = Pending { cluster: cluster.to_owned(), end, answer: said };
        let mut whose = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (whose.pending, whose.is_slow) = (Some(pending), true);
    }

    /// Whether the query is not to be tried at once.
    pub(super) fn is_slow(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_slow
    }

    /// What there is for a cluster.
    pub(super) fn hear(&self, cluster: &str) -> Heard {
        let mut whose = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pending) = whose.pending.take_if(|pending| pending.cluster == cluster) else {
            return if whose.pending.is_some() { Heard::NotYet } else { Heard::Nothing };
        };
        let (answer, took) = match pending.answer.try_recv() {
            Ok(said) => said,
            Err(TryRecvError::Empty) => {
                whose.pending = Some(pending);
                return Heard::NotYet;
            }
            Err(TryRecvError::Disconnected) => (Err(gone()), Duration::ZERO),
        };
        whose.is_slow = took > SOON / 2;
        Heard::Answer(pending.end, answer, took)
    }
}

fn gone() -> DataFusionError {
    DataFusionError::Execution("the thread of slow queries has ended".to_owned())
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use datafusion::prelude::SessionContext;

    use super::super::compiled::Slot;
    use super::*;

    /// Plans of a query over the numbers of a window.
    async fn plans(query: &str) -> Arc<Plans> {
        let slot = Slot::new(numbers(0).schema());
        let context = SessionContext::new();
        context.register_table("numbers", slot.table().unwrap()).unwrap();
        let logical = context.state().create_logical_plan(query).await.unwrap();
        let query = Compiled::new(&context, &logical, &slot).await.unwrap();
        Arc::new(Plans {
            evidence: query.clone(),
            query,
            key: Arc::from([]),
            evidence_key: Vec::new(),
            monotone: false,
        })
    }

    fn numbers(to: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..to));
        RecordBatch::try_from_iter([("n", numbers)]).unwrap()
    }

    #[tokio::test]
    async fn an_answer_from_apart_is_for_who_asked() {
        let plans = plans("SELECT sum(n) AS n FROM numbers").await;
        let (apart, asked) = (Apart::start().unwrap(), AskedApart::default());
        assert!(matches!(asked.hear("east"), Heard::Nothing));
        asked.ask(&apart, &plans, ("east", 7), vec![numbers(10)]);
        assert!(asked.is_slow());
        let deadline = Instant::now() + Duration::from_mins(1);
        let (end, answer) = loop {
            assert!(matches!(asked.hear("west"), Heard::NotYet), "it is not for the other");
            if let Heard::Answer(end, answer, _) = asked.hear("east") {
                break (end, answer.unwrap());
            }
            assert!(Instant::now() < deadline);
            thread::yield_now();
        };
        assert_eq!(end, 7);
        assert_eq!(answer.found[0].num_rows(), 1);
        assert!(matches!(asked.hear("east"), Heard::Nothing));
    }

    #[tokio::test]
    async fn what_does_not_come_soon_is_not_waited_for() {
        let join = "SELECT count(*) AS n FROM numbers a, numbers b, numbers c, numbers d \
                    WHERE a.n + b.n + c.n + d.n = 7";
        let plans = plans(join).await;
        assert!(plans.answer_soon(vec![numbers(3_000)]).await.is_none());
        let few = plans.answer_soon(vec![numbers(2)]).await;
        assert_eq!(few.unwrap().unwrap().found[0].num_rows(), 1);
    }
}
