//! The test file of a detection: events that must fire and look-alikes that must not.
//!
//! `testdata/detections/<area>/<name>.yaml`, the stem of the `.sql` file:
//! ```yaml
//! id: K8A-401
//! params: {n: 3}                 # optional: as in overrides.yaml, for all cases
//! addresses:                     # optional: what is known of addresses, for all cases
//!   lists: {tor: [198.51.100.0/24]}
//!   asn: {203.0.113.0/24: 64501 Example Hosting}
//!   country: {203.0.113.0/24: NL}
//! templates:
//!   exec: {stage: ResponseStarted, verb: get, ...}   # an audit.k8s.io/v1 Event
//! cases:
//!   - name: a shell in a pod
//!     events:
//!       - event: {...}                     # a whole event
//!       - like: exec                       # a template, members changed by `set`
//!         set: {user: {username: bob}}     # null removes a member, lists replace
//!         at: 30s                          # time after 2026-01-01T00:00:00Z
//!         repeat: 20                       # {{n}} in a text is 1, 2, ...
//!         every: 2s
//!     wait: 20m                        # optional: for so long nothing arrives after them
//!     fires: [{key: {user_name: bob}, count: 20}]
//!   - name: a look-alike
//!     events: [...]
//!     quiet: true
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::addresses::WrittenAddresses;
use crate::detect::detection::Detection;
use crate::detect::overrides;
use crate::event::time::{parse_rfc3339, rfc3339};

/// A test file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestFile {
    pub(crate) id: String,
    #[serde(default)]
    params: BTreeMap<String, Json>,
    #[serde(default)]
    addresses: WrittenAddresses,
    #[serde(default)]
    templates: BTreeMap<String, Json>,
    pub(crate) cases: Vec<Case>,
}

/// One test.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    events: Vec<Step>,
    #[serde(default)]
    pub(crate) fires: Vec<Expected>,
    #[serde(default)]
    pub(crate) quiet: bool,
    #[serde(default)]
    wait: Option<String>,
}

impl Case {
    /// For how long nothing arrives after its events, microseconds.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn wait(&self) -> Result<i64, String> {
        self.wait.as_deref().map_or(Ok(0), micros)
    }
}

/// A finding that must come; what is not said may be anything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    #[serde(default)]
    pub(crate) key: Option<Map<String, Json>>,
    #[serde(default)]
    pub(crate) count: Option<u64>,
    #[serde(default)]
    pub(crate) summary: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(default)]
    event: Option<Json>,
    #[serde(default)]
    like: Option<String>,
    #[serde(default)]
    set: Option<Json>,
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    repeat: Option<u32>,
    #[serde(default)]
    every: Option<String>,
}

const BASE: &str = "2026-01-01T00:00:00Z";

impl TestFile {
    /// Reads a test file.
    ///
    /// # Errors
    /// In words, with the place.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    /// The detection with the parameters of the file, and what it knows of addresses.
    ///
    /// # Errors
    /// In words, when it does not take a parameter, or needs more.
    pub(crate) fn applied(&self, detection: &Detection) -> Result<Detection, String> {
        let addresses = self.addresses.read()?;
        if let Some(lacks) = detection.needs.lacks(&addresses) {
            return Err(format!("{lacks}: write it under `addresses:`"));
        }
        let mut detection = detection.clone();
        detection.addresses = addresses;
        if self.params.is_empty() {
            return Ok(detection);
        }
        let text = serde_json::json!({ &detection.id: { "params": self.params } }).to_string();
        let overrides = overrides::parse("params", &text).map_err(|error| error.to_string())?;
        let change = overrides.get(&detection.id).ok_or("no params")?;
        change.applied("params", &Arc::new(detection.clone())).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            errors.join("\n")
        })
    }

    /// The events of a case, in order, as JSON.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn events(&self, case: &Case) -> Result<Vec<Json>, String> {
        let mut events = Vec::new();
        for (position, step) in case.events.iter().enumerate() {
            let at = |message: String| format!("event {}: {message}", position + 1);
            self.expand(step, &mut events).map_err(at)?;
        }
        Ok(events)
    }

    fn expand(&self, step: &Step, events: &mut Vec<Json>) -> Result<(), String> {
        let mut event = match (&step.event, &step.like) {
            (Some(event), None) => event.clone(),
            (None, Some(name)) => {
                let template = self.templates.get(name);
                template.cloned().ok_or_else(|| format!("no template `{name}`"))?
            }
            _ => return Err("name either `event` or `like`".to_owned()),
        };
        if let Some(set) = &step.set {
            merge(&mut event, set);
        }
        let base = parse_rfc3339(BASE).unwrap_or_default();
        let at = step.at.as_deref().map(micros).transpose()?;
        let every = step.every.as_deref().map(micros).transpose()?.unwrap_or(0);
        for n in 1..=step.repeat.unwrap_or(1) {
            let mut copy = event.clone();
            number(&mut copy, &n.to_string());
            let Json::Object(members) = &mut copy else {
                return Err("an event is a map".to_owned());
            };
            let own = members.get("stageTimestamp").and_then(Json::as_str).and_then(parse_rfc3339);
            let start = match (at, own) {
                (None, Some(own)) => own,
                _ => base + at.unwrap_or(0),
            };
            let time = rfc3339(start + every * i64::from(n - 1));
            if at.is_some() || own.is_none() || n > 1 {
                members.insert("stageTimestamp".to_owned(), time.clone().into());
                members.insert("requestReceivedTimestamp".to_owned(), time.into());
            }
            if !members.contains_key("auditID") {
                let id = format!("test-{:04}", events.len());
                members.insert("auditID".to_owned(), id.into());
            }
            events.push(copy);
        }
        Ok(())
    }
}

fn micros(text: &str) -> Result<i64, String> {
    let parsed: Result<Duration, _> = humantime::parse_duration(text);
    let duration = parsed.map_err(|error| format!("`{text}`: {error}"))?;
    i64::try_from(duration.as_micros()).map_err(|_| format!("`{text}` is out of range"))
}

/// Puts the members of `set` into `into`, map by map; null removes.
fn merge(into: &mut Json, set: &Json) {
    let (Json::Object(into), Json::Object(set)) = (&mut *into, set) else {
        *into = set.clone();
        return;
    };
    for (name, value) in set {
        match (value, into.get_mut(name)) {
            (Json::Null, _) => {
                into.shift_remove(name);
            }
            (_, Some(old)) => merge(old, value),
            (_, None) => {
                into.insert(name.clone(), value.clone());
            }
        }
    }
}

fn number(value: &mut Json, n: &str) {
    match value {
        Json::String(text) if text.contains("{{n}}") => *text = text.replace("{{n}}", n),
        Json::Array(items) => items.iter_mut().for_each(|item| number(item, n)),
        Json::Object(members) => members.values_mut().for_each(|member| number(member, n)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_expanded() {
        let file = TestFile::parse(
            "id: T\ntemplates:\n  a: {verb: get, user: {username: eve, uid: '1'}}\ncases:\n- \
             name: c\n  events:\n  - like: a\n    set: {user: {uid: null}, name: 's-{{n}}'}\n    \
             at: 10s\n    repeat: 2\n    every: 5s\n  quiet: true\n",
        )
        .unwrap();
        let events = file.events(&file.cases[0]).unwrap();
        assert_eq!(events[1]["stageTimestamp"], "2026-01-01T00:00:15.000000Z");
        assert_eq!(events[1]["name"], "s-2");
        assert_eq!(events[1]["user"], serde_json::json!({"username": "eve"}));
        assert_ne!(events[0]["auditID"], events[1]["auditID"]);
    }
}
