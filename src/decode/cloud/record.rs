//! Records of AWS and Azure: the event is a text in them, or an object.

use super::super::quarantine::{Flaw, Reason};
use super::super::shape::Wrapping;
use super::super::tape::Value;
use super::{AKS, EKS, Found, Unwrapped};

/// Of the log streams of an EKS cluster, the audit log's begin so. The others (authenticator,
/// scheduler, ...) are of text.
const AUDIT_STREAM: &str = "kube-apiserver-audit";

/// Azure's categories of the audit log; the second is the first without get and list.
const AUDIT_CATEGORIES: [&str; 2] = ["kube-audit", "kube-audit-admin"];

type Take<'t> = &'t mut dyn FnMut(Found<'_>);

/// Hands on what is in a wrapping, in its order.
pub(in super::super) fn unwrap(wrapping: Wrapping, unwrapped: &Unwrapped<'_>, take: Take<'_>) {
    let Some(record) = unwrapped.value() else { return };
    match wrapping {
        Wrapping::LogEvents => log_events(record, take),
        Wrapping::AwsLogs => {
            let data = record.member("awslogs").and_then(|logs| logs.member("data"));
            packed(record, data, take);
        }
        Wrapping::Records => records(record, take),
        Wrapping::Record => azure(record, take),
        Wrapping::Packed | Wrapping::LogEntry => {}
    }
}

fn log_events(record: Value<'_, '_>, take: Take<'_>) {
    let text = |name| record.member(name).and_then(|value| value.text());
    // Sent once to see whether the receiver is there.
    if text("messageType") == Some("CONTROL_MESSAGE") {
        return take(Found::PassedOver);
    }
    let is_audit = text("logStream").is_none_or(|stream| stream.starts_with(AUDIT_STREAM));
    let Some(events) = record.member("logEvents").and_then(|events| events.elements()) else {
        return take(bad(record, EKS, "`logEvents` is not a list"));
    };
    for event in events {
        match event.member("message").and_then(|message| message.text()) {
            _ if !is_audit => take(Found::PassedOver),
            Some(text) => take(Found::Event { text, source: EKS }),
            None => take(bad(event, EKS, "no `message`")),
        }
    }
}

fn records(wrapping: Value<'_, '_>, take: Take<'_>) {
    let Some(records) = wrapping.member("records").and_then(|records| records.elements()) else {
        return take(bad(wrapping, AKS, "`records` is not a list"));
    };
    for record in records {
        match record.member("data") {
            Some(data) => packed(record, Some(data), take),
            None => azure(record, take),
        }
    }
}

fn packed(record: Value<'_, '_>, data: Option<Value<'_, '_>>, take: Take<'_>) {
    match data.and_then(|data| data.text()) {
        Some(data) => take(Found::Packed(data)),
        None => take(bad(record, EKS, "`data` is not a text")),
    }
}

fn azure(record: Value<'_, '_>, take: Take<'_>) {
    let category = record.member("category").and_then(|category| category.text());
    let Some(category) = category else {
        return take(bad(record, AKS, "no `category`"));
    };
    if !AUDIT_CATEGORIES.contains(&category) {
        return take(Found::PassedOver);
    }
    let log = record.member("properties").and_then(|properties| properties.member("log"));
    // The log is the event as a text; some exports have unfolded it.
    let event = log.and_then(|log| log.text().or_else(|| log.members().map(|_| log.raw())));
    match event {
        Some(text) => take(Found::Event { text: text.trim(), source: AKS }),
        None => take(bad(record, AKS, "no `properties.log`")),
    }
}

fn bad<'v>(value: Value<'_, 'v>, source: &'static str, detail: &str) -> Found<'v> {
    Found::Bad { raw: value.raw(), source, flaw: Flaw::new(Reason::NotAnEvent, detail) }
}
