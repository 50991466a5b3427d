//! What is new, what is missing, and what others found, by the definition.
//!
//! - `first_seen`: an event is new when no event of its key lies in the lookback before it; of two
//!   at one time the smaller id is first. What lies within `learn` of the cluster's first event is
//!   not told.
//! - `absent`: an event is a key's last when the next lies `for` or more behind it; it is told of
//!   at the time at which the next was missed.
//! - `over: findings`: a query over windows, whose rows are findings at the time of their first
//!   event.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use auditmill::detect::engine::Pace;
use auditmill::detect::evidence::EventRef;
use auditmill::detect::value::Value;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::compare::difference;
use super::event::{Event, named_event, rows, start};
use super::fixed::{config, story};
use super::model::Model;
use super::plain::{Events, Plain, Row};
use super::run::{Looks, Run, arrived_at, catalog, late, live, past, prompt, replayed};
use super::subject::Subject;
use super::told::{Said, Told, identity, sentence};
use super::way::Way;
use super::{HOUR, MINUTE, SECOND};

/// A detection, and what the model must know of it.
struct Kind {
    id: &'static str,
    dedup: i64,
    /// Of the finding, without the cluster.
    key: &'static [&'static str],
    asks: Asks,
    front: &'static str,
    query: &'static str,
}

#[derive(Clone, Copy)]
enum Asks {
    New {
        key: &'static [&'static str],
        lookback: i64,
        learn: i64,
    },
    Gone {
        length: i64,
    },
    /// Findings of one user, at least so many within a window.
    Found {
        reads: &'static [&'static str],
        window: i64,
        slide: i64,
        least: usize,
    },
}

const KINDS: [Kind; 5] = [
    Kind {
        id: "K-NEW",
        dedup: 10 * MINUTE,
        key: &["user_name", "name"],
        asks: Asks::New { key: &["user_name", "name"], lookback: 4 * MINUTE, learn: 10 * MINUTE },
        front: "dedup: 10m\nfirst_seen: {key: [user_name, name], lookback: 4m, learn: 10m}",
        query: "SELECT user_name, name, verb FROM events WHERE verb IN ('get', 'create')",
    },
    Kind {
        id: "K-NEW-NAME",
        dedup: 10 * MINUTE,
        key: &["user_name"],
        asks: Asks::New { key: &["name"], lookback: 3 * MINUTE, learn: SECOND },
        front: "dedup: 10m\nkey: [user_name]\nfirst_seen: {key: [name], lookback: 3m, learn: 1s}",
        query: "SELECT user_name, name, verb FROM events",
    },
    Kind {
        id: "K-GONE",
        dedup: 10 * MINUTE,
        key: &["user_name"],
        asks: Asks::Gone { length: 5 * MINUTE },
        front: "dedup: 10m\nabsent: {key: [user_name], for: 5m}",
        query: "SELECT user_name, name, verb FROM events WHERE verb = 'get'",
    },
    Kind {
        id: "K-GONE-NAME",
        dedup: 5 * MINUTE,
        key: &["name", "verb"],
        asks: Asks::Gone { length: 90 * SECOND },
        front: "dedup: 5m\nabsent: {key: [name, verb], for: 90s}",
        query: "SELECT user_name, name, verb FROM events",
    },
    Kind {
        id: "K-CHAIN",
        dedup: 20 * MINUTE,
        key: &["user_name"],
        asks: Asks::Found {
            reads: &["K-NEW", "K-GONE"],
            window: 10 * MINUTE,
            slide: 5 * MINUTE,
            least: 2,
        },
        front: "window: 10m\nslide: 5m\ndedup: 20m\nover: findings",
        query: "SELECT user_name, count(*) AS name, min(detection) AS verb FROM findings
                WHERE detection IN ('K-NEW', 'K-GONE')
                GROUP BY user_name HAVING count(*) >= 2",
    },
];

const DESCRIBE: &str = "{{user_name}} {{verb}} {{name}}";

impl Kind {
    fn text(&self) -> String {
        let Self { id, front, query, .. } = self;
        let front = format!("title: t\nseverity: low\ndescribe: \"{DESCRIBE}\"\n{front}");
        format!("/*\nid: {id}\n{front}\n*/\n{query}\n")
    }
}

/// As the engine loads them.
fn subjects() -> Vec<Subject> {
    let subject = |kind: &Kind| Subject {
        id: kind.id.to_owned(),
        text: kind.text(),
        dedup: kind.dedup,
        describe: DESCRIBE.to_owned(),
        ..Subject::default()
    };
    KINDS.iter().map(subject).collect()
}

/// A row of a query, and its event.
pub(super) type Hit = (EventRef, Row);

/// What counts for a finding: the events, and the row that is shown, by key and bucket.
type Noted = BTreeMap<(Vec<String>, i64), (Vec<Value>, Vec<Hit>)>;

/// What the definition says, when no time is known behind `reached` of each cluster.
fn model(events: &Events, reached: impl Fn(&[EventRef]) -> i64) -> Said {
    let mut said = Said::new();
    for cluster in events.clusters.iter().collect::<BTreeSet<_>>() {
        let mine = (0..events.len()).filter(|at| events.clusters[*at] == **cluster);
        let mine: Vec<usize> = mine.collect();
        let refs: Vec<EventRef> = mine.iter().map(|at| events.refs[*at].clone()).collect();
        for kind in &KINDS {
            let hits = || hits(kind.query, events, &mine);
            let noted = match kind.asks {
                Asks::New { key, lookback, learn } => {
                    let since = refs.iter().map(|event| event.event_time).min().unwrap() + learn;
                    note(kind, new(&hits(), key, lookback, since))
                }
                Asks::Gone { length } => {
                    note(kind, gone(&hits(), kind.key, length, reached(&refs)))
                }
                Asks::Found { .. } => {
                    said.extend(found(kind, cluster, &said));
                    continue;
                }
            };
            said.extend(noted.into_iter().map(|((_, bucket), (key, hits))| {
                let (first, row) = hits[0].clone();
                let all: BTreeSet<EventRef> = hits.into_iter().map(|(event, _)| event).collect();
                assert_eq!(all.first(), Some(&first));
                tell(kind, cluster, &key, bucket, row, &all)
            }));
        }
    }
    said
}

thread_local! {
    /// Queries that are read once.
    static PLANS: RefCell<HashMap<String, Plain>> = RefCell::default();
}

fn hits(query: &str, events: &Events, mine: &[usize]) -> Vec<Hit> {
    let query = query.replacen(" FROM ", ", event_id AS __id FROM ", 1);
    let by_id: BTreeMap<&str, usize> =
        mine.iter().map(|at| (events.refs[*at].event_id.as_str(), *at)).collect();
    let hit = |mut row: Row| {
        let (_, id) = row.pop().unwrap();
        (events.refs[by_id[id.to_string().as_str()]].clone(), row)
    };
    let rows = PLANS.with_borrow_mut(|plans| {
        let plan = plans.entry(query.clone()).or_insert_with(|| Plain::new(&query));
        plan.run(events.pick(mine))
    });
    let mut hits: Vec<Hit> = rows.into_iter().map(hit).collect();
    hits.sort_by(|a, b| a.0.cmp(&b.0));
    hits
}

pub(super) fn values(row: &Row, key: &[&str]) -> Vec<Value> {
    let value = |name: &&str| row.iter().find(|(column, _)| column == name).unwrap().1.clone();
    key.iter().map(value).collect()
}

/// The hits that are new, earliest first, each at its own time.
pub(super) fn new(hits: &[Hit], key: &[&str], lookback: i64, since: i64) -> Vec<(i64, Hit)> {
    let is_new = |(event, row): &&Hit| {
        let before = hits
            .iter()
            .filter(|(other, _)| other < event && other.event_time >= event.event_time - lookback);
        event.event_time >= since
            && !before.into_iter().any(|(_, other)| values(other, key) == values(row, key))
    };
    hits.iter().filter(is_new).map(|hit| (hit.0.event_time, hit.clone())).collect()
}

/// The hits that are their key's last for long, earliest first, each at the time at which that is
/// known.
pub(super) fn gone(hits: &[Hit], key: &[&str], length: i64, reached: i64) -> Vec<(i64, Hit)> {
    let is_last = |(event, row): &&Hit| {
        let due = event.event_time + length;
        let mut next = hits.iter().filter(|(other, of)| {
            other > event && other.event_time < due && values(of, key) == values(row, key)
        });
        due <= reached && next.next().is_none()
    };
    hits.iter().filter(is_last).map(|hit| (hit.0.event_time + length, hit.clone())).collect()
}

fn note(kind: &Kind, hits: Vec<(i64, Hit)>) -> Noted {
    let mut noted = Noted::new();
    for (time, hit) in hits {
        let key = values(&hit.1, kind.key);
        let named = key.iter().map(|value| format!("{value:?}")).collect();
        let of = noted.entry((named, time.div_euclid(kind.dedup))).or_insert((key, Vec::new()));
        of.1.push(hit);
    }
    noted
}

fn tell(
    kind: &Kind,
    cluster: &str,
    key: &[Value],
    bucket: i64,
    row: Row,
    all: &BTreeSet<EventRef>,
) -> (String, Told) {
    let columns = kind.key.iter().map(|name| (*name).to_owned());
    let (of_key, summary) = (columns.zip(key.iter().cloned()).collect(), sentence(DESCRIBE, &row));
    let told = Told::by_definition((kind.id, cluster), of_key, summary, row, all);
    (identity(kind.id, cluster, key, bucket), told)
}

/// What the chain says of what the others said.
fn found(kind: &Kind, cluster: &str, said: &Said) -> Said {
    let Asks::Found { reads, window, slide, least } = kind.asks else {
        panic!("{} reads events", kind.id);
    };
    let read = said
        .iter()
        .filter(|(_, told)| told.cluster == cluster && reads.contains(&told.detection.as_str()));
    let mut by_user: BTreeMap<String, Vec<(EventRef, &Told)>> = BTreeMap::new();
    for (id, told) in read {
        let event_time = told.first.as_ref().unwrap().event_time;
        let event = EventRef { event_time, event_id: id.clone(), audit_id: None };
        let user = values(&told.row, &["user_name"]).remove(0);
        by_user.entry(format!("{user:?}")).or_default().push((event, told));
    }
    let mut found = Said::new();
    for read in by_user.into_values() {
        let key = values(&read[0].1.row, &["user_name"]);
        let mut buckets: BTreeMap<i64, (Row, usize, BTreeSet<EventRef>)> = BTreeMap::new();
        let ends: BTreeSet<i64> = read
            .iter()
            .flat_map(|(event, _)| {
                let first = (event.event_time.div_euclid(slide) + 1) * slide;
                (0..window / slide).map(move |k| first + k * slide)
            })
            .collect();
        for end in ends {
            let within: Vec<&(EventRef, &Told)> = read
                .iter()
                .filter(|(event, _)| end - window <= event.event_time && event.event_time < end)
                .collect();
            if within.len() < least {
                continue;
            }
            let first = within.iter().map(|(_, told)| told.detection.clone()).min().unwrap();
            let count = i64::try_from(within.len()).unwrap();
            let row = vec![
                ("user_name".to_owned(), key[0].clone()),
                ("name".to_owned(), Value::Int(count)),
                ("verb".to_owned(), Value::Text(first)),
            ];
            let of = buckets.entry(end.div_euclid(kind.dedup));
            let (shown, most, all) = of.or_insert((row.clone(), 0, BTreeSet::new()));
            if within.len() > *most {
                (*shown, *most) = (row, within.len());
            }
            all.extend(within.into_iter().map(|(event, _)| event.clone()));
        }
        for (bucket, (row, _, all)) in buckets {
            found.extend([tell(kind, cluster, &key, bucket, row, &all)]);
        }
    }
    found
}

fn latest(events: &[EventRef]) -> i64 {
    events.iter().map(|event| event.event_time).max().unwrap()
}

fn check(events: &Events, way: &Way) -> Said {
    let catalog = catalog(&subjects());
    let same = |expected: &Said, found: &Said, way: &str| {
        if let Some(difference) = difference(expected, found) {
            panic!("engine and model differ, {way}: {difference}");
        }
    };
    same(&model(events, latest), &replayed(&catalog, events, way), "replayed");
    let expected = model(events, |_| i64::MAX);
    same(&expected, &live(&catalog, events, way).1, "live");
    same(&expected, &past(&catalog, events, way), "when windows close");
    same(&expected, &prompt(&catalog, events, way, Looks::AllTheWhile), "at their times");
    // What chains read of what is forgotten is another story.
    let but_chains = |mut said: Said| {
        said.retain(|_, told| told.detection != "K-CHAIN");
        said
    };
    let (told, found) = (but_chains(expected.clone()), but_chains(late(&catalog, events, way)));
    same(&told, &found, "later than held");
    expected
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn engine_and_model_say_the_same_of_other_kinds((events, way) in story()) {
        check(&rows(&events), &way);
    }
}

/// The same stories each time, most of which must have something to tell.
#[test]
fn other_kinds_of_a_fixed_seed_find_something() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut finds: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..12 {
        let (events, _) = story().new_tree(&mut runner).unwrap().current();
        let said = model(&rows(&events), |_| i64::MAX);
        for kind in &KINDS {
            let found = said.values().any(|told| told.detection == kind.id);
            *finds.entry(kind.id).or_default() += usize::from(found);
        }
    }
    assert!(finds.values().all(|found| *found >= 4), "of 12 find something: {finds:?}");
}

/// A detection that is not among the above.
fn one(id: &str, front: &str, query: &str) -> Vec<Subject> {
    let front = format!("title: t\nseverity: low\ndescribe: d\n{front}");
    let text = format!("/*\nid: {id}\n{front}\n*/\n{query}\n");
    vec![Subject { id: id.to_owned(), text, ..subjects().remove(0) }]
}

/// A cluster is silent by the clock, whatever its events' times; how its events came together, and
/// restarts, make no difference.
#[test]
fn a_cluster_that_sends_nothing_is_told_of_and_comes_back() {
    let silent = one("K-SILENT", "dedup: 5m\nsilent: {for: 15m}", "SELECT verb FROM events");
    let catalog = catalog(&silent);
    let at = |minute: i64| start() + minute * MINUTE;
    // The second is about long ago.
    let stories: [Event; 4] = [
        named_event("east", at(0), 1),
        named_event("east", at(-50), 2),
        named_event("east", at(41), 3),
        named_event("west", at(20), 4),
    ];
    let events = rows(&stories);
    for restarts in [false, true] {
        let mut run = Run::new(&catalog, Pace::Live, HOUR);
        let restart = |run: &mut Run<'_>| {
            if restarts {
                run.restart(2);
            }
        };
        run.deliver(&events.pick(&[0]), at(1));
        run.pass(at(14));
        run.deliver(&events.pick(&[1]), at(15));
        restart(&mut run);
        run.pass(at(29));
        assert!(run.stands(|_| true).is_empty(), "14 minutes are not 15");
        run.pass(at(30));
        let said = run.stands(|_| true);
        assert_eq!(said.len(), 1, "{said:?}");
        let told = said.values().next().unwrap();
        assert_eq!((told.cluster.as_str(), told.count), ("east", 1));
        assert_eq!(told.last.as_ref().unwrap().event_time, at(-50), "the last to arrive");
        restart(&mut run);
        run.deliver(&events.pick(&[2, 3]), at(41));
        restart(&mut run);
        run.pass(at(55));
        assert_eq!(run.stands(|_| true).len(), 1, "it is back");
        run.pass(at(57));
        let said = run.stands(|_| true);
        let clusters: Vec<&str> = said.values().map(|told| told.cluster.as_str()).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert_eq!(clusters.iter().filter(|of| **of == "east").count(), 2);
    }
    // The end of an input is not silence.
    let mut run = Run::new(&catalog, Pace::Replay, HOUR);
    run.deliver(&events.pick(&[0, 1, 2, 3]), 0);
    run.finish();
    assert!(run.stands(|_| true).is_empty());
}

/// What came for buckets that are forgotten is found as if nothing was, also what is disproved, and
/// at the edge of a bucket.
#[test]
fn later_than_anything_is_held_says_what_the_query_says() {
    let front = "window: 10m\nslide: 5m\ndedup: 10m";
    let few = "SELECT user_name, count(*) AS n FROM events
               GROUP BY user_name HAVING count(*) <= 2";
    let two = "SELECT user_name, count(*) AS n FROM events
               GROUP BY user_name HAVING count(*) >= 2";
    let mut subjects = one("K-FEW", front, few);
    subjects.extend(one("K-TWO", front, two));
    subjects.extend(one("K-EACH", "dedup: 10m\nkey: [user_name]", "SELECT user_name FROM events"));
    let catalog = catalog(&subjects);
    let at = |minute: i64| start() + minute * MINUTE;
    let told_from = at(50);
    for late in [at(3), at(20), told_from - 10 * MINUTE, told_from - 10 * MINUTE - 1] {
        let times = [at(2), at(3), at(31), at(52), at(60)];
        let mut stories: Vec<Event> =
            (1..).zip(times).map(|(id, time)| named_event("east", time, id)).collect();
        stories.push(named_event("east", late, 77));
        let events = rows(&stories);
        let expected = {
            let mut run = Run::new(&catalog, Pace::Live, 24 * HOUR);
            run.deliver(&events.pick(&[0, 1, 2, 3, 4, 5]), at(61));
            run.close(at(62))
        };
        let mut run = Run::new(&catalog, Pace::Live, 0);
        for (event, minute) in [(0, 2), (1, 3), (2, 31), (3, 52), (4, 60)] {
            run.deliver(&events.pick(&[event]), at(minute));
            run.pass(at(minute) + SECOND);
        }
        run.deliver(&events.pick(&[5]), at(61));
        // Once more, later than repeats are told: it counts once.
        if late < told_from - 20 * MINUTE {
            run.deliver_untold(arrived_at(&events.pick(&[5]), at(61) + 1), at(61) + 1);
        }
        let found = run.close(at(62));
        if let Some(difference) = difference(&expected, &found) {
            panic!("late at {}: {difference}", (late - start()) / SECOND);
        }
    }
}

/// What a start reads again is joined to what was seen longer ago, although that is told after it.
#[test]
fn what_is_read_again_is_not_new_when_its_key_was_seen_longer_ago() {
    let front = "dedup: 1m\nkey: [name]\nfirst_seen: {key: [name], lookback: 30m, learn: 1m}";
    let new = one("K-AGAIN", front, "SELECT name FROM events");
    let catalog = catalog(&new);
    let at = |minute: i64| start() + minute * MINUTE;
    let mut stories = [1, 2, 3].map(|id| named_event("east", at(0), id));
    stories[1].time = at(20);
    (stories[2].time, stories[2].name) = (at(21), Some("b"));
    let events = rows(&stories);
    let mut run = Run::new(&catalog, Pace::Live, 0);
    for (event, minute) in [(0, 0), (1, 20), (2, 21)] {
        run.deliver(&events.pick(&[event]), at(minute));
    }
    run.restart(1);
    let said = run.close(at(22));
    let times: Vec<i64> =
        said.values().map(|told| told.first.as_ref().unwrap().event_time).collect();
    assert_eq!(times, [at(21)]);
}

/// What reads findings of windows, which wait until these close.
const CHAIN: Kind = Kind {
    id: "J-CHAIN",
    dedup: 40 * MINUTE,
    key: &["user_name"],
    asks: Asks::Found {
        reads: &["O-FEW", "O-WITHOUT", "O-COUNT"],
        window: 20 * MINUTE,
        slide: 10 * MINUTE,
        least: 2,
    },
    front: "window: 20m\nslide: 10m\ndedup: 40m\nover: findings",
    query: "SELECT user_name, count(*) AS name, min(detection) AS verb FROM findings
            WHERE detection IN ('O-FEW', 'O-WITHOUT', 'O-COUNT')
            GROUP BY user_name HAVING count(*) >= 2",
};

/// Time jumps by hours: what many windows say is told at once, and chains read it.
fn check_jumps(events: &[Event], way: &Way, hours: i64) -> usize {
    let jumped = events.iter().map(|event| {
        let jumps = (event.time - start()) / (20 * MINUTE);
        Event { time: event.time + jumps * hours * HOUR, ..*event }
    });
    let events = rows(&jumped.collect::<Vec<_>>());
    let mut windowed = super::fixed::subjects();
    windowed.retain(|subject| ["O-FEW", "O-WITHOUT", "O-COUNT"].contains(&subject.id.as_str()));
    let mut expected = Model::default().all(&windowed, &events);
    let mut chained = Said::new();
    for cluster in events.clusters.iter().collect::<BTreeSet<_>>() {
        chained.extend(found(&CHAIN, cluster, &expected));
    }
    let count = chained.len();
    expected.extend(chained);
    let chain = Subject { text: CHAIN.text(), id: CHAIN.id.to_owned(), ..Subject::default() };
    windowed.push(chain);
    let catalog = catalog(&windowed);
    for looks in [Looks::AllTheWhile, Looks::WhenSomethingComes] {
        let found = prompt(&catalog, &events, way, looks);
        if let Some(difference) = difference(&expected, &found) {
            panic!("engine and model differ, {looks:?}: {difference}");
        }
    }
    let found = replayed(&catalog, &events, way);
    if let Some(difference) = difference(&expected, &found) {
        panic!("engine and model differ, replayed: {difference}");
    }
    count
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn chains_miss_nothing_when_time_jumps((events, way) in story(), hours in 0_i64..9) {
        check_jumps(&events, &way, hours);
    }
}

#[test]
fn when_time_jumps_chains_of_a_fixed_seed_find_something() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let stories = (0..6).map(|hours| {
        let (events, way) = story().new_tree(&mut runner).unwrap().current();
        check_jumps(&events, &way, hours)
    });
    let found = stories.filter(|found| *found > 0).count();
    assert!(found >= 2, "{found} of 6 stories have a chain");
}
