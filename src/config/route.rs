//! `[[route]]` and `[[silence]]`: who is called for what, and when nobody is. Values only.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::sink::Sink;
use super::value::{Name, Span};

/// `[[route]]`: findings and incidents that it fits go to its sinks. A sink that no route names is
/// told everything that is for sinks of its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name.
    pub name: Name,
    /// What it is about; without it, everything.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// Names of sinks.
    pub sinks: Vec<String>,
    /// What incidents of one page have in common: `cluster`, `namespace`, `detection`, `severity`,
    /// `actor`. Without it each has a page of its own.
    #[serde(default)]
    pub group_by: Vec<String>,
    /// So many pages may open ...
    #[serde(default = "rate")]
    pub rate: u32,
    /// ... within this time; those beyond are one page.
    #[serde(default = "rate_span")]
    pub rate_span: Span,
    /// Hours of the day, UTC, in which only the worst calls somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<Hours>,
    /// What is at least as bad calls all the same.
    #[serde(default = "quiet_unless")]
    pub quiet_unless: String,
    /// How often what stands is told again; 0s: never.
    #[serde(default = "repeat")]
    pub repeat: Span,
    /// After this long without anybody looking after it others are told, too; 0s: never.
    #[serde(default = "never")]
    pub escalate_after: Span,
    /// Names of their sinks.
    #[serde(default)]
    pub escalate_to: Vec<String>,
}

/// `[[silence]]`: nobody is called for incidents all of which it fits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// Its name.
    pub name: Name,
    /// Who answers for it.
    pub owner: String,
    /// Why nobody is to be called.
    pub reason: String,
    /// Until when, RFC 3339.
    pub expires: String,
    /// What it is about.
    #[serde(rename = "match")]
    pub matches: Match,
}

/// What must fit, each of them; a list without entries fits everything. Texts may have `*` for any
/// letters and `?` for one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Severities.
    pub severity: Vec<String>,
    /// Clusters.
    pub cluster: Vec<String>,
    /// Namespaces.
    pub namespace: Vec<String>,
    /// Ids of detections.
    pub detection: Vec<String>,
    /// Ids of hardening controls.
    pub control: Vec<String>,
    /// Users.
    pub user: Vec<String>,
}

fn rate() -> u32 {
    10
}

fn rate_span() -> Span {
    Span(std::time::Duration::from_mins(10))
}

fn repeat() -> Span {
    Span(std::time::Duration::from_hours(4))
}

fn never() -> Span {
    Span(std::time::Duration::ZERO)
}

fn quiet_unless() -> String {
    "critical".to_owned()
}

/// Hours of the day, UTC, written `22:00-07:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// Minutes since midnight.
    pub from: u16,
    /// Minutes since midnight; before `from`, it is the next day's.
    pub to: u16,
}

impl Serialize for Hours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { from, to } = self;
        let text = format!("{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60);
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let minutes = |text: &str| {
            let (hours, minutes) = text.trim().split_once(':')?;
            let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
            (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
        };
        let read = text
            .split_once('-')
            .and_then(|(from, to)| Some(Self { from: minutes(from)?, to: minutes(to)? }));
        read.filter(|hours| hours.from != hours.to).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is not a part of a day such as 22:00-07:00"))
        })
    }
}

/// Routes have names of their own and name sinks that there are; what repeats or escalates tells
/// somebody.
pub(super) fn check(routes: &[Route], silences: &[Silence], sinks: &[Sink]) -> Result<(), String> {
    for (place, route) in routes.iter().enumerate() {
        let name = route.name.as_str();
        if routes.iter().take(place).any(|other| other.name == route.name) {
            return Err(format!("two routes have the name `{name}`"));
        }
        if route.sinks.is_empty() {
            return Err(format!("route `{name}`: `sinks` must name a sink"));
        }
        let named = route.sinks.iter().chain(&route.escalate_to);
        if let Some(gone) = named.into_iter().find(|of| sinks.iter().all(|sink| sink.name() != *of))
        {
            return Err(format!("route `{name}`: there is no `[[sink]]` with the name `{gone}`"));
        }
        if route.escalate_to.is_empty() != route.escalate_after.0.is_zero() {
            let both = "`escalate_after` and `escalate_to` belong together";
            return Err(format!("route `{name}`: {both}"));
        }
        if route.rate == 0 {
            return Err(format!("route `{name}`: with a `rate` of 0 nobody is ever called"));
        }
    }
    for (place, silence) in silences.iter().enumerate() {
        let name = silence.name.as_str();
        if silences.iter().take(place).any(|other| other.name == silence.name) {
            return Err(format!("two silences have the name `{name}`"));
        }
        let owned = [("owner", &silence.owner), ("reason", &silence.reason)];
        if let Some((key, _)) = owned.into_iter().find(|(_, text)| text.trim().is_empty()) {
            return Err(format!("silence `{name}`: `{key}` is empty"));
        }
        if silence.matches == Match::default() {
            return Err(format!("silence `{name}`: `match` fits everything: name what is quiet"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;

    #[test]
    fn routes_are_read_and_mistakes_are_named() {
        let text = r#"
            [[sink]]
            type = "jsonl"
            name = "file"
            path = "-"
            [[route]]
            name = "night"
            match = { severity = ["high"], cluster = ["prod-*"] }
            sinks = ["file"]
            group_by = ["cluster"]
            quiet = "22:00-07:30"
            escalate_after = "30m"
            escalate_to = ["file"]
            [[silence]]
            name = "upgrade"
            owner = "platform"
            reason = "nodes are replaced"
            expires = "2030-01-01T00:00:00Z"
            match = { cluster = ["prod-eu"] }
        "#;
        let settings = load(text, &[]).unwrap();
        let route = &settings.routes[0];
        assert_eq!((route.rate, route.quiet.unwrap().to), (10, 450));
        assert_eq!(load(&settings.to_toml().unwrap(), &[]).unwrap(), settings);
        let check = |changed: &str, to: &str, expected: &str| {
            let error = load(&text.replacen(changed, to, 1), &[]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("sinks = [\"file\"]", "sinks = [\"gone\"]", "no `[[sink]]` with the name `gone`");
        check("sinks = [\"file\"]", "sinks = []", "`sinks` must name a sink");
        check("escalate_after = \"30m\"", "", "belong together");
        check("22:00-07:30", "22:00", "`22:00` is not a part of a day");
        check("22:00-07:30", "25:00-07:00", "is not a part of a day");
        check("severity =", "severe =", "unknown field `severe`");
        check("\"platform\"", "\" \"", "silence `upgrade`: `owner` is empty");
        check("{ cluster = [\"prod-eu\"] }", "{}", "`match` fits everything");
    }
}
