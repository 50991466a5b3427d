//! What history is still to be asked about: events came for buckets that detections had forgotten.
//!
//! It is stored with each step ([`crate::findings::step::Step::owed`]) until it is answered, so
//! that a start goes on with what an earlier run could not ask. Answers are made a little at a
//! time, so that what comes meanwhile does not wait, and take no more than a part of the loop's
//! time.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::detect::again::{Again, owe, parted};
use crate::detect::catalog::Catalog;
use crate::detect::engine::{Beyond, Engine, EngineSettings};
use crate::detect::finding::Finding;
use crate::history::error::HistoryError;
use crate::history::recall::{Part, Recall, Recalled};

/// Answers that come sooner need no rest.
const SHORT: Duration = Duration::from_millis(100);
/// An answer is followed by a rest that is so many times as long.
const REST: u32 = 4;
/// When history is asked again that could not be.
const RETRY: Duration = Duration::from_secs(5);

/// What is to be asked, and when.
#[derive(Debug, Default)]
pub struct Owed {
    spans: BTreeSet<Beyond>,
    asking: Option<Asking>,
    until: Option<Instant>,
}

/// A question under way.
#[derive(Debug)]
struct Asking {
    asked: Vec<Beyond>,
    again: Again,
    readings: VecDeque<Reading>,
    begun: Instant,
}

#[derive(Debug)]
enum Reading {
    Late(Recalled),
    Earlier(Recalled),
}

/// Whom and by what detections.
pub(super) struct Asked<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) settings: EngineSettings,
    /// It knows when clusters began.
    pub(super) engine: &'a Engine,
    pub(super) recall: &'a Recall,
}

/// What came of asking.
pub(super) enum Answer {
    /// Nothing yet.
    NotYet,
    /// What forgotten buckets say now.
    Findings(Vec<Finding>),
    /// History could not be read: it is asked again.
    Unread(String, HistoryError),
    /// A detection failed: it would again.
    Failed(Vec<Beyond>, String),
}

impl Owed {
    /// These are to be asked about too.
    pub(super) fn add(&mut self, spans: impl IntoIterator<Item = Beyond>) {
        spans.into_iter().for_each(|beyond| owe(&mut self.spans, beyond));
    }

    /// All that is owed.
    pub(super) fn spans(&self) -> Vec<Beyond> {
        let mut all = self.spans.clone();
        let asked = self.asking.iter().flat_map(|asking| &asking.asked);
        asked.for_each(|beyond| owe(&mut all, beyond.clone()));
        all.into_iter().collect()
    }

    /// Whether there is something to be done now.
    pub(super) fn is_busy(&self) -> bool {
        self.asking.is_some() || self.is_due()
    }

    fn is_due(&self) -> bool {
        !self.spans.is_empty() && self.until.is_none_or(|until| until <= Instant::now())
    }

    /// Asks on for about so long.
    pub(super) fn ask(&mut self, asked: &Asked<'_>, limit: Duration) -> Answer {
        if self.asking.is_none()
            && let Err(answer) = self.begin(asked)
        {
            return answer;
        }
        let Some(mut asking) = self.asking.take() else { return Answer::NotYet };
        match asking.go_on(limit) {
            Ok(false) => {
                self.asking = Some(asking);
                Answer::NotYet
            }
            Ok(true) => {
                let answer = asking.again.findings();
                let took = asking.begun.elapsed();
                self.rest(if took > SHORT { took.saturating_mul(REST) } else { Duration::ZERO });
                match answer {
                    Ok(findings) => Answer::Findings(findings),
                    Err(why) => Answer::Failed(asking.asked, why),
                }
            }
            Err(error) => self.unread(asking.asked, error),
        }
    }

    /// Begins with the next question, if there is one.
    fn begin(&mut self, of: &Asked<'_>) -> Result<(), Answer> {
        let Asked { catalog, settings, engine, recall } = of;
        if !self.is_due() {
            return Ok(());
        }
        let mut parts = parted(std::mem::take(&mut self.spans), catalog).into_iter();
        let Some(asked) = parts.next() else { return Ok(()) };
        self.add(parts.flatten());
        let begun = Instant::now();
        let mut again = match Again::new(catalog, *settings, &asked) {
            Ok(Some(again)) => again,
            // The detection is gone.
            Ok(None) => return Ok(()),
            Err(errors) => return Err(Answer::Failed(asked, format!("{errors:?}"))),
        };
        let cluster = asked.first().map_or("", |beyond| beyond.cluster.as_str());
        if let Some(began) = engine.began(cluster) {
            again.reaches(cluster, began);
        }
        match readings(&again, cluster, recall) {
            Ok(readings) => self.asking = Some(Asking { asked, again, readings, begun }),
            Err(error) => return Err(self.unread(asked, error)),
        }
        Ok(())
    }

    fn unread(&mut self, asked: Vec<Beyond>, error: HistoryError) -> Answer {
        let cluster = asked.first().map_or_else(String::new, |beyond| beyond.cluster.clone());
        self.add(asked);
        self.rest(RETRY);
        Answer::Unread(cluster, error)
    }

    fn rest(&mut self, length: Duration) {
        self.until = Instant::now().checked_add(length);
    }
}

/// What is to be read: all of it as it is now, the late rows first.
fn readings(
    again: &Again,
    cluster: &str,
    recall: &Recall,
) -> Result<VecDeque<Reading>, HistoryError> {
    let (span, arrived, columns) = (again.span(), again.arrived(), again.columns());
    let late = recall.between(cluster, span, (arrived, i64::MAX), &columns)?;
    let earlier = recall.between(cluster, span, (i64::MIN, arrived), &columns)?;
    Ok(VecDeque::from([Reading::Late(late), Reading::Earlier(earlier)]))
}

impl Asking {
    /// Reads on; true when all is read.
    fn go_on(&mut self, limit: Duration) -> Result<bool, HistoryError> {
        let Self { again, readings, begun: _, asked: _ } = self;
        let begun = Instant::now();
        while let Some(reading) = readings.front_mut() {
            if begun.elapsed() >= limit {
                return Ok(false);
            }
            let (Reading::Late(of) | Reading::Earlier(of)) = reading;
            let rows = match of.within(limit)? {
                Part::Rows(rows) => rows,
                Part::NotYet => continue,
                Part::End => {
                    readings.pop_front();
                    continue;
                }
            };
            match reading {
                Reading::Late(_) => again.take_late(&rows),
                Reading::Earlier(_) => again.take_in(&rows),
            }
        }
        Ok(true)
    }
}
