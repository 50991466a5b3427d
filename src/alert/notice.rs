//! What people are told: what each of the sinks for people needs to know of a call, so that it
//! says it in its own form.

use crate::findings::incident::page::Page;
use crate::findings::paging::Call;
use crate::findings::record::Severity;
pub use crate::findings::triage::State;

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The same for the same thing, always: by it a receiver tells what it knows already.
    pub id: String,
    /// Grows with each change.
    pub revision: u64,
    /// How it stands.
    pub state: State,
    /// How bad it is.
    pub severity: Severity,
    /// The cluster.
    pub cluster: String,
    /// What it is, in one word.
    pub kind: &'static str,
    /// What it is, in one line.
    pub title: String,
    /// What happened, in a sentence.
    pub summary: String,
    /// What to do first.
    pub respond: String,
    /// What is known, by name.
    pub facts: Vec<(&'static str, String)>,
    /// The whole story.
    pub text: String,
    /// Time of its first event, RFC 3339.
    pub first_seen: String,
    /// Time of its last event, RFC 3339.
    pub last_seen: String,
    /// Where there is more.
    pub link: Option<String>,
}

impl Notice {
    /// What there is to say of a call.
    #[must_use]
    pub fn new(call: &Call) -> Self {
        let page = call.page.as_ref();
        let of_one = page.filter(|_| call.incidents_total == 1);
        Self {
            id: call.id.clone(),
            revision: call.revision,
            state: call.state,
            severity: call.severity,
            cluster: call.cluster.clone(),
            kind: if call.incidents_total == 0 { "AuditmillSink" } else { "AuditmillIncident" },
            title: call.title.clone(),
            summary: of_one.and_then(|page| page.what.first()).unwrap_or(&call.title).clone(),
            respond: page.map(|page| page.respond.join("\n")).unwrap_or_default(),
            facts: page.map(facts).unwrap_or_default(),
            text: call.text.clone(),
            first_seen: call.first_seen.clone(),
            last_seen: call.last_seen.clone(),
            link: page.and_then(|page| page.link.clone()),
        }
    }

    /// One line for a phone: how bad, where, what.
    #[must_use]
    pub fn line(&self) -> String {
        let state = match self.state {
            State::Open => "",
            State::Acknowledged => "acknowledged: ",
            State::Closed => "closed: ",
        };
        let what = if self.summary.is_empty() { &self.title } else { &self.summary };
        let cluster = if self.cluster.is_empty() { "auditmill" } else { &self.cluster };
        format!("{state}[{}] {cluster}: {what}", self.severity)
    }
}

/// What is known, the most telling first: receivers show the first few.
fn facts(page: &Page) -> Vec<(&'static str, String)> {
    let Page { who, from, often, .. } = page;
    let many = [
        ("who", &who.users),
        ("acting as", &who.acted_as),
        ("from", &from.addresses),
        ("with", &from.user_agents),
        ("credential", &who.credentials),
        ("made for", &who.issued_to),
        ("allowed by", &page.allowed_by),
    ];
    let known = many.into_iter().filter(|(_, values)| !values.is_empty());
    let mut facts: Vec<_> = known.map(|(name, values)| (name, values.join(", "))).collect();
    let counts = format!("{} findings of {} events", often.findings, often.events);
    facts.push(("how often", counts));
    if often.other_incidents > 0 {
        facts.push(("other incidents", often.other_incidents.to_string()));
    }
    facts.extend([("found", page.what.join("\n")), ("SQL", page.sql.clone())]);
    facts.push(("if it is harmless", page.exempt.clone()));
    facts
}

/// The beginning of a text, at most so many characters; of a longer one with `…` for the rest.
#[must_use]
pub fn cut(text: &str, characters_max: usize) -> String {
    if text.chars().count() <= characters_max {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(characters_max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}
