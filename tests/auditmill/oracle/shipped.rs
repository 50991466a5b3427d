//! Every detection of the catalogue, over stories made of the events of its own tests and of
//! recordings.

use auditmill::detect::catalog::Catalog;
use auditmill::detect::detection::{Detection, Param};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::compare::check;
use super::event::time;
use super::model::Model;
use super::plain::Events;
use super::sample::{Change, Sample, cases, recording, rows};
use super::subject::Subject;
use super::way::way;

const RECORDINGS: [&str; 2] =
    ["testdata/events/realcluster/audit.jsonl", "testdata/events/apiserver/background.jsonl"];

/// A detection of the catalogue, as the model has to know it.
fn subject(detection: &Detection) -> Subject {
    let mut query = code(&detection.sql);
    for (name, value) in &detection.params {
        let value = match value {
            Param::Bool(value) => value.to_string(),
            Param::Int(value) => value.to_string(),
            Param::Float(value) => value.to_string(),
            Param::Text(value) => format!("'{}'", value.replace('\'', "''")),
        };
        query = query.replace(&format!("${name}"), &value);
    }
    let (shown, rest) = query.split_once("\nFROM events\n").unwrap_or_else(|| {
        panic!("{}: a line `FROM events` is where the model adds columns", detection.id)
    });
    let (from, having) = rest.split_once("\nGROUP BY ").unwrap_or((rest, ""));
    let groups = having.split('\n').next().unwrap_or_default();
    let key: Vec<String> = match detection.window {
        Some(_) => groups.split(", ").map(str::to_owned).collect(),
        None => detection.key.clone(),
    };
    let is_grouped = detection.window.is_some() && !having.is_empty();
    assert!(detection.window.is_none() || is_grouped, "{}: teach the model", detection.id);
    let key: Vec<String> = key.into_iter().filter(|name| name != "cluster").collect();
    let keyed = |from: &str| {
        let columns = key.iter().enumerate();
        let columns = columns.map(|(at, name)| format!("{from}{name} AS __key_{at}"));
        columns.collect::<Vec<_>>().join(", ")
    };
    let asked = if is_grouped {
        format!("{shown}, {}\nFROM events\n{rest}", keyed(""))
    } else {
        // A key may be an expression with a name.
        let with_id = format!("{shown}, event_id AS __event_id\nFROM events\n{rest}");
        format!("SELECT q.*, {} FROM ({with_id}) AS q", keyed("q."))
    };
    Subject {
        id: detection.id.clone(),
        text: detection.sql.clone(),
        window: detection.window.map(|window| (window.length, window.slide)),
        dedup: detection.dedup,
        describe: detection.describe.clone(),
        query: asked,
        hits: format!("SELECT event_id, {}\nFROM events\n{from}", keyed("")),
        // All of them count what only grows.
        fires_at_once: true,
        key,
    }
}

/// The query without its comments.
fn code(text: &str) -> String {
    let (_, query) = text.split_once("*/").expect("front matter");
    let lines = query.lines().map(|line| line.split_once("-- ").map_or(line, |(code, _)| code));
    lines.collect::<Vec<_>>().join("\n")
}

/// Where the test file of a detection is.
fn test_file(detection: &Detection) -> String {
    let path = detection.path.replace("queries/", "testdata/");
    path.replace(".sql", ".yaml")
}

fn change() -> impl Strategy<Value = Change> {
    let user = prop_oneof![6 => Just(None), 1 => Just(Some("eve")), 1 => Just(Some("bob"))];
    let ip = prop_oneof![6 => Just(None), 1 => Just(Some("10.0.0.1"))];
    let suffix = prop_oneof![6 => Just(None), 1 => select(vec![Some("-x"), Some("-y")])];
    (user, ip, suffix, time()).prop_map(|(user, ip, suffix, time)| Change {
        user,
        ip,
        suffix,
        time,
    })
}

/// A few cases of a detection's test file as one story, and some of a recording's events.
fn story(
    cases: Vec<Vec<Sample>>,
    recorded: Vec<Sample>,
) -> impl Strategy<Value = Vec<(Sample, Change)>> {
    let chosen = prop::collection::vec((any::<Index>(), change()), 1..4);
    let others = prop::collection::vec((any::<Index>(), change()), 0..10);
    (chosen, others).prop_map(move |(chosen, others)| {
        let mut story = Vec::new();
        for (which, change) in chosen {
            let case = &cases[which.index(cases.len())];
            story.extend(case.iter().take(8).map(|sample| (sample.clone(), change)));
        }
        for (which, change) in others {
            story.push((recorded[which.index(recorded.len())].clone(), change));
        }
        story
    })
}

/// The same stories each time, a few for each detection, all of whose findings are compared.
#[test]
fn engine_and_model_say_the_same_of_every_shipped_detection() {
    let rounds: usize = std::env::var("AUDITMILL_STORIES")
        .map_or(1, |rounds| rounds.parse().expect("AUDITMILL_STORIES is a number"));
    let catalog = Catalog::load(None).unwrap();
    let subjects: Vec<Subject> = catalog.detections().map(|d| subject(d)).collect();
    let recorded: Vec<Sample> = RECORDINGS.iter().flat_map(|path| recording(path)).collect();
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut model = Model::default();
    for (number, detection) in catalog.detections().enumerate() {
        // Itself and two others, in one engine.
        let subjects: Vec<Subject> =
            subjects.iter().cycle().skip(number).take(3).cloned().collect();
        let stories = story(cases(&test_file(detection)), recorded.clone());
        let mut finds = 0;
        for _ in 0..rounds {
            let events =
                story_that_finds(&mut runner, &mut model, &stories, &detection.id, &subjects);
            let way = way(events.len()).new_tree(&mut runner).unwrap().current();
            let said = check(&mut model, &subjects, &events, &way);
            finds += usize::from(said.values().any(|told| told.detection == detection.id));
        }
        assert_eq!(finds, rounds, "{}", detection.id);
    }
}

/// A story in which a detection finds something, as most do.
fn story_that_finds(
    runner: &mut TestRunner,
    model: &mut Model,
    stories: &impl Strategy<Value = Vec<(Sample, Change)>>,
    id: &str,
    subjects: &[Subject],
) -> Events {
    let subject = subjects.iter().find(|subject| subject.id == id).expect("a subject of each");
    for _ in 0..20 {
        let events = rows(&stories.new_tree(runner).unwrap().current());
        if !model.findings(subject, &events).is_empty() {
            return events;
        }
    }
    panic!("{id}: 20 stories of its own test events find nothing");
}
