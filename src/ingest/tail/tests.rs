//! Logs in a temporary folder, written, rotated and cut in every order; the journal tells what
//! was handed on.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::time::SystemTime;

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::ingest::budget::Budget;
use crate::journal::tests::journal_in_memory;
use crate::journal::{Journal, Read};

/// Chunks of a few lines.
const CHUNK: u64 = 40;
const LINE_MAX: usize = 100;

/// A log in a folder of its own, and who follows it.
struct Site {
    dir: TempDir,
    runtime: Runtime,
    journal: Arc<Journal>,
    door: Arc<Door>,
    metrics: Arc<Metrics>,
    tail: Option<Tail>,
    /// Seconds since 1970: each write is one later, so that age does not depend on luck.
    clock: u64,
    rotations: u32,
}

impl Site {
    /// A log that does not exist yet; nobody follows it.
    fn new() -> Self {
        let journal = Arc::new(journal_in_memory());
        let door = Door::new(Arc::clone(&journal), Budget::new(1 << 20), 2);
        Self {
            dir: tempfile::tempdir().unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            journal,
            door: Arc::new(door),
            metrics: Arc::new(Metrics::new()),
            tail: None,
            clock: 1_000,
            rotations: 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }

    fn progress(&self) -> PathBuf {
        self.dir.path().join("data/sources/cp-1.json")
    }

    fn start(&mut self) {
        let source = FileSource {
            name: "cp-1".to_owned(),
            path: self.path(),
            cluster: ClusterName::default(),
            line_bytes_max: LINE_MAX,
        };
        let (door, metrics) = (Arc::clone(&self.door), Arc::clone(&self.metrics));
        let data = self.dir.path().join("data");
        let mut tail = Tail::open(source, &data, door, metrics).unwrap();
        let limits = Limits { chunk_bytes: CHUNK, line_bytes_max: LINE_MAX as u64 };
        tail.follower = Follower::new(self.path(), tail.saved.clone(), limits);
        self.tail = Some(tail);
    }

    fn stop(&mut self) {
        self.tail = None;
    }

    fn append(&mut self, text: &str) {
        let path = self.path();
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self.touch(&file);
    }

    fn touch(&mut self, file: &File) {
        self.clock += 1;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(self.clock)).unwrap();
    }

    /// As the API server does it: rename, then a new file with the next write.
    fn rotate(&mut self) -> PathBuf {
        self.rotations += 1;
        let rotated = self.dir.path().join(format!("audit-2026-{:04}.log", self.rotations));
        fs::rename(self.path(), &rotated).unwrap();
        rotated
    }

    fn cut(&mut self) {
        let file = OpenOptions::new().write(true).open(self.path()).unwrap();
        file.set_len(0).unwrap();
        self.touch(&file);
    }

    fn step(&mut self) -> Step {
        let step = self.tail.as_mut().unwrap().turn(self.runtime.handle());
        // Nobody reads the journal here; without this the log would wait.
        self.door.processed(self.journal.position());
        step
    }

    fn drain(&mut self) {
        while matches!(self.step(), Step::Taken | Step::Changed) {}
    }

    fn restart(&mut self) {
        self.stop();
        self.start();
    }

    fn bodies(&self) -> Vec<String> {
        match self.journal.read(0, usize::MAX, Duration::ZERO).unwrap() {
            Read::Entries(entries) => {
                let body = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
                entries.iter().map(|entry| body(&entry.record.body)).collect()
            }
            Read::Nothing | Read::Closed => Vec::new(),
        }
    }

    fn lines(&self) -> Vec<String> {
        self.bodies().iter().flat_map(|body| body.lines()).map(str::to_owned).collect()
    }

    fn counter(&self, name: &str) -> u64 {
        let name = format!("auditmill_ingest_file_{name}_total{{source=\"cp-1\"}} ");
        let text = self.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.unwrap_or_else(|| panic!("no {name}in\n{text}")).parse().unwrap()
    }

    /// Follows to the end of what is there and compares.
    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        self.drain();
        assert_eq!(self.lines(), expected);
    }

    #[track_caller]
    fn check_counters(&self, truncated: u64, gone: u64) {
        assert_eq!((self.counter("truncations"), self.counter("gone")), (truncated, gone));
    }
}

#[test]
fn whole_lines_are_handed_on_together_and_a_half_one_is_waited_for() {
    let mut site = Site::new();
    site.append("first line 00000\nsecond line 0000\nthird line 00000\nfou");
    site.start();
    site.drain();
    let chunks = ["first line 00000\nsecond line 0000\n", "third line 00000\n"];
    assert_eq!(site.bodies(), chunks);
    assert_eq!(site.step(), Step::Nothing);
    site.append("rth");
    assert_eq!(site.step(), Step::Nothing);
    site.append(" line\n");
    site.drain();
    assert_eq!(site.bodies().last().unwrap(), "fourth line\n");
    assert_eq!(site.counter("bytes"), 63);
    site.check_counters(0, 0);
}

#[test]
fn a_log_that_is_missing_is_waited_for() {
    let mut site = Site::new();
    site.start();
    site.check(&[]);
    site.append("a\n");
    site.check(&["a"]);
}

#[test]
fn the_old_file_is_read_to_its_end_before_the_new_one() {
    let mut site = Site::new();
    site.append("a\n");
    site.start();
    site.check(&["a"]);
    site.append("b\n");
    let rotated = site.rotate();
    site.check(&["a", "b"]);
    // The writer may turn to the new file some time after that was created.
    File::create(site.path()).unwrap();
    site.check(&["a", "b"]);
    let mut old = OpenOptions::new().append(true).open(rotated).unwrap();
    old.write_all(b"c\n").unwrap();
    site.touch(&old);
    site.append("d\n");
    site.check(&["a", "b", "c", "d"]);
    site.check_counters(0, 0);
}

#[test]
fn rotations_while_running_behind_or_stopped_lose_nothing() {
    let mut site = Site::new();
    site.append("never followed\n");
    site.rotate();
    site.append("a\n");
    site.start();
    site.check(&["a"]);
    for line in ["b\n", "c\n", "d\n"] {
        site.append(line);
        site.rotate();
    }
    site.stop();
    for line in ["e\n", "f\n", "g\n"] {
        site.append(line);
        site.rotate();
    }
    site.append("h\n");
    site.start();
    site.check(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    site.restart();
    site.check(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    site.check_counters(0, 0);
}

#[test]
fn rotations_within_one_tick_of_the_clock_are_told_apart_by_name() {
    let mut site = Site::new();
    site.append("a\n");
    site.start();
    site.check(&["a"]);
    for line in ["b\n", "c\n", "d\n"] {
        site.append(line);
        site.clock -= 1;
        site.rotate();
    }
    site.append("e\n");
    site.check(&["a", "b", "c", "d", "e"]);
}

#[test]
fn a_file_rotated_before_anything_was_read_from_it_is_read() {
    let mut site = Site::new();
    site.append("a\n");
    site.start();
    // Opened, but killed before the first line was accepted.
    site.door = Arc::new(Door::new(Arc::clone(&site.journal), Budget::new(0), 1));
    site.start();
    assert_eq!(site.step(), Step::Full);
    site.stop();
    site.rotate();
    site.append("b\n");
    site.door = Arc::new(Door::new(Arc::clone(&site.journal), Budget::new(1 << 20), 1));
    site.start();
    site.check(&["a", "b"]);
}

#[test]
fn a_half_line_is_handed_on_when_the_log_goes_on_elsewhere() {
    let mut site = Site::new();
    site.append("a\nhal");
    site.start();
    site.check(&["a"]);
    site.rotate();
    site.check(&["a"]);
    site.append("b\n");
    site.check(&["a", "hal", "b"]);
}

#[test]
fn truncation_in_place_is_noticed_and_counted() {
    for is_running in [true, false] {
        let mut site = Site::new();
        site.append("a\nb\n");
        site.start();
        site.check(&["a", "b"]);
        if !is_running {
            site.stop();
        }
        site.cut();
        site.append("c\n");
        if !is_running {
            site.start();
        }
        site.check(&["a", "b", "c"]);
        site.check_counters(1, 0);
        // Grown beyond where we were, so that only the beginning tells.
        site.cut();
        site.append("dddddddddd\neeeeeeee\n");
        site.check(&["a", "b", "c", "dddddddddd", "eeeeeeee"]);
        site.check_counters(2, 0);
        site.restart();
        site.check(&["a", "b", "c", "dddddddddd", "eeeeeeee"]);
        site.check_counters(2, 0);
    }
}

#[test]
fn what_was_unread_at_a_truncation_is_read_from_the_copy() {
    let mut site = Site::new();
    site.append("a\n");
    site.start();
    site.check(&["a"]);
    site.append("b\n");
    let copy = site.dir.path().join("audit.log.1");
    fs::copy(site.path(), &copy).unwrap();
    let copy = OpenOptions::new().append(true).open(copy).unwrap();
    site.touch(&copy);
    site.cut();
    site.append("c\n");
    site.check(&["a", "b", "c"]);
    site.check_counters(1, 0);
}

#[test]
fn a_rotated_file_that_is_gone_is_counted_even_when_its_inode_is_used_again() {
    let mut site = Site::new();
    site.append("a\n");
    site.start();
    site.check(&["a"]);
    site.stop();
    site.append("lost\n");
    fs::remove_file(site.rotate()).unwrap();
    site.append("b\n");
    site.rotate();
    site.append("c\n");
    site.start();
    site.check(&["a", "b", "c"]);
    assert_eq!(site.counter("truncations") + site.counter("gone"), 1);
}

#[test]
fn a_line_that_is_too_long_is_cut_and_its_neighbours_are_not() {
    let mut site = Site::new();
    let fits = "f".repeat(LINE_MAX - 1);
    let long = "x".repeat(LINE_MAX + 1);
    site.append(&format!("a\n{fits}\nb\n{long}"));
    site.start();
    let cut = "x".repeat(LINE_MAX);
    site.check(&["a", &fits, "b", &cut]);
    site.append("xxx");
    site.check(&["a", &fits, "b", &cut]);
    site.restart();
    site.append("x\nc\n");
    site.check(&["a", &fits, "b", &cut, "c"]);
    assert!(site.counter("passed_over_bytes") >= 6);
}

#[test]
fn bytes_go_on_as_they_are() {
    let mut site = Site::new();
    fs::write(site.path(), b"\xff\xfe\x00\r\n\n{\n").unwrap();
    site.start();
    site.drain();
    let Read::Entries(entries) = site.journal.read(0, 99, Duration::ZERO).unwrap() else {
        panic!()
    };
    let record = &entries[0].record;
    assert_eq!(record.body, &b"\xff\xfe\x00\r\n\n{\n"[..]);
    assert_eq!((record.cluster.as_str(), record.source.as_ref()), ("default", "file"));
}

#[test]
fn a_full_door_and_a_long_queue_are_waited_for() {
    let mut site = Site::new();
    site.append("a\n");
    site.start();
    let room = site.door.reserve(1 << 20).unwrap();
    assert_eq!(site.step(), Step::Full);
    drop(room);
    site.check(&["a"]);
    for number in 0..=RECORDS_WAITING_MAX {
        let permit = site.door.reserve(1).unwrap();
        let batch = RawBatch {
            cluster: ClusterName::default(),
            source: "webhook",
            received_at: 0,
            body: Bytes::from(format!("{number}\n")),
            permit,
        };
        site.runtime.block_on(site.door.accept(batch)).unwrap();
    }
    site.append("b\n");
    let tail = site.tail.as_mut().unwrap();
    for _ in 0..WAITS_MAX {
        assert_eq!(tail.turn(site.runtime.handle()), Step::Full);
    }
    assert_eq!(tail.turn(site.runtime.handle()), Step::Taken, "it must not wait for ever");
}

#[test]
fn a_closed_journal_takes_nothing_and_the_mark_stays() {
    let mut site = Site::new();
    site.append("a\n");
    site.start();
    site.journal.close();
    assert_eq!(site.step(), Step::Full);
    site.stop();
    site.journal = Arc::new(journal_in_memory());
    site.door = Arc::new(Door::new(Arc::clone(&site.journal), Budget::new(1 << 20), 1));
    site.start();
    site.check(&["a"]);
}

#[test]
fn it_follows_on_a_thread_of_its_own_until_it_is_stopped() {
    let mut site = Site::new();
    site.start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (tail, stop) = (site.tail.take().unwrap(), CancellationToken::new());
    let tasks = crate::tasks::Tasks::new();
    let (handle, stopped) = (runtime.handle().clone(), stop.clone());
    let follow = move || {
        tail.run(&handle, &stopped);
        Ok(())
    };
    tasks.spawn_thread("tail", follow).unwrap();
    site.append("a\n");
    let read = site.journal.read(0, 99, Duration::from_secs(30)).unwrap();
    assert!(matches!(read, Read::Entries(_)), "{read:?}");
    stop.cancel();
    assert!(runtime.block_on(tasks.finished()));
}

#[test]
fn what_is_no_file_is_held_up_and_then_read() {
    let mut site = Site::new();
    fs::create_dir(site.path()).unwrap();
    site.start();
    assert_eq!(site.step(), Step::Nothing);
    assert!(site.tail.as_ref().unwrap().reading.last.is_some());
    fs::remove_dir(site.path()).unwrap();
    site.append("a\n");
    site.check(&["a"]);
    assert!(site.tail.as_ref().unwrap().reading.last.is_none());
}

/// What can happen to a log and to who follows it.
#[derive(Clone, Debug)]
enum Act {
    Lines(usize),
    HalfLine,
    Rotate,
    Step,
    Drain,
    Restart,
    /// The last mark was not saved.
    Crash,
    StopAnd(Vec<Act>),
    Cut,
}

fn act() -> impl Strategy<Value = Act> {
    let leaf = prop_oneof![
        4 => (1_usize..6).prop_map(Act::Lines),
        2 => Just(Act::HalfLine),
        3 => Just(Act::Rotate),
        6 => Just(Act::Step),
        2 => Just(Act::Drain),
        2 => Just(Act::Restart),
        1 => Just(Act::Crash),
        1 => Just(Act::Cut),
    ];
    prop_oneof![8 => leaf.clone(), 1 => vec(leaf, 1..6).prop_map(Act::StopAnd)]
}

/// What was written, and what must become of it.
#[derive(Default)]
struct Model {
    written: u32,
    half: String,
    /// Lines, and whether a cut may have lost them.
    lines: BTreeMap<String, bool>,
    /// Lines of the file that is written.
    current: Vec<String>,
    crashes: usize,
}

impl Model {
    fn number(&mut self) -> String {
        self.written += 1;
        format!("line-{:05}", self.written)
    }

    fn perform(&mut self, act: &Act, site: &mut Site) {
        match act {
            Act::Lines(count) => (0..*count).for_each(|_| self.line(site)),
            Act::HalfLine if self.half.is_empty() => {
                self.half = self.number() + "/";
                site.append(&self.half);
            }
            Act::Rotate if site.path().exists() => {
                if !self.half.is_empty() {
                    self.lines.insert(std::mem::take(&mut self.half), false);
                }
                site.rotate();
                self.current.clear();
            }
            Act::Cut if site.path().exists() => {
                site.cut();
                self.half.clear();
                for line in self.current.drain(..) {
                    self.lines.insert(line, true);
                }
            }
            Act::Step if site.tail.is_some() => drop(site.step()),
            Act::Drain if site.tail.is_some() => site.drain(),
            Act::Restart if site.tail.is_some() => site.restart(),
            Act::Crash if site.tail.is_some() => {
                let before = fs::read(site.progress()).ok();
                site.step();
                site.stop();
                match before {
                    Some(before) => fs::write(site.progress(), before).unwrap(),
                    None => drop(fs::remove_file(site.progress())),
                }
                self.crashes += 1;
                site.start();
            }
            Act::StopAnd(acts) => {
                site.stop();
                for act in acts {
                    self.perform(act, site);
                }
                site.start();
            }
            _ => {}
        }
    }

    fn line(&mut self, site: &mut Site) {
        let (line, unwritten) = if self.half.is_empty() {
            let line = self.number();
            (line.clone(), line)
        } else {
            (std::mem::take(&mut self.half) + "end", "end".to_owned())
        };
        site.append(&format!("{unwritten}\n"));
        self.current.push(line.clone());
        self.lines.insert(line, false);
    }

    fn check(&self, lines: &[String]) -> Result<(), TestCaseError> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for line in lines {
            prop_assert!(self.lines.contains_key(line), "`{line}` was never written");
            *seen.entry(line).or_default() += 1;
        }
        for (line, may_be_lost) in &self.lines {
            let times = seen.get(line.as_str()).copied().unwrap_or(0);
            prop_assert!(*may_be_lost || times > 0, "`{line}` is lost");
            prop_assert!(times <= 1 + self.crashes, "`{line}` came {times} times");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn each_line_once_whatever_happens(acts in vec(act(), 1..40)) {
        let mut site = Site::new();
        let mut model = Model::default();
        // What is rotated before the first look is not ours.
        model.line(&mut site);
        site.start();
        site.step();
        for act in &acts {
            model.perform(act, &mut site);
        }
        model.line(&mut site);
        site.drain();
        model.check(&site.lines())?;
        if model.lines.values().all(|may_be_lost| !may_be_lost) {
            prop_assert_eq!((site.counter("truncations"), site.counter("gone")), (0, 0));
        }
    }
}
