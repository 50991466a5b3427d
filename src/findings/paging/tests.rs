//! Who is called when, over a store and a clock that is set.

use tempfile::TempDir;

use super::*;
use crate::findings::incident::reading::IncidentFilter;
use crate::findings::incident::tests::{ALICE, HOUR, Said, commit, open};
use crate::findings::step::Step;
use crate::findings::store::StoreSettings;
use crate::findings::triage::{Ask, Kind, Reason};

const MINUTE: i64 = 60_000_000;

/// A store that calls people, by a clock of its own.
struct Desk {
    folder: TempDir,
    store: Store,
    plan: Plan,
    silences: Vec<Silence>,
    steps: u64,
}

/// What a sink is told: revision, state, severity, title.
type Told = (u64, State, Severity, String);

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let plan = Plan {
            name: "all".to_owned(),
            matcher: Matcher::default(),
            sinks: vec!["pager".to_owned()],
            group_by: Vec::new(),
            rate: 3,
            rate_span: 10 * MINUTE,
            quiet: None,
            repeat: 0,
            escalate_after: 0,
            escalate_to: Vec::new(),
        };
        let desk = Self { folder, store, plan, silences: Vec::new(), steps: 0 };
        desk.at(0);
        desk
    }

    /// Lets it be so late; gives when to look again.
    fn at(&self, now: i64) -> i64 {
        let plans = std::slice::from_ref(&self.plan);
        self.store.route(plans, &self.silences, Some("https://a.example"), now).unwrap()
    }

    fn find(&mut self, said: &[Said]) {
        self.steps += 1;
        commit(&self.store, self.steps, said);
    }

    /// What a sink has not been told yet; it is told now.
    fn told(&self, sink: &str) -> Vec<Told> {
        let calls = self.store.calls(sink, 1_000).unwrap();
        for pending in &calls {
            self.store.call_settled(sink, &pending.call, None, 0).unwrap();
        }
        assert!(self.store.calls(sink, 1).unwrap().is_empty());
        let told = |call: Call| (call.revision, call.state, call.severity, call.title);
        calls.into_iter().map(|pending| told(pending.call)).collect()
    }

    fn say(&self, id: u8, state: State, reason: Option<Reason>) {
        let (id, ask) =
            (format!("{id:032x}"), Ask { state: Some(state), reason, ..Ask::default() });
        self.store.triage((Kind::Incident, &id), &ask, "bob", 0).unwrap();
    }
}

fn told(revision: u64, state: State, severity: Severity, title: &str) -> Told {
    (revision, state, severity, title.to_owned())
}

const MEDIUM: Said = Said { severity: "medium", ..ALICE };

#[test]
fn a_page_opens_gets_worse_stands_is_looked_after_and_is_over() {
    let mut desk = Desk::new();
    desk.plan.repeat = HOUR;
    desk.find(&[Said { severity: "low", ..ALICE }]);
    desk.at(1);
    assert_eq!(desk.told("pager"), [], "low findings call nobody");
    desk.find(&[Said { id: 2, ..MEDIUM }]);
    desk.at(2);
    let title = "A test: alice in c";
    assert_eq!(desk.told("pager"), [told(1, State::Open, Severity::Medium, title)]);
    // More of the same says nothing new at once.
    desk.find(&[Said { id: 3, ..MEDIUM }]);
    desk.at(3);
    assert_eq!(desk.told("pager"), []);
    desk.find(&[Said { id: 4, ..ALICE }]);
    let next = desk.at(4);
    assert_eq!(desk.told("pager"), [told(2, State::Open, Severity::High, title)]);
    assert_eq!(next, HOUR + 4);
    desk.at(HOUR + 3);
    assert_eq!(desk.told("pager"), []);
    desk.at(HOUR + 4);
    assert_eq!(desk.told("pager"), [told(3, State::Open, Severity::High, title)]);
    desk.say(1, State::Acknowledged, None);
    desk.at(HOUR + 5);
    assert_eq!(desk.told("pager"), [told(4, State::Acknowledged, Severity::High, title)]);
    assert_eq!(desk.at(9 * HOUR), i64::MAX, "somebody looks after it");
    desk.say(1, State::Closed, None);
    desk.at(9 * HOUR);
    let over = "Over: A test: alice in c";
    assert_eq!(desk.told("pager"), [told(5, State::Closed, Severity::High, over)]);
    desk.say(1, State::Open, None);
    desk.at(9 * HOUR + 1);
    assert_eq!(desk.told("pager"), [told(6, State::Open, Severity::High, title)]);
    // All of it turns out to be nothing.
    let nothing = |id| Said { id, status: crate::detect::finding::Status::Withdrawn, ..ALICE };
    desk.find(&[1, 2, 3, 4].map(nothing));
    desk.at(9 * HOUR + 2);
    let gone = told(7, State::Closed, Severity::Informational, "Over: Nothing is left (c)");
    assert_eq!(desk.told("pager"), [gone]);
}

#[test]
fn what_was_there_before_anybody_was_to_be_called_calls_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    commit(&store, 1, &[ALICE]);
    let plan = Desk::new().plan;
    for now in [1, 2] {
        store.route(std::slice::from_ref(&plan), &[], None, now).unwrap();
        assert!(store.calls("pager", 1).unwrap().is_empty());
    }
}

#[test]
fn at_night_only_the_worst_calls_until_the_morning() {
    let mut desk = Desk::new();
    let unless = Severity::Critical;
    desk.plan.quiet = Some(Quiet { from: 22 * HOUR, to: 7 * HOUR, unless });
    desk.find(&[MEDIUM]);
    assert_eq!(desk.at(23 * HOUR), 31 * HOUR);
    desk.find(&[Said { id: 2, user: Some("bob"), severity: "critical", ..ALICE }]);
    desk.at(30 * HOUR);
    let bob = told(1, State::Open, Severity::Critical, "A test: bob in c");
    assert_eq!(desk.told("pager"), [bob]);
    desk.at(31 * HOUR);
    let alice = told(1, State::Open, Severity::Medium, "A test: alice in c");
    assert_eq!(desk.told("pager"), [alice]);
}

#[test]
fn a_silence_keeps_quiet_what_it_fits_wholly_and_is_counted() {
    let mut desk = Desk::new();
    let matcher = Matcher { detection: vec!["T-2*".to_owned()], ..Matcher::default() };
    let silence = Silence {
        name: "upgrade".to_owned(),
        owner: "o".to_owned(),
        reason: "r".to_owned(),
        begins: 0,
        expires: 5 * HOUR,
        matcher,
    };
    assert!(desk.store.put_silence(&silence, |_| false).unwrap());
    // Whoever may not see what it is about neither replaces nor ends it.
    assert!(!desk.store.put_silence(&silence, |_| false).unwrap());
    assert!(!desk.store.end_silence("upgrade", silence.begins, |_| false).unwrap());
    desk.find(&[ALICE, Said { id: 2, user: Some("bob"), ..ALICE }]);
    assert_eq!(desk.at(1), 5 * HOUR);
    desk.find(&[Said { id: 3, ..ALICE }]);
    desk.at(2);
    assert_eq!(desk.told("pager"), []);
    let ledger = desk.store.ledger().unwrap();
    assert_eq!((ledger[0].kind.as_str(), ledger[0].item.as_str()), ("silenced", "upgrade"));
    assert_eq!((ledger.len(), ledger[0].count), (1, 2));
    // Bob does something else, too.
    let other = Said { id: 4, user: Some("bob"), detection: "T-301", ..ALICE };
    desk.find(&[other]);
    desk.at(3);
    let bob = told(1, State::Open, Severity::High, "A test +1: bob in c");
    assert_eq!(desk.told("pager"), [bob]);
    assert!(desk.store.end_silence("upgrade", silence.begins, |_| true).unwrap());
    assert!(!desk.store.end_silence("upgrade", silence.begins, |_| true).unwrap());
    desk.at(4);
    let alice = told(1, State::Open, Severity::High, "A test: alice in c");
    assert_eq!(desk.told("pager"), [alice]);
}

#[test]
fn others_are_told_when_nobody_looks_after_it() {
    let mut desk = Desk::new();
    desk.plan.escalate_after = 30 * MINUTE;
    desk.plan.escalate_to = vec!["boss".to_owned()];
    desk.find(&[ALICE, Said { id: 2, user: Some("bob"), ..ALICE }]);
    assert_eq!(desk.at(1), 30 * MINUTE + 1);
    assert_eq!((desk.told("pager").len(), desk.told("boss").len()), (2, 0));
    desk.say(2, State::Acknowledged, None);
    desk.at(30 * MINUTE + 1);
    let alice = told(1, State::Open, Severity::High, "A test: alice in c");
    assert_eq!(desk.told("boss"), [alice]);
    desk.at(90 * MINUTE);
    assert_eq!(desk.told("boss"), [], "once");
    desk.say(1, State::Closed, None);
    desk.at(90 * MINUTE);
    assert_eq!(desk.told("boss").len(), 1);
}

#[test]
fn groups_are_one_page_and_routes_take_what_they_fit() {
    let mut desk = Desk::new();
    desk.plan.group_by = vec![GroupBy::Cluster];
    desk.plan.matcher.severity = vec![Severity::High];
    let of = |id, user, severity| Said { id, user: Some(user), severity, ..ALICE };
    desk.find(&[of(1, "a", "high"), of(2, "b", "high"), of(3, "c", "critical")]);
    desk.at(1);
    let two = told(1, State::Open, Severity::High, "2 incidents, the worst: A test: a in c");
    assert_eq!(desk.told("pager"), [two]);
    desk.find(&[of(4, "d", "high")]);
    let next = desk.at(2);
    assert_eq!((desk.told("pager").len(), next), (0, 5 * MINUTE + 1));
    desk.at(next);
    let three = told(2, State::Open, Severity::High, "3 incidents, the worst: A test: a in c");
    assert_eq!(desk.told("pager"), [three]);
    for id in [1, 2, 4] {
        desk.say(id, State::Closed, None);
    }
    desk.at(next);
    assert_eq!(desk.told("pager")[0].1, State::Closed);
}

#[test]
fn a_storm_is_a_handful_of_pages() {
    let findings: usize = std::env::var("AUDITMILL_STORM").map_or(6_000, |n| n.parse().unwrap());
    let mut desk = Desk::new();
    let settings = StoreSettings { findings_max: findings as u64, keep: i64::MAX / 4 };
    desk.store = Store::open(&desk.folder.path().join("storm.db"), settings).unwrap();
    desk.at(0);
    let model = ALICE.finding();
    let (mut pages, mut next) = (0, 0);
    for first in (0..findings).step_by(2_000) {
        let storm: Vec<_> = (first..findings.min(first + 2_000))
            .map(|number| {
                let mut finding = model.clone();
                finding.id = format!("{number:032x}");
                // Each user has twenty findings.
                let user = crate::detect::value::Value::Text(format!("user {}", number / 20));
                let names = vec!["user_name".to_owned()].into();
                finding.row = crate::detect::row::Row::new(&names, vec![user.clone()]);
                finding.key = crate::detect::row::Row::new(&names, vec![user]);
                finding
            })
            .collect();
        desk.steps += 1;
        let step = Step { next: desk.steps, findings: &storm, ..Step::default() };
        desk.store.commit(&step).unwrap();
        next = desk.at(i64::try_from(desk.steps).unwrap() * 1_000_000);
        pages += desk.told("pager").len();
    }
    assert!((4..=5).contains(&pages), "{pages} pages");
    let incidents =
        desk.store.incidents(&IncidentFilter::default(), 100_000, None).unwrap().incidents;
    assert_eq!(incidents.len(), findings / 20);
    assert_eq!(incidents.iter().map(|of| of.findings).sum::<u64>(), findings as u64);
    // Those that had no room are told of together.
    desk.at(next);
    let together = desk.told("pager").pop().unwrap();
    assert!(together.3.contains("incidents, the worst"), "{together:?}");
}

#[test]
fn something_else_is_told_once_and_its_end_only_after_it() {
    let desk = Desk::new();
    let call = |state| Call {
        id: "x".to_owned(),
        revision: 0,
        state,
        severity: DEAD_SINK,
        cluster: String::new(),
        route: String::new(),
        title: "t".to_owned(),
        text: String::new(),
        first_seen: String::new(),
        last_seen: String::new(),
        incidents_total: 0,
        incidents: Vec::new(),
        page: None,
    };
    let sinks = ["pager".to_owned()];
    let tell = |state| desk.store.call(&sinks, &call(state), 1).unwrap();
    assert!(!tell(State::Closed));
    assert!(tell(State::Open) && !tell(State::Open));
    assert_eq!(desk.told("pager").len(), 1);
    assert!(tell(State::Closed) && !tell(State::Closed));
    assert_eq!(desk.told("pager"), [told(2, State::Closed, Severity::High, "t")]);
}
