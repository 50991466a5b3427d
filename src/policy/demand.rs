//! What somebody needs of an audit policy: requests, how much of them, at which stages.

use super::document::{Level, Stage};
use crate::detect::detection::Needs;

/// One kind of request that is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// API groups that may have the resource; `""` is the core.
    pub groups: Vec<String>,
    /// The resource; empty for any request at all.
    pub resource: String,
    /// The subresource, or empty.
    pub subresource: String,
    /// The verb; empty for any.
    pub verb: String,
    /// How much of it.
    pub level: Level,
    /// How much of it is enough for something.
    pub least: Level,
    /// At which stages, one of which is of some use; none is any.
    pub stages: Vec<Stage>,
}

/// Verbs on objects.
pub(super) const VERBS: [&str; 8] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// Where resources are that detections and controls speak of. What is not here is of the core, or
/// of a group that the policy names.
const GROUPS: &[(&str, &[&str])] = &[
    ("apps", &["daemonsets", "deployments", "replicasets", "statefulsets", "controllerrevisions"]),
    ("batch", &["jobs", "cronjobs"]),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("policy", &["poddisruptionbudgets", "podsecuritypolicies"]),
    (
        "rbac.authorization.k8s.io",
        &["roles", "clusterroles", "rolebindings", "clusterrolebindings"],
    ),
    ("authentication.k8s.io", &["tokenreviews", "selfsubjectreviews"]),
    (
        "authorization.k8s.io",
        &[
            "selfsubjectaccessreviews",
            "selfsubjectrulesreviews",
            "subjectaccessreviews",
            "localsubjectaccessreviews",
        ],
    ),
    (
        "admissionregistration.k8s.io",
        &[
            "mutatingwebhookconfigurations",
            "validatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicybindings",
        ],
    ),
    ("apiregistration.k8s.io", &["apiservices"]),
    ("apiextensions.k8s.io", &["customresourcedefinitions"]),
    ("certificates.k8s.io", &["certificatesigningrequests", "signers", "clustertrustbundles"]),
    ("coordination.k8s.io", &["leases"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("networking.k8s.io", &["networkpolicies", "ingresses", "ingressclasses"]),
    ("node.k8s.io", &["runtimeclasses"]),
    ("scheduling.k8s.io", &["priorityclasses"]),
    ("storage.k8s.io", &["storageclasses", "volumeattachments", "csidrivers"]),
    (
        "security.istio.io",
        &["peerauthentications", "requestauthentications", "authorizationpolicies"],
    ),
    ("networking.istio.io", &["destinationrules", "gateways", "virtualservices"]),
    (
        "policy.linkerd.io",
        &[
            "servers",
            "serverauthorizations",
            "authorizationpolicies",
            "meshtlsauthentications",
            "networkauthentications",
        ],
    ),
    (
        "cilium.io",
        &["ciliumnetworkpolicies", "ciliumclusterwidenetworkpolicies", "tracingpolicies"],
    ),
    ("crd.projectcalico.org", &["globalnetworkpolicies"]),
    (
        "policy.networking.k8s.io",
        &["adminnetworkpolicies", "baselineadminnetworkpolicies", "clusternetworkpolicies"],
    ),
    ("kyverno.io", &["clusterpolicies", "policies", "policyexceptions"]),
    (
        "policies.kyverno.io",
        &["validatingpolicies", "imagevalidatingpolicies", "mutatingpolicies", "policyexceptions"],
    ),
    ("config.gatekeeper.sh", &["configs"]),
    ("policies.kubewarden.io", &["clusteradmissionpolicies", "admissionpolicies"]),
    ("policy.sigstore.dev", &["clusterimagepolicies"]),
    ("security.kubearmor.com", &["kubearmorpolicies"]),
    ("templates.gatekeeper.sh", &["constrainttemplates"]),
    ("external-secrets.io", &["secretstores", "clustersecretstores", "externalsecrets"]),
    ("generators.external-secrets.io", &["clustergenerators"]),
    ("secrets-store.csi.x-k8s.io", &["secretproviderclasses"]),
    ("secrets.hashicorp.com", &["vaultauths", "vaultconnections"]),
    (
        "aquasecurity.github.io",
        &[
            "vulnerabilityreports",
            "configauditreports",
            "exposedsecretreports",
            "rbacassessmentreports",
            "clustercompliancereports",
        ],
    ),
    ("wgpolicyk8s.io", &["policyreports", "clusterpolicyreports"]),
    (
        "velero.io",
        &[
            "backups",
            "schedules",
            "deletebackuprequests",
            "backupstoragelocations",
            "volumesnapshotlocations",
            "backuprepositories",
        ],
    ),
    ("k8up.io", &["backups", "schedules", "snapshots"]),
    ("snapshot.storage.k8s.io", &["volumesnapshots", "volumesnapshotcontents"]),
    ("groupsnapshot.storage.k8s.io", &["volumegroupsnapshots"]),
    ("longhorn.io", &["backups", "snapshots", "recurringjobs", "backuptargets", "backupvolumes"]),
    ("apps.kio.kasten.io", &["restorepoints", "restorepointcontents"]),
    ("config.kio.kasten.io", &["policies", "profiles"]),
    ("argoproj.io", &["applications", "appprojects", "workflows"]),
];

/// What a detection's or a control's `needs` come to.
#[must_use]
pub fn demands(needs: &Needs) -> Vec<Demand> {
    let level = needs.level.as_deref().and_then(Level::named).unwrap_or(Level::Metadata);
    let least = needs.least.as_deref().and_then(Level::named).unwrap_or(level).min(level);
    let stages: Vec<Stage> = needs.stages.iter().filter_map(|name| Stage::named(name)).collect();
    let demand = |groups: Vec<String>, resource: &str, subresource: &str, verb: &str| Demand {
        groups,
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        verb: verb.to_owned(),
        level: useful(level, resource, subresource, verb),
        least: useful(least, resource, subresource, verb),
        stages: stages.clone(),
    };
    if needs.resources.is_empty() {
        let any = [String::new()];
        let verbs = if needs.verbs.is_empty() { &any[..] } else { &needs.verbs };
        return verbs.iter().map(|verb| demand(Vec::new(), "", "", verb)).collect();
    }
    let mut demands = Vec::new();
    for named in &needs.resources {
        let (resource, subresource) = named.split_once('/').unwrap_or((named, ""));
        for verb in verbs(needs, subresource) {
            demands.push(demand(groups(resource), resource, subresource, &verb));
        }
    }
    demands
}

/// No more than is there to be read, and never the value of a credential: who names several
/// resources and one level means the bodies of those that may be logged.
fn useful(level: Level, resource: &str, subresource: &str, verb: &str) -> Level {
    let most = match (resource, subresource) {
        ("secrets" | "configmaps" | "tokenreviews", _) => Level::Metadata,
        // What is asked for is in the path; there is no body worth anything.
        (_, "exec" | "attach" | "portforward" | "proxy" | "log" | "binding" | "eviction") => {
            Level::Metadata
        }
        // The answer is the token.
        ("serviceaccounts", "token") => Level::Request,
        _ => Level::RequestResponse,
    };
    let bodiless = matches!(verb, "get" | "list" | "watch" | "delete" | "deletecollection");
    let level = level.min(most);
    if bodiless && level == Level::Request { Level::Metadata } else { level }
}

/// The API groups that a resource is known to be in.
#[must_use]
pub fn groups(resource: &str) -> Vec<String> {
    let found: Vec<String> = GROUPS
        .iter()
        .filter(|(_, resources)| resources.contains(&resource))
        .map(|(group, _)| (*group).to_owned())
        .collect();
    if found.is_empty() { vec![String::new()] } else { found }
}

/// The verbs that are needed and make sense.
fn verbs(needs: &Needs, subresource: &str) -> Vec<String> {
    let sensible: &[&str] = match subresource {
        "exec" | "attach" | "portforward" => &["get", "create"],
        "token" | "binding" | "eviction" => &["create"],
        "approval" | "ephemeralcontainers" | "finalize" => &["update", "patch"],
        "scale" | "status" => &["get", "update", "patch"],
        "log" => &["get"],
        _ => &VERBS,
    };
    if needs.verbs.is_empty() {
        return sensible.iter().map(|verb| (*verb).to_owned()).collect();
    }
    let both: Vec<String> =
        needs.verbs.iter().filter(|verb| sensible.contains(&verb.as_str())).cloned().collect();
    if both.is_empty() { needs.verbs.clone() } else { both }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::catalog::Catalog;

    /// What is of the core group.
    const CORE: [&str; 18] = [
        "configmaps",
        "endpoints",
        "events",
        "limitranges",
        "namespaces",
        "nodes",
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "podtemplates",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "serviceaccounts",
        "services",
        // Verbs of their own, asked of no object.
        "users",
        "groups",
        "bindings",
    ];

    #[test]
    fn where_shipped_detections_look_is_known() {
        let catalog = Catalog::load(None).unwrap();
        let lacking = catalog.lacking().map(|(detection, _)| detection);
        for detection in catalog.detections().chain(lacking) {
            for named in &detection.needs.resources {
                let resource = named.split('/').next().unwrap_or(named);
                let known = CORE.contains(&resource) || groups(resource) != [String::new()];
                assert!(known, "{}: of which group is `{resource}`?", detection.id);
            }
        }
    }
}
