//! `first_seen`: events whose key no event of the lookback before them had.
//!
//! A key's events make streaks: in one, no two neighbours are further apart than the lookback. Its
//! first event is new, and all that is kept of the others is when the last was. An event that
//! comes late can begin a streak earlier or join two: then what was new before is taken back. Where
//! that is about buckets that are forgotten, history is to be asked.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use datafusion::common::Result;

use super::aged::gone_up_to;
use super::detection::{Detection, Novelty};
use super::evidence::Mark;
use super::finding::{Finding, bucket};
use super::noted::{Noted, Place};
use super::rows::{Columns, Events, KeyCells};

/// What a key takes besides its bytes and its streaks, in a table that is at most 7/8 full.
const KEY_BYTES: usize = size_of::<(Box<[u8]>, Vec<Streak>)>() * 8 / 7 + 2 * ALLOCATION;
/// What an allocation costs beside its bytes, about.
const ALLOCATION: usize = 16;

/// A detection of what is new.
#[derive(Debug)]
pub(crate) struct FirstSeen {
    detection: Arc<Detection>,
    novelty: Novelty,
    /// Columns of the finding's key, without the cluster.
    names: Arc<[String]>,
    /// Columns of its rows, once there was one.
    shown: OnceLock<Arc<[String]>>,
}

/// One cluster's keys.
#[derive(Debug)]
pub(crate) struct State {
    streaks: HashMap<Box<[u8]>, Vec<Streak>>,
    /// What keys and streaks take.
    bytes: usize,
    noted: Noted,
    /// The earliest event that is known of.
    since: i64,
    /// Keys were given up that were seen up to this time, or events were not judged: what seems new
    /// within a lookback of it may not be.
    lost_to: Option<i64>,
    /// When streaks that are over are next looked for.
    next_sweep: i64,
    /// From when to when, of event time, it must be asked again what is new.
    asks: Vec<(i64, i64)>,
}

/// An event of the past of which only the time is known. It comes behind those that are known and
/// have its time: it is one of them, read twice.
fn past(time: i64) -> Mark {
    Mark::new(time, "", None)
}

#[derive(Debug)]
struct Streak {
    first: Mark,
    last: i64,
    /// The key of its finding; `None` when there is none to be taken back.
    key: Option<Box<[u8]>>,
}

impl Streak {
    /// Bytes beside its own.
    fn heap(&self) -> usize {
        self.first.heap() + self.key.as_ref().map_or(0, |key| key.len() + ALLOCATION)
    }
}

fn weigh(streaks: &Vec<Streak>) -> usize {
    streaks.capacity() * size_of::<Streak>() + streaks.iter().map(Streak::heap).sum::<usize>()
}

/// Most keys stay with one.
fn one_streak() -> Vec<Streak> {
    Vec::with_capacity(1)
}

impl FirstSeen {
    pub(crate) fn new(detection: Arc<Detection>, novelty: Novelty) -> Self {
        let names = detection.key_names().into();
        Self { detection, novelty, names, shown: OnceLock::new() }
    }

    pub(crate) fn detection(&self) -> &Arc<Detection> {
        &self.detection
    }

    pub(crate) fn novelty(&self) -> &Novelty {
        &self.novelty
    }

    pub(crate) fn state() -> State {
        State {
            streaks: HashMap::new(),
            bytes: 0,
            noted: Noted::default(),
            since: i64::MAX,
            lost_to: None,
            next_sweep: i64::MIN,
            asks: Vec::new(),
        }
    }

    /// Takes in rows: the query's columns, then the event's.
    pub(crate) fn take_in(&self, state: &mut State, rows: &RecordBatch) -> Result<()> {
        let events = Events::of(rows)?;
        let shown = Columns::shown(rows, &self.shown);
        let column = |name: &String| rows.column_by_name(name);
        let novel = KeyCells::of(self.novelty.key.iter().filter_map(column));
        let keys = KeyCells::of(self.names.iter().filter_map(column));
        let (mut key, mut finding_key) = (Vec::new(), Vec::new());
        for row in 0..rows.num_rows() {
            novel.write(row, &mut key);
            let time = events.time(row);
            let streaks = if let Some(streaks) = state.streaks.get_mut(key.as_slice()) {
                streaks
            } else {
                let streaks = one_streak();
                state.bytes += KEY_BYTES + key.len() + weigh(&streaks);
                state.streaks.entry(key.as_slice().into()).or_insert(streaks)
            };
            // Nearly all events go on with the one streak of their key, and are not new.
            if let [streak] = streaks.as_mut_slice()
                && streak.first.event_time < time
                && time <= streak.last.saturating_add(self.novelty.lookback)
            {
                if streak.last <= time {
                    streak.last = time;
                    self.ask_again(&state.noted, &mut state.asks, time);
                }
                continue;
            }
            let event = events.at(row);
            let streak = Streak { first: event.clone(), last: time, key: None };
            let (known, before) = (streaks.len(), weigh(streaks));
            let mut joined = self.join(streaks, &mut state.noted, streak);
            // Within a streak it changes nothing.
            let is_within =
                joined.first != event && joined.last != time && streaks.len() + 1 == known;
            if !is_within {
                self.ask_again(&state.noted, &mut state.asks, time);
            }
            if joined.first == event {
                keys.write(row, &mut finding_key);
                let place: Place = (bucket(&self.detection, time), finding_key.as_slice().into());
                joined.key = Some(place.1.clone());
                state.noted.note(place, event, shown.named(row));
            }
            streaks.push(joined);
            state.bytes = state.bytes + weigh(streaks) - before;
        }
        Ok(())
    }

    /// Of an event that is the first or the last of its streak, or joins two: what was forgotten
    /// may have been before it, and what it makes known may have been told of as new, in a streak
    /// that is forgotten.
    fn ask_again(&self, noted: &Noted, asks: &mut Vec<(i64, i64)>, time: i64) {
        if noted.is_forgotten(bucket(&self.detection, time)) {
            asks.push((time, time.saturating_add(self.novelty.lookback)));
        }
    }

    /// A streak with all those of its key that it touches: their first event stays, what else was
    /// new is taken back.
    fn join(&self, streaks: &mut Vec<Streak>, noted: &mut Noted, mut joined: Streak) -> Streak {
        let lookback = self.novelty.lookback;
        let (first, last) = (joined.first.event_time, joined.last);
        let touches = |streak: &mut Streak| {
            streak.first.event_time.saturating_sub(lookback) <= last
                && first <= streak.last.saturating_add(lookback)
        };
        let mut before: Vec<Streak> = streaks.extract_if(.., touches).collect();
        before.sort_by(|a, b| a.first.cmp(&b.first));
        for streak in before {
            joined.last = joined.last.max(streak.last);
            if streak.first < joined.first {
                (joined.first, joined.key) = (streak.first, streak.key);
            } else if let Some(key) = streak.key {
                let place = (bucket(&self.detection, streak.first.event_time), key);
                noted.take_back(place, &streak.first);
            }
        }
        joined
    }

    /// The past reaches back to this event time.
    pub(crate) fn reaches(&self, state: &mut State, time: i64) {
        if time < state.since {
            // What was learned from is told of.
            let learn = self.novelty.learn;
            let learned = (time.saturating_add(learn), state.since.saturating_add(learn));
            if state.since < i64::MAX
                && state.noted.is_forgotten(bucket(&self.detection, learned.0))
            {
                state.asks.push(learned);
            }
            state.since = time;
            state.noted.touch_all();
        }
    }

    /// A key was seen in the past from `first` to `last`, with no gap of a lookback in between:
    /// nothing that came since is its first event.
    pub(crate) fn remember(&self, state: &mut State, key: Box<[u8]>, first: i64, last: i64) {
        let State { streaks, noted, bytes, .. } = state;
        let length = key.len();
        let streaks = streaks.entry(key).or_insert_with(|| {
            let streaks = one_streak();
            *bytes += KEY_BYTES + length + weigh(&streaks);
            streaks
        });
        let before = weigh(streaks);
        let joined = self.join(streaks, noted, Streak { first: past(first), last, key: None });
        streaks.push(joined);
        *bytes = *bytes + weigh(streaks) - before;
    }

    /// The findings that changed. Silent until what is known covers the time to learn.
    pub(crate) fn evaluate(&self, state: &mut State, cluster: &str) -> Vec<Finding> {
        let learned = state.since.saturating_add(self.novelty.learn);
        let counts = |event: &Mark| event.event_time >= learned;
        // Later, no event of the lookback is among those that are lost.
        let lost_to = state.lost_to.map(|time| time.saturating_add(self.novelty.lookback));
        let capped = lost_to.map(|time| bucket(&self.detection, time));
        state.noted.revise(&self.detection, &self.names, cluster, counts, capped)
    }

    /// How much of the time to learn is covered at an event time, from 0 to 1.
    pub(crate) fn learned(&self, state: &State, at: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = at.saturating_sub(state.since) as f64 / self.novelty.learn.max(1) as f64;
        share.clamp(0.0, 1.0)
    }

    /// Forgets buckets that end before `told_from`, and streaks that no event can join.
    pub(crate) fn forget(&self, state: &mut State, told_from: i64) {
        let first = bucket(&self.detection, told_from);
        state.noted.forget(first);
        if told_from < state.next_sweep {
            return;
        }
        // There may be many keys: now and then is enough.
        state.next_sweep = told_from.saturating_add(self.detection.dedup.max(3_600_000_000));
        let lookback = self.novelty.lookback;
        let State { streaks, bytes, .. } = state;
        streaks.retain(|key, streaks| {
            let before = weigh(streaks);
            streaks.retain(|streak| streak.last.saturating_add(lookback) >= told_from);
            let (stays, now) = (!streaks.is_empty(), weigh(streaks));
            let gone = before - now + if stays { 0 } else { KEY_BYTES + key.len() + now };
            *bytes -= gone;
            stays
        });
    }

    /// Gives up the keys that were seen longest ago of those that do not fit into `bytes_max`.
    pub(crate) fn cap(state: &mut State, bytes_max: usize) {
        state.noted.cap(bytes_max / 2);
        if state.bytes <= bytes_max / 2 {
            return;
        }
        let last = |streaks: &Vec<Streak>| streaks.iter().map(|of| of.last).max();
        let size = |key: &[u8], streaks: &Vec<Streak>| KEY_BYTES + key.len() + weigh(streaks);
        let ages = state.streaks.iter().map(|(key, of)| (last(of), size(key, of))).collect();
        let Some(newest) = gone_up_to(ages, bytes_max / 2) else { return };
        let State { streaks, bytes, .. } = state;
        streaks.retain(|key, streaks| {
            let stays = last(streaks) > newest;
            *bytes -= if stays { 0 } else { size(key, streaks) };
            stays
        });
        state.lost_to = state.lost_to.max(newest);
    }
}

impl State {
    /// The earliest event that is known of.
    pub(crate) fn began(&self) -> Option<i64> {
        Some(self.since).filter(|since| *since < i64::MAX)
    }

    /// From when to when, microseconds, it is to be asked of history what was new.
    pub(crate) fn asks(&mut self) -> Vec<(i64, i64)> {
        std::mem::take(&mut self.asks)
    }

    /// Events up to this time were not judged.
    pub(crate) fn misses(&mut self, latest: i64) {
        self.lost_to = self.lost_to.max(Some(latest));
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.noted.bytes()
    }

    pub(crate) fn keys(&self) -> usize {
        self.streaks.len()
    }
}
