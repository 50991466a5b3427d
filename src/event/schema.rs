//! The events table, column by column.
//!
//! Promise: [`COLUMNS`] is the table: its names, forms, order and meaning. A column may be added;
//! none changes its name or its meaning.
//!
//! Never: no column holds a guess. What the event does not say is NULL.
//!
//! The words are those of audit.k8s.io/v1 (kubernetes/apiserver, `pkg/apis/audit/v1/types.go`).

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// One column of the events table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The name in SQL.
    pub name: &'static str,
    /// How its values are laid out.
    pub form: Form,
    /// Whether every row has a value.
    pub required: bool,
    /// One sentence on what it holds and where that comes from.
    pub about: &'static str,
}

/// How the values of a column are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text whose values repeat from row to row: a dictionary with 32-bit keys.
    Repeating,
    /// Text that is mostly different in each row: string views.
    Text,
    /// Microseconds since 1970-01-01T00:00:00Z.
    Time,
    /// A 32-bit signed integer.
    Integer,
    /// True or false.
    Truth,
}

impl Form {
    /// The Arrow type of a column of this form.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::Repeating => {
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
            }
            Self::Text => DataType::Utf8View,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
            Self::Integer => DataType::Int32,
            Self::Truth => DataType::Boolean,
        }
    }
}

const fn required(name: &'static str, form: Form, about: &'static str) -> Column {
    Column { name, form, required: true, about }
}

const fn optional(name: &'static str, form: Form, about: &'static str) -> Column {
    Column { name, form, required: false, about }
}

/// The columns of the events table, in order. Lists and maps are the JSON text as received; an
/// empty text in the event is NULL here, because the API server leaves empty fields out.
#[rustfmt::skip] // A table: one line a column.
pub const COLUMNS: [Column; 41] = [
    required("cluster", Form::Repeating, "The cluster the event belongs to, named by the way in."),
    required("event_id", Form::Text, "Hash of the cluster and the event's content: 32 hex digits."),
    required("event_time", Form::Time, "stageTimestamp, else request_time, else ingest_time."),
    optional("request_time", Form::Time, "requestReceivedTimestamp: when the request arrived."),
    required("ingest_time", Form::Time, "When the delivery that carried the event arrived here."),
    optional("audit_id", Form::Text, "auditID: one request's, but any client can choose it."),
    optional("stage", Form::Repeating, "RequestReceived, ResponseStarted, ResponseComplete."),
    optional("level", Form::Repeating, "Metadata, Request or RequestResponse: how much is logged."),
    optional("verb", Form::Repeating, "get, list, create, ...; the HTTP method off resources."),
    optional("request_uri", Form::Text, "requestURI: path and query as the client sent them."),
    optional("user_name", Form::Repeating, "user.username: who authenticated."),
    optional("user_uid", Form::Repeating, "user.uid."),
    optional("user_groups", Form::Repeating, "user.groups: JSON list of texts."),
    optional("user_extra", Form::Text, "user.extra: JSON map of lists of texts."),
    optional("impersonated_user", Form::Repeating, "impersonatedUser.username: acted as whom."),
    optional("impersonated_groups", Form::Repeating, "impersonatedUser.groups: JSON list."),
    optional("source_ips", Form::Repeating, "sourceIPs: JSON list; only the last is no hearsay."),
    optional("source_ip", Form::Repeating, "The last of sourceIPs: the peer the API server saw."),
    optional("user_agent", Form::Repeating, "userAgent: the client's own word."),
    optional("api_group", Form::Repeating, "objectRef.apiGroup; NULL for the core group."),
    optional("api_version", Form::Repeating, "objectRef.apiVersion."),
    optional("resource", Form::Repeating, "objectRef.resource; NULL for requests off resources."),
    optional("subresource", Form::Repeating, "objectRef.subresource: exec, status, token, ..."),
    optional("namespace", Form::Repeating, "objectRef.namespace; NULL for the whole cluster."),
    optional("name", Form::Text, "objectRef.name; NULL for lists and for generated names."),
    optional("object_uid", Form::Text, "objectRef.uid."),
    optional("response_code", Form::Integer, "responseStatus.code: the HTTP status."),
    optional("response_reason", Form::Repeating, "responseStatus.reason: Forbidden, NotFound, ..."),
    optional("response_message", Form::Text, "responseStatus.message."),
    optional("decision", Form::Repeating, "Annotation authorization.k8s.io/decision."),
    optional("decision_reason", Form::Repeating, "Annotation authorization.k8s.io/reason."),
    optional("annotations", Form::Repeating, "annotations: JSON map of texts."),
    optional("request_object", Form::Text, "requestObject: JSON; a patch is the patch itself."),
    optional("response_object", Form::Text, "responseObject: JSON."),
    optional("credential_id", Form::Text, "First authentication.kubernetes.io/credential-id."),
    optional("pod_name", Form::Repeating, "First authentication.kubernetes.io/pod-name."),
    optional("node_name", Form::Repeating, "First authentication.kubernetes.io/node-name."),
    required("truncated", Form::Truth, "Annotation audit.k8s.io/truncated: bodies were cut off."),
    required("source", Form::Repeating, "The way in: webhook, file, kafka, ..."),
    optional("other", Form::Text, "What has no column: JSON object of members and leftovers."),
    required("conflict", Form::Truth, "An earlier event of its audit_id and stage differs."),
];

/// The schema of the events table.
#[must_use]
pub fn events_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let field =
            |column: &Column| Field::new(column.name, column.form.data_type(), !column.required);
        Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()))
    });
    Arc::clone(&SCHEMA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (index, column) in COLUMNS.iter().enumerate() {
            assert_eq!(events_schema().index_of(column.name).ok(), Some(index), "{}", column.name);
        }
    }

    #[test]
    fn names_stay_as_they_are() {
        let names: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
        let expected = "cluster event_id event_time request_time ingest_time audit_id stage level \
             verb request_uri user_name user_uid user_groups user_extra impersonated_user \
             impersonated_groups source_ips source_ip user_agent api_group api_version resource \
             subresource namespace name object_uid response_code response_reason \
             response_message decision decision_reason annotations request_object \
             response_object credential_id pod_name node_name truncated source other conflict";
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn only_what_every_row_has_is_required() {
        let schema = events_schema();
        let required: Vec<_> = schema
            .fields()
            .iter()
            .filter(|f| !f.is_nullable())
            .map(|f| f.name().as_str())
            .collect();
        let expected =
            ["cluster", "event_id", "event_time", "ingest_time", "truncated", "source", "conflict"];
        assert_eq!(required, expected);
    }
}
