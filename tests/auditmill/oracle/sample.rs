//! Events of a detection's own tests and of recordings, as JSON, and how they are varied.

use std::collections::BTreeMap;

use auditmill::decode::{Decoder, Delivery};
use auditmill::event::Rows;
use auditmill::event::time::{parse_rfc3339, rfc3339};
use serde_json::{Value as Json, json};

use super::super::events::repository;
use super::plain::Events;

/// An event as a test file or a recording has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    event: Json,
    /// Copies, numbered by `{{n}}`, and what lies between them in microseconds.
    repeat: u32,
    every: i64,
    /// When it happens, microseconds from the end of its case.
    at: i64,
    /// How long before it its request was received, microseconds.
    lead: i64,
}

/// A case of a test file.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) samples: Vec<Sample>,
    /// Something is found in it.
    pub(super) fires: bool,
}

/// What is changed of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) user: Option<&'static str>,
    pub(super) ip: Option<&'static str>,
    /// Put behind the object's name.
    pub(super) suffix: Option<&'static str>,
    pub(super) cluster: &'static str,
    /// The time of its case's end, microseconds.
    pub(super) time: i64,
}

/// The time from which steps count theirs.
const BASE: &str = "2026-01-01T00:00:00Z";

/// No step has more copies.
const REPEAT_MAX: u32 = 10;

/// The events of each case of a test file.
pub(super) fn cases(path: &str) -> Vec<Case> {
    let text = std::fs::read_to_string(repository(path)).unwrap();
    let file: Json = serde_saphyr::from_str(&text).unwrap();
    let case = |case: &Json| {
        let steps = case["events"].as_array().unwrap().iter();
        let mut samples: Vec<Sample> = steps.map(|step| sample(step, &file["templates"])).collect();
        let ends = samples.iter().map(|of| of.at + of.every * i64::from(of.repeat - 1));
        let end = ends.max().unwrap_or(0);
        for sample in &mut samples {
            sample.at -= end;
        }
        Case { samples, fires: case.get("fires").is_some() }
    };
    file["cases"].as_array().unwrap().iter().map(case).collect()
}

fn sample(step: &Json, templates: &Json) -> Sample {
    let mut event = match step["like"].as_str() {
        Some(name) => templates[name].clone(),
        None => step["event"].clone(),
    };
    if let Some(set) = step.get("set") {
        merge(&mut event, set);
    }
    let micros = |text: &str| {
        let duration: std::time::Duration = humantime::parse_duration(text).unwrap();
        i64::try_from(duration.as_micros()).unwrap()
    };
    let own = |name: &str| event[name].as_str().and_then(parse_rfc3339);
    let (at, lead) = match (step["at"].as_str(), own("stageTimestamp")) {
        (Some(at), _) => (micros(at), 0),
        (None, Some(stage)) => {
            let received = own("requestReceivedTimestamp").unwrap_or(stage);
            (stage - parse_rfc3339(BASE).unwrap(), stage - received)
        }
        (None, None) => (0, 0),
    };
    let repeat = step["repeat"].as_u64().unwrap_or(1);
    let repeat = u32::try_from(repeat).unwrap().min(REPEAT_MAX);
    let every = step["every"].as_str().map_or(0, micros);
    Sample { event, repeat, every, at, lead }
}

/// The events of a recording.
pub(super) fn recording(path: &str) -> Vec<Sample> {
    let text = std::fs::read_to_string(repository(path)).unwrap();
    let sample = |line: &str| Sample {
        event: serde_json::from_str(line).unwrap(),
        repeat: 1,
        ..Sample::default()
    };
    text.lines().map(sample).collect()
}

/// Members of `set` take the place of those of `into`, map by map; null removes.
fn merge(into: &mut Json, set: &Json) {
    let (Json::Object(into), Json::Object(set)) = (&mut *into, set) else {
        *into = set.clone();
        return;
    };
    for (name, value) in set {
        if value.is_null() {
            into.shift_remove(name);
        } else {
            merge(into.entry(name.clone()).or_insert(Json::Null), value);
        }
    }
}

/// The rows of changed samples; no two events are the same.
pub(super) fn rows(samples: &[(Sample, Change)]) -> Events {
    let mut bodies: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (position, (sample, change)) in samples.iter().enumerate() {
        for copy in 0..sample.repeat {
            let text = sample.event.to_string().replace("{{n}}", &(copy + 1).to_string());
            let mut event: Json = serde_json::from_str(&text).unwrap();
            let time = change.time + sample.at + sample.every * i64::from(copy);
            vary(&mut event, change, time, if copy == 0 { sample.lead } else { 0 });
            event["auditID"] = json!(format!("{position}-{copy}"));
            bodies.entry(change.cluster).or_default().push(event.to_string());
        }
    }
    let mut rows = Rows::new();
    for (cluster, lines) in bodies {
        let (body, mut quarantined) = (lines.join("\n"), Vec::new());
        let body = body.as_bytes();
        let delivery = Delivery { cluster, source: "file", received_at: 0, body };
        let count = Decoder::new().decode(&delivery, &mut rows, &mut quarantined);
        assert_eq!((count, quarantined.len()), (lines.len(), 0));
    }
    Events::of(rows.finish())
}

fn vary(event: &mut Json, change: &Change, time: i64, lead: i64) {
    event["requestReceivedTimestamp"] = json!(rfc3339(time - lead));
    event["stageTimestamp"] = json!(rfc3339(time));
    if let (Some(user), Some(of)) = (change.user, event.get_mut("user")) {
        of["username"] = json!(user);
    }
    if let (Some(ip), Some(_)) = (change.ip, event.get("sourceIPs")) {
        event["sourceIPs"] = json!([ip]);
    }
    if let Some(suffix) = change.suffix
        && let Some(name) = event["objectRef"]["name"].as_str()
    {
        event["objectRef"]["name"] = json!(format!("{name}{suffix}"));
    }
}
