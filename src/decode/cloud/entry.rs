//! Google Cloud's `LogEntry` of a GKE audit event to a row.
//!
//! Promise: a column is filled only where the entry says the same as the event would. There are
//! no groups, no stage, no request URI and no HTTP status in it: those are NULL, not false. All of
//! the entry but the two bodies and the time is in `other` as received.
//!
//! ```text
//! methodName    io.k8s.core.v1.pods.exec.create           io.k8s. group . version . resource
//!                                                         [. subresource] . verb
//! resourceName  core/v1/namespaces/shop/pods/web/exec     group / version [/ namespaces / name]
//!                                                         / resource [/ name [/ subresource]]
//! ```

use super::super::decoder::Delivery;
use super::super::quarantine::{Flaw, Reason};
use super::super::tape::{Leftovers, Value};
use super::super::timestamp::moment;
use super::Unwrapped;
use crate::event::{EventDigest, EventRow, Rows};

/// `protoPayload.serviceName` of the API server of a cluster; `container.googleapis.com` is that
/// of the service that makes clusters.
const SERVICE: &str = "k8s.io";

/// gRPC codes (google/rpc/code.proto) that stand for one HTTP status only.
const HTTP_STATUS: [(i32, i32); 4] = [(5, 404), (6, 409), (7, 403), (16, 401)];

/// Appends the row of an entry; false when it is of another service's log.
pub(in super::super) fn log_entry(
    delivery: &Delivery<'_>,
    entry: &Unwrapped<'_>,
    rows: &mut Rows,
) -> Result<bool, Flaw> {
    let no_event = |detail: &str| Flaw::new(Reason::NotAnEvent, detail);
    let entry = entry.value().ok_or_else(|| no_event("not an object"))?;
    let payload = entry.member("protoPayload").ok_or_else(|| no_event("no `protoPayload`"))?;
    if text(payload, &["serviceName"]) != Some(SERVICE) {
        return Ok(false);
    }
    let method = text(payload, &["methodName"]).and_then(Method::of);
    let method = method.ok_or_else(|| no_event("no `methodName` of the API server"))?;
    let time = time(entry)?;
    let mut leftovers = Leftovers::default();
    let event_id = identity(delivery.cluster, entry);
    let source_ips = payload.member("requestMetadata").and_then(|meta| meta.member("callerIp"));
    let source_ips = source_ips.filter(|ip| ip.text().is_some_and(|ip| !ip.is_empty()));
    let source_ips_list = source_ips.map(|ip| format!("[{}]", ip.raw()));
    let target = text(payload, &["resourceName"]).and_then(|name| Target::of(name, &method));
    let target = target.unwrap_or_default();
    let status = payload.member("status");
    let labels = entry.member("labels").filter(is_map_of_texts);
    let label = |name: &str| labels.and_then(|labels| text(labels, &[name]));
    rest_of(entry, payload, time.is_none_or(|time| time.is_cut), &mut leftovers);
    rows.push(&EventRow {
        cluster: delivery.cluster,
        source: delivery.source,
        event_id: event_id.as_str(),
        event_time: time.map_or(delivery.received_at, |time| time.micros),
        ingest_time: delivery.received_at,
        // The API server's log backend on GKE puts the auditID there.
        audit_id: text(entry, &["operation", "id"]),
        verb: Some(method.verb),
        user_name: text(payload, &["authenticationInfo", "principalEmail"]),
        source_ips: source_ips_list.as_deref(),
        source_ip: source_ips.and_then(|ip| ip.text()),
        user_agent: text(payload, &["requestMetadata", "callerSuppliedUserAgent"]),
        api_group: target.group,
        api_version: Some(method.version),
        resource: Some(method.resource),
        subresource: method.subresource,
        namespace: target.namespace,
        name: target.name,
        response_code: status.and_then(|s| s.member("code")).and_then(|c| http_status(&c)),
        response_message: status.and_then(|status| text(status, &["message"])),
        decision: label("authorization.k8s.io/decision"),
        decision_reason: label("authorization.k8s.io/reason"),
        annotations: labels.map(|labels| labels.raw()),
        request_object: body(payload, "request"),
        response_object: body(payload, "response"),
        other: leftovers.finish(),
        ..EventRow::default()
    });
    Ok(true)
}

/// The parts of `methodName`.
struct Method<'v> {
    group: &'v str,
    version: &'v str,
    resource: &'v str,
    subresource: Option<&'v str>,
    verb: &'v str,
}

impl<'v> Method<'v> {
    fn of(method: &'v str) -> Option<Self> {
        let mut at = 0;
        for part in method.split('.') {
            if is_version(part) && at > 0 {
                let group = method.get(..at - 1)?;
                let group = group.strip_prefix("io.k8s.").unwrap_or(group);
                let rest: Vec<_> = method.get(at + part.len() + 1..)?.split('.').collect();
                let (resource, subresource, verb) = match rest[..] {
                    [resource, verb] => (resource, None, verb),
                    [resource, subresource, verb] => (resource, Some(subresource), verb),
                    _ => return None,
                };
                let is_whole = ![resource, verb].contains(&"") && subresource != Some("");
                return is_whole.then_some(Self {
                    group,
                    version: part,
                    resource,
                    subresource,
                    verb,
                });
            }
            at += part.len() + 1;
        }
        None
    }
}

/// `v1`, `v2beta1`, `v1alpha3`.
fn is_version(part: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    part.strip_prefix('v').is_some_and(|rest| {
        let split = ["alpha", "beta"].iter().find_map(|word| rest.split_once(word));
        split.map_or_else(|| digits(rest), |(major, minor)| digits(major) && digits(minor))
    })
}

/// What `resourceName` adds: the group in full, and the object.
#[derive(Default)]
struct Target<'v> {
    group: Option<&'v str>,
    namespace: Option<&'v str>,
    name: Option<&'v str>,
}

impl<'v> Target<'v> {
    fn of(name: &'v str, method: &Method<'_>) -> Option<Self> {
        let parts: Vec<_> = name.split('/').collect();
        let (group, rest) = match parts[..] {
            [group, version, ref rest @ ..] if version == method.version => (group, rest),
            _ => return None,
        };
        let (namespace, rest) = match *rest {
            // A namespace is an object itself, and has subresources.
            ["namespaces", ref rest @ ..] if method.resource == "namespaces" => {
                (rest.first().copied(), rest)
            }
            ["namespaces", namespace, resource, ref rest @ ..] if resource == method.resource => {
                (Some(namespace), rest)
            }
            [resource, ref rest @ ..] if resource == method.resource => (None, rest),
            _ => return None,
        };
        // In the API the core group has no name; a method's is never guessed into a full one.
        let is_core = group == "core" && method.group == "core";
        Some(Self {
            group: (!is_core).then_some(group).filter(|group| !group.is_empty()),
            namespace,
            name: rest.first().copied().filter(|name| !name.is_empty()),
        })
    }
}

fn text<'v>(value: Value<'_, 'v>, path: &[&str]) -> Option<&'v str> {
    let found = path.iter().try_fold(value, |value, name| value.member(name));
    found.and_then(|value| value.text()).filter(|text| !text.is_empty())
}

fn body<'v>(payload: Value<'_, 'v>, name: &str) -> Option<&'v str> {
    payload.member(name).filter(|body| !body.is_null()).map(|body| body.raw())
}

fn is_map_of_texts(value: &Value<'_, '_>) -> bool {
    let members = value.members();
    members.is_some_and(|mut members| members.all(|(_, value)| value.text().is_some()))
}

fn http_status(code: &Value<'_, '_>) -> Option<i32> {
    let code = code.integer()?;
    HTTP_STATUS.iter().find(|(grpc, _)| *grpc == code).map(|(_, http)| *http)
}

fn time(entry: Value<'_, '_>) -> Result<Option<super::super::timestamp::Moment>, Flaw> {
    let Some(timestamp) = entry.member("timestamp").filter(|time| !time.is_null()) else {
        return Ok(None);
    };
    let time = timestamp.text().and_then(moment);
    let wrong = || Flaw::new(Reason::WrongType, "`timestamp` is not an RFC 3339 time");
    time.map(Some).ok_or_else(wrong)
}

/// Cloud Logging tells entries apart by time, `insertId` and content; when it received one is no
/// part of it.
fn identity(cluster: &str, entry: Value<'_, '_>) -> crate::event::EventId {
    let mut digest = EventDigest::new(cluster);
    for (name, value) in entry.members().into_iter().flatten() {
        if name.text != "receiveTimestamp" {
            digest.member(name.raw, value.raw());
        }
    }
    digest.finish()
}

fn rest_of(entry: Value<'_, '_>, payload: Value<'_, '_>, keep_time: bool, rest: &mut Leftovers) {
    rest.clear();
    for (name, value) in entry.members().into_iter().flatten() {
        match name.text {
            "protoPayload" | "labels" => {}
            "timestamp" if !keep_time => {}
            _ => rest.member(name.raw, value.raw()),
        }
    }
    if let Some(labels) = entry.member("labels").filter(|labels| !is_map_of_texts(labels)) {
        rest.member("\"labels\"", labels.raw());
    }
    for (name, value) in payload.members().into_iter().flatten() {
        if !matches!(name.text, "request" | "response") {
            rest.nested("protoPayload", name.raw, value.raw());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts<'p> = (&'p str, &'p str, &'p str, Option<&'p str>, &'p str);

    fn check_method(method: &str, expected: Option<Parts<'_>>) {
        let found = Method::of(method);
        let found = found.map(|m| (m.group, m.version, m.resource, m.subresource, m.verb));
        assert_eq!(found, expected, "{method}");
    }

    #[test]
    fn methods() {
        check_method("io.k8s.core.v1.pods.create", Some(("core", "v1", "pods", None, "create")));
        let exec = ("core", "v1", "pods", Some("exec"), "create");
        check_method("io.k8s.core.v1.pods.exec.create", Some(exec));
        let roles = ("authorization.rbac", "v1", "roles", None, "patch");
        check_method("io.k8s.authorization.rbac.v1.roles.patch", Some(roles));
        let scaler = ("autoscaling", "v2beta2", "hpas", None, "get");
        check_method("io.k8s.autoscaling.v2beta2.hpas.get", Some(scaler));
        for method in ["", "io.k8s.get", "google.container.v1.ClusterManager.", "v1.pods.get"] {
            check_method(method, None);
        }
    }

    fn check_target(name: &str, method: &str, expected: [Option<&str>; 3]) {
        let found = Target::of(name, &Method::of(method).unwrap()).unwrap_or_default();
        assert_eq!([found.group, found.namespace, found.name], expected, "{name}");
    }

    #[test]
    fn targets() {
        let pods = "io.k8s.core.v1.pods.exec.create";
        let (none, shop, web) = (None, Some("shop"), Some("web"));
        check_target("core/v1/namespaces/shop/pods/web/exec", pods, [none, shop, web]);
        check_target("core/v1/namespaces/shop/pods", pods, [none, shop, none]);
        check_target("core/v1/pods", pods, [none, none, none]);
        check_target("core/v1/nodes/web", pods, [none, none, none]);
        let namespaces = "io.k8s.core.v1.namespaces.delete";
        check_target("core/v1/namespaces/shop", namespaces, [none, shop, shop]);
        let roles = "io.k8s.authorization.rbac.v1.clusterroles.create";
        let group = Some("rbac.authorization.k8s.io");
        check_target("rbac.authorization.k8s.io/v1/clusterroles/web", roles, [group, none, web]);
        check_target("/healthz", roles, [none, none, none]);
    }
}
