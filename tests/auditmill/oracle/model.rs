//! The definition, word for word.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use auditmill::detect::evidence::EventRef;
use auditmill::detect::value::Value;

use super::kinds::{Hit, gone, new};
use super::plain::{Events, Plain, Row};
use super::subject::{Asks, Subject};
use super::told::{Said, Told, identity, sentence};

/// What the definition says of detections.
#[derive(Default)]
pub(super) struct Model {
    plans: HashMap<String, Plain>,
}

/// What a key was found with in one bucket: rows, and the events behind each, earliest first.
struct Fired {
    key: Vec<Value>,
    bucket: i64,
    rows: Vec<(Row, BTreeSet<EventRef>)>,
}

/// What comes behind the events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    /// Time, enough of it for all that waits.
    Passes,
    /// Nothing: the input has ended.
    Ends,
}

/// The time of which something is known in a cluster.
#[derive(Clone, Copy)]
struct Known {
    since: i64,
    reached: i64,
}

/// Events that count, each with what it says of the key.
pub(super) type Hits = Vec<(usize, Vec<(usize, Value)>)>;

impl Model {
    /// What all of them say in the end, when time has passed.
    pub(super) fn all(&mut self, subjects: &[Subject], events: &Events) -> Said {
        subjects.iter().flat_map(|subject| self.findings(subject, events)).collect()
    }

    /// The same where the end of the input is the end of what is known.
    pub(super) fn all_of_input(&mut self, subjects: &[Subject], events: &Events) -> Said {
        subjects.iter().flat_map(|subject| self.told(subject, events, Time::Ends)).collect()
    }

    /// What one says in the end.
    pub(super) fn findings(&mut self, subject: &Subject, events: &Events) -> Said {
        self.told(subject, events, Time::Passes)
    }

    fn told(&mut self, subject: &Subject, events: &Events, time: Time) -> Said {
        let mut said = Said::new();
        for cluster in events.clusters.iter().collect::<BTreeSet<_>>() {
            let mine: Vec<usize> =
                (0..events.len()).filter(|at| events.clusters[*at] == **cluster).collect();
            let times = mine.iter().map(|at| events.time(*at));
            let latest = times.clone().max().expect("a cluster has an event");
            let known = Known {
                since: times.min().expect("a cluster has an event"),
                reached: if time == Time::Ends { latest } else { i64::MAX },
            };
            let mine = self.not_exempt(subject, events, mine);
            let fired = if subject.window.is_some() {
                self.windowed(subject, events, &mine)
            } else {
                self.per_event(subject, events, &mine, known)
            };
            said.extend(fired.into_iter().map(|fired| tell(subject, cluster, fired)));
        }
        said
    }

    /// The events that nothing hides from a detection.
    fn not_exempt(&mut self, subject: &Subject, events: &Events, mine: Vec<usize>) -> Vec<usize> {
        let Some(condition) = &subject.exempt else { return mine };
        let query = format!("SELECT event_id FROM events WHERE {condition}");
        let id = |row: &Row| value_of(row, "event_id").expect("an event's id").to_string();
        let hidden: BTreeSet<String> = self.ask(&query, events, &mine).iter().map(id).collect();
        mine.into_iter().filter(|at| !hidden.contains(&events.refs[*at].event_id)).collect()
    }

    fn windowed(&mut self, subject: &Subject, events: &Events, mine: &[usize]) -> Vec<Fired> {
        let (length, slide) = subject.window.expect("a windowed detection");
        let hits = self.hits(subject, events, mine);
        let mut mine = mine.to_vec();
        if subject.reads_hits {
            mine.retain(|at| hits.iter().any(|(event, _)| event == at));
        }
        let mut answers: HashMap<Vec<usize>, Vec<Row>> = HashMap::new();
        let mut fired = Vec::new();
        for end in window_ends(mine.iter().map(|at| events.time(*at)), length, slide) {
            let within: Vec<usize> = mine
                .iter()
                .filter(|at| is_within(events.time(**at), end, length))
                .copied()
                .collect();
            // Many windows hold the same events.
            let known = answers.get(&within).cloned();
            let rows = known.unwrap_or_else(|| self.ask(&subject.query, events, &within));
            answers.insert(within, rows.clone());
            let mut keys: BTreeSet<String> = BTreeSet::new();
            for row in rows {
                let (key, row) = split(subject, row);
                // Of several rows of a key in one window the smallest is shown: the order in which
                // a query happens to give them must not matter.
                if !keys.insert(format!("{key:?}")) {
                    continue;
                }
                let behind = hits.iter().filter(|(event, says)| {
                    let agrees = says.iter().all(|(at, value)| key[*at] == *value);
                    agrees && is_within(events.time(*event), end, length)
                });
                let behind = behind.map(|(event, _)| events.refs[*event].clone()).collect();
                note(&mut fired, key, end.div_euclid(subject.dedup), row, behind);
            }
        }
        fired
    }

    fn per_event(
        &mut self,
        subject: &Subject,
        events: &Events,
        mine: &[usize],
        known: Known,
    ) -> Vec<Fired> {
        let by_id: BTreeMap<&str, usize> =
            mine.iter().map(|at| (events.refs[*at].event_id.as_str(), *at)).collect();
        let mut found: Vec<(EventRef, Vec<Value>, Row)> = Vec::new();
        for row in self.ask(&subject.query, events, mine) {
            let (key, mut row) = split(subject, row);
            let id = value_of(&row, "__event_id").expect("the event's id").to_string();
            let event = events.refs[by_id[id.as_str()]].clone();
            row.retain(|(name, _)| name != "__event_id");
            found.push((event, key, row));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let keys: BTreeMap<EventRef, Vec<Value>> =
            found.iter().map(|(event, key, _)| (event.clone(), key.clone())).collect();
        let hits: Vec<Hit> = found.into_iter().map(|(event, _, row)| (event, row)).collect();
        let told = match &subject.asks {
            Asks::Plain => hits.into_iter().map(|hit| (hit.0.event_time, hit)).collect(),
            Asks::New { key, lookback, learn } => {
                new(&hits, &names(key), *lookback, known.since + learn)
            }
            Asks::Gone { length } => gone(&hits, &names(&subject.key), *length, known.reached),
        };
        let mut fired = Vec::new();
        for (time, (event, row)) in told {
            let (key, bucket) = (keys[&event].clone(), time.div_euclid(subject.dedup));
            note(&mut fired, key, bucket, row, BTreeSet::from([event]));
        }
        fired
    }

    /// The events that count.
    pub(super) fn hits(&mut self, subject: &Subject, events: &Events, mine: &[usize]) -> Hits {
        let by_id: BTreeMap<&str, usize> =
            mine.iter().map(|at| (events.refs[*at].event_id.as_str(), *at)).collect();
        let hit = |row: Row| {
            let id = value_of(&row, "event_id").expect("an event's id").to_string();
            let says = (0..subject.key.len())
                .filter_map(|at| Some((at, value_of(&row, &format!("__key_{at}"))?.clone())));
            (by_id[id.as_str()], says.collect())
        };
        self.ask(&subject.hits, events, mine).into_iter().map(hit).collect()
    }

    /// The rows of the answer, the smallest first.
    fn ask(&mut self, query: &str, events: &Events, of: &[usize]) -> Vec<Row> {
        if !self.plans.contains_key(query) {
            self.plans.insert(query.to_owned(), Plain::new(query));
        }
        let mut rows = self.plans[query].run(events.pick(of));
        rows.sort_by(|a, b| a.partial_cmp(b).expect("no subject shows what is no number"));
        rows
    }
}

fn names(key: &[String]) -> Vec<&str> {
    key.iter().map(String::as_str).collect()
}

fn value_of<'a>(row: &'a Row, name: &str) -> Option<&'a Value> {
    row.iter().find(|(column, _)| column == name).map(|(_, value)| value)
}

/// The key of a row, and what it shows.
fn split(subject: &Subject, row: Row) -> (Vec<Value>, Row) {
    let key = (0..subject.key.len())
        .map(|at| value_of(&row, &format!("__key_{at}")).expect("a key column").clone());
    let key = key.collect();
    (key, row.into_iter().filter(|(name, _)| !name.starts_with("__key_")).collect())
}

fn note(
    fired: &mut Vec<Fired>,
    key: Vec<Value>,
    bucket: i64,
    row: Row,
    behind: BTreeSet<EventRef>,
) {
    match fired.iter_mut().find(|fired| fired.key == key && fired.bucket == bucket) {
        Some(fired) => fired.rows.push((row, behind)),
        None => fired.push(Fired { key, bucket, rows: vec![(row, behind)] }),
    }
}

fn tell(subject: &Subject, cluster: &str, fired: Fired) -> (String, Told) {
    let Fired { key, bucket, rows } = fired;
    let mut all: BTreeSet<EventRef> = BTreeSet::new();
    let mut most: Option<(usize, Row)> = None;
    for (row, behind) in rows {
        if most.as_ref().is_none_or(|(count, _)| behind.len() > *count) {
            most = Some((behind.len(), row));
        }
        all.extend(behind);
    }
    let (_, row) = most.expect("a finding has a row");
    let named = subject.key.iter().cloned().zip(key.iter().cloned()).collect();
    let summary = sentence(&subject.describe, &row);
    let told = Told::by_definition((&subject.id, cluster), named, summary, row, &all);
    (identity(&subject.id, cluster, &key, bucket), told)
}

fn is_within(time: i64, end: i64, length: i64) -> bool {
    end - length <= time && time < end
}

/// The ends of all windows that hold an event, ascending.
fn window_ends(times: impl Iterator<Item = i64>, length: i64, slide: i64) -> BTreeSet<i64> {
    let ends = times.flat_map(|time| {
        let first = (time.div_euclid(slide) + 1) * slide;
        (0..length / slide).map(move |k| first + k * slide)
    });
    ends.collect()
}
