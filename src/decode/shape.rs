//! What an object at the top of a body, or in a list there, is.
//!
//! Promise: an object is told from its member names and kinds alone, so that a list of a million
//! events is known before its items are read. Whatever has an `auditID` is an event and nothing
//! else: no member that a client can add turns it into an envelope.

use super::format::Format;

/// What an object is, as far as its members tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One event, or no event at all: that is for the reader to say.
    Single,
    /// An `EventList` without items.
    EmptyList,
    /// What a cloud wraps around events.
    Cloud(Wrapping),
}

/// The wrappings of the clouds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// `{"messageType", "logEvents": [...]}`: a `CloudWatch` Logs subscription record, unpacked.
    LogEvents,
    /// `{"awslogs": {"data"}}`: the same, packed, as Lambda gets it.
    AwsLogs,
    /// A line of base64: the same, packed, as it is.
    Packed,
    /// `{"records": [...]}`: of Firehose, with `data`, or of Azure, with `category`.
    Records,
    /// `{"category", "properties"}`: one record of Azure.
    Record,
    /// `{"protoPayload"}`: a `LogEntry` of Google Cloud Logging.
    LogEntry,
}

/// The members of an object that decide something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Role {
    /// An object or a list of an event, with columns of its own.
    Known = 0,
    /// Someone else's JSON: a request's or a response's body.
    Body = 1,
    AuditId = 1 << 1,
    Kind = 1 << 2,
    ListKind = 1 << 3,
    Items = 1 << 4,
    ProtoPayload = 1 << 5,
    LogEvents = 1 << 6,
    MessageType = 1 << 7,
    AwsLogs = 1 << 8,
    Records = 1 << 9,
    Category = 1 << 10,
    Properties = 1 << 11,
    Other = 1 << 12,
}

impl Role {
    /// The role of a member with this key, quotes included.
    #[inline]
    pub(super) fn of(key: &[u8]) -> Self {
        match key {
            br#""user""#
            | br#""objectRef""#
            | br#""responseStatus""#
            | br#""annotations""#
            | br#""sourceIPs""#
            | br#""impersonatedUser""# => Self::Known,
            br#""requestObject""# | br#""responseObject""# => Self::Body,
            br#""auditID""# => Self::AuditId,
            br#""kind""# => Self::Kind,
            br#""items""# => Self::Items,
            br#""protoPayload""# => Self::ProtoPayload,
            br#""logEvents""# => Self::LogEvents,
            br#""messageType""# => Self::MessageType,
            br#""awslogs""# => Self::AwsLogs,
            br#""records""# => Self::Records,
            br#""category""# => Self::Category,
            br#""properties""# => Self::Properties,
            _ => Self::Other,
        }
    }
}

/// What the members of an object said so far.
#[derive(Default, Clone, Copy)]
pub(super) struct Traits {
    seen: u16,
}

impl Traits {
    /// Takes note of a member and its value as received.
    #[inline]
    pub(super) fn note(&mut self, role: Role, value: &[u8]) {
        self.seen |= match role {
            Role::Kind if value == br#""EventList""# => Role::ListKind as u16,
            Role::Items | Role::LogEvents | Role::Records if value == b"null" => 0,
            role => role as u16,
        };
    }

    fn has(self, role: Role) -> bool {
        self.seen & role as u16 != 0
    }

    /// Whether a list named `items` that comes now holds events. Senders that sort their keys
    /// write it before `kind`.
    pub(super) fn may_be_list(self) -> bool {
        self.has(Role::ListKind) || !(self.has(Role::AuditId) || self.has(Role::Kind))
    }

    /// The shape of the whole object, of those that a sender of `format` may send.
    pub(super) fn shape(self, format: Format) -> Shape {
        if self.has(Role::ListKind) && !self.has(Role::Items) {
            return Shape::EmptyList;
        }
        if self.has(Role::AuditId) {
            return Shape::Single;
        }
        let wrapping = if self.has(Role::ProtoPayload) {
            Wrapping::LogEntry
        } else if self.has(Role::MessageType) && self.has(Role::LogEvents) {
            Wrapping::LogEvents
        } else if self.has(Role::AwsLogs) {
            Wrapping::AwsLogs
        } else if self.has(Role::Records) {
            Wrapping::Records
        } else if self.has(Role::Category) && self.has(Role::Properties) {
            Wrapping::Record
        } else {
            return Shape::Single;
        };
        if format.admits(wrapping) { Shape::Cloud(wrapping) } else { Shape::Single }
    }
}
