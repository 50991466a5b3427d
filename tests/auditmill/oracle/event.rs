//! Events of generated stories: few values a column, so that they fall into groups.

use std::fmt::Debug;

use auditmill::event::time::parse_rfc3339;
use auditmill::event::{EventRow, Rows};
use proptest::prelude::*;

use super::plain::Events;
use super::{MINUTE, SECOND};

/// An event as far as detections care.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) cluster: &'static str,
    pub(super) time: i64,
    pub(super) id: u128,
    pub(super) verb: &'static str,
    pub(super) name: Option<&'static str>,
    pub(super) actor: Actor,
    pub(super) target: Target,
    pub(super) answer: Answer,
}

/// Who asked, and from where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Actor {
    user: Option<&'static str>,
    groups: Option<&'static str>,
    ip: Option<&'static str>,
    agent: Option<&'static str>,
    impersonated: Option<&'static str>,
}

/// What for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    resource: Option<&'static str>,
    subresource: Option<&'static str>,
    namespace: Option<&'static str>,
    uri: Option<&'static str>,
    body: Option<&'static str>,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    stage: &'static str,
    code: Option<i32>,
    decision: Option<&'static str>,
}

const EVE: Actor = Actor {
    user: Some("eve"),
    groups: Some(r#"["developers","system:authenticated"]"#),
    ip: Some("10.0.0.1"),
    agent: Some("kubectl/v1.36"),
    impersonated: None,
};
const ACTORS: [(u32, Actor); 7] = [
    (6, EVE),
    (1, Actor { ip: Some("203.0.113.9"), agent: Some("curl/8.5"), ..EVE }),
    (1, Actor { impersonated: Some("admin"), ..EVE }),
    (2, Actor { user: Some("bob"), groups: Some(r#"["system:masters"]"#), ..EVE }),
    (1, Actor { user: Some("system:node:n1"), agent: Some("kubelet/v1.36"), ..EVE }),
    (1, Actor { user: Some("system:serviceaccount:dev:ci"), agent: None, ..EVE }),
    (1, Actor { user: None, groups: None, ip: None, ..EVE }),
];

const SECRET: Target = Target {
    resource: Some("secrets"),
    subresource: None,
    namespace: Some("dev"),
    uri: Some("/api/v1/namespaces/dev/secrets?limit=500"),
    body: None,
};
const TARGETS: [(u32, Target); 5] = [
    (4, SECRET),
    (2, Target { namespace: Some("prod"), uri: Some("/api/v1/secrets?dryRun=All"), ..SECRET }),
    (2, Target { resource: Some("pods"), uri: Some("/api/v1/pods"), body: Some(BODY), ..SECRET }),
    (1, Target { resource: Some("pods"), subresource: Some("exec"), uri: Some(EXEC), ..SECRET }),
    (1, Target { resource: None, namespace: None, uri: Some("/metrics"), ..SECRET }),
];
const BODY: &str = r#"{"spec":{"containers":[{"securityContext":{"privileged":true}}]}}"#;
const EXEC: &str = "/api/v1/namespaces/dev/pods/a/exec?command=sh&command=-c&tty=true";

const DONE: Answer = Answer { stage: "ResponseComplete", code: Some(200), decision: Some("allow") };
const ANSWERS: [(u32, Answer); 5] = [
    (5, DONE),
    (1, Answer { code: Some(201), ..DONE }),
    (2, Answer { code: Some(403), decision: Some("forbid"), ..DONE }),
    (1, Answer { code: Some(404), decision: None, ..DONE }),
    (1, Answer { stage: "ResponseStarted", code: None, ..DONE }),
];

/// Half past: the edge of every bucket lies within the hour that follows.
pub(super) fn start() -> i64 {
    parse_rfc3339("2026-03-01T11:30:00Z").unwrap()
}

/// Times of an hour: many on an edge or next to one, and close to each other.
pub(super) fn time() -> impl Strategy<Value = i64> {
    let edge = (0_i64..=60, -1_i64..=1).prop_map(|(minute, micros)| minute * MINUTE + micros);
    let busy = (28_i64..=32, 0_i64..60).prop_map(|(m, s)| m * MINUTE + s * SECOND);
    let any = (0_i64..3_600).prop_map(|second| second * SECOND);
    prop_oneof![2 => edge, 5 => busy, 1 => any].prop_map(|offset| start() + offset)
}

/// One of a table, each with its weight.
fn one_of<T: Copy + Debug + 'static>(table: &[(u32, T)]) -> impl Strategy<Value = T> + use<T> {
    proptest::strategy::Union::new_weighted(
        table.iter().map(|(weight, value)| (*weight, Just(*value))).collect(),
    )
}

/// A plain event: eve's or bob's, all of the same target and answer.
pub(super) fn plain_event() -> impl Strategy<Value = Event> {
    let bob = Actor { user: Some("bob"), ..EVE };
    let actors = [(6, EVE), (2, bob), (1, Actor { user: None, ..EVE })];
    event_of(&actors, &[(1, SECRET)], &[(1, DONE)])
}

/// An event of everybody, about anything, answered in any way.
pub(super) fn mixed_event() -> impl Strategy<Value = Event> {
    event_of(&ACTORS, &TARGETS, &ANSWERS)
}

fn event_of(
    actors: &[(u32, Actor)],
    targets: &[(u32, Target)],
    answers: &[(u32, Answer)],
) -> impl Strategy<Value = Event> + use<> {
    let cluster = prop_oneof![8 => Just("east"), 1 => Just("west")];
    let verb = prop_oneof![Just("get"), Just("create"), Just("delete")];
    let name = prop_oneof![Just("a"), Just("b"), Just("c")];
    let what = (verb, name, one_of(actors), one_of(targets), one_of(answers));
    (cluster, time(), any::<u128>(), what).prop_map(
        |(cluster, time, id, (verb, name, actor, target, answer))| {
            // What no resource is named for has no name either.
            let name = target.resource.map(|_| name);
            Event { cluster, time, id, verb, name, actor, target, answer }
        },
    )
}

/// An event of eve's.
pub(super) fn named_event(cluster: &'static str, time: i64, id: u128) -> Event {
    let (actor, target, answer) = (EVE, SECRET, DONE);
    Event { cluster, time, id, verb: "get", name: Some("a"), actor, target, answer }
}

/// The rows of events.
pub(super) fn rows(events: &[Event]) -> Events {
    let mut rows = Rows::new();
    for event in events {
        let Event { cluster, time, id, verb, name, actor, target, answer } = *event;
        let id = format!("{id:032x}");
        rows.push(&EventRow {
            cluster,
            event_id: &id,
            event_time: time,
            audit_id: Some(&format!("audit-{id}")),
            stage: Some(answer.stage),
            verb: Some(verb),
            request_uri: target.uri,
            user_name: actor.user,
            user_groups: actor.groups,
            impersonated_user: actor.impersonated,
            source_ip: actor.ip,
            user_agent: actor.agent,
            resource: target.resource,
            subresource: target.subresource,
            namespace: target.namespace,
            name,
            response_code: answer.code,
            decision: answer.decision,
            request_object: target.body,
            source: "test",
            ..EventRow::default()
        });
    }
    Events::of(rows.finish())
}
