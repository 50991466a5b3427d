//! The ways a detection runs, as one: rows in, findings out.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use tokio::runtime::Runtime;

use super::absent::{self, Absent};
use super::chain::{Feed, Told};
use super::cluster::Now;
use super::detection::Detection;
use super::finding::Finding;
use super::first_seen::{self, FirstSeen};
use super::incremental::windowed::{self, Windowed};
use super::per_event::{self, PerEvent};
use super::requery::{self, Ask, Requery};

/// How a detection runs.
#[derive(Debug)]
pub(crate) enum Execution {
    /// Each event by itself.
    PerEvent(PerEvent),
    /// Groups of windows, added up as events come.
    Windowed(Windowed),
    /// The query re-run over the buffered windows that changed.
    Requery(Requery),
    /// The same over findings.
    Chain(Requery),
    /// Events that are new.
    FirstSeen(FirstSeen),
    /// Events that are missing.
    Absent(Absent),
}

/// One cluster's state of a detection.
#[derive(Debug)]
pub(crate) enum State {
    PerEvent(per_event::State),
    Windowed(Box<windowed::State>),
    Requery(requery::State),
    FirstSeen(first_seen::State),
    Absent(absent::State),
}

impl Execution {
    pub(crate) fn detection(&self) -> &Arc<Detection> {
        match self {
            Self::PerEvent(of) => of.detection(),
            Self::Windowed(of) => of.detection(),
            Self::Requery(of) | Self::Chain(of) => of.detection(),
            Self::FirstSeen(of) => of.detection(),
            Self::Absent(of) => of.detection(),
        }
    }

    /// In a word, for people.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::PerEvent(_) => "per event",
            Self::Windowed(_) => "incremental windows",
            Self::Requery(_) => "re-run windows",
            Self::Chain(_) => "re-run windows of findings",
            Self::FirstSeen(_) => "first seen",
            Self::Absent(_) => "absent",
        }
    }

    /// The state of a cluster that nothing has come of yet.
    pub(crate) fn state(&self) -> State {
        match self {
            Self::PerEvent(_) => State::PerEvent(per_event::State::default()),
            Self::Windowed(of) => State::Windowed(Box::new(of.state())),
            Self::Requery(of) | Self::Chain(of) => State::Requery(of.state()),
            Self::FirstSeen(_) => State::FirstSeen(FirstSeen::state()),
            Self::Absent(_) => State::Absent(absent::State::default()),
        }
    }

    /// Takes in the intake's rows; gives the findings that changed at once.
    pub(crate) fn take_in(
        &self,
        state: &mut State,
        cluster: &str,
        rows: &RecordBatch,
    ) -> Result<Vec<Finding>> {
        match (self, state) {
            (Self::PerEvent(of), State::PerEvent(state)) => of.on_hits(state, cluster, rows),
            (Self::Windowed(of), State::Windowed(state)) => {
                of.take_in(state, rows).map(|()| Vec::new())
            }
            (Self::Requery(of), State::Requery(state)) => {
                of.take_in(state, rows).map(|()| Vec::new())
            }
            (Self::FirstSeen(of), State::FirstSeen(state)) => {
                of.take_in(state, rows).map(|()| Vec::new())
            }
            (Self::Absent(of), State::Absent(state)) => {
                of.take_in(state, rows).map(|()| Vec::new())
            }
            _ => Err(mixed_up()),
        }
    }

    /// The past of the cluster reaches back to this event time.
    pub(crate) fn reaches(&self, state: &mut State, time: i64) {
        if let (Self::FirstSeen(of), State::FirstSeen(state)) = (self, state) {
            of.reaches(state, time);
        }
    }

    /// Takes in what other detections found.
    pub(crate) fn take_findings(&self, state: &mut State, told: &Told) -> Result<()> {
        match (self, state) {
            (Self::Chain(of), State::Requery(state)) => of.take_findings(state, told),
            _ => Ok(()),
        }
    }

    /// Asks the windows that changed and are to be asked; gives the findings that changed, and
    /// what failed beside them.
    pub(crate) fn evaluate(
        &self,
        runtime: &Runtime,
        state: &mut State,
        now: &Now<'_>,
        faults: &mut Vec<DataFusionError>,
    ) -> Result<Vec<Finding>> {
        let (cluster, ask) = (now.cluster, now.ask);
        match (self, state) {
            (Self::PerEvent(_), _) => Ok(Vec::new()),
            (Self::Windowed(of), State::Windowed(state)) => of.evaluate(state, cluster, ask),
            (Self::FirstSeen(of), State::FirstSeen(state)) => Ok(of.evaluate(state, cluster)),
            (Self::Absent(of), State::Absent(state)) => {
                let watermark = match ask {
                    Ask::Ripe { watermark } | Ask::Closed { watermark } => Some(watermark),
                    Ask::All => None,
                };
                Ok(of.evaluate(state, cluster, watermark, now.time))
            }
            (Self::Requery(of) | Self::Chain(of), State::Requery(state)) => {
                Ok(runtime.block_on(of.evaluate(state, now, faults)))
            }
            _ => Err(mixed_up()),
        }
    }

    /// What it reads of findings, if it reads what others find.
    pub(crate) fn feed(&self) -> Option<&Feed> {
        match self {
            Self::Chain(of) => of.feed(),
            _ => None,
        }
    }

    /// False of what says all that it finds as events come.
    pub(crate) fn is_asked(&self) -> bool {
        !matches!(self, Self::PerEvent(_))
    }

    /// True of what runs a whole query for each window that changed.
    pub(crate) fn is_run_again(&self) -> bool {
        matches!(self, Self::Requery(_) | Self::Chain(_))
    }

    /// Events up to this time were not judged; findings that miss them say so.
    pub(crate) fn misses(&self, state: &mut State, latest: i64) {
        match (self, state) {
            (Self::PerEvent(of), State::PerEvent(state)) => of.misses(state, latest),
            (Self::Windowed(_), State::Windowed(state)) => state.misses(latest),
            (Self::Requery(_) | Self::Chain(_), State::Requery(state)) => state.misses(latest),
            (Self::FirstSeen(_), State::FirstSeen(state)) => state.misses(latest),
            (Self::Absent(of), State::Absent(state)) => of.misses(state, latest),
            _ => {}
        }
    }

    /// Forgets what ends before `told_from`, an edge of the detection's buckets.
    pub(crate) fn forget(&self, state: &mut State, told_from: i64) {
        match (self, state) {
            (Self::PerEvent(of), State::PerEvent(state)) => of.forget(state, told_from),
            (Self::Windowed(of), State::Windowed(state)) => of.forget(state, told_from),
            (Self::Requery(of) | Self::Chain(of), State::Requery(state)) => {
                of.forget(state, told_from);
            }
            (Self::FirstSeen(of), State::FirstSeen(state)) => of.forget(state, told_from),
            (Self::Absent(of), State::Absent(state)) => of.forget(state, told_from),
            _ => {}
        }
    }

    /// Gives up what does not fit into `bytes_max`; findings that miss it say so.
    pub(crate) fn cap(state: &mut State, bytes_max: usize) {
        match state {
            State::PerEvent(state) => PerEvent::cap(state, bytes_max),
            State::Windowed(state) => Windowed::cap(state, bytes_max),
            State::Requery(state) => Requery::cap(state, bytes_max),
            State::FirstSeen(state) => FirstSeen::cap(state, bytes_max),
            State::Absent(state) => Absent::cap(state, bytes_max),
        }
    }
}

impl State {
    /// The end of the first window that is still to be asked.
    pub(crate) fn owed(&self) -> Option<i64> {
        match self {
            Self::Requery(state) => state.owed(),
            _ => None,
        }
    }

    /// What was spent on another thread since that was last asked.
    pub(crate) fn spent(&mut self) -> Duration {
        match self {
            Self::Requery(state) => state.spent(),
            _ => Duration::ZERO,
        }
    }

    /// The first event of the cluster, if that matters to it.
    pub(crate) fn began(&self) -> Option<i64> {
        match self {
            Self::FirstSeen(state) => state.began(),
            _ => None,
        }
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::PerEvent(state) => PerEvent::bytes(state),
            Self::Windowed(state) => state.bytes(),
            Self::Requery(state) => Requery::bytes(state),
            Self::FirstSeen(state) => state.bytes(),
            Self::Absent(state) => state.bytes(),
        }
    }

    /// Keys, or findings that are open.
    pub(crate) fn keys(&self) -> usize {
        match self {
            Self::PerEvent(state) => state.keys(),
            Self::Windowed(state) => state.keys(),
            Self::Requery(state) => state.keys(),
            Self::FirstSeen(state) => state.keys(),
            Self::Absent(state) => state.keys(),
        }
    }
}

fn mixed_up() -> DataFusionError {
    DataFusionError::Internal("a detection's state is of another".to_owned())
}

#[cfg(test)]
mod tests;
