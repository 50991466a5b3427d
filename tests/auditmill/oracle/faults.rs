//! The comparison is worth something: an engine with a fault would not pass it.
//!
//! The faults are put into what the engine gets, while the model sees what is true: that is what an
//! engine would say that lost a pane, took an event for one of the next window, lost a key, or
//! counted a repeat.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use auditmill::detect::engine::Pace;
use auditmill::detect::evidence::EventRef;
use auditmill::detect::value::Value;
use auditmill::event::time::rfc3339;
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::compare::difference;
use super::event::{Event, rows};
use super::model::Model;
use super::plain::Events;
use super::run::{Run, catalog};
use super::subject::Subject;
use super::told::{Said, Told};
use super::{HOUR, MINUTE};
use super::{fixed, generated};

/// What an engine could do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// The events of one pane of one cluster are lost.
    Pane,
    /// The events on an edge between windows are taken for ones of the other side.
    Edge,
    /// All events behind a key are lost.
    Key,
    /// A repeat is counted.
    Repeat,
}

/// What came of stories in which a detection finds something and the fault could be made.
#[derive(Default)]
struct Score {
    stories: usize,
    caught: usize,
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.caught, self.stories)
    }
}

#[test]
fn faults_are_caught_with_detections_written_by_hand() {
    let subjects = fixed::subjects();
    let story = fixed::story().prop_map(move |(events, _)| (subjects.clone(), on_edges(events)));
    check(story, 8);
}

#[test]
fn faults_are_caught_with_generated_detections() {
    let story = generated::case().prop_map(|(shapes, events, _)| {
        let subjects = generated::subjects(&shapes);
        (subjects, on_edges(events))
    });
    check(story, 16);
}

/// Events that are next to the minutes on which windows begin and end, many on either side.
fn on_edges(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        let before = i64::from(event.id % 2 == 0);
        event.time = event.time / MINUTE * MINUTE - before;
    }
    events
}

/// In so many of a hundred stories at least each kind of fault must be caught. An event that
/// changes sides may be missed in no window that fires, and be one too many in none.
const CAUGHT: [(Fault, usize); 4] =
    [(Fault::Pane, 95), (Fault::Edge, 75), (Fault::Key, 100), (Fault::Repeat, 95)];

fn check(story: impl Strategy<Value = (Vec<Subject>, Vec<Event>)>, stories: usize) {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut scores = CAUGHT.map(|(fault, least)| (fault, least, Score::default()));
    for _ in 0..stories {
        let mut model = Model::default();
        let (subjects, events) = story.new_tree(&mut runner).unwrap().current();
        let events = rows(&events);
        let windowed = subjects.iter().filter(|subject| subject.window.is_some());
        let truths: Vec<(&Subject, Said)> =
            windowed.map(|subject| (subject, model.findings(subject, &events))).collect();
        for (fault, _, score) in &mut scores {
            let caught = is_caught(&mut model, &truths, &events, *fault);
            score.stories += usize::from(caught.is_some());
            score.caught += usize::from(caught == Some(true));
        }
    }
    let told: Vec<String> =
        scores.iter().map(|(fault, _, score)| format!("{fault:?} {score}")).collect();
    let told = told.join(", ");
    for (_, least, score) in &scores {
        assert!(score.stories >= 5, "too few to tell: {told}");
        assert!(score.caught * 100 >= score.stories * least, "too few are caught: {told}");
    }
    #[expect(clippy::print_stdout, reason = "a figure")]
    {
        println!("caught: {told}");
    }
}

/// Whether any of a story's detections shows a fault; `None` where none has a place for it.
fn is_caught(
    model: &mut Model,
    truths: &[(&Subject, Said)],
    events: &Events,
    fault: Fault,
) -> Option<bool> {
    let mut caught = None;
    for (subject, truth) in truths {
        if let Some(found) = faulty(model, subject, events, truth, fault) {
            caught = Some(difference(truth, &found).is_some());
            if caught == Some(true) {
                break;
            }
        }
    }
    caught
}

/// What the engine says with a fault; `None` where the story has no place for it.
fn faulty(
    model: &mut Model,
    subject: &Subject,
    events: &Events,
    truth: &Said,
    fault: Fault,
) -> Option<Said> {
    let (_, slide) = subject.window?;
    // The finding with the most events is the one to harm.
    let harmed = truth.values().max_by_key(|told| told.count)?;
    let shown = |at: &usize| harmed.shown.contains(&events.refs[*at]);
    let all = 0..events.len();
    let of_cluster = |at: &usize| events.clusters[*at] == harmed.cluster;
    match fault {
        Fault::Pane => {
            let pane = harmed.shown.first()?.event_time.div_euclid(slide);
            let lost = |at: &usize| of_cluster(at) && events.time(*at).div_euclid(slide) == pane;
            let kept: Vec<usize> = all.filter(|at| !lost(at)).collect();
            Some(replay(subject, &events.pick(&kept)))
        }
        Fault::Key => {
            let lost = events_behind(model, subject, events, harmed);
            let kept: Vec<usize> = all.filter(|at| !lost.contains(at)).collect();
            Some(replay(subject, &events.pick(&kept)))
        }
        Fault::Repeat => {
            let twice = all.clone().filter(shown).take(1);
            let rows: Vec<usize> = all.clone().chain(twice).collect();
            Some(replay(subject, &events.pick(&rows)))
        }
        Fault::Edge => {
            // Where an event of a finding is on an edge, all that are there are moved.
            let mut behind = BTreeSet::new();
            for told in truth.values() {
                behind.extend(events_behind(model, subject, events, told));
            }
            let shifts = |edge: i64, by: i64| -> Option<Vec<(usize, i64)>> {
                let is_there = |at: &usize| events.time(*at).rem_euclid(slide) == edge;
                behind.iter().any(is_there).then(|| {
                    all.clone().filter(is_there).map(|at| (at, events.time(at) + by)).collect()
                })
            };
            let moved = shifts(0, -1).or_else(|| shifts(slide - 1, 1))?;
            let said = replay(subject, &with_times(&events.rows, &moved));
            // Times were moved to have events on the other side: what they say stays true.
            let restore = |said, (at, time): (usize, i64)| restored(said, &events.refs[at], time);
            Some(moved.into_iter().fold(said, restore))
        }
    }
}

/// Events with the key of a finding that the query can use.
fn events_behind(
    model: &mut Model,
    subject: &Subject,
    events: &Events,
    harmed: &Told,
) -> BTreeSet<usize> {
    let key: Vec<Value> = harmed.key.iter().map(|(_, value)| value.clone()).collect();
    let mine: Vec<usize> =
        (0..events.len()).filter(|at| events.clusters[*at] == harmed.cluster).collect();
    let hits = model.hits(subject, events, &mine).into_iter();
    let agreeing = hits.filter(|(_, says)| says.iter().all(|(at, value)| key[*at] == *value));
    agreeing.map(|(event, _)| event).collect()
}

fn replay(subject: &Subject, rows: &RecordBatch) -> Said {
    let catalog = catalog(std::slice::from_ref(subject));
    let mut run = Run::new(&catalog, Pace::Replay, 24 * HOUR);
    run.deliver_untold(rows.clone(), 0);
    run.finish();
    run.stands(|_| true)
}

/// The rows, some of them at other times.
fn with_times(rows: &RecordBatch, moved: &[(usize, i64)]) -> RecordBatch {
    let column = rows.schema().index_of("event_time").unwrap();
    let times = rows.column(column).as_primitive::<TimestampMicrosecondType>();
    let mut times = times.values().to_vec();
    for (at, time) in moved {
        times[*at] = *time;
    }
    let mut columns = rows.columns().to_vec();
    columns[column] = Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"));
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

/// Puts the true time of an event in the place of another.
fn restored(said: Said, event: &EventRef, moved: i64) -> Said {
    let (wrong, right) = (rfc3339(moved), rfc3339(event.event_time));
    let restore = |told: &mut Told| {
        let firsts = told.first.iter_mut().chain(&mut told.last);
        for shown in told.shown.iter_mut().chain(firsts) {
            if shown.event_id == event.event_id {
                shown.event_time = event.event_time;
            }
        }
        told.shown.sort();
        for (_, value) in &mut told.row {
            if let Value::Text(text) = value {
                *text = text.replace(&wrong, &right);
            }
        }
        told.summary = told.summary.replace(&wrong, &right);
    };
    let restored = said.into_iter().map(|(id, mut told)| {
        restore(&mut told);
        (id, told)
    });
    restored.collect()
}
