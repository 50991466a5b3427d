//! A policy of audit.k8s.io/v1, and what it says of a request.
//!
//! The first rule that matches decides; where none does, nothing is recorded. What matches is that
//! of kubernetes/apiserver, `pkg/audit/policy/checker.go`: names are compared whole and with their
//! case, a request without a user matches no rule that names users, a rule with resources or
//! namespaces never matches a path, `pods/*` matches `pods` itself, and `pods` no subresource.

use std::fmt;

use serde::Deserialize;

/// How much is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Level {
    /// Nothing.
    None,
    /// Who did what to which object, and what came of it.
    Metadata,
    /// The body of the request too.
    Request,
    /// The body of the answer too.
    RequestResponse,
}

impl Level {
    /// Its name in policies and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }

    /// The level of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::None, Self::Metadata, Self::Request, Self::RequestResponse]
            .into_iter()
            .find(|level| level.as_str() == name)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When in a request's life an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Stage {
    /// It arrived.
    RequestReceived,
    /// Its answer began: long ones only, and refused credentials.
    ResponseStarted,
    /// Its answer ended.
    ResponseComplete,
    /// The API server failed over it.
    Panic,
}

impl Stage {
    /// The stage of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "RequestReceived" => Some(Self::RequestReceived),
            "ResponseStarted" => Some(Self::ResponseStarted),
            "ResponseComplete" => Some(Self::ResponseComplete),
            "Panic" => Some(Self::Panic),
            _ => None,
        }
    }
}

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Option<Metadata>,
    /// Rules, the first that matches decides.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Stages that are left out for all rules.
    #[serde(default)]
    pub omit_stages: Vec<Stage>,
    /// Whether the fields' owners are left out of bodies, unless a rule says otherwise.
    #[serde(default)]
    pub omit_managed_fields: bool,
}

/// What objects have; nothing of it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Metadata {}

/// A rule; what it does not name, it matches.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// What is recorded of what matches.
    pub level: Level,
    /// User names.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups, one of which the user is in.
    #[serde(default)]
    pub user_groups: Vec<String>,
    /// Verbs.
    #[serde(default)]
    pub verbs: Vec<String>,
    /// Resources.
    #[serde(default)]
    pub resources: Vec<GroupResources>,
    /// Namespaces; `""` is what has none.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Paths, with `*` at their end.
    #[serde(default, rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
    /// Stages that are left out, beside the policy's.
    #[serde(default)]
    pub omit_stages: Vec<Stage>,
    /// Instead of the policy's.
    #[serde(default)]
    pub omit_managed_fields: Option<bool>,
}

/// Resources of an API group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupResources {
    /// The group; `""` is the core.
    #[serde(default)]
    pub group: String,
    /// Resources: `pods`, `pods/log`, `pods/*`, `*/scale`, `*`; none is all.
    #[serde(default)]
    pub resources: Vec<String>,
    /// Names of objects.
    #[serde(default)]
    pub resource_names: Vec<String>,
}

/// A request as a policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks; `None` where the credential was refused.
    pub user: Option<&'a str>,
    /// The groups of who asks.
    pub groups: &'a [String],
    /// The verb.
    pub verb: &'a str,
    /// What is asked for.
    pub target: Target<'a>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Objects; what there is not is empty.
    Resource {
        /// API group.
        group: &'a str,
        /// Resource.
        resource: &'a str,
        /// Subresource.
        subresource: &'a str,
        /// Namespace.
        namespace: &'a str,
        /// Name.
        name: &'a str,
    },
    /// A path.
    Path(&'a str),
}

/// What a policy says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// How much is recorded.
    pub level: Level,
    /// The rule that says so, from 1; `None` where none matches.
    pub rule: Option<usize>,
    /// Stages that are left out.
    pub omitted: Vec<Stage>,
    /// Whether the fields' owners are left out of bodies.
    pub omit_managed_fields: bool,
}

/// Why a policy is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    /// It is not of the form.
    #[error("line {line}: {message}")]
    Form {
        /// One-based line.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// The API server would not take it.
    #[error("{0}")]
    Refused(String),
}

impl Policy {
    /// Reads a policy, as strictly as the API server does.
    ///
    /// # Errors
    /// When it is not of the form, or would be refused.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let policy: Self = serde_saphyr::from_str(text).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            let message = error.to_string();
            let message = message.lines().find(|line| !line.trim().is_empty());
            let message = message.unwrap_or("no YAML").trim_start_matches("error: ").to_owned();
            PolicyError::Form { line, message }
        })?;
        policy.check()?;
        Ok(policy)
    }

    /// A policy of these rules.
    #[must_use]
    pub fn of(rules: Vec<Rule>, omit_stages: Vec<Stage>) -> Self {
        Self {
            api_version: "audit.k8s.io/v1".to_owned(),
            kind: "Policy".to_owned(),
            rules,
            omit_stages,
            ..Self::default()
        }
    }

    fn check(&self) -> Result<(), PolicyError> {
        let refuse = |message: String| Err(PolicyError::Refused(message));
        if self.kind != "Policy" || self.api_version != "audit.k8s.io/v1" {
            return refuse(format!(
                "it is {} of {}: an audit policy is Policy of audit.k8s.io/v1",
                self.kind, self.api_version
            ));
        }
        if self.rules.is_empty() {
            return refuse("it has no rules: the API server does not start with it".to_owned());
        }
        for (number, rule) in (1..).zip(&self.rules) {
            let paths = !rule.non_resource_urls.is_empty();
            if paths && (!rule.resources.is_empty() || !rule.namespaces.is_empty()) {
                return refuse(format!("rule {number} has both paths and resources or namespaces"));
            }
            for url in rule.non_resource_urls.iter().filter(|url| *url != "*") {
                let stem = url.strip_suffix('*').unwrap_or(url);
                if !url.starts_with('/') || stem.contains('*') {
                    return refuse(format!(
                        "rule {number}: `{url}` is no path with `*` at its end only"
                    ));
                }
            }
            let named = rule
                .resources
                .iter()
                .find(|group| !group.resource_names.is_empty() && group.resources.is_empty());
            if named.is_some() {
                return refuse(format!("rule {number} has resourceNames without resources"));
            }
        }
        Ok(())
    }

    /// What it says of a request.
    #[must_use]
    pub fn ruling(&self, request: &Request<'_>) -> Ruling {
        let found = (1..).zip(&self.rules).find(|(_, rule)| rule.matches(request));
        let Some((number, rule)) = found else {
            return Ruling {
                level: Level::None,
                rule: None,
                omitted: self.omit_stages.clone(),
                omit_managed_fields: self.omit_managed_fields,
            };
        };
        let mut omitted = self.omit_stages.clone();
        omitted.extend(&rule.omit_stages);
        omitted.sort_unstable();
        omitted.dedup();
        Ruling {
            level: rule.level,
            rule: Some(number),
            omitted,
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    /// A rule of this level that matches everything.
    #[must_use]
    pub fn of(level: Level) -> Self {
        Self {
            level,
            users: Vec::new(),
            user_groups: Vec::new(),
            verbs: Vec::new(),
            resources: Vec::new(),
            namespaces: Vec::new(),
            non_resource_urls: Vec::new(),
            omit_stages: Vec::new(),
            omit_managed_fields: None,
        }
    }

    fn matches(&self, request: &Request<'_>) -> bool {
        let is_in = |list: &[String], text: &str| list.iter().any(|one| one == text);
        let user =
            self.users.is_empty() || request.user.is_some_and(|user| is_in(&self.users, user));
        let group = self.user_groups.is_empty()
            || (request.user.is_some()
                && request.groups.iter().any(|group| is_in(&self.user_groups, group)));
        let verb = self.verbs.is_empty() || is_in(&self.verbs, request.verb);
        if !user || !group || !verb {
            return false;
        }
        match request.target {
            Target::Resource { namespace, .. } => {
                let of_resources = !self.namespaces.is_empty() || !self.resources.is_empty();
                if !of_resources {
                    return self.non_resource_urls.is_empty();
                }
                (self.namespaces.is_empty() || is_in(&self.namespaces, namespace))
                    && (self.resources.is_empty()
                        || self.resources.iter().any(|group| group.matches(request.target)))
            }
            Target::Path(path) => {
                self.namespaces.is_empty()
                    && self.resources.is_empty()
                    && (self.non_resource_urls.is_empty()
                        || self.non_resource_urls.iter().any(|url| path_matches(url, path)))
            }
        }
    }
}

impl GroupResources {
    fn matches(&self, target: Target<'_>) -> bool {
        let Target::Resource { group, resource, subresource, name, .. } = target else {
            return false;
        };
        if self.group != group && self.group != "*" {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let named = self.resource_names.is_empty() || self.resource_names.iter().any(|n| n == name);
        named
            && self.resources.iter().any(|pattern| resource_matches(pattern, resource, subresource))
    }
}

/// Whether `pods`, `pods/log`, `pods/*`, `*/scale` or `*` means this resource.
fn resource_matches(pattern: &str, resource: &str, subresource: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    match pattern.split_once('/') {
        None => subresource.is_empty() && pattern == resource,
        Some((of, "*")) if of == resource => true,
        Some(("*", sub)) if !subresource.is_empty() && sub == subresource => true,
        Some((of, sub)) => !subresource.is_empty() && of == resource && sub == subresource,
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    pattern == path
        || pattern
            .strip_suffix('*')
            .is_some_and(|stem| path.starts_with(stem.trim_end_matches('*')))
}

#[cfg(test)]
mod tests;
