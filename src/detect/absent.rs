//! `absent`: keys that were seen and then not for a while, by the watermark; and `silent`, whole
//! clusters that send nothing, by the clock.
//!
//! A key's events make streaks: in one, no two neighbours are as far apart as the time to miss.
//! When the watermark has passed the end of a streak by as much, its last event is a finding; an
//! event that comes late can prolong a streak, and then the finding is taken back.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use arrow::array::{AsArray, RecordBatch, TimestampMicrosecondArray};
use datafusion::common::{DataFusionError, Result};

use super::aged::gone_up_to;
use super::detection::Detection;
use super::evidence::Mark;
use super::finding::{Finding, bucket};
use super::noted::Noted;
use super::row::Row;
use super::rows::{Columns, Events, KeyCells};

/// What a key takes besides its bytes and its streaks, in a table that is at most 7/8 full.
const KEY_BYTES: usize = size_of::<(Box<[u8]>, Vec<Streak>)>() * 8 / 7 + 2 * ALLOCATION;
/// What a key takes besides its bytes while it is watched, as part of a node that is half full.
const WATCHED_BYTES: usize = 2 * size_of::<(i64, Box<[u8]>)>() + ALLOCATION;
/// What an allocation costs beside its bytes, about.
const ALLOCATION: usize = 16;

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
    /// Columns of its rows, once there was one.
    shown: OnceLock<Arc<[String]>>,
}

/// One cluster's keys.
#[derive(Debug)]
pub(crate) struct State {
    streaks: HashMap<Box<[u8]>, Vec<Streak>>,
    /// What keys and streaks take.
    bytes: usize,
    /// The last time of each streak that is not over.
    watched: BTreeSet<(i64, Box<[u8]>)>,
    noted: Noted,
    /// Streaks were given up that ended up to this time, or events were not judged: who seems
    /// missing before the time to miss has passed again may not be.
    lost_to: Option<i64>,
    /// Events that arrived up to now were not judged.
    missed: bool,
    /// When streaks that are over are next looked for.
    next_sweep: i64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            streaks: HashMap::new(),
            bytes: 0,
            watched: BTreeSet::new(),
            noted: Noted::default(),
            lost_to: None,
            missed: false,
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
    /// Its end is no longer waited for.
    is_over: bool,
}

impl Streak {
    /// Bytes beside its own, with those that watching its key takes.
    fn heap(&self, key: &[u8]) -> usize {
        let watched = if self.is_over { 0 } else { WATCHED_BYTES + key.len() };
        self.event.heap() + self.row.bytes() + watched
    }
}

fn weigh(key: &[u8], streaks: &Vec<Streak>) -> usize {
    let heap: usize = streaks.iter().map(|streak| streak.heap(key)).sum();
    KEY_BYTES + key.len() + streaks.capacity() * size_of::<Streak>() + heap
}

impl Absent {
    pub(crate) fn new(detection: Arc<Detection>, length: i64, clock: Clock) -> Self {
        let names = detection.key_names().into();
        Self { detection, names, length, clock, shown: OnceLock::new() }
    }

    pub(crate) fn detection(&self) -> &Arc<Detection> {
        &self.detection
    }

    /// Takes in rows: the query's columns, then the event's.
    pub(crate) fn take_in(&self, state: &mut State, rows: &RecordBatch) -> Result<()> {
        let events = Events::of(rows)?;
        let shown = Columns::shown(rows, &self.shown);
        let column = |name: &String| rows.column_by_name(name);
        let keys = KeyCells::of(self.names.iter().filter_map(column));
        let arrivals = match self.clock {
            Clock::Events => None,
            Clock::Arrival => Some(arrivals(rows)?),
        };
        let time = |row| arrivals.map_or_else(|| events.time(row), |arrivals| arrivals.value(row));
        let mut by_key: HashMap<Box<[u8]>, Vec<(i64, usize)>> = HashMap::new();
        let mut key = Vec::new();
        for row in 0..rows.num_rows() {
            keys.write(row, &mut key);
            match by_key.get_mut(key.as_slice()) {
                Some(times) => times.push((time(row), row)),
                None => drop(by_key.insert(key.as_slice().into(), vec![(time(row), row)])),
            }
        }
        for (key, mut times) in by_key {
            times.sort_unstable();
            // Of events that lie close together, only the first and the last matter.
            for run in times.chunk_by(|(a, _), (b, _)| *b < a.saturating_add(self.length)) {
                let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else {
                    continue;
                };
                // Many arrive at once.
                let newest = run.iter().rev().take_while(|(time, _)| time == last);
                let newest = newest.map(|(_, row)| (events.time(*row), *row));
                let latest = newest.clone().map(|(time, _)| time).max();
                let newest = newest.filter(|(time, _)| Some(*time) == latest);
                if let Some((event, row)) = newest.map(|(_, row)| (events.at(row), row)).max() {
                    let (first, last) = (*first, *last);
                    let run = Streak { first, last, event, row: Row::default(), is_over: false };
                    self.join(state, &key, run, || shown.named(row));
                }
            }
        }
        Ok(())
    }

    /// Takes in a streak of new events: with those of its key that it touches it is one. `row`
    /// makes the row of its last event.
    fn join(&self, state: &mut State, key: &[u8], mut joined: Streak, row: impl FnOnce() -> Row) {
        let State { streaks, bytes, watched, noted, .. } = state;
        let streaks = match streaks.get_mut(key) {
            Some(streaks) => {
                *bytes -= weigh(key, streaks);
                streaks
            }
            // Most keys stay with one.
            None => streaks.entry(key.into()).or_insert_with(|| Vec::with_capacity(1)),
        };
        let (first, last) = (joined.first, joined.last);
        let touches = |streak: &mut Streak| {
            streak.first.saturating_sub(self.length) < last
                && first < streak.last.saturating_add(self.length)
        };
        let mut is_last = true;
        for streak in streaks.extract_if(.., touches) {
            watched.remove(&(streak.last, key.into()));
            let due = streak.last.saturating_add(self.length);
            noted.take_back((bucket(&self.detection, due), key.into()), &streak.event);
            joined.first = joined.first.min(streak.first);
            if (streak.last, &streak.event) > (joined.last, &joined.event) {
                (joined.last, joined.event, joined.row) = (streak.last, streak.event, streak.row);
                is_last = false;
            }
        }
        if is_last {
            joined.row = row();
        }
        watched.insert((joined.last, key.into()));
        streaks.push(joined);
        *bytes += weigh(key, streaks);
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
        if std::mem::take(&mut state.missed) {
            state.lost_to = state.lost_to.max(Some(now));
        }
        while let Some((last, _)) = state.watched.first()
            && last.saturating_add(self.length) <= reached
            && let Some((last, key)) = state.watched.pop_first()
        {
            let due = last.saturating_add(self.length);
            let streaks = state.streaks.get_mut(&key).into_iter().flatten();
            for streak in streaks.filter(|streak| streak.last == last) {
                let place = (bucket(&self.detection, due), key.clone());
                state.noted.note(place, streak.event.clone(), streak.row.clone());
                if !std::mem::replace(&mut streak.is_over, true) {
                    state.bytes -= WATCHED_BYTES + key.len();
                }
            }
        }
        // Who was seen last after what is lost is missed as if nothing were.
        let lost_to = state.lost_to.map(|time| time.saturating_add(self.length));
        let capped = lost_to.map(|time| bucket(&self.detection, time));
        state.noted.revise(&self.detection, &self.names, cluster, |_| true, capped)
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
        let State { streaks, bytes, .. } = state;
        streaks.retain(|key, streaks| {
            *bytes -= weigh(key, streaks);
            streaks.retain(|streak| streak.last.saturating_add(length) >= told_from);
            let stays = !streaks.is_empty();
            *bytes += if stays { weigh(key, streaks) } else { 0 };
            stays
        });
    }

    /// Gives up the streaks that do not fit into `bytes_max`: first those that are over, then those
    /// that are watched, of each the ones that ended longest ago.
    pub(crate) fn cap(state: &mut State, bytes_max: usize) {
        state.noted.cap(bytes_max / 2);
        if state.bytes <= bytes_max / 2 {
            return;
        }
        let age = |streak: &Streak| (!streak.is_over, streak.last);
        let of_key = |(key, streaks): (&[u8], &Vec<Streak>)| {
            let part = weigh(key, streaks) / streaks.len().max(1);
            streaks.iter().map(|streak| (age(streak), part)).collect::<Vec<_>>()
        };
        let keys = state.streaks.iter().map(|(key, streaks)| (&**key, streaks));
        let ages = keys.flat_map(of_key).collect();
        let Some(newest) = gone_up_to(ages, bytes_max / 2) else { return };
        let State { streaks, bytes, watched, lost_to, .. } = state;
        streaks.retain(|key, streaks| {
            *bytes -= weigh(key, streaks);
            for gone in streaks.extract_if(.., |streak| age(streak) <= newest) {
                watched.remove(&(gone.last, key.clone()));
                *lost_to = (*lost_to).max(Some(gone.last));
            }
            let stays = !streaks.is_empty();
            *bytes += if stays { weigh(key, streaks) } else { 0 };
            stays
        });
    }

    /// Events up to this event time were not judged.
    pub(crate) fn misses(&self, state: &mut State, latest: i64) {
        match self.clock {
            Clock::Events => state.lost_to = state.lost_to.max(Some(latest)),
            Clock::Arrival => state.missed = true,
        }
    }
}

/// When each row arrived.
fn arrivals(rows: &RecordBatch) -> Result<&TimestampMicrosecondArray> {
    let column = rows.column_by_name("__ingest_time").and_then(AsArray::as_primitive_opt);
    column.ok_or_else(|| DataFusionError::Internal("rows without their arrival".to_owned()))
}

impl State {
    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.noted.bytes()
    }

    pub(crate) fn keys(&self) -> usize {
        self.streaks.len()
    }
}
