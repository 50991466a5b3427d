//! As many events as wanted out of recordings of real API servers, such as a cluster of many teams
//! would give; the same ones in each run.
//!
//! Events come in short runs of a recording, each run as the work of one of [`TEAMS`], a few of
//! them busy and most of them not. Each request has an audit id of its own and each event times of
//! its own, moving forward by a gap on average and a little out of order; resource versions grow.
//! Objects, with their uids, generated names, versions and addresses, are a team's and are replaced
//! by new ones after some runs. People, their certificates, machines, namespaces and names are the
//! team's, in bodies, paths and reasons alike. What the cluster's own parts are called stays.
//!
//! Nothing is kept but the recordings: memory does not grow with the number of events.

use auditmill::event::time::{parse_rfc3339, rfc3339};
use fastrand::Rng;
use serde_json::Value;

/// Controllers, mostly, and ordinary work; nothing to find.
pub(crate) const BACKGROUND: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/events/apiserver/background.jsonl");
const SEED: u64 = 7;
/// How long after its neighbours an event can have been written.
const DISORDER_MICROS: u64 = 20_000;
const TEAMS: u32 = 300;
/// Longest piece of a recording in one go.
const RUN: usize = 24;
/// How many runs a team's objects live.
const LIFE: u64 = 4;
/// The letters of generated names.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Resources whose names are the cluster's, not a team's.
const BUILT_IN: [&str; 8] = [
    "apiservices",
    "clusterrolebindings",
    "clusterroles",
    "customresourcedefinitions",
    "flowschemas",
    "priorityclasses",
    "prioritylevelconfigurations",
    "servicecidrs",
];

/// What stands in a place of an event that changes from copy to copy.
#[derive(Clone, Copy, Debug)]
enum Slot {
    /// A request's id.
    Audit(u64),
    /// An object's uid, or a token's id.
    Uid(u64),
    /// The fingerprint of a person's certificate.
    Print(u64),
    /// A time so many microseconds before the event's, in microseconds.
    Time(i64),
    /// When an object was made, in seconds.
    Birth,
    /// A resource version.
    Version(u64),
    /// The random end of a generated name: seed and length.
    Suffix(u64, usize),
    /// Follows a name, a namespace or a person.
    Team,
    Person,
    /// A caller's address: of a person or of one of the cluster's machines.
    Caller(bool),
    /// An object's address.
    Address(u64),
    /// So many digits.
    Digits(usize),
}

/// An event of a recording: text, slot, text, slot, ..., text.
struct Template {
    texts: Vec<String>,
    slots: Vec<Slot>,
}

/// A piece of a recording, on its way.
#[derive(Default)]
struct Run {
    next: usize,
    left: usize,
    team: u32,
    number: u64,
    /// Tells a team's objects of one time from those of another.
    objects: u64,
    born: i64,
}

/// Events without an end.
pub(crate) struct Traffic {
    templates: Vec<Template>,
    rng: Rng,
    clock: i64,
    gap: f64,
    version: u64,
    run: Run,
    runs: u64,
    /// Runs of each team, and when its objects were made.
    teams: Vec<(u64, i64)>,
}

impl Traffic {
    /// Of these recordings, from a time on, with so many microseconds from event to event.
    pub(crate) fn new(recordings: &[&str], start: i64, gap: u32) -> Self {
        let text = |path: &&str| std::fs::read_to_string(path).expect("it is in the repository");
        let texts: Vec<String> = recordings.iter().map(text).collect();
        let templates = texts.iter().flat_map(|text| text.lines()).map(template).collect();
        Self {
            templates,
            rng: Rng::with_seed(SEED),
            clock: start,
            gap: f64::from(gap),
            version: 1_000_000,
            run: Run::default(),
            runs: 0,
            teams: vec![(0, start); TEAMS as usize],
        }
    }

    /// Adds the next event, one line without its end; gives about when it happened, microseconds.
    pub(crate) fn push(&mut self, out: &mut String) -> i64 {
        if self.run.left == 0 {
            self.start_run();
        }
        // Gaps as of events that do not know of each other.
        let gap = -(1.0 - self.rng.f64()).ln() * self.gap;
        self.clock += gap as i64 + 1;
        self.version += self.rng.u64(0..4);
        let time = self.clock - self.rng.u64(0..DISORDER_MICROS) as i64;
        let template = &self.templates[self.run.next];
        for (text, slot) in template.texts.iter().zip(&template.slots) {
            out.push_str(text);
            fill(*slot, &self.run, time, self.version, &mut self.rng, out);
        }
        out.push_str(template.texts.last().expect("text ends a template"));
        self.run.next += 1;
        self.run.left -= 1;
        self.clock
    }

    fn start_run(&mut self) {
        let next = self.rng.usize(0..self.templates.len());
        // A few teams have most of the traffic.
        let team = f64::from(TEAMS).powf(self.rng.f64()) as u32 - 1;
        let (runs, born) = &mut self.teams[team as usize];
        if *runs % LIFE == 0 {
            *born = self.clock;
        }
        *runs += 1;
        self.runs += 1;
        self.run = Run {
            next,
            left: self.rng.usize(1..=RUN).min(self.templates.len() - next),
            team,
            number: self.runs,
            objects: mix((u64::from(team) << 32) | (*runs / LIFE)),
            born: *born,
        };
    }
}

fn fill(slot: Slot, run: &Run, time: i64, version: u64, rng: &mut Rng, out: &mut String) {
    use std::fmt::Write as _;
    let written = match slot {
        Slot::Audit(seed) => uuid(seed ^ mix(run.number), out),
        Slot::Uid(seed) => uuid(seed ^ run.objects, out),
        Slot::Print(seed) => {
            let seed = mix(seed ^ u64::from(run.team));
            (0..4).try_for_each(|part| write!(out, "{:016x}", mix(seed + part)))
        }
        Slot::Time(before) => write!(out, "{}", rfc3339(time - before)),
        Slot::Birth => write!(out, "{}Z", rfc3339(run.born).get(..19).unwrap_or_default()),
        Slot::Version(old) => write!(out, "{}", version - old),
        Slot::Suffix(seed, length) => {
            let mut value = mix(seed ^ run.objects);
            for _ in 0..length {
                out.push(char::from(LETTERS[(value % LETTERS.len() as u64) as usize]));
                value /= LETTERS.len() as u64;
            }
            Ok(())
        }
        Slot::Team => write!(out, "-{}", run.team),
        Slot::Person => write!(out, "{}", run.team % 90),
        Slot::Caller(true) => write!(out, "10.20.{}.{}", run.team % 7, 10 + run.team % 200),
        Slot::Caller(false) => write!(out, "10.0.0.{}", 1 + run.number % 5),
        Slot::Address(seed) => {
            let value = mix(seed ^ run.objects);
            write!(out, "10.244.{}.{}", value % 64, value / 64 % 254 + 1)
        }
        Slot::Digits(length) => (0..length).try_for_each(|_| write!(out, "{}", rng.u8(1..10))),
    };
    written.expect("a text takes all");
}

fn uuid(seed: u64, out: &mut String) -> std::fmt::Result {
    use std::fmt::Write as _;
    let (high, low) = (mix(seed), mix(seed ^ 0x5bd1_e995));
    let (first, second, third) = (high >> 32, (high >> 16) & 0xffff, high & 0xfff);
    let (fourth, fifth) = (((low >> 48) & 0x3fff) | 0x8000, low & 0xffff_ffff_ffff);
    write!(out, "{first:08x}-{second:04x}-4{third:03x}-{fourth:04x}-{fifth:012x}")
}

/// A number whose bits all depend on those of another (splitmix64).
fn mix(number: u64) -> u64 {
    let mut value = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// What of a recorded event is a team's.
struct Names {
    namespace: String,
    name: String,
    person: String,
    is_person: bool,
    audit: String,
    time: i64,
}

impl Names {
    fn of(line: &str) -> Self {
        let event: Value = serde_json::from_str(line).expect("the recordings are JSON");
        let text = |pointer: &str| {
            event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let own = |text: String| {
            let is_own = text.len() > 2 && text != "default" && !text.starts_with("kube-");
            if is_own && !text.starts_with("system:") { text } else { String::new() }
        };
        let mut name = own(text("/objectRef/name"));
        let is_built_in = BUILT_IN.contains(&text("/objectRef/resource").as_str());
        if is_built_in || text("/objectRef/namespace").starts_with("kube-") {
            name.clear();
        }
        let user = text("/user/username");
        let time = parse_rfc3339(&text("/stageTimestamp")).expect("a stage has a time");
        Self {
            namespace: own(text("/objectRef/namespace")),
            name,
            is_person: !user.starts_with("system:"),
            person: own(user),
            audit: text("/auditID"),
            time,
        }
    }
}

fn template(line: &str) -> Template {
    let names = Names::of(line);
    let (mut texts, mut slots) = (Vec::new(), Vec::new());
    let (mut text, mut at) = (String::new(), 0);
    while let Some(next) = line[at..].chars().next() {
        // What is kept of the text, what follows it, and how much of the line that was.
        if let Some((kept, slot, length)) = slot_at(line, at, &names) {
            text.push_str(&line[at..at + kept]);
            texts.push(std::mem::take(&mut text));
            slots.push(slot);
            at += length;
        } else {
            text.push(next);
            at += next.len_utf8();
        }
    }
    texts.push(text);
    Template { texts, slots }
}

/// The slot at a place of the line: bytes to keep before it, the slot, bytes of both.
fn slot_at(line: &str, at: usize, names: &Names) -> Option<(usize, Slot, usize)> {
    let (before, rest) = line.split_at(at);
    let seed = |text: &str| mix(text.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte))));
    let is_start = !before.ends_with(|c: char| c.is_ascii_alphanumeric());
    if let Some(found) = name_at(before, rest, names).or_else(|| number_at(before, rest)) {
        return Some(found);
    }
    let bytes = rest.as_bytes();
    let hex = |length: usize| {
        let is_hex = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
        is_start && bytes.len() > length && bytes[..length].iter().all(is_hex)
    };
    if hex(64) && before.ends_with("SHA256=") {
        return Some((0, Slot::Print(seed(&rest[..64])), 64));
    }
    if hex(36) && [8, 13, 18, 23].iter().all(|place| bytes[*place] == b'-') {
        let id = &rest[..36];
        let is_audit = id == names.audit;
        let slot = if is_audit { Slot::Audit(seed(id)) } else { Slot::Uid(seed(id)) };
        return Some((0, slot, 36));
    }
    if rest.starts_with("2026-") {
        if let Some(time) = rest.get(..27).and_then(parse_rfc3339)
            && bytes[26] == b'Z'
        {
            return Some((0, Slot::Time(names.time - time), 27));
        }
        if rest.get(..20).and_then(parse_rfc3339).is_some() {
            return Some((0, Slot::Birth, 20));
        }
    }
    let end = |c: char| !(c.is_ascii_digit() || c == '.');
    let quad = &rest[..rest.find(end).unwrap_or(rest.len())];
    if is_start && quad.len() > 6 && quad.parse::<std::net::Ipv4Addr>().is_ok() {
        let is_last = before.ends_with("\"sourceIPs\":[\"");
        let slot = if is_last { Slot::Caller(names.is_person) } else { Slot::Address(seed(quad)) };
        return Some((0, slot, quad.len()));
    }
    None
}

/// A name of the team's, or the random end of a generated one.
fn name_at(before: &str, rest: &str, names: &Names) -> Option<(usize, Slot, usize)> {
    let is_end = |rest: &str| {
        rest.starts_with(['"', '/', ':', '?', '&', '\\', ',']) && !rest.starts_with("\":")
    };
    if before.ends_with(['"', '/', ':', '=', ',']) {
        for (name, slot) in [
            (&names.namespace, Slot::Team),
            (&names.name, Slot::Team),
            (&names.person, Slot::Person),
        ] {
            if !name.is_empty() && rest.strip_prefix(name.as_str()).is_some_and(is_end) {
                return Some((name.len(), slot, name.len()));
            }
        }
    }
    let seed = |text: &str| mix(text.bytes().fold(1, |hash, byte| mix(hash ^ u64::from(byte))));
    if before.ends_with('-') {
        for length in [5, 9, 10] {
            let Some(suffix) = rest.get(..length) else { continue };
            let is_random = suffix.bytes().all(|byte| LETTERS.contains(&byte));
            let has_digit = suffix.bytes().any(|byte| byte.is_ascii_digit());
            let ends = is_end(&rest[length..]) || length > 5 && rest[length..].starts_with('-');
            if is_random && (has_digit || length == 5) && ends {
                return Some((0, Slot::Suffix(seed(suffix), length), length));
            }
        }
    }
    None
}

/// A resource version, or how long something took.
fn number_at(before: &str, rest: &str) -> Option<(usize, Slot, usize)> {
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or_default();
    if digits == 0 {
        return None;
    }
    if before.ends_with("\"resourceVersion\":\"") || before.ends_with("resourceVersion=") {
        let version = rest[..digits].parse::<u64>().ok().filter(|version| *version > 0)?;
        return Some((0, Slot::Version(10_000_u64.saturating_sub(version)), digits));
    }
    let start = before.rfind('"')?;
    if before[..start].ends_with(':') && before[..start].contains("latency.k8s.io/") {
        let key = &before[..start - 1];
        let name = key.trim_end_matches('"').rfind('"').map_or("", |at| &key[at..]);
        if name.contains("latency.k8s.io/") {
            return Some((0, Slot::Digits(digits), digits));
        }
    }
    None
}
