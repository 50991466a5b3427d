//! Which findings belong together, against a slow model; triage; what a page says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::aggregate::Aggregate;
use super::member::Member;
use super::page::exemption;
use super::reading::IncidentFilter;
use super::record::Incident;
use super::tactic::tactic;
use crate::detect::detection::Detection;
use crate::detect::evidence::{EventRef, Evidence};
use crate::detect::exception;
use crate::detect::finding::{Finding, Status};
use crate::detect::row::Row;
use crate::detect::value::Value;
use crate::findings::step::Step;
use crate::findings::store::{Store, StoreSettings};
use crate::findings::triage::{Ask, Kind, Reason, State, Triaged};

pub(in crate::findings) const HOUR: i64 = 3_600_000_000;
const GAP: i64 = 2 * HOUR;

/// A finding as a few words say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::findings) struct Said {
    pub(in crate::findings) id: u8,
    pub(in crate::findings) detection: &'static str,
    pub(in crate::findings) severity: &'static str,
    pub(in crate::findings) attack: &'static str,
    pub(in crate::findings) user: Option<&'static str>,
    pub(in crate::findings) acted_as: Option<&'static str>,
    pub(in crate::findings) credential: Option<&'static str>,
    pub(in crate::findings) address: &'static str,
    pub(in crate::findings) first: i64,
    pub(in crate::findings) last: i64,
    pub(in crate::findings) status: Status,
}

pub(in crate::findings) const ALICE: Said = Said {
    id: 1,
    detection: "T-201",
    severity: "high",
    attack: "T1552.007",
    user: Some("alice"),
    acted_as: None,
    credential: None,
    address: "10.0.0.1",
    first: 0,
    last: 0,
    status: Status::Open,
};

impl Said {
    pub(in crate::findings) fn finding(&self) -> Finding {
        let Said { detection, severity, attack, .. } = self;
        let text = format!(
            "/*\nid: {detection}\ntitle: A test\nseverity: {severity}\nattack: [{attack}]\n\
             key: [user_name]\ndescribe: \"{{{{user_name}}}} did it\"\nrespond: Ask.\n*/\n\
             SELECT cluster, user_name FROM events\n"
        );
        let detection = Arc::new(Detection::parse("test.sql", &text).unwrap());
        let mut evidence = Evidence::default();
        for (n, time) in BTreeSet::from([self.first, self.last]).into_iter().enumerate() {
            let event_id = format!("{:030x}{n:02x}", self.id);
            evidence.add(&EventRef { event_time: time * HOUR, event_id, audit_id: None });
        }
        let of = |text: Option<&str>| text.map_or(Value::Null, |text| Value::Text(text.to_owned()));
        let names = ["user_name", "impersonated_user", "credential_id", "source_ip"];
        let names = names.map(str::to_owned).to_vec().into();
        let values = [self.user, self.acted_as, self.credential, Some(self.address)];
        let key = Row::new(&vec!["user_name".to_owned()].into(), vec![of(self.user)]);
        Finding {
            id: format!("{:032x}", self.id),
            detection,
            status: self.status,
            cluster: "c".to_owned(),
            key,
            bucket: 0,
            row: Row::new(&names, values.map(of).to_vec()),
            evidence,
            incomplete: false,
        }
    }
}

pub(in crate::findings) fn open(folder: &Path) -> Store {
    let settings = StoreSettings { findings_max: 1_000, keep: i64::MAX / 4 };
    let store = Store::open(&folder.join("findings.db"), settings).unwrap();
    store.set_gap(GAP);
    store
}

pub(in crate::findings) fn commit(store: &Store, next: u64, said: &[Said]) {
    let findings: Vec<Finding> = said.iter().map(Said::finding).collect();
    store.commit(&Step { next, findings: &findings, ..Step::default() }).unwrap();
}

fn story() -> impl Strategy<Value = Vec<(Vec<Said>, Vec<u16>)>> {
    let pick = |names: &'static [&'static str]| proptest::sample::select(names);
    let maybe = |names: &'static [&'static str]| {
        proptest::option::weighted(0.3, proptest::sample::select(names))
    };
    let user = proptest::option::weighted(
        0.9,
        pick(&["alice", "bob", "carol", "system:serviceaccount:a:b", "system:kube-scheduler"]),
    );
    let version = (0_i64..4, prop::bool::weighted(0.8));
    let one = (
        (pick(&["T-101", "T-102", "T-201"]), pick(&["informational", "low", "medium", "high"])),
        pick(&["T1613", "T1552.007", "T1611", "T9999"]),
        (user, maybe(&["alice", "bob", "system:admin"]), maybe(&["k1", "k2"])),
        pick(&["10.0.0.1", "10.0.0.2"]),
        0_i64..24,
        prop::collection::vec(version, 1..4),
    );
    let one = one.prop_map(|((detection, severity), attack, names, address, first, versions)| {
        let (user, acted_as, credential) = names;
        let said = |(length, is_open): (i64, bool)| Said {
            id: 0,
            detection,
            severity,
            attack,
            user,
            acted_as,
            credential,
            address,
            first,
            last: first + length,
            status: if is_open { Status::Open } else { Status::Withdrawn },
        };
        versions.into_iter().map(said).collect::<Vec<_>>()
    });
    let times = prop::collection::vec(any::<u16>(), 4);
    prop::collection::vec((one, times), 1..14).prop_map(|mut story| {
        for (id, (versions, _)) in (1_u8..).zip(&mut story) {
            for said in versions {
                said.id = id;
            }
        }
        story
    })
}

/// The versions in the order of their times, those of one finding in theirs.
fn schedule(story: &[(Vec<Said>, Vec<u16>)]) -> Vec<Said> {
    let mut all = Vec::new();
    for (versions, times) in story {
        let mut times = times.clone();
        times.sort_unstable();
        all.extend(times.into_iter().zip(versions.iter().cloned()));
    }
    all.sort_by_key(|(time, said)| (*time, said.id));
    all.into_iter().map(|(_, said)| said).collect()
}

/// Sets of findings: two that share an actor within the gap are in one, and so on.
fn model(members: &[Member]) -> BTreeSet<BTreeSet<String>> {
    let mut sets: Vec<Vec<&Member>> = members.iter().map(|member| vec![member]).collect();
    let joined = |one: &Member, other: &Member| {
        one.actors.iter().any(|actor| other.actors.contains(actor))
            && one.first - other.last <= GAP
            && other.first - one.last <= GAP
    };
    'again: loop {
        for one in 0..sets.len() {
            for other in one + 1..sets.len() {
                if sets[one].iter().any(|a| sets[other].iter().any(|b| joined(a, b))) {
                    let moved = sets.remove(other);
                    sets[one].extend(moved);
                    continue 'again;
                }
            }
        }
        let ids = |set: Vec<&Member>| set.into_iter().map(|of| of.finding.clone()).collect();
        return sets.into_iter().map(ids).collect();
    }
}

/// The findings of each incident.
fn groups(store: &Store) -> BTreeMap<String, BTreeSet<String>> {
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for [incident, finding, _] in store.incident_findings().unwrap() {
        groups.entry(incident).or_default().insert(finding);
    }
    groups
}

fn listed(store: &Store) -> Vec<Incident> {
    let states = vec![State::Open, State::Acknowledged, State::Closed];
    let all = IncidentFilter { states, ..IncidentFilter::default() };
    store.incidents(&all, 1_000, None).unwrap().incidents
}

fn check(store: &Store, schedule: &[Said]) -> Result<(), TestCaseError> {
    let ids: BTreeSet<String> = schedule.iter().map(|said| format!("{:032x}", said.id)).collect();
    let members: Vec<Member> =
        ids.iter().filter_map(|id| Member::of(&store.get(id).unwrap().unwrap())).collect();
    let groups = groups(store);
    prop_assert_eq!(groups.values().cloned().collect::<BTreeSet<_>>(), model(&members));
    prop_assert_eq!(groups.values().map(BTreeSet::len).sum::<usize>(), members.len());
    for (id, findings) in &groups {
        let mut sum = Aggregate::default();
        for member in members.iter().filter(|member| findings.contains(&member.finding)) {
            sum.add(member);
        }
        let incident = store.incident(id).unwrap().unwrap();
        prop_assert_eq!((incident.state, &incident.merged_into), (State::Open, &None));
        prop_assert_eq!(incident.score, sum.score());
        prop_assert_eq!(incident.severity, sum.severity());
        prop_assert_eq!((incident.findings, incident.events), (sum.findings(), sum.events()));
        let names: BTreeSet<String> = sum.tactics().into_iter().map(str::to_owned).collect();
        prop_assert_eq!(incident.tactics.into_iter().collect::<BTreeSet<_>>(), names);
        prop_assert_eq!(incident.detections.len(), sum.parts.len());
        prop_assert_eq!(incident.actors.len(), sum.actors.len());
        let (first, last) = sum.span();
        let span = (crate::event::time::rfc3339(first), crate::event::time::rfc3339(last));
        prop_assert_eq!((incident.first_seen, incident.last_seen), span);
    }
    for incident in listed(store) {
        if let Some(into) = &incident.merged_into {
            prop_assert!(store.incident(into).unwrap().is_some(), "{into} is not there");
            prop_assert_eq!(incident.state, State::Closed);
        } else if !groups.contains_key(&incident.id) {
            prop_assert_eq!(incident.reason, Some(Reason::Withdrawn));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn findings_in_any_order_make_the_same_incidents(story in story(), part in 1_usize..6) {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let schedule = schedule(&story);
        for (next, part) in (1..).zip(schedule.chunks(part)) {
            commit(&store, next, part);
        }
        check(&store, &schedule)?;
        // Whoever opened it gives it its name, as long as nothing is taken back.
        let taken_back = schedule.iter().any(|said| said.status == Status::Withdrawn)
            || story.iter().any(|(versions, _)| !versions.is_sorted_by_key(|said| said.last));
        if !taken_back {
            let order = |id: &str| schedule.iter().position(|of| format!("{:032x}", of.id) == id);
            for (id, findings) in groups(&store) {
                prop_assert_eq!(Some(id), findings.into_iter().min_by_key(|id| order(id)));
            }
        }
        // Steps that are repeated change nothing, nor does a new start.
        let before = (groups(&store), listed(&store));
        for part in schedule.chunks(part) {
            commit(&store, 0, part);
        }
        drop(store);
        let store = open(folder.path());
        prop_assert_eq!((groups(&store), listed(&store)), before);
    }
}

#[test]
fn one_actor_is_told_by_name_credential_and_whom_it_acts_as_never_by_address_alone() {
    let check = |said: &[Said], expected: usize| {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let said: Vec<Said> =
            (1..).zip(said).map(|(id, said)| Said { id, ..said.clone() }).collect();
        commit(&store, 1, &said);
        assert_eq!(groups(&store).len(), expected, "{said:?}");
    };
    let bob = Said { user: Some("bob"), ..ALICE };
    let system = Said { user: Some("system:kube-scheduler"), ..ALICE };
    let anonymous = Said { user: Some("system:anonymous"), ..ALICE };
    check(&[ALICE, Said { address: "10.9.9.9", last: 2, ..ALICE }], 1);
    check(&[ALICE, Said { first: 3, last: 3, ..ALICE }], 2);
    check(&[ALICE, bob.clone()], 2);
    check(&[ALICE, Said { acted_as: Some("alice"), ..bob.clone() }, bob.clone()], 1);
    let key = |said: &Said| Said { credential: Some("k"), ..said.clone() };
    check(&[key(&ALICE), key(&bob)], 1);
    check(&[ALICE, system.clone(), anonymous.clone()], 2);
    check(&[anonymous.clone(), Said { user: None, ..ALICE }], 1);
    check(&[anonymous.clone(), Said { detection: "T-301", ..anonymous.clone() }], 2);
    check(&[anonymous.clone(), Said { address: "10.9.9.9", ..anonymous }], 2);
    check(&[Said { acted_as: Some("system:admin"), ..ALICE }, system], 2);
    check(&[Said { severity: "informational", ..ALICE }], 0);
}

#[test]
fn another_tactic_weighs_more_than_the_same_again() {
    let score = |said: &[Said]| {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let said: Vec<Said> =
            (1..).zip(said).map(|(id, said)| Said { id, ..said.clone() }).collect();
        commit(&store, 1, &said);
        let incidents = listed(&store);
        (incidents[0].score, incidents[0].pages)
    };
    let low = Said { severity: "low", ..ALICE };
    let other = Said { detection: "T-301", attack: "T1611", ..low.clone() };
    assert_eq!(score(std::slice::from_ref(&low)), (10, false));
    assert_eq!(score(&[low.clone(), low.clone()]), (11, false));
    assert_eq!(score(&[low.clone(), Said { detection: "T-202", ..low.clone() }]), (20, false));
    assert_eq!(score(&[low, other]), (30, false));
    assert_eq!(score(&[ALICE]), (60, true));
    assert_eq!(tactic("T1098.006"), Some("privilege-escalation"));
    assert_eq!((tactic("T1098"), tactic("T0")), (Some("persistence"), None));
}

fn ask(state: State, reason: Option<Reason>) -> Ask {
    Ask { state: Some(state), reason, ..Ask::default() }
}

#[test]
fn what_people_say_is_kept_once_and_new_findings_open_again_what_was_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    commit(&store, 1, &[ALICE]);
    let id = format!("{:032x}", 1);
    let say = |ask: &Ask| store.triage((Kind::Incident, &id), ask, "bob", 5).unwrap();
    let state = || {
        let incident = store.incident(&id).unwrap().unwrap();
        (incident.state, incident.reason, incident.assignee, incident.revision)
    };
    assert_eq!(state(), (State::Open, None, None, 1));
    let both = Ask {
        assignee: Some("carol".to_owned()),
        comment: Some("looking".to_owned()),
        ..ask(State::Acknowledged, None)
    };
    for _ in 0..2 {
        assert_eq!(say(&both), Triaged::Done);
        assert_eq!(state(), (State::Acknowledged, None, Some("carol".to_owned()), 2));
    }
    let done = |store: &Store| -> Vec<(String, String)> {
        let trail = store.trail(Some((Kind::Incident, &id))).unwrap().into_iter();
        trail.map(|entry| (entry.who, entry.action)).collect()
    };
    let bob = |action: &str| ("bob".to_owned(), action.to_owned());
    assert_eq!(done(&store), [bob("assign"), bob("acknowledge"), bob("comment")]);
    // Of a false positive more of the same says nothing; anything else does.
    say(&ask(State::Closed, Some(Reason::FalsePositive)));
    commit(&store, 2, &[Said { id: 2, ..ALICE }]);
    commit(&store, 3, &[Said { id: 3, detection: "T-301", severity: "low", ..ALICE }]);
    assert_eq!(state().0, State::Closed);
    commit(&store, 4, &[Said { id: 4, detection: "T-301", ..ALICE }]);
    assert_eq!((state().0, state().2), (State::Open, Some("carol".to_owned())));
    assert_eq!(done(&store).last().unwrap(), &("auditmill".to_owned(), "reopen".to_owned()));
    // What was dealt with comes again.
    say(&ask(State::Closed, None));
    assert_eq!((state().0, state().1), (State::Closed, Some(Reason::Resolved)));
    commit(&store, 5, &[Said { id: 5, ..ALICE }]);
    assert_eq!(state().0, State::Open);
    let nothing = store.triage((Kind::Incident, "none"), &both, "bob", 5).unwrap();
    assert_eq!(nothing, Triaged::Unknown);
}

#[test]
fn a_finding_that_is_a_false_positive_leaves_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    // The second joins the first and the third.
    let between = Said { id: 2, first: 2, last: 2, detection: "T-301", ..ALICE };
    let late = Said { id: 3, first: 4, last: 4, ..ALICE };
    commit(&store, 1, &[ALICE, between, late]);
    assert_eq!(groups(&store).len(), 1);
    let (one, two, three) = (format!("{:032x}", 1), format!("{:032x}", 2), format!("{:032x}", 3));
    let say = |state, reason| {
        let done = store.triage((Kind::Finding, &two), &ask(state, reason), "bob", 5).unwrap();
        assert_eq!(done, Triaged::Done);
    };
    say(State::Closed, Some(Reason::FalsePositive));
    let names = |store: &Store| groups(store).into_keys().collect::<Vec<_>>();
    assert_eq!(names(&store), [one.clone(), three.clone()]);
    assert_eq!(store.incident(&one).unwrap().unwrap().findings, 1);
    let suppressed = store.ledger().unwrap();
    assert_eq!((suppressed[0].kind.as_str(), suppressed[0].item.as_str()), ("suppressed", "T-301"));
    say(State::Open, None);
    assert_eq!(names(&store), std::slice::from_ref(&one));
    let merged = store.incident(&three).unwrap().unwrap();
    assert_eq!((merged.state, merged.merged_into), (State::Closed, Some(one.clone())));
    let asked = store.triage((Kind::Incident, &three), &ask(State::Closed, None), "bob", 5);
    assert_eq!(asked.unwrap(), Triaged::MergedInto(one));
}

#[test]
fn incidents_go_when_their_findings_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let settings = StoreSettings { findings_max: 10, keep: 10 * HOUR };
    let store = Store::open(&folder.path().join("findings.db"), settings).unwrap();
    commit(&store, 1, &[ALICE, Said { id: 2, user: Some("bob"), first: 90, last: 90, ..ALICE }]);
    store.retain(0).unwrap();
    assert_eq!((listed(&store).len(), groups(&store).len()), (2, 2));
    store.retain(30 * HOUR).unwrap();
    assert_eq!((listed(&store).len(), groups(&store).len()), (1, 1));
}

#[test]
fn a_store_of_an_earlier_version_gets_incidents_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    commit(&store, 1, &[ALICE, Said { id: 2, ..ALICE }]);
    let undo = "DELETE FROM incidents; DELETE FROM incident_members; DELETE FROM incident_spans;
                UPDATE grouped SET done = 0";
    store.write("undo", |transaction, _| transaction.execute_batch(undo)).unwrap();
    drop(store);
    let store = open(folder.path());
    assert_eq!(groups(&store).into_values().map(|of| of.len()).collect::<Vec<_>>(), [2]);
    let before = listed(&store);
    drop(store);
    assert_eq!(listed(&open(folder.path())), before);
}

#[test]
fn a_page_tells_the_whole_story() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let acting = Said {
        id: 2,
        detection: "T-301",
        severity: "critical",
        attack: "T1611",
        user: Some("al'ice"),
        acted_as: Some("alice"),
        credential: Some("k\u{202e}1"),
        first: 1,
        last: 1,
        ..ALICE
    };
    let earlier = Said { id: 9, first: -90, last: -90, ..ALICE };
    commit(&store, 1, &[ALICE, acting, earlier]);
    let incident = store.incident(&format!("{:032x}", 1)).unwrap().unwrap();
    assert_eq!(incident.title, "A test +1: al'ice in c");
    assert_eq!(incident.tactics, ["credential-access", "privilege-escalation"]);
    let page = store.page(&incident, Some("https://a.example/"), 0).unwrap();
    let text = page.text();
    for expected in [
        "Severity: critical",
        "Who: al'ice, alice\nActing as: alice\nCredential: k\\u{202e}1\nFrom: 10.0.0.1\n",
        "2 findings of 2 events; 1 other incidents",
        "First: 1970-01-01T00:00:00.000000Z\nLast: 1970-01-01T01:00:00.000000Z",
        "- al'ice did it\n- alice did it",
        "- T-301: Ask.",
        "request none",
        "credential_id LIKE 'k_1' OR",
        "user_name = 'al''ice' OR user_name = 'alice')",
        "More: https://a.example/v1/incidents/0000",
    ] {
        assert!(text.contains(expected), "{expected}\n---\n{text}");
    }
    // The exceptions load, as they are.
    let loaded = exception::parse("exceptions.yaml", &page.exempt).unwrap();
    assert_eq!(loaded[0].condition, "user_name = 'al''ice'");
    assert_eq!(loaded.len(), 2);
    let nobody = Said { user: None, ..ALICE };
    commit(&store, 2, &[Said { id: 7, ..nobody }]);
    let record = store.get(&format!("{:032x}", 7)).unwrap().unwrap();
    let entry = exemption(&record, "bob: \"x\"", "a\nb", 0);
    let loaded = exception::parse("exceptions.yaml", &entry).unwrap();
    assert_eq!(loaded[0].owner, "bob: \"x\"");
    assert_eq!(loaded[0].condition, "user_name IS NULL");
}
