//! Every detection of the catalogue, over stories made of the events of its own tests and of
//! recordings.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use auditmill::detect::catalog::Catalog;
use auditmill::detect::detection::Detection;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sha2::{Digest as _, Sha256};

use super::compare::check;
use super::event::time;
use super::model::Model;
use super::plain::Events;
use super::sample::{Case, Change, Sample, cases, recording, rows};
use super::subject::Subject;
use super::way::way;
use super::written::subject;

const RECORDINGS: [&str; 2] =
    ["testdata/events/realcluster/audit.jsonl", "testdata/events/apiserver/background.jsonl"];

/// What the model does not know, and what of it.
const UNMODELLED: [(&str, &str); 8] = [
    ("K8A-623", "clock"),
    ("K8A-801", "findings"),
    ("K8A-802", "findings"),
    ("K8A-803", "findings"),
    ("K8A-804", "findings"),
    ("K8A-805", "findings"),
    ("K8A-806", "findings"),
    ("K8A-807", "findings"),
];

/// A story meets one part of the library, because to plan all of it takes long.
const PARTS: usize = 3;
/// So many detections are in one engine.
const GROUP: usize = 4;
/// So many stories are tried for one in which each of a group finds something.
const TRIES: usize = 40;

/// A detection that both know, and the cases of its test file.
struct Shipped {
    subject: Subject,
    cases: Vec<Case>,
}

/// Where the test file of a detection is.
fn test_file(detection: &Detection) -> String {
    let path = detection.path.replace("queries/", "testdata/");
    path.replace(".sql", ".yaml")
}

/// A detection with the hash of its id, and as the model knows it.
type Hashed<'a> = ([u8; 32], &'a Detection, Subject);

/// The detections of a part: of each area about as many in each part, as the hashes of ids fall.
fn part(catalog: &Catalog, number: usize) -> Vec<Shipped> {
    let mut areas: BTreeMap<&str, Vec<Hashed<'_>>> = BTreeMap::new();
    for detection in catalog.detections() {
        if let Ok(subject) = subject(catalog, detection) {
            let area = detection.path.rsplit('/').nth(1).expect("an area");
            let hash = Sha256::digest(&detection.id).into();
            areas.entry(area).or_default().push((hash, detection, subject));
        }
    }
    let mut chosen = Vec::new();
    for mut of_area in areas.into_values() {
        of_area.sort_by_key(|(hash, ..)| *hash);
        let of_part = of_area.into_iter().skip(number % PARTS).step_by(PARTS);
        let before = chosen.len();
        chosen.extend(of_part);
        assert!(chosen.len() > before, "each area is in each part");
    }
    chosen.sort_by_key(|(hash, ..)| *hash);
    let shipped = chosen
        .into_iter()
        .map(|(_, detection, subject)| Shipped { subject, cases: cases(&test_file(detection)) });
    shipped.collect()
}

fn change() -> impl Strategy<Value = Change> {
    let user = prop_oneof![12 => Just(None), 1 => Just(Some("eve")), 1 => Just(Some("bob"))];
    let ip = prop_oneof![12 => Just(None), 1 => Just(Some("10.0.0.1"))];
    let suffix = prop_oneof![12 => Just(None), 1 => select(vec![Some("-x"), Some("-y")])];
    let cluster = prop_oneof![5 => Just("east"), 1 => Just("west")];
    (user, ip, suffix, cluster, time()).prop_map(|(user, ip, suffix, cluster, time)| Change {
        user,
        ip,
        suffix,
        cluster,
        time,
    })
}

/// Of each of a group's test files a case that fires, a few cases of any, and some of a recording's
/// events.
fn story(group: &[Shipped], recorded: &[Sample]) -> impl Strategy<Value = Vec<(Sample, Change)>> {
    let firing: Vec<Vec<Case>> = group
        .iter()
        .map(|of| of.cases.iter().filter(|case| case.fires).cloned().collect())
        .collect();
    let all: Vec<Case> = group.iter().flat_map(|of| of.cases.iter().cloned()).collect();
    let recorded = recorded.to_vec();
    let changed = || (any::<Index>(), change());
    let chosen = prop::collection::vec(changed(), group.len());
    let more = prop::collection::vec(changed(), 0..3);
    let others = prop::collection::vec(changed(), 0..6);
    (chosen, more, others).prop_map(move |(chosen, more, others)| {
        let chosen = firing.iter().zip(chosen);
        let chosen =
            chosen.map(|(cases, (which, change))| (&cases[which.index(cases.len())], change));
        let more = more.into_iter().map(|(which, change)| (&all[which.index(all.len())], change));
        let mut story = Vec::new();
        for (case, change) in chosen.chain(more) {
            story.extend(case.samples.iter().map(|sample| (sample.clone(), change)));
        }
        for (which, change) in others {
            story.push((recorded[which.index(recorded.len())].clone(), change));
        }
        story
    })
}

/// The same stories each time, all of whose findings are compared. A run takes one part of the
/// library, `AUDITMILL_STORIES` runs take one after the other.
#[test]
fn engine_and_model_say_the_same_of_every_shipped_detection() {
    let rounds: usize = std::env::var("AUDITMILL_STORIES")
        .map_or(1, |rounds| rounds.parse().expect("AUDITMILL_STORIES is a number"));
    let catalog = Catalog::load(None).unwrap();
    let recorded: Vec<Sample> = RECORDINGS.iter().flat_map(|path| recording(path)).collect();
    let mut model = Model::default();
    let mut differ = Vec::new();
    for round in 0..rounds {
        for group in part(&catalog, round).chunks(GROUP) {
            let ids: Vec<&str> = group.iter().map(|of| of.subject.id.as_str()).collect();
            let told = catch_unwind(AssertUnwindSafe(|| {
                meet(&mut model, group, &recorded, &format!("{round} {ids:?}"));
            }));
            if told.is_err() {
                differ.push(format!("round {round}: {ids:?}"));
            }
        }
    }
    assert!(differ.is_empty(), "they differ, as is said above:\n{}", differ.join("\n"));
}

/// A group meets a story of this seed.
fn meet(model: &mut Model, group: &[Shipped], recorded: &[Sample], seed: &str) {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &Sha256::digest(seed));
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let subjects: Vec<Subject> = group.iter().map(|of| of.subject.clone()).collect();
    let events = story_that_finds(&mut runner, model, &story(group, recorded), &subjects);
    let way = way(events.len()).new_tree(&mut runner).unwrap().current();
    check(model, &subjects, &events, &way);
}

/// A story in which each detection finds something.
fn story_that_finds(
    runner: &mut TestRunner,
    model: &mut Model,
    stories: &impl Strategy<Value = Vec<(Sample, Change)>>,
    subjects: &[Subject],
) -> Events {
    let mut silent: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..TRIES {
        let events = rows(&stories.new_tree(runner).unwrap().current());
        let none = subjects.iter().find(|subject| model.findings(subject, &events).is_empty());
        let Some(subject) = none else { return events };
        *silent.entry(&subject.id).or_default() += 1;
    }
    panic!("no story in which each finds something; first of all not: {silent:?}");
}

/// The list names just what the model does not know.
#[test]
fn what_the_model_does_not_know_is_named() {
    let catalog = Catalog::load(None).unwrap();
    let unknown: Vec<(&str, &str)> = catalog
        .detections()
        .filter_map(|detection| Some((detection.id.as_str(), subject(&catalog, detection).err()?)))
        .collect();
    assert_eq!(unknown, UNMODELLED);
}
