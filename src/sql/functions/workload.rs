//! The pod in a workload: `pod_spec`.

use std::borrow::Cow;

use datafusion::error::Result;

use super::members::member;
use super::text::{Argument, Gives, TextFunction, Value};

// Where the pod of a kind is.
const CRON_JOB: &[&str] = &["spec", "jobTemplate", "spec", "template", "spec"];
const OWNER: &[&str] = &["spec", "template", "spec"];
const POD_TEMPLATE: &[&str] = &["template", "spec"];
const POD: &[&str] = &["spec"];

/// Members by which a `.spec` without a kind is known as a pod's.
const POD_MEMBERS: [&str; 7] = [
    "containers",
    "initContainers",
    "ephemeralContainers",
    "hostPID",
    "hostIPC",
    "hostNetwork",
    "volumes",
];

/// `pod_spec(json)`
pub(super) struct PodSpec;

impl TextFunction for PodSpec {
    const NAME: &'static str = "pod_spec";
    const ARGUMENTS: &'static [Argument] =
        &[Argument { name: "json", meaning: "An object of any workload kind, or a merge patch." }];
    const DESCRIPTION: &'static str = "The pod's spec in a workload's object, as the JSON text it \
         was: of a Pod, of the template of a Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, \
         ReplicationController or CronJob, of a PodTemplate. The shape decides, so merge patches \
         and custom resources built alike will do. NULL if there is none, and for a JSON patch, \
         which is a list. A hostile patch may have two shapes and shows only one here: what must \
         not be missed is asked of the whole object, `$..[?...]`.";
    const EXAMPLE: &'static str =
        "json_exists(pod_spec(request_object), '$.volumes[?@.hostPath.path == \"/\"]')";
    const GIVES: Gives = Gives::Text;
    type Prepared = ();

    fn prepare(_argument: &str) -> Result<()> {
        Ok(())
    }

    fn evaluate<'a>((): &(), text: &'a str) -> Value<'a> {
        pod_spec(text).map(Cow::Borrowed).into()
    }
}

fn pod_spec(json: &str) -> Option<&str> {
    // No pod's spec has a template, so the deeper shapes are asked first, whatever the kind says:
    // a patch may carry any kind.
    let owned = [CRON_JOB, OWNER, POD_TEMPLATE];
    owned.into_iter().find_map(|path| descend(json, path)).or_else(|| {
        let spec = descend(json, POD)?;
        let is_pod = member(json, "kind") == Some("\"Pod\"")
            || POD_MEMBERS.iter().any(|name| member(spec, name).is_some());
        is_pod.then_some(spec)
    })
}

/// The object at the end of the path, as it stands in the text.
fn descend<'a>(json: &'a str, path: &[&str]) -> Option<&'a str> {
    let found = path.iter().try_fold(json, |json, name| member(json, name))?;
    found.starts_with('{').then_some(found)
}

#[cfg(test)]
mod tests {
    use crate::sql::functions::tests::{check, check_one};

    #[test]
    fn every_kind_of_workload() {
        let owners = [
            "Deployment",
            "ReplicaSet",
            "StatefulSet",
            "DaemonSet",
            "Job",
            "ReplicationController",
            "Rollout",
        ];
        for kind in owners {
            let json =
                format!(r#"{{"kind":"{kind}","spec":{{"template":{{"spec":{{"a": 1}}}}}}}}"#);
            check_one(&json, "pod_spec({})", r#"{"a": 1}"#);
        }
        let rows = [
            Some(r#"{"kind":"Pod","spec":{"nodeName":"n"}}"#),
            Some(r#"{"spec":{"jobTemplate":{"spec":{"template":{"spec":{"b":2}}}}}}"#),
            Some(r#"{"kind":"PodTemplate","template":{"spec":{"c":3}}}"#),
            Some(r#"{"kind":"Service","spec":{"ports":[]}}"#),
            Some(r#"{"kind":"Deployment","spec":{"replicas":3}}"#),
            Some(r#"{"kind":"Pod"}"#),
            Some(r#"{"kind":"Pod","spec":[]}"#),
        ];
        let expected =
            [r#"{"nodeName":"n"}"#, r#"{"b":2}"#, r#"{"c":3}"#, "NULL", "NULL", "NULL", "NULL"];
        check(&rows, "pod_spec({})", &expected);
    }

    #[test]
    fn the_shape_decides_without_a_kind() {
        let rows = [
            Some(r#"{"spec":{"template":{"spec":{"containers":[]}}}}"#),
            Some(r#"{"spec":{"ephemeralContainers":[{}]}}"#),
            Some(r#"{"template":{"spec":{"hostPID":true}}}"#),
            Some(r#"{"spec":{"jobTemplate":{"spec":{"template":{"spec":{}}}}}}"#),
            Some(r#"{"spec":{"replicas":0}}"#),
            Some(r#"{"metadata":{"labels":{}}}"#),
        ];
        let expected = [
            r#"{"containers":[]}"#,
            r#"{"ephemeralContainers":[{}]}"#,
            r#"{"hostPID":true}"#,
            "{}",
            "NULL",
            "NULL",
        ];
        check(&rows, "pod_spec({})", &expected);
    }

    #[test]
    fn a_wrong_kind_in_a_patch_hides_nothing() {
        let patch = r#"{"kind":"Deployment","spec":{"containers":[1]}}"#;
        check_one(patch, "pod_spec({})", r#"{"containers":[1]}"#);
        let patch = r#"{"kind":"Pod","spec":{"template":{"spec":{"containers":[1]}}}}"#;
        check_one(patch, "pod_spec({})", r#"{"containers":[1]}"#);
        let patch = r#"{"k\u0069nd":"x","spec":{"containers":[1]},"spec":{"containers":[2]}}"#;
        check_one(patch, "pod_spec({})", r#"{"containers":[2]}"#);
    }

    #[test]
    fn what_is_no_object_has_no_pod() {
        let rows = [
            Some(r#"[{"op":"add","path":"/spec/containers","value":[]}]"#),
            Some("null"),
            Some("{"),
            Some(""),
            None,
        ];
        check(&rows, "pod_spec({})", &["NULL"; 5]);
    }

    #[test]
    fn depth_does_not_matter() {
        let (open, close) = ("[".repeat(50_000), "]".repeat(50_000));
        let json = format!(r#"{{"x":{open}{close},"kind":"Pod","spec":{{"y":{open}{close}}}}}"#);
        check_one(&json, "octet_length(pod_spec({}))", "100006");
    }
}
