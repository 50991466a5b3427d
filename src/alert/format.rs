//! How a finding is written for machines: our own form, or one of a schema that others know.

mod ecs;
mod ocsf;

use std::net::IpAddr;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value as Json};

use crate::config::sink::Format;
use crate::findings::record::FindingRecord;

/// A finding in one of the forms, on one line.
pub(super) fn json(format: Format, finding: &FindingRecord) -> Box<RawValue> {
    let written = match format {
        Format::Native => to_raw_value(finding),
        Format::Ocsf => to_raw_value(&ocsf::document(finding)),
        Format::Ecs => to_raw_value(&ecs::document(finding)),
    };
    // Texts and numbers only: there is nothing that cannot be written.
    written.unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// As [`json`], as bytes.
pub(super) fn bytes(format: Format, finding: &FindingRecord) -> Vec<u8> {
    Box::<str>::from(json(format, finding)).into_string().into_bytes()
}

/// What the key or the row of a finding says of a column of events; nothing for an empty text.
fn field<'a>(finding: &'a FindingRecord, name: &str) -> Option<&'a str> {
    let value = finding.key.get(name).or_else(|| finding.row.get(name))?;
    value.as_str().filter(|text| !text.is_empty())
}

/// The address that requests came from, if there is one.
fn source_ip(finding: &FindingRecord) -> Option<&str> {
    field(finding, "source_ip").filter(|text| text.parse::<IpAddr>().is_ok())
}

/// A list that a column holds as JSON, such as `user_groups`.
fn list(finding: &FindingRecord, name: &str) -> Vec<String> {
    field(finding, name).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// An object of the members that there are.
fn object<const N: usize>(members: [(&str, Option<Json>); N]) -> Json {
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Json::Object(members.collect::<Map<_, _>>())
}

/// A value, unless it is an empty object or list.
fn some(value: Json) -> Option<Json> {
    let is_empty =
        value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
    (!is_empty).then_some(value)
}

fn text(text: impl Serialize) -> Option<Json> {
    serde_json::to_value(text).ok().filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests;
