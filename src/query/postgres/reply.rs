//! What the server says: the backend's messages, written behind each other into one buffer.

use bytes::{BufMut as _, BytesMut};
use pgwire::api::Type;
use pgwire::api::results::FieldInfo;

use super::failure::Failure;

/// Where a session stands between two statements, as clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transaction {
    /// In none.
    Idle,
    /// In one; it changes nothing, because nothing is ever written.
    Open,
    /// In one in which a statement failed: up to its end all others do.
    Failed,
}

/// A message of this kind, whose body `body` writes.
pub(super) fn message(out: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    let at = out.len();
    out.put_i32(0);
    body(out);
    let length = i32::try_from(out.len() - at).unwrap_or(i32::MAX);
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Text and the zero byte behind it; a zero byte within would end it.
fn text(out: &mut BytesMut, text: &str) {
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.put_u8(0);
}

fn count(out: &mut BytesMut, count: usize) {
    out.put_i16(i16::try_from(count).unwrap_or(i16::MAX));
}

/// `AuthenticationOk`
pub(super) fn known(out: &mut BytesMut) {
    message(out, b'R', |out| out.put_i32(0));
}

/// `AuthenticationCleartextPassword`
pub(super) fn ask_password(out: &mut BytesMut) {
    message(out, b'R', |out| out.put_i32(3));
}

/// `NegotiateProtocolVersion`: the newest minor version that is spoken, and what was not
/// understood.
pub(super) fn version(out: &mut BytesMut, unknown: &[&str]) {
    message(out, b'v', |out| {
        out.put_i32(3 << 16);
        out.put_i32(i32::try_from(unknown.len()).unwrap_or(i32::MAX));
        for name in unknown {
            text(out, name);
        }
    });
}

/// `ParameterStatus`
pub(super) fn parameter(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |out| {
        text(out, name);
        text(out, value);
    });
}

/// `BackendKeyData`: what a request to cancel must name.
pub(super) fn key(out: &mut BytesMut, session: i32, secret: [u8; 4]) {
    message(out, b'K', |out| {
        out.put_i32(session);
        out.put_slice(&secret);
    });
}

/// `ReadyForQuery`
pub(super) fn ready(out: &mut BytesMut, transaction: Transaction) {
    let status = match transaction {
        Transaction::Idle => b'I',
        Transaction::Open => b'T',
        Transaction::Failed => b'E',
    };
    message(out, b'Z', |out| out.put_u8(status));
}

/// `CommandComplete`
pub(super) fn complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |out| text(out, tag));
}

/// A message without a body.
pub(super) fn bare(out: &mut BytesMut, kind: u8) {
    message(out, kind, |_| {});
}

/// `EmptyQueryResponse`
pub(super) const EMPTY_QUERY: u8 = b'I';
/// `ParseComplete`
pub(super) const PARSED: u8 = b'1';
/// `BindComplete`
pub(super) const BOUND: u8 = b'2';
/// `CloseComplete`
pub(super) const CLOSED: u8 = b'3';
/// `NoData`
pub(super) const NO_DATA: u8 = b'n';
/// `PortalSuspended`
pub(super) const SUSPENDED: u8 = b's';

/// `ParameterDescription`
pub(super) fn parameters(out: &mut BytesMut, types: &[Type]) {
    message(out, b't', |out| {
        count(out, types.len());
        for found in types {
            out.put_u32(found.oid());
        }
    });
}

/// `RowDescription`
pub(super) fn columns(out: &mut BytesMut, fields: &[FieldInfo]) {
    message(out, b'T', |out| {
        count(out, fields.len());
        for field in fields {
            text(out, field.name());
            out.put_i32(0);
            out.put_i16(0);
            out.put_u32(field.datatype().oid());
            out.put_i16(length(field.datatype()));
            out.put_i32(-1);
            out.put_i16(field.format().value());
        }
    });
}

/// `DataRow` of one text.
pub(super) fn row(out: &mut BytesMut, value: &str) {
    message(out, b'D', |out| {
        out.put_i16(1);
        out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
        out.put_slice(value.as_bytes());
    });
}

/// `CopyOutResponse`: text, in so many columns.
pub(super) fn copy_out(out: &mut BytesMut, columns: usize) {
    message(out, b'H', |out| {
        out.put_u8(0);
        count(out, columns);
        (0..columns).for_each(|_| out.put_i16(0));
    });
}

/// `CopyDone`
pub(super) const COPY_DONE: u8 = b'c';

/// `ErrorResponse`
pub(super) fn error(out: &mut BytesMut, failure: &Failure) {
    message(out, b'E', |out| {
        let severity = if failure.fatal { "FATAL" } else { "ERROR" };
        for (field, value) in
            [(b'S', severity), (b'V', severity), (b'C', failure.code), (b'M', &failure.message)]
        {
            out.put_u8(field);
            text(out, value);
        }
        if let Some(hint) = &failure.hint {
            out.put_u8(b'H');
            text(out, hint);
        }
        out.put_u8(0);
    });
}

/// How many bytes a value of a type has; -1: that depends.
pub(super) fn length(found: &Type) -> i16 {
    match *found {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::OID | Type::FLOAT4 | Type::DATE => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::INTERVAL => 16,
        _ => -1,
    }
}
