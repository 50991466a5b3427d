//! Restarts at the moments at which they are hardest: each a story that random ones rarely tell.

use super::compare::difference;
use super::event::{Event, named_event, rows, start};
use super::model::Model;
use super::run::{Run, catalog};
use super::subject::{Draft, Subject};
use super::{MINUTE, SECOND};
use auditmill::detect::engine::Pace;

const QUERY: &str = "SELECT user_name, count(*) AS n FROM events GROUP BY user_name";

/// Fires on one or two events of a user within ten minutes: what further events disprove.
fn few() -> Subject {
    let (window, describe) = (Some((10 * MINUTE, 5 * MINUTE)), "{{user_name}} {{n}} times");
    let dedup = 20 * MINUTE;
    let query = format!("{QUERY} HAVING count(*) <= 2");
    let draft = Draft { id: "R-FEW", window, dedup, describe, front: "", query: &query };
    Subject {
        id: "R-FEW".to_owned(),
        text: draft.text(),
        window,
        dedup,
        describe: describe.to_owned(),
        key: vec!["user_name".to_owned()],
        query: format!("SELECT *, q.user_name AS __key_0 FROM ({query}) AS q"),
        hits: "SELECT event_id, user_name AS __key_0 FROM events".to_owned(),
        fires_at_once: false,
        ..Subject::default()
    }
}

/// Something that happens to the engine.
enum Step {
    /// The event of this number arrives, so many minutes after the start.
    Arrive(usize, i64),
    /// So many minutes after the start have passed.
    Pass(i64),
    Restart,
}

fn check(events: &[Event], steps: &[Step], hold: i64) {
    let subject = few();
    let events = rows(events);
    let expected = Model::default().findings(&subject, &events);
    let catalog = catalog(std::slice::from_ref(&subject));
    let mut run = Run::new(&catalog, Pace::Live, hold);
    for step in steps {
        match step {
            Step::Arrive(event, minute) => {
                run.deliver(&events.pick(&[*event]), start() + minute * MINUTE);
            }
            Step::Pass(minute) => run.pass(start() + minute * MINUTE),
            Step::Restart => run.restart(1),
        }
    }
    let found = run.close(start() + 200 * MINUTE);
    assert_eq!(difference(&expected, &found), None);
}

/// The newest arrival is another cluster's: what this one's open windows are made of lies further
/// back.
#[test]
fn a_cluster_that_is_idle_is_read_again_as_far_as_its_windows_go() {
    let at = |minute: i64, seconds: i64| start() + minute * MINUTE + seconds * SECOND;
    let events = [
        named_event("west", at(11, 0), 1),
        named_event("west", at(11, 30), 2),
        named_event("west", at(16, 0), 3),
        named_event("east", at(50, 0), 4),
    ];
    let steps = [
        Step::Arrive(0, 11),
        Step::Arrive(1, 12),
        Step::Arrive(2, 16),
        Step::Pass(45),
        Step::Arrive(3, 50),
        Step::Pass(51),
        Step::Restart,
        Step::Pass(52),
    ];
    check(&events, &steps, 0);
}

/// A window closed because nothing came, and was told of; then a restart, then an event that is
/// late and disproves it before time is looked at again.
#[test]
fn what_was_told_before_a_restart_can_be_withdrawn_after_it() {
    let at = |seconds: i64| start() + seconds * SECOND;
    let events = [
        named_event("east", at(60), 1),
        named_event("east", at(70), 2),
        named_event("east", at(80), 3),
    ];
    let steps = [
        Step::Arrive(0, 2),
        Step::Arrive(1, 2),
        Step::Pass(40),
        Step::Restart,
        Step::Arrive(2, 41),
        Step::Pass(42),
    ];
    check(&events, &steps, 24 * 60 * MINUTE);
}

/// Events come five hours late, one soon after the other: time has not closed their windows when
/// the engine is made again, and what made them lies further back than any look-back.
#[test]
fn a_cluster_whose_events_come_very_late_is_read_again_as_far_as_its_windows_go() {
    let at = |seconds: i64| start() + seconds * SECOND;
    let events = [
        named_event("east", at(0), 1),
        named_event("late", at(60), 2),
        named_event("late", at(70), 3),
    ];
    let steps = [
        Step::Arrive(0, 0),
        Step::Arrive(1, 300),
        Step::Arrive(2, 300),
        Step::Pass(300),
        Step::Restart,
        Step::Pass(301),
        Step::Restart,
    ];
    check(&events, &steps, 0);
}
