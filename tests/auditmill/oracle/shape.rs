//! Random detections: the pieces of `grammar` put together in each shape that a detection can have.

use proptest::prelude::*;
use proptest::sample::select;

use super::MINUTE;
use super::grammar::{aggregate, condition, filter, having, keys, plain_filter};
use super::subject::{Draft, Subject};

/// A detection without its id; the fields are those of [`Subject`].
#[derive(Clone, Debug)]
pub(super) struct Shape {
    window: Option<(i64, i64)>,
    dedup: i64,
    describe: String,
    key: Vec<String>,
    /// The key is to be named in the front matter.
    named_key: bool,
    /// The engine's query.
    query: String,
    /// The model's.
    asked: String,
    hits: String,
    fires_at_once: bool,
}

const LIMIT: &str = "$limit";

impl Shape {
    pub(super) fn subject(&self, id: &str) -> Subject {
        let Self { window, dedup, describe, key, named_key, query, .. } = self;
        let key_line =
            if *named_key { format!("key: [{}]\n", key.join(", ")) } else { String::new() };
        let params = if query.contains(LIMIT) { "params: {limit: 2}\n" } else { "" };
        let front = key_line + params;
        let draft = Draft { id, window: *window, dedup: *dedup, describe, front: &front, query };
        Subject {
            id: id.to_owned(),
            text: draft.text(),
            window: *window,
            dedup: *dedup,
            describe: describe.clone(),
            key: key.clone(),
            query: self.asked.replace(LIMIT, "2"),
            hits: self.hits.clone(),
            fires_at_once: self.fires_at_once,
            ..Subject::default()
        }
    }
}

/// A detection of any shape.
pub(super) fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![6 => grouped(), 2 => per_event(), 2 => odd()]
}

/// Length and slide of a window, and a bucket that the slide divides.
fn windows() -> impl Strategy<Value = ((i64, i64), i64)> {
    let minutes = [(4, 2), (6, 2), (9, 3), (10, 5), (10, 1), (3, 3), (12, 4)];
    let window =
        select(minutes.to_vec()).prop_map(|(length, slide)| (length * MINUTE, slide * MINUTE));
    let window = prop_oneof![7 => window, 1 => Just((3 * MINUTE, MINUTE / 2))];
    (window, select(vec![1, 2, 3, 5])).prop_map(|(window, times)| (window, window.1 * times))
}

fn numbered<'a>(keys: impl Iterator<Item = &'a str>) -> Vec<String> {
    keys.enumerate().map(|(at, key)| format!("{key} AS __key_{at}")).collect()
}

/// Where a grouped query reads from.
fn source() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => Just("events".to_owned()),
        1 => filter().prop_map(|filter| format!("(SELECT * FROM events WHERE {filter}) AS e")),
        1 => condition().prop_map(|filter| {
            format!("(SELECT *, CASE WHEN {filter} THEN name END AS label FROM events) AS e")
        }),
    ]
}

/// GROUP BY with or without HAVING: the groups are the key.
fn grouped() -> impl Strategy<Value = Shape> {
    let aggregates = prop::collection::vec(aggregate(), 1..4);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (windows(), source(), filter(), keys(), aggregates, having(), flags).prop_map(
        |((window, dedup), source, filter, keys, aggregates, (having, stays), flags)| {
            let (by_alias, with_cluster, shows_columns) = flags;
            let is_column = |key: &(&str, &str)| key.0 == key.1;
            let mut shown: Vec<String> = Vec::new();
            let mut groups: Vec<String> = Vec::new();
            let mut described = vec!["{{a0}}".to_owned()];
            if with_cluster {
                groups.push("cluster".to_owned());
                shown.push("cluster".to_owned());
            }
            for key in &keys {
                // An expression has no name but its alias.
                if shows_columns || !is_column(key) {
                    let alias =
                        if is_column(key) { String::new() } else { format!(" AS {}", key.1) };
                    shown.push(format!("{}{alias}", key.0));
                    described.push(format!("{{{{{}}}}}", key.1));
                }
                groups.push(if by_alias { key.1 } else { key.0 }.to_owned());
            }
            let results =
                aggregates.iter().enumerate().map(|(at, text)| format!("{text} AS a{at}"));
            shown.extend(results);
            if source.contains(" AS label ") {
                shown.push("count(DISTINCT label) AS labels".to_owned());
            }
            let having = having.map_or_else(String::new, |having| format!("\nHAVING {having}"));
            let from = format!("\nFROM {source}\nWHERE {filter}");
            let keyed = numbered(keys.iter().map(|key| key.0)).join(", ");
            let shown = shown.join(", ");
            let rest = format!("{from}\nGROUP BY {}{having}", groups.join(", "));
            Shape {
                window: Some(window),
                dedup,
                describe: described.join(" by "),
                key: keys.iter().map(|key| key.1.to_owned()).collect(),
                named_key: false,
                query: format!("SELECT {shown}{rest}"),
                asked: format!("SELECT {shown}, {keyed}{rest}"),
                hits: format!("SELECT event_id, {keyed}{from}"),
                fires_at_once: stays,
            }
        },
    )
}

/// A filter and a projection, each event alone.
fn per_event() -> impl Strategy<Value = Shape> {
    let shown = [
        "verb",
        "request_uri",
        "event_time",
        "coalesce(exec_command(request_uri), '') AS command",
        "response_code / 100 AS class",
        "CASE WHEN impersonated_user IS NULL THEN '' \
         ELSE ' as ' || impersonated_user END AS acting",
    ];
    let shown = proptest::sample::subsequence(shown.to_vec(), 1..4);
    let minutes = select(vec![1, 7, 20, 60]);
    (filter(), keys(), shown, minutes).prop_map(|(filter, keys, shown, minutes)| {
        let mut keyed: Vec<String> = Vec::new();
        for (expression, alias) in &keys {
            keyed.push(format!("{expression} AS {alias}"));
        }
        // A column that is a key already is not shown twice.
        let others = shown.iter().filter(|shown| {
            keys.iter()
                .all(|(_, alias)| **shown != *alias && !shown.ends_with(&format!(" {alias}")))
        });
        keyed.extend(others.map(|shown| (*shown).to_owned()));
        let shown = keyed.join(", ");
        let keyed = numbered(keys.iter().map(|key| key.0)).join(", ");
        let from = format!("\nFROM events\nWHERE {filter}");
        Shape {
            window: None,
            dedup: minutes * MINUTE,
            describe: format!("{{{{{}}}}} it was", keys[0].1),
            key: keys.iter().map(|key| key.1.to_owned()).collect(),
            named_key: true,
            query: format!("SELECT {shown}{from}"),
            asked: format!("SELECT {shown}, {keyed}, event_id AS __event_id{from}"),
            hits: String::new(),
            fires_at_once: true,
        }
    })
}

/// Joins, window functions, set operations, groups of groups: the key is named.
fn odd() -> impl Strategy<Value = Shape> {
    let column = select(vec!["name", "namespace", "source_ip"]);
    let join = (plain_filter("a."), plain_filter("b."), column, 1_u32..3);
    let join = join.prop_map(|(first, then, column, least)| {
        let query = format!(
            "SELECT a.user_name AS user_name, count(*) AS n FROM events a JOIN events b \
             ON a.user_name = b.user_name AND a.{column} = b.{column} \
             WHERE {first} AND {then} AND a.event_time < b.event_time \
             GROUP BY a.user_name HAVING count(*) >= {least}"
        );
        (query, format!("{} OR {}", &first[2..], &then[2..]))
    });
    let pairs = filter().prop_map(|filter| {
        let query = format!(
            "SELECT user_name, name AS n, before, event_time AS at FROM ( \
             SELECT user_name, name, verb, event_time, lag(verb) OVER \
             (PARTITION BY user_name ORDER BY event_time, event_id) AS before \
             FROM events WHERE {filter}) AS t WHERE before <> verb"
        );
        (query, filter)
    });
    let union = (filter(), filter()).prop_map(|(one, other)| {
        let query = format!(
            "SELECT user_name, count(*) AS n FROM events WHERE {one} GROUP BY user_name \
             UNION ALL SELECT user_name, count(DISTINCT name) + 100 AS n FROM events \
             WHERE {other} GROUP BY user_name"
        );
        (query, format!("({one}) OR ({other})"))
    });
    let twice = (filter(), 1_u32..4).prop_map(|(filter, least)| {
        let query = format!(
            "SELECT user_name, max(c) AS n FROM (SELECT user_name, name, count(*) AS c \
             FROM events WHERE {filter} GROUP BY user_name, name) AS t \
             GROUP BY user_name HAVING max(c) >= {least}"
        );
        (query, filter)
    });
    let distinct = filter().prop_map(|filter| {
        (format!("SELECT DISTINCT user_name, verb AS n FROM events WHERE {filter}"), filter)
    });
    let top = filter().prop_map(|filter| {
        let query = format!(
            "SELECT user_name, count(*) AS n FROM events WHERE {filter} \
             GROUP BY user_name ORDER BY n DESC, user_name LIMIT 1"
        );
        (query, filter)
    });
    (windows(), prop_oneof![join, pairs, union, twice, distinct, top]).prop_map(
        |((window, dedup), (query, counts))| Shape {
            window: Some(window),
            dedup,
            describe: "{{user_name}} {{n}} times".to_owned(),
            key: vec!["user_name".to_owned()],
            named_key: true,
            asked: format!("SELECT *, q.user_name AS __key_0 FROM ({query}) AS q"),
            query,
            hits: format!("SELECT event_id, user_name AS __key_0 FROM events WHERE {counts}"),
            fires_at_once: false,
        },
    )
}
