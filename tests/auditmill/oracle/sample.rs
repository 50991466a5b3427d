//! Events of a detection's own tests and of recordings, as JSON, and how they are varied.

use std::collections::BTreeMap;

use auditmill::decode::{Decoder, Delivery};
use auditmill::event::Rows;
use auditmill::event::time::rfc3339;
use serde_json::{Value as Json, json};

use super::super::events::repository;
use super::plain::Events;

/// An event as a test file or a recording has it.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    event: Json,
    /// Copies, numbered by `{{n}}`, and what lies between them in microseconds.
    repeat: u32,
    every: i64,
}

/// What is changed of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) user: Option<&'static str>,
    pub(super) ip: Option<&'static str>,
    /// Put behind the object's name.
    pub(super) suffix: Option<&'static str>,
    /// The first copy's time, microseconds.
    pub(super) time: i64,
}

/// No story is longer.
const REPEAT_MAX: u32 = 24;

/// The events of each case of a test file.
pub(super) fn cases(path: &str) -> Vec<Vec<Sample>> {
    let text = std::fs::read_to_string(repository(path)).unwrap();
    let file: Json = serde_saphyr::from_str(&text).unwrap();
    let steps = |case: &Json| {
        let steps = case["events"].as_array().unwrap().iter();
        steps.map(|step| sample(step, &file["templates"])).collect()
    };
    file["cases"].as_array().unwrap().iter().map(steps).collect()
}

fn sample(step: &Json, templates: &Json) -> Sample {
    let mut event = match step["like"].as_str() {
        Some(name) => templates[name].clone(),
        None => step["event"].clone(),
    };
    if let Some(set) = step.get("set") {
        merge(&mut event, set);
    }
    let every = step["every"].as_str().map_or(0, |every| {
        let every: std::time::Duration = humantime::parse_duration(every).unwrap();
        i64::try_from(every.as_micros()).unwrap()
    });
    let repeat = step["repeat"].as_u64().unwrap_or(1);
    Sample { event, repeat: u32::try_from(repeat).unwrap().min(REPEAT_MAX), every }
}

/// The events of a recording.
pub(super) fn recording(path: &str) -> Vec<Sample> {
    let text = std::fs::read_to_string(repository(path)).unwrap();
    let sample =
        |line: &str| Sample { event: serde_json::from_str(line).unwrap(), repeat: 1, every: 0 };
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
        let cluster = if position % 7 == 6 { "west" } else { "east" };
        for copy in 0..sample.repeat {
            let text = sample.event.to_string().replace("{{n}}", &(copy + 1).to_string());
            let mut event: Json = serde_json::from_str(&text).unwrap();
            vary(&mut event, change, change.time + sample.every * i64::from(copy));
            event["auditID"] = json!(format!("{position}-{copy}"));
            bodies.entry(cluster).or_default().push(event.to_string());
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

fn vary(event: &mut Json, change: &Change, time: i64) {
    let time = json!(rfc3339(time));
    event["requestReceivedTimestamp"] = time.clone();
    event["stageTimestamp"] = time;
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
