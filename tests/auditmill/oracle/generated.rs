//! Random detections over random stories.

use auditmill::detect::catalog::Catalog;
use auditmill::detect::detection::Detection;
use auditmill::detect::engine::{Engine, EngineSettings};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::MINUTE;
use super::compare::check;
use super::event::{Event, mixed_event, rows};
use super::model::Model;
use super::shape::{Shape, shape};
use super::subject::{Draft, Subject};
use super::way::{Way, way};

/// One engine's detections, and what happens.
pub(super) fn case() -> impl Strategy<Value = (Vec<Shape>, Vec<Event>, Way)> {
    let shapes = prop::collection::vec(shape(), 1..4);
    let events = prop::collection::vec(mixed_event(), 8..28);
    (shapes, events).prop_flat_map(|(shapes, events)| {
        let way = way(events.len());
        (Just(shapes), Just(events), way)
    })
}

/// The detections of a case.
pub(super) fn subjects(shapes: &[Shape]) -> Vec<Subject> {
    let numbered = shapes.iter().enumerate();
    numbered.map(|(number, shape)| shape.subject(&format!("G-{number}"))).collect()
}

/// As many as half a minute allows; `PROPTEST_CASES` says more.
fn config() -> Config {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { None } else { Some(14) };
    let config = Config { max_shrink_iters: 400, ..Config::default() };
    Config { cases: cases.unwrap_or(config.cases), ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn engine_and_model_say_the_same_of_any_detection((shapes, events, way) in case()) {
        let subjects = subjects(&shapes);
        check(&mut Model::default(), &subjects, &rows(&events), &way);
    }
}

/// The same cases each time: enough of them have something to tell.
#[test]
fn generated_cases_of_a_fixed_seed_find_something() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (mut detections, mut find, mut quiet) = (0, 0, 0);
    for _ in 0..25 {
        let (shapes, events, _) = case().new_tree(&mut runner).unwrap().current();
        let events = rows(&events);
        for subject in subjects(&shapes) {
            let said = Model::default().findings(&subject, &events);
            detections += 1;
            find += usize::from(!said.is_empty());
            quiet += usize::from(said.is_empty());
        }
    }
    assert!(find * 10 >= detections * 3, "{find} of {detections} find something");
    assert!(quiet * 20 >= detections, "{quiet} of {detections} are quiet");
}

/// The planner drops what nothing depends on; the text names it nevertheless.
#[test]
fn a_query_may_name_columns_that_it_does_not_need() {
    let query = "SELECT user_name, count(*) AS n \
                 FROM (SELECT *, upper(verb) AS label FROM events) AS e GROUP BY user_name";
    let (window, dedup, describe) = (Some((10 * MINUTE, 5 * MINUTE)), 20 * MINUTE, "{{n}}");
    let draft = Draft { id: "G-UNUSED", window, dedup, describe, front: "", query };
    let catalog = Catalog::of(Detection::parse("unused.sql", &draft.text()).unwrap());
    let refused = Engine::new(&catalog, EngineSettings::default()).err();
    assert_eq!(refused, None);
}
