//! `absent`: keys that were seen and then not for a while, by the watermark; and `silent`, whole
//! clusters that send nothing, by the clock.
//!
//! A key's events make streaks: in one, no two neighbours are as far apart as the time to miss.
//! When the watermark has passed the end of a streak by as much, its last event is a finding; an
//! event that comes late can prolong a streak, and then the finding is taken back.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, TimestampMicrosecondArray};
use datafusion::common::{DataFusionError, Result};

use super::detection::Detection;
use super::evidence::Mark;
use super::finding::{Finding, bucket};
use super::noted::Noted;
use super::row::Row;
use super::rows::{Columns, Events, KeyCells};

/// A guess at what a key takes, bytes.
const KEY_BYTES: usize = 1_024;

/// By what clock a key is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The watermark: the same for the same events.
    Events,
    /// Arrival: when everything is silent, no event moves the watermark.
    Arrival,
}

/// A detection of what is missing.
#[derive(Debug)]
pub(crate) struct Absent {
    detection: Arc<Detection>,
    names: Arc<[String]>,
    length: i64,
    clock: Clock,
}

/// One cluster's keys.
#[derive(Debug)]
pub(crate) struct State {
    streaks: HashMap<Box<[u8]>, Vec<Streak>>,
    /// When each streak that is not over will be.
    due: BTreeSet<(i64, Box<[u8]>)>,
    noted: Noted,
    capped: bool,
    /// When streaks that are over are next looked for.
    next_sweep: i64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            streaks: HashMap::new(),
            due: BTreeSet::new(),
            noted: Noted::default(),
            capped: false,
            next_sweep: i64::MIN,
        }
    }
}

#[derive(Debug)]
struct Streak {
    first: i64,
    last: i64,
    /// The last event and its row.
    event: Mark,
    row: Row,
}

impl Absent {
    pub(crate) fn new(detection: Arc<Detection>, length: i64, clock: Clock) -> Self {
        let names = detection.key_names().into();
        Self { detection, names, length, clock }
    }

    pub(crate) fn detection(&self) -> &Arc<Detection> {
        &self.detection
    }

    /// Takes in rows: the query's columns, then the event's.
    pub(crate) fn take_in(&self, state: &mut State, rows: &RecordBatch) -> Result<()> {
        let events = Events::of(rows)?;
        let shown = Columns::of(rows, |name| !name.starts_with("__"));
        let column = |name: &String| rows.column_by_name(name);
        let keys = KeyCells::of(self.names.iter().filter_map(column));
        let arrivals = match self.clock {
            Clock::Events => None,
            Clock::Arrival => Some(arrivals(rows)?),
        };
        let mut key = Vec::new();
        for row in 0..rows.num_rows() {
            keys.write(row, &mut key);
            let event = events.at(row);
            let at = arrivals.map_or(event.event_time, |arrivals| arrivals.value(row));
            let streaks = state.streaks.entry(key.as_slice().into()).or_default();
            let touches = |streak: &mut Streak| {
                streak.first.saturating_sub(self.length) < at
                    && at < streak.last.saturating_add(self.length)
            };
            let mut joined = Streak { first: at, last: at, event, row: Row::default() };
            let mut is_last = true;
            for streak in streaks.extract_if(.., touches) {
                let due = streak.last.saturating_add(self.length);
                state.due.remove(&(due, key.as_slice().into()));
                let place = (bucket(&self.detection, due), key.as_slice().into());
                state.noted.take_back(place, &streak.event);
                joined.first = joined.first.min(streak.first);
                if (streak.last, &streak.event) > (joined.last, &joined.event) {
                    (joined.last, joined.event, joined.row) =
                        (streak.last, streak.event, streak.row);
                    is_last = false;
                }
            }
            if is_last {
                joined.row = shown.named(row);
            }
            let due = joined.last.saturating_add(self.length);
            state.due.insert((due, key.as_slice().into()));
            streaks.push(joined);
        }
        Ok(())
    }

    /// The findings that changed, as of the watermark or of `now`, arrival; at the end of the input
    /// there is no watermark, and `now` is the last event's time.
    pub(crate) fn evaluate(
        &self,
        state: &mut State,
        cluster: &str,
        watermark: Option<i64>,
        now: i64,
    ) -> Vec<Finding> {
        let reached = match self.clock {
            Clock::Events => watermark.unwrap_or(now),
            // What arrives no more because the input has ended says nothing.
            Clock::Arrival => watermark.map_or(i64::MIN, |_| now),
        };
        while let Some((due, _)) = state.due.first()
            && *due <= reached
            && let Some((due, key)) = state.due.pop_first()
        {
            let streaks = state.streaks.get(&key).into_iter().flatten();
            let over = streaks.filter(|streak| streak.last.saturating_add(self.length) == due);
            for streak in over {
                let place = (bucket(&self.detection, due), key.clone());
                state.noted.note(place, streak.event.clone(), streak.row.clone());
            }
        }
        state.noted.revise(&self.detection, &self.names, cluster, |_| true, state.capped)
    }

    /// Forgets buckets that end before `told_from`, and what ended in them.
    pub(crate) fn forget(&self, state: &mut State, told_from: i64) {
        state.noted.forget(bucket(&self.detection, told_from));
        if told_from < state.next_sweep {
            return;
        }
        // There may be many keys: once a bucket is enough.
        state.next_sweep = told_from.saturating_add(self.detection.dedup);
        let length = self.length;
        state.streaks.retain(|_, streaks| {
            streaks.retain(|streak| streak.last.saturating_add(length) >= told_from);
            !streaks.is_empty()
        });
    }

    /// Gives up the keys that were seen longest ago of those that do not fit into `bytes_max`.
    pub(crate) fn cap(state: &mut State, bytes_max: usize) {
        state.capped |= state.noted.cap(bytes_max / 2);
        let max = bytes_max / 2 / KEY_BYTES;
        if state.streaks.len() > max {
            state.capped = true;
            while state.streaks.len() > max / 8 * 7
                && let Some((_, key)) = state.due.pop_first()
            {
                state.streaks.remove(&key);
            }
        }
    }
}

/// When each row arrived.
fn arrivals(rows: &RecordBatch) -> Result<&TimestampMicrosecondArray> {
    let column = rows.column_by_name("__ingest_time").and_then(AsArray::as_primitive_opt);
    column.ok_or_else(|| DataFusionError::Internal("rows without their arrival".to_owned()))
}

impl State {
    /// Events were not judged.
    pub(crate) fn misses(&mut self) {
        self.capped = true;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.streaks.len() * KEY_BYTES + self.noted.bytes()
    }

    pub(crate) fn keys(&self) -> usize {
        self.streaks.len()
    }
}
