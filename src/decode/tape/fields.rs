//! The fields of audit.k8s.io/v1 Event to the columns of a row.
//!
//! Promise: each member is used once: by a column, by the remainder in `other`, or, for `kind` and
//! `apiVersion` of a plain event, not at all.
//!
//! Field names and types: kubernetes/apiserver, `pkg/apis/audit/v1/types.go`; the keys of
//! `user.extra`: `pkg/authentication/serviceaccount/util.go`; of annotations:
//! `pkg/endpoints/filters/authorization.go` and `plugin/pkg/audit/truncate/truncate.go`.

use super::super::quarantine::{Flaw, Reason};
use super::super::scan::{Member, Scanner};
use super::super::timestamp::moment;
use super::leftovers::Leftovers;
use super::nodes::{self, Value};
use crate::event::{EventDigest, EventRow};

const DECISION: &str = "authorization.k8s.io/decision";
const DECISION_REASON: &str = "authorization.k8s.io/reason";
const TRUNCATED: &str = "audit.k8s.io/truncated";
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// What Go writes for a time that was never set.
const ZERO_TIME_MICROS: i64 = -62_135_596_800_000_000;

type Read<T> = Result<T, Flaw>;

/// A row while the members of its event are being read.
pub(super) struct Fields<'r, 'w> {
    pub(super) row: EventRow<'r>,
    pub(super) stage_time: Option<i64>,
    /// One bit per [`Object`] that was read.
    objects: u8,
    scanner: &'w mut Scanner,
    nested: &'w mut Vec<Member>,
    leftovers: &'w mut Leftovers,
}

/// A member as received: its key with the quotes, and its value.
#[derive(Clone, Copy)]
struct Raw<'r> {
    key: &'r str,
    value: &'r str,
}

/// The objects inside an event that have columns.
#[expect(clippy::enum_variant_names, reason = "`objectRef` is the API's own word")]
#[derive(Clone, Copy)]
enum Object {
    User,
    ImpersonatedUser,
    ObjectRef,
    ResponseStatus,
}

impl Object {
    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::ImpersonatedUser => "impersonatedUser",
            Self::ObjectRef => "objectRef",
            Self::ResponseStatus => "responseStatus",
        }
    }
}

impl<'r, 'w> Fields<'r, 'w> {
    pub(super) fn new(
        scanner: &'w mut Scanner,
        nested: &'w mut Vec<Member>,
        leftovers: &'w mut Leftovers,
    ) -> Self {
        let row = EventRow::default();
        Self { row, stage_time: None, objects: 0, scanner, nested, leftovers }
    }

    /// Reads the whole event: its nodes, its text, and its members' places in the text.
    pub(super) fn read(
        &mut self,
        event: Value<'_, 'r>,
        text: &'r str,
        members: &[Member],
        digest: &mut EventDigest,
    ) -> Read<()> {
        let is_event = nodes::members(event).is_some_and(|mut members| {
            members.any(|(key, value)| {
                key == "auditID" && nodes::text(value).is_some_and(|id| !id.is_empty())
            })
        });
        if !is_event {
            return Err(Flaw::new(Reason::NotAnEvent, "no `auditID`"));
        }
        in_step(event, text, members, |key, value, raw| {
            if !matches!(key, "kind" | "apiVersion") {
                digest.member(raw.key, raw.value);
            }
            self.member(key, value, raw)
        })
    }

    fn member(&mut self, key: &str, value: Value<'_, 'r>, raw: Raw<'r>) -> Read<()> {
        let row = &mut self.row;
        match key {
            "auditID" => self.text(|row| &mut row.audit_id, value, raw, key),
            "level" => self.text(|row| &mut row.level, value, raw, key),
            "stage" => self.text(|row| &mut row.stage, value, raw, key),
            "verb" => self.text(|row| &mut row.verb, value, raw, key),
            "requestURI" => self.text(|row| &mut row.request_uri, value, raw, key),
            "userAgent" => self.text(|row| &mut row.user_agent, value, raw, key),
            "user" => self.object(Object::User, value, raw),
            "impersonatedUser" => self.object(Object::ImpersonatedUser, value, raw),
            "objectRef" => self.object(Object::ObjectRef, value, raw),
            "responseStatus" => self.object(Object::ResponseStatus, value, raw),
            "annotations" if row.annotations.is_none() => self.annotations(value, raw),
            "sourceIPs" if row.source_ips.is_none() => {
                row.source_ips = text_list(value, raw, &[key])?;
                row.source_ip = nodes::elements(value)
                    .and_then(Iterator::last)
                    .and_then(nodes::text)
                    .filter(|ip| !ip.is_empty());
                Ok(())
            }
            "requestObject" if row.request_object.is_none() => {
                row.request_object = unless_null(raw);
                Ok(())
            }
            "responseObject" if row.response_object.is_none() => {
                row.response_object = unless_null(raw);
                Ok(())
            }
            "requestReceivedTimestamp" if row.request_time.is_none() => {
                self.row.request_time = self.time(value, raw, key)?;
                Ok(())
            }
            "stageTimestamp" if self.stage_time.is_none() => {
                self.stage_time = self.time(value, raw, key)?;
                Ok(())
            }
            "kind" if nodes::text(value) == Some("Event") => Ok(()),
            "apiVersion" if nodes::text(value) == Some("audit.k8s.io/v1") => Ok(()),
            _ => {
                self.leftovers.member(raw.key, raw.value);
                Ok(())
            }
        }
    }

    fn text(
        &mut self,
        column: impl for<'a> FnOnce(&'a mut EventRow<'r>) -> &'a mut Option<&'r str>,
        value: Value<'_, 'r>,
        raw: Raw<'r>,
        key: &str,
    ) -> Read<()> {
        let column = column(&mut self.row);
        if column.is_some() {
            self.leftovers.member(raw.key, raw.value);
        } else {
            *column = scalar_text(value, &[key])?;
        }
        Ok(())
    }

    fn time(&mut self, value: Value<'_, 'r>, raw: Raw<'r>, key: &str) -> Read<Option<i64>> {
        let Some(text) = scalar_text(value, &[key])? else {
            return Ok(None);
        };
        let Some(moment) = moment(text) else {
            return Err(wrong(&[key], "an RFC 3339 time"));
        };
        if moment.is_cut {
            self.leftovers.member(raw.key, raw.value);
        }
        Ok(Some(moment.micros).filter(|micros| *micros != ZERO_TIME_MICROS))
    }

    fn object(&mut self, object: Object, value: Value<'_, 'r>, raw: Raw<'r>) -> Read<()> {
        let bit = 1 << object as u8;
        if self.objects & bit != 0 {
            self.leftovers.member(raw.key, raw.value);
            return Ok(());
        }
        if nodes::is_null(value) {
            return Ok(());
        }
        if nodes::members(value).is_none() {
            return Err(wrong(&[object.name()], "an object"));
        }
        self.objects |= bit;
        let mut nested = std::mem::take(self.nested);
        let extent = self.scanner.members(raw.value.as_bytes(), &mut nested);
        let outcome = match extent {
            Ok(_) if nested.is_empty() => {
                self.leftovers.member(raw.key, raw.value);
                Ok(())
            }
            Ok(_) => in_step(value, raw.value, &nested, |key, value, raw| {
                self.object_member(object, key, value, raw)
            }),
            Err(_) => Err(out_of_step()),
        };
        *self.nested = nested;
        outcome
    }

    fn object_member(
        &mut self,
        object: Object,
        key: &str,
        value: Value<'_, 'r>,
        raw: Raw<'r>,
    ) -> Read<()> {
        let path = [object.name(), key];
        let row = &mut self.row;
        let column = match (object, key) {
            (Object::User, "username") => &mut row.user_name,
            (Object::User, "uid") => &mut row.user_uid,
            (Object::User, "groups") if row.user_groups.is_none() => {
                row.user_groups = text_list(value, raw, &path)?;
                return Ok(());
            }
            (Object::User, "extra") if row.user_extra.is_none() => return self.extra(value, raw),
            (Object::ImpersonatedUser, "username") => &mut row.impersonated_user,
            (Object::ImpersonatedUser, "groups") if row.impersonated_groups.is_none() => {
                row.impersonated_groups = text_list(value, raw, &path)?;
                return Ok(());
            }
            (Object::ObjectRef, "resource") => &mut row.resource,
            (Object::ObjectRef, "namespace") => &mut row.namespace,
            (Object::ObjectRef, "name") => &mut row.name,
            (Object::ObjectRef, "uid") => &mut row.object_uid,
            (Object::ObjectRef, "apiGroup") => &mut row.api_group,
            (Object::ObjectRef, "apiVersion") => &mut row.api_version,
            (Object::ObjectRef, "subresource") => &mut row.subresource,
            (Object::ResponseStatus, "reason") => &mut row.response_reason,
            (Object::ResponseStatus, "message") => &mut row.response_message,
            (Object::ResponseStatus, "code") if row.response_code.is_none() => {
                row.response_code = integer(value, &path)?;
                return Ok(());
            }
            _ => {
                self.leftovers.nested(object.name(), raw.key, raw.value);
                return Ok(());
            }
        };
        if column.is_some() {
            self.leftovers.nested(object.name(), raw.key, raw.value);
        } else {
            *column = scalar_text(value, &path)?;
        }
        Ok(())
    }

    /// `user.extra`: a map of lists of texts; Go writes a list without elements as null.
    fn extra(&mut self, value: Value<'_, 'r>, raw: Raw<'r>) -> Read<()> {
        if nodes::is_null(value) {
            return Ok(());
        }
        let not_a_map = || wrong(&["user", "extra"], "an object of lists of texts");
        for (key, value) in nodes::members(value).ok_or_else(not_a_map)? {
            if !nodes::is_null(value) && !is_text_list(value) {
                return Err(not_a_map());
            }
            let column = match key {
                CREDENTIAL_ID => &mut self.row.credential_id,
                POD_NAME => &mut self.row.pod_name,
                NODE_NAME => &mut self.row.node_name,
                _ => continue,
            };
            let first = nodes::elements(value).and_then(|mut list| list.next());
            *column = column.or(first.and_then(nodes::text).filter(|text| !text.is_empty()));
        }
        self.row.user_extra = Some(raw.value);
        Ok(())
    }

    fn annotations(&mut self, value: Value<'_, 'r>, raw: Raw<'r>) -> Read<()> {
        if nodes::is_null(value) {
            return Ok(());
        }
        let not_a_map = || wrong(&["annotations"], "an object of texts");
        for (key, value) in nodes::members(value).ok_or_else(not_a_map)? {
            let text = nodes::text(value).ok_or_else(not_a_map)?;
            let said = Some(text).filter(|text| !text.is_empty());
            match key {
                DECISION => self.row.decision = self.row.decision.or(said),
                DECISION_REASON => self.row.decision_reason = self.row.decision_reason.or(said),
                TRUNCATED => self.row.truncated |= text == "true",
                _ => {}
            }
        }
        self.row.annotations = Some(raw.value);
        Ok(())
    }
}

/// Walks the members of an object on the tape and in the text side by side.
fn in_step<'r>(
    object: Value<'_, 'r>,
    text: &'r str,
    members: &[Member],
    mut read: impl FnMut(&'r str, Value<'_, 'r>, Raw<'r>) -> Read<()>,
) -> Read<()> {
    let mut walk = nodes::members(object).ok_or_else(out_of_step)?;
    for member in members {
        let (key, value) = walk.next().ok_or_else(out_of_step)?;
        let raw = Raw {
            key: text.get(member.key.start..member.key.end).ok_or_else(out_of_step)?,
            value: text.get(member.value.start..member.value.end).ok_or_else(out_of_step)?,
        };
        read(key, value, raw)?;
    }
    if walk.next().is_none() { Ok(()) } else { Err(out_of_step()) }
}

/// Scanner and parser disagree on the structure. No input is known to do that; should one be
/// found, it is kept and not taken for an event.
fn out_of_step() -> Flaw {
    debug_assert!(false, "scanner and parser agree on what they both accept");
    Flaw::new(Reason::MalformedJson, "ambiguous structure")
}

fn wrong(path: &[&str], expected: &str) -> Flaw {
    Flaw::new(Reason::WrongType, format!("`{}` is not {expected}", path.join(".")))
}

fn unless_null(raw: Raw<'_>) -> Option<&str> {
    Some(raw.value).filter(|value| *value != "null")
}

fn scalar_text<'v>(value: Value<'_, 'v>, path: &[&str]) -> Read<Option<&'v str>> {
    match nodes::text(value) {
        Some("") => Ok(None),
        None if nodes::is_null(value) => Ok(None),
        None => Err(wrong(path, "a text")),
        text => Ok(text),
    }
}

fn integer(value: Value<'_, '_>, path: &[&str]) -> Read<Option<i32>> {
    match nodes::integer(value) {
        None if nodes::is_null(value) => Ok(None),
        None => Err(wrong(path, "a 32-bit integer")),
        number => Ok(number),
    }
}

fn text_list<'r>(value: Value<'_, 'r>, raw: Raw<'r>, path: &[&str]) -> Read<Option<&'r str>> {
    if nodes::is_null(value) {
        return Ok(None);
    }
    if is_text_list(value) { Ok(Some(raw.value)) } else { Err(wrong(path, "a list of texts")) }
}

fn is_text_list(value: Value<'_, '_>) -> bool {
    nodes::elements(value)
        .is_some_and(|mut list| list.all(|element| nodes::text(element).is_some()))
}
