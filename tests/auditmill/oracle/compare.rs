//! Engine and model, compared.

use std::collections::BTreeSet;

use super::model::Model;
use super::plain::Events;
use super::run::{Looks, catalog, late, live, past, prompt, replayed};
use super::subject::{Asks, Subject};
use super::told::Said;
use super::way::Way;

/// Compares engine and model over each way of delivery; gives what both say.
pub(super) fn check(model: &mut Model, subjects: &[Subject], events: &Events, way: &Way) -> Said {
    let of_input = model.all_of_input(subjects, events);
    // Only what is missed is known to be when time has passed behind it.
    let waits = subjects.iter().any(|subject| matches!(subject.asks, Asks::Gone { .. }));
    let expected = if waits { model.all(subjects, events) } else { of_input.clone() };
    let catalog = catalog(subjects);
    assert_same(&of_input, &replayed(&catalog, events, way), "replayed");
    let (stood, found) = live(&catalog, events, way);
    let early: BTreeSet<&str> =
        subjects.iter().filter(|subject| subject.fires_at_once).map(|s| s.id.as_str()).collect();
    let of_early = |said: &Said| -> Said {
        let kept = said.iter().filter(|(_, told)| early.contains(told.detection.as_str()));
        kept.map(|(id, told)| (id.clone(), told.clone())).collect()
    };
    assert_same(&of_early(&expected), &of_early(&stood), "live, before time has passed");
    assert_same(&expected, &found, "live");
    assert_same(&expected, &past(&catalog, events, way), "when windows close");
    let found = prompt(&catalog, events, way, Looks::AllTheWhile);
    assert_same(&expected, &found, "at their times");
    let found = late(&catalog, events, way);
    assert_same(&expected, &found, "later than held");
    expected
}

/// What the engine says otherwise, first of all; `None` when it is the same.
pub(super) fn difference(expected: &Said, found: &Said) -> Option<String> {
    let ids: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let other = ids.into_iter().find(|id| expected.get(*id) != found.get(*id))?;
    let (model, engine) = (expected.get(other), found.get(other));
    Some(format!("{other}\nmodel: {model:#?}\nengine: {engine:#?}"))
}

fn assert_same(expected: &Said, found: &Said, way: &str) {
    if let Some(difference) = difference(expected, found) {
        panic!("engine and model differ, {way}: {difference}");
    }
}
