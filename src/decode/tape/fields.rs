//! The fields of audit.k8s.io/v1 Event to the columns of a row.
//!
//! Promise: each member is used once: by a column, by the remainder in `other`, or, for `kind` and
//! `apiVersion` of a plain event, not at all.
//!
//! Field names and types: kubernetes/apiserver, `pkg/apis/audit/v1/types.go`; the keys of
//! `user.extra`: `pkg/authentication/serviceaccount/util.go`; of annotations:
//! `pkg/endpoints/filters/authorization.go` and `plugin/pkg/audit/truncate/truncate.go`.

use super::super::quarantine::{Flaw, Reason, Span};
use super::super::timestamp::moment;
use super::leftovers::Leftovers;
use super::nodes::{Members, Name, Value};
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
    leftovers: &'w mut Leftovers,
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
    pub(super) fn new(leftovers: &'w mut Leftovers) -> Self {
        Self { row: EventRow::default(), stage_time: None, objects: 0, leftovers }
    }

    /// Reads the whole event: its members, and the text they are in.
    pub(super) fn read(
        &mut self,
        event: Members<'_, 'r>,
        text: &'r str,
        digest: &mut EventDigest,
    ) -> Read<()> {
        let mut run = Run::default();
        for (name, value) in event.clone() {
            if matches!(name.text, "kind" | "apiVersion") {
                run.end(text, digest);
            } else {
                run.member(name, value, text, digest);
            }
            if let Err(flaw) = self.member(name, value) {
                return Err(if is_event(event.clone()) { flaw } else { no_event() });
            }
        }
        run.end(text, digest);
        if self.row.audit_id.is_some() || is_event(event) { Ok(()) } else { Err(no_event()) }
    }

    fn member(&mut self, name: Name<'r>, value: Value<'_, 'r>) -> Read<()> {
        let row = &mut self.row;
        match name.text {
            "auditID" => self.text(|row| &mut row.audit_id, value, name),
            "level" => self.text(|row| &mut row.level, value, name),
            "stage" => self.text(|row| &mut row.stage, value, name),
            "verb" => self.text(|row| &mut row.verb, value, name),
            "requestURI" => self.text(|row| &mut row.request_uri, value, name),
            "userAgent" => self.text(|row| &mut row.user_agent, value, name),
            "user" => self.object(Object::User, value, name),
            "impersonatedUser" => self.object(Object::ImpersonatedUser, value, name),
            "objectRef" => self.object(Object::ObjectRef, value, name),
            "responseStatus" => self.object(Object::ResponseStatus, value, name),
            "annotations" if row.annotations.is_none() => self.annotations(value),
            "sourceIPs" if row.source_ips.is_none() => {
                row.source_ips = text_list(value, &[name.text])?;
                row.source_ip = value
                    .elements()
                    .and_then(Iterator::last)
                    .and_then(|ip| ip.text())
                    .filter(|ip| !ip.is_empty());
                Ok(())
            }
            "requestObject" if row.request_object.is_none() => {
                row.request_object = unless_null(value);
                Ok(())
            }
            "responseObject" if row.response_object.is_none() => {
                row.response_object = unless_null(value);
                Ok(())
            }
            "requestReceivedTimestamp" if row.request_time.is_none() => {
                self.row.request_time = self.time(value, name)?;
                Ok(())
            }
            "stageTimestamp" if self.stage_time.is_none() => {
                self.stage_time = self.time(value, name)?;
                Ok(())
            }
            "kind" if value.text() == Some("Event") => Ok(()),
            "apiVersion" if value.text() == Some("audit.k8s.io/v1") => Ok(()),
            _ => {
                self.leftovers.member(name.raw, value.raw());
                Ok(())
            }
        }
    }

    fn text(
        &mut self,
        column: impl for<'a> FnOnce(&'a mut EventRow<'r>) -> &'a mut Option<&'r str>,
        value: Value<'_, 'r>,
        name: Name<'r>,
    ) -> Read<()> {
        let column = column(&mut self.row);
        if column.is_some() {
            self.leftovers.member(name.raw, value.raw());
        } else {
            *column = scalar_text(value, &[name.text])?;
        }
        Ok(())
    }

    fn time(&mut self, value: Value<'_, 'r>, name: Name<'r>) -> Read<Option<i64>> {
        let Some(text) = scalar_text(value, &[name.text])? else {
            return Ok(None);
        };
        let Some(moment) = moment(text) else {
            return Err(wrong(&[name.text], "an RFC 3339 time"));
        };
        if moment.is_cut {
            self.leftovers.member(name.raw, value.raw());
        }
        Ok(Some(moment.micros).filter(|micros| *micros != ZERO_TIME_MICROS))
    }

    fn object(&mut self, object: Object, value: Value<'_, 'r>, name: Name<'r>) -> Read<()> {
        let bit = 1 << object as u8;
        if self.objects & bit != 0 {
            self.leftovers.member(name.raw, value.raw());
            return Ok(());
        }
        if value.is_null() {
            return Ok(());
        }
        let mut members =
            value.members().ok_or_else(|| wrong(&[object.name()], "an object"))?.peekable();
        self.objects |= bit;
        if members.peek().is_none() {
            self.leftovers.member(name.raw, value.raw());
        }
        members.try_for_each(|(name, value)| self.object_member(object, name, value))
    }

    fn object_member(&mut self, object: Object, name: Name<'r>, value: Value<'_, 'r>) -> Read<()> {
        let path = [object.name(), name.text];
        let row = &mut self.row;
        let column = match (object, name.text) {
            (Object::User, "username") => &mut row.user_name,
            (Object::User, "uid") => &mut row.user_uid,
            (Object::User, "groups") if row.user_groups.is_none() => {
                row.user_groups = text_list(value, &path)?;
                return Ok(());
            }
            (Object::User, "extra") if row.user_extra.is_none() => return self.extra(value),
            (Object::ImpersonatedUser, "username") => &mut row.impersonated_user,
            (Object::ImpersonatedUser, "groups") if row.impersonated_groups.is_none() => {
                row.impersonated_groups = text_list(value, &path)?;
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
                self.leftovers.nested(object.name(), name.raw, value.raw());
                return Ok(());
            }
        };
        if column.is_some() {
            self.leftovers.nested(object.name(), name.raw, value.raw());
        } else {
            *column = scalar_text(value, &path)?;
        }
        Ok(())
    }

    /// `user.extra`: a map of lists of texts; Go writes a list without elements as null.
    fn extra(&mut self, value: Value<'_, 'r>) -> Read<()> {
        if value.is_null() {
            return Ok(());
        }
        let not_a_map = || wrong(&["user", "extra"], "an object of lists of texts");
        for (key, value) in value.members().ok_or_else(not_a_map)? {
            if !value.is_null() && !is_text_list(value) {
                return Err(not_a_map());
            }
            let column = match key.text {
                CREDENTIAL_ID => &mut self.row.credential_id,
                POD_NAME => &mut self.row.pod_name,
                NODE_NAME => &mut self.row.node_name,
                _ => continue,
            };
            let first = value.elements().and_then(|mut list| list.next());
            *column =
                column.or(first.and_then(|first| first.text()).filter(|text| !text.is_empty()));
        }
        self.row.user_extra = Some(value.raw());
        Ok(())
    }

    fn annotations(&mut self, value: Value<'_, 'r>) -> Read<()> {
        if value.is_null() {
            return Ok(());
        }
        let not_a_map = || wrong(&["annotations"], "an object of texts");
        for (key, value) in value.members().ok_or_else(not_a_map)? {
            let text = value.text().ok_or_else(not_a_map)?;
            let said = Some(text).filter(|text| !text.is_empty());
            match key.text {
                DECISION => self.row.decision = self.row.decision.or(said),
                DECISION_REASON => self.row.decision_reason = self.row.decision_reason.or(said),
                TRUNCATED => self.row.truncated |= text == "true",
                _ => {}
            }
        }
        self.row.annotations = Some(value.raw());
        Ok(())
    }
}

/// An event is what has an `auditID`, whatever else is wrong with it.
fn is_event(mut members: Members<'_, '_>) -> bool {
    members.any(|(name, value)| {
        name.text == "auditID" && value.text().is_some_and(|id| !id.is_empty())
    })
}

fn no_event() -> Flaw {
    Flaw::new(Reason::NotAnEvent, "no `auditID`")
}

/// Members that follow each other in the text as the hash wants them, with nothing between them
/// but `:` and `,`: they are hashed in one piece.
#[derive(Default)]
struct Run {
    key: Span,
    value_start: usize,
    end: usize,
}

impl Run {
    fn member(
        &mut self,
        name: Name<'_>,
        value: Value<'_, '_>,
        text: &str,
        digest: &mut EventDigest,
    ) {
        let (key, value) = (name.span, value.span());
        let is_next = self.end > 0
            && key.start == self.end + 1
            && text.as_bytes().get(self.end) == Some(&b',')
            && value.start == key.end + 1;
        if !is_next {
            self.end(text, digest);
            *self = Self { key, value_start: value.start, end: 0 };
        }
        self.end = value.end;
    }

    fn end(&mut self, text: &str, digest: &mut EventDigest) {
        if self.end > 0 {
            let part = |start, end| text.get(start..end).unwrap_or_default();
            digest.member(part(self.key.start, self.key.end), part(self.value_start, self.end));
        }
        self.end = 0;
    }
}

fn wrong(path: &[&str], expected: &str) -> Flaw {
    Flaw::new(Reason::WrongType, format!("`{}` is not {expected}", path.join(".")))
}

fn unless_null<'r>(value: Value<'_, 'r>) -> Option<&'r str> {
    (!value.is_null()).then(|| value.raw())
}

fn scalar_text<'v>(value: Value<'_, 'v>, path: &[&str]) -> Read<Option<&'v str>> {
    match value.text() {
        Some("") => Ok(None),
        None if value.is_null() => Ok(None),
        None => Err(wrong(path, "a text")),
        text => Ok(text),
    }
}

fn integer(value: Value<'_, '_>, path: &[&str]) -> Read<Option<i32>> {
    match value.integer() {
        None if value.is_null() => Ok(None),
        None => Err(wrong(path, "a 32-bit integer")),
        number => Ok(number),
    }
}

fn text_list<'r>(value: Value<'_, 'r>, path: &[&str]) -> Read<Option<&'r str>> {
    if value.is_null() {
        return Ok(None);
    }
    if is_text_list(value) { Ok(Some(value.raw())) } else { Err(wrong(path, "a list of texts")) }
}

fn is_text_list(value: Value<'_, '_>) -> bool {
    value.elements().is_some_and(|mut list| list.all(|element| element.text().is_some()))
}
