//! Random pieces of SQL over the events table: conditions, keys, aggregates, HAVING. Whatever comes
//! out is valid, does not depend on the order of rows, and divides by nothing that may be zero.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Columns, some of their values, and the beginning of one.
const TEXTS: [(&str, &[&str], &str); 10] = [
    ("verb", &["get", "create", "delete"], "de"),
    ("resource", &["secrets", "pods"], "sec"),
    ("subresource", &["exec", "log"], "ex"),
    ("namespace", &["dev", "prod"], "d"),
    ("name", &["a", "b", "c"], "a"),
    ("user_name", &["eve", "bob", "system:node:n1"], "system:"),
    ("source_ip", &["10.0.0.1", "203.0.113.9"], "10."),
    ("user_agent", &["kubectl/v1.36", "curl/8.5"], "kube"),
    ("stage", &["ResponseComplete", "ResponseStarted"], "Response"),
    ("decision", &["allow", "forbid"], "al"),
];

/// What holds for most events.
const BROAD: [&str; 8] = [
    "verb IN ('get', 'create')",
    "verb <> 'get'",
    "resource = 'secrets'",
    "stage = 'ResponseComplete'",
    "response_code BETWEEN 200 AND 299",
    "NOT is_system_user(user_name)",
    "(decision IS DISTINCT FROM 'forbid')",
    "user_name IN ('eve', 'bob')",
];

/// Conditions that no single column decides, or only through a function.
const ODD: [&str; 24] = [
    "is_system_user(user_name)",
    "has_group(user_groups, 'system:masters')",
    "NOT has_group(user_groups, 'developers')",
    "url_param(request_uri, 'dryRun') = 'All'",
    "(url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All')",
    "exec_command(request_uri) LIKE 'sh%'",
    "stage = CASE WHEN resource = 'pods' THEN 'ResponseStarted' ELSE 'ResponseComplete' END",
    "CASE verb WHEN 'get' THEN response_code < 300 WHEN 'delete' THEN TRUE \
     ELSE namespace = 'dev' END",
    "split_part(user_agent, '/', 1) = 'kubectl'",
    "private_ip(source_ip)",
    "cidr_match(source_ip, '10.0.0.0/8')",
    "glob(name, '[ab]')",
    "regexp_like(request_uri, '^/api/v1/.*secrets')",
    "json_exists(request_object, '$..[?@.securityContext.privileged == true]')",
    "coalesce(namespace, '-') = '-'",
    "upper(verb) = 'DELETE'",
    "response_code >= 400",
    "response_code IN (403, 404)",
    "response_code IS NULL",
    "response_code + 1 < 300",
    "impersonated_user IS NULL",
    "length(name) = 1",
    "concat(verb, '/', resource) IN ('get/secrets', 'create/pods')",
    "user_name < 'f' AND user_agent > 'd'",
];

/// Columns that group, and expressions that do.
const KEYS: [(&str, &str); 12] = [
    ("user_name", "user_name"),
    ("user_name", "user_name"),
    ("source_ip", "source_ip"),
    ("verb", "verb"),
    ("name", "name"),
    ("namespace", "namespace"),
    ("resource", "resource"),
    ("response_code", "response_code"),
    ("split_part(user_agent, '/', 1)", "agent"),
    ("coalesce(namespace, '-')", "place"),
    ("response_code / 100", "class"),
    ("user_name LIKE 'system:%'", "is_system"),
];

/// What counts the same in any order, and goes up with events.
const GROWING: [&str; 7] = [
    "count(*)",
    "count(name)",
    "count(response_code)",
    "count(DISTINCT name)",
    "count(DISTINCT verb)",
    "count(DISTINCT namespace || '/' || name)",
    "count(DISTINCT CASE WHEN resource IS NULL THEN request_uri \
     ELSE concat_ws('/', resource, name) END)",
];

const LATEST: &str = "max(event_time)";

/// Aggregates of any kind.
const AGGREGATES: [&str; 20] = [
    "sum(response_code)",
    "sum(CASE WHEN verb = 'get' THEN 1 ELSE 0 END)",
    "min(event_time)",
    "max(event_time)",
    "min(name)",
    "max(name)",
    "min(user_agent)",
    "max(source_ip)",
    "min(response_code)",
    "max(response_code)",
    "avg(response_code)",
    "bool_or(verb = 'delete')",
    "bool_and(resource = 'secrets')",
    "approx_distinct(name)",
    "sum(DISTINCT response_code)",
    "median(response_code)",
    "bit_or(response_code)",
    "count(DISTINCT response_code)",
    "array_to_string(array_agg(DISTINCT verb ORDER BY verb), ',')",
    "string_agg(DISTINCT name, ',' ORDER BY name)",
];

fn text_condition() -> impl Strategy<Value = String> {
    (select(&TEXTS[..]), 0_usize..9, any::<prop::sample::Index>()).prop_map(
        |((column, values, beginning), form, which)| {
            let value = values[which.index(values.len())];
            match form {
                0 | 1 => format!("{column} = '{value}'"),
                2 => format!("{column} <> '{value}'"),
                3 => format!("{column} IN ('{value}', '{}')", values[0]),
                4 => format!("{column} NOT IN ('{value}', 'other')"),
                5 => format!("{column} IS NULL"),
                6 => format!("{column} IS NOT NULL"),
                7 => format!("{column} LIKE '{beginning}%'"),
                _ => format!("({column} IS DISTINCT FROM '{value}')"),
            }
        },
    )
}

fn joined(parts: &[String], word: &str) -> String {
    parts.iter().map(|part| format!("({part})")).collect::<Vec<_>>().join(word)
}

/// Any condition.
pub(super) fn condition() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        4 => text_condition(),
        3 => select(&ODD[..]).prop_map(str::to_owned),
        1 => select(&BROAD[..]).prop_map(str::to_owned),
    ];
    let tree = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| joined(&parts, " AND ")),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| joined(&parts, " OR ")),
            inner.clone().prop_map(|part| format!("NOT ({part})")),
            prop::collection::vec(inner.clone(), 2..3)
                .prop_map(|parts| format!("({}) IS NOT TRUE", joined(&parts, " AND "))),
            inner.prop_map(|part| format!("({part}) IS NOT FALSE")),
        ]
    });
    tree.boxed()
}

/// A WHERE: often a few broad conditions, as real ones begin, then something of any kind.
pub(super) fn filter() -> impl Strategy<Value = String> {
    let broad = subsequence(&BROAD[..], 1..3);
    let broad = broad.prop_map(|parts| parts.join(" AND "));
    prop_oneof![
        3 => broad.clone(),
        3 => (broad, condition()).prop_map(|(broad, rest)| format!("{broad} AND ({rest})")),
        3 => condition(),
        1 => Just("TRUE".to_owned()),
    ]
}

/// A condition on what neither keys nor joins are made of, of a table of this name.
pub(super) fn plain_filter(table: &'static str) -> impl Strategy<Value = String> {
    let conditions = ["verb = 'create'", "verb = 'delete'", "verb <> 'get'", "response_code = 200"];
    select(conditions.to_vec()).prop_map(move |condition| format!("{table}{condition}"))
}

/// Expressions to group by, with their names; no name twice.
pub(super) fn keys() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    subsequence(&KEYS[..], 1..4).prop_map(|mut keys| {
        keys.dedup();
        keys
    })
}

fn filtered(of: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    // The lists of texts are no plain calls.
    (of, prop::option::weighted(0.3, condition())).prop_map(|(aggregate, filter)| match filter {
        Some(filter) if !aggregate.starts_with("array_to") => {
            format!("{aggregate} FILTER (WHERE {filter})")
        }
        _ => aggregate,
    })
}

fn growing() -> impl Strategy<Value = String> {
    filtered(select(&GROWING[..]).prop_map(str::to_owned).boxed())
}

/// An aggregate of any kind, or something that is computed of some.
pub(super) fn aggregate() -> impl Strategy<Value = String> {
    let any = select(&AGGREGATES[..]).prop_map(str::to_owned).boxed();
    prop_oneof![
        3 => growing(),
        4 => filtered(any),
        1 => growing().prop_map(|count| format!("count(*) - {count}")),
        1 => growing().prop_map(|count| {
            format!("CASE WHEN {count} > 2 THEN 'many' ELSE 'few' END")
        }),
        1 => Just("max(event_time) - min(event_time) > interval '2 minutes'".to_owned()),
    ]
}

/// A HAVING that stays true once it is.
fn crossing() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        4 => (growing(), 1_u32..4).prop_map(|(count, least)| format!("{count} >= {least}")),
        1 => (growing(), 0_u32..2).prop_map(|(count, below)| format!("{below} < {count}")),
        1 => Just("count(*) >= $limit".to_owned()),
        1 => Just("max(response_code) >= 403".to_owned()),
        1 => Just("min(response_code) < 201".to_owned()),
        1 => (condition(), condition()).prop_map(|(first, then)| {
            format!("min(event_time) FILTER (WHERE {first}) < {LATEST} FILTER (WHERE {then})")
        }),
    ];
    let tree = leaf.prop_recursive(1, 3, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} AND {b}")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a}) OR ({b})")),
        ]
    });
    tree.boxed()
}

/// A HAVING that further events may make false.
fn wavering() -> BoxedStrategy<String> {
    let fixed = [
        "avg(response_code) > 250",
        "bool_or(verb = 'delete') AND NOT bool_or(verb = 'create')",
        "bool_and(resource = 'secrets')",
        "max(event_time) - min(event_time) < interval '2 minutes'",
        "count(*) > count(DISTINCT name)",
        "count(DISTINCT verb) * 2 <= count(*)",
        "sum(response_code) % 2 = 0",
        "max(name) = 'c'",
        "count(*) * 10 / (count(name) + 1) > 4",
        "min(verb) <> max(verb)",
    ];
    let leaf = prop_oneof![
        2 => (growing(), 1_u32..4).prop_map(|(count, most)| format!("{count} <= {most}")),
        1 => (growing(), 0_u32..3).prop_map(|(count, exactly)| format!("{count} = {exactly}")),
        2 => growing().prop_map(|count| format!("{count} * 2 > count(*)")),
        3 => select(fixed.to_vec()).prop_map(str::to_owned),
        1 => crossing().prop_map(|crossing| format!("NOT ({crossing})")),
    ];
    let tree = leaf.prop_recursive(1, 4, 2, |inner| {
        prop_oneof![
            (inner.clone(), crossing()).prop_map(|(a, b)| format!("({a}) AND ({b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a}) OR ({b})")),
        ]
    });
    tree.boxed()
}

/// A HAVING, and whether it stays true once it is; none at all does.
pub(super) fn having() -> impl Strategy<Value = (Option<String>, bool)> {
    prop_oneof![
        1 => Just((None, true)),
        4 => crossing().prop_map(|having| (Some(having), true)),
        4 => wavering().prop_map(|having| (Some(having), false)),
    ]
}
