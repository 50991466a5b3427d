//! What do detections cost? One line per figure, one thread; processor time, so that other work on
//! the machine does not count, but for the longest a call takes.
//!
//! - `mix`: 10, 50, 200 and 500 detections in the style of the shipped ones, a quarter of them
//!   windowed (`mix.rs`), over recordings of real API servers with moving times (`load.rs`):
//!   events/s and µs per event of `Engine::on_batch`, and of `on_time` once a second of theirs.
//!   Beside it, in the same run, the conditions of all 200 as one projection of plain DataFusion
//!   (`fused.rs`), and decoding the same events.
//! - `shipped`: all shipped detections, as a server runs them, over the same.
//! - `worst`: 200 detections whose conditions hold for every event.
//! - `keys`: 10 million keys in one windowed detection (`AUDITMILL_KEYS` says how many), in the
//!   usual buffer and in one that holds them all: memory a key, and the longest a call takes.
//!
//! Names of parts as arguments run these alone: `cargo bench --bench detect -- mix keys`.
//! `AUDITMILL_SECONDS` is how long each figure of `mix` and `worst` is measured.

#![expect(
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "figures for people"
)]

mod fused;
mod keys;
mod load;
mod mix;

use std::time::{Duration, Instant};

use cpu_time::ThreadTime;

use auditmill::detect::catalog::Catalog;
use auditmill::detect::engine::{Engine, EngineSettings, Outcome};

use fused::Fused;
use load::{BATCHES, Load, ROWS};
use mix::Mixed;

const NUMBERS: [usize; 4] = [10, 50, 200, 500];
/// How many the bars are measured beside.
const BESIDE: usize = 200;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == part);
    if ["mix", "shipped", "worst"].into_iter().any(is_wanted) {
        let mut load = Load::new();
        println!("{BATCHES} batches of {ROWS} events in turn");
        if is_wanted("mix") {
            mixed(&mut load);
        }
        if is_wanted("shipped") {
            shipped(&mut load);
        }
        if is_wanted("worst") {
            let cost = measure(engine(&mix::worst(BESIDE), EngineSettings::default()), &mut load);
            cost.print(&format!("worst of {BESIDE}"));
        }
    }
    if is_wanted("keys") {
        keys::run();
    }
}

fn mixed(load: &mut Load) {
    let all = mix::mix(*NUMBERS.last().expect("numbers"));
    let decode = load.decode();
    println!("{:<14} {:>11.0} events/s {:>9.4} µs/event", "decode", 1.0 / decode, decode * 1e6);
    let beside = all.get(..BESIDE).expect("more than that");
    let fused = Fused::new(beside);
    let shares = fused.shares(load);
    let median = shares.get(shares.len() / 2).copied().unwrap_or_default();
    println!(
        "conditions     {} of {BESIDE} hold for no event, median {:.3} %, {} for more than 0.5 %",
        shares.iter().filter(|share| **share == 0.0).count(),
        median * 100.0,
        shares.iter().filter(|share| **share > 0.005).count()
    );
    let projection = fused.measure(load, seconds());
    let name = format!("fused {BESIDE}");
    println!("{name:<14} {:>11.0} events/s {:>9.4} µs/event", 1.0 / projection, projection * 1e6);
    let mut costs = Vec::new();
    for number in NUMBERS {
        let detections = all.get(..number).expect("not more than all");
        let cost = measure(engine(detections, EngineSettings::default()), load);
        cost.print(&format!("{number} detections"));
        costs.push((number, cost.event()));
    }
    let of = |number: usize| {
        costs.iter().find(|(n, _)| *n == number).map_or(f64::NAN, |(_, cost)| *cost)
    };
    println!("500 to 50      {:.2} times the cost (the aim: at most 2)", of(500) / of(50));
    println!(
        "{BESIDE} to fused   {:.2} times as fast (the aim: at least 4)",
        projection / of(BESIDE)
    );
    println!("{BESIDE} to decode  {:.2} of its cost (the aim: below 1)", of(BESIDE) / decode);
}

/// The shipped detections, as a server runs them.
fn shipped(load: &mut Load) {
    let catalog = Catalog::load(None).expect("shipped detections are right");
    let settings = EngineSettings { limited: true, ..EngineSettings::default() };
    let number = catalog.detections().count();
    let cost = measure(Engine::new(&catalog, settings).expect("queries are right"), load);
    cost.print(&format!("{number} shipped"));
}

/// What was measured of an engine.
struct Cost {
    events: usize,
    batches: Duration,
    longest: Duration,
    ticks: Duration,
    found: usize,
}

impl Cost {
    /// Seconds an event.
    fn event(&self) -> f64 {
        self.batches.as_secs_f64() / self.events as f64
    }

    fn print(&self, name: &str) {
        println!(
            "{name:<14} {:>11.0} events/s {:>9.4} µs/event, longest batch {:.1?}, time passing \
             {:.4} µs/event, {} findings new or changed",
            1.0 / self.event(),
            self.event() * 1e6,
            self.longest,
            self.ticks.as_secs_f64() / self.events as f64 * 1e6,
            self.found
        );
    }
}

/// How long a figure is measured.
fn seconds() -> Duration {
    let seconds = std::env::var("AUDITMILL_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(5.0))
}

/// All batches once to get warm, then for the time that a figure takes; time passes once a batch.
fn measure(mut engine: Engine, load: &mut Load) -> Cost {
    let zero = Duration::ZERO;
    let mut cost = Cost { events: 0, batches: zero, longest: zero, ticks: zero, found: 0 };
    let started = Instant::now();
    let mut turn = 0;
    while turn <= BATCHES || started.elapsed() < seconds() {
        let (batch, now) = load.next();
        let (begun, worked) = (Instant::now(), ThreadTime::now());
        let outcome = engine.on_batch(&batch, now);
        let (elapsed, worked) = (begun.elapsed(), worked.elapsed());
        let begun = ThreadTime::now();
        let later = engine.on_time(now);
        let ticked = begun.elapsed();
        let found = sound(&outcome) + sound(&later);
        turn += 1;
        // The first round fills dictionaries and key tables; what takes long is short of rounds.
        if turn > BATCHES || started.elapsed() > 2 * seconds() {
            cost.events += batch.num_rows();
            cost.batches += worked;
            cost.longest = cost.longest.max(elapsed);
            cost.ticks += ticked;
            cost.found += found;
            if started.elapsed() > 3 * seconds() {
                break;
            }
        }
    }
    cost
}

/// The number of findings of an outcome without faults.
fn sound(outcome: &Outcome) -> usize {
    assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
    outcome.findings.len()
}

fn engine(detections: &[Mixed], settings: EngineSettings) -> Engine {
    let texts = detections.iter().map(|mixed| (format!("{}.sql", mixed.id), mixed.text()));
    let catalog = Catalog::from_texts(texts).expect("front matter is right");
    Engine::new(&catalog, settings).expect("queries are right")
}
