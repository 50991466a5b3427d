//! The journal on a disk that can lose power at any operation, forgets what was not synced, and
//! can run full.

#![expect(clippy::disallowed_methods, reason = "a writer's thread without a service around it")]

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestRng;

use super::disk::{Disk, DiskFile, Folder};
use super::*;

/// A folder in memory. `power` counts down with each operation that changes something; at zero
/// nothing works any more.
#[derive(Clone)]
struct Memory(Arc<Mutex<Inner>>);

struct Inner {
    files: BTreeMap<String, Contents>,
    power: usize,
    free: u64,
    fail_sync: bool,
}

#[derive(Clone, Default)]
struct Contents {
    synced: Vec<u8>,
    written: Vec<u8>,
    /// Where `written` may differ from `synced`.
    newer: Vec<(usize, usize)>,
    name_synced: bool,
}

#[derive(Debug)]
struct Handle {
    disk: Memory,
    name: String,
}

const SECTOR: usize = 512;

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

impl Memory {
    fn new() -> Self {
        let inner =
            Inner { files: BTreeMap::new(), power: usize::MAX, free: u64::MAX, fail_sync: false };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn change<T>(&self, work: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.0.lock().unwrap();
        if inner.power == 0 {
            return Err(io::Error::other("no power"));
        }
        inner.power -= 1;
        work(&mut inner)
    }

    /// What a restart finds: each sector that was not synced is old or new, as it happens.
    fn crashed(&self, rng: &mut TestRng) -> Self {
        let inner = self.0.lock().unwrap();
        let mut files = BTreeMap::new();
        for (name, contents) in &inner.files {
            if !contents.name_synced && rng.random_bool(0.5) {
                continue;
            }
            let mut bytes = contents.synced.clone();
            bytes.resize(contents.written.len(), 0);
            for (start, end) in &contents.newer {
                let mut at = *start;
                while at < *end {
                    let to = ((at / SECTOR + 1) * SECTOR).min(*end);
                    if rng.random_bool(0.5) {
                        bytes[at..to].copy_from_slice(&contents.written[at..to]);
                    }
                    at = to;
                }
            }
            let after = Contents {
                synced: bytes.clone(),
                written: bytes,
                newer: Vec::new(),
                name_synced: true,
            };
            files.insert(name.clone(), after);
        }
        let disk = Self::new();
        disk.0.lock().unwrap().files = files;
        disk
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for Memory {
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        self.change(|inner| {
            if inner.free < bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
            inner.free -= bytes;
            let length = usize::try_from(bytes).unwrap();
            let contents = inner.files.entry(name.to_owned()).or_default();
            contents.written = vec![0; length];
            contents.newer = vec![(0, length)];
            Ok(())
        })?;
        self.open(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.0.lock().unwrap().files.get(name).ok_or_else(missing)?;
        Ok(Box::new(Handle { disk: self.clone(), name: name.to_owned() }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|inner| {
            let contents = inner.files.remove(name).ok_or_else(missing)?;
            inner.free = inner.free.saturating_add(contents.written.len() as u64);
            Ok(())
        })
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().files.keys().cloned().collect())
    }

    fn sync_names(&self) -> io::Result<()> {
        self.change(|inner| {
            inner.files.values_mut().for_each(|contents| contents.name_synced = true);
            Ok(())
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().free)
    }
}

impl DiskFile for Handle {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.change(|inner| {
            let contents = inner.files.get_mut(&self.name).ok_or_else(missing)?;
            let start = usize::try_from(offset).unwrap();
            let end = start + bytes.len();
            assert!(end <= contents.written.len(), "segments never grow");
            contents.written[start..end].copy_from_slice(bytes);
            contents.newer.push((start, end));
            Ok(())
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.disk.0.lock().unwrap();
        let written = &inner.files.get(&self.name).ok_or_else(missing)?.written;
        let start = usize::try_from(offset).unwrap().min(written.len());
        let length = buffer.len().min(written.len() - start);
        buffer[..length].copy_from_slice(&written[start..start + length]);
        Ok(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.change(|inner| {
            if inner.fail_sync {
                return Err(io::Error::other("the device failed"));
            }
            let contents = inner.files.get_mut(&self.name).ok_or_else(missing)?;
            contents.synced = contents.written.clone();
            contents.newer.clear();
            Ok(())
        })
    }

    fn bytes(&self) -> io::Result<u64> {
        let inner = self.disk.0.lock().unwrap();
        Ok(inner.files.get(&self.name).ok_or_else(missing)?.written.len() as u64)
    }
}

pub(super) const SETTINGS: JournalSettings = JournalSettings {
    space_bytes: u64::MAX,
    first: 0,
    segment_bytes: 16 << 10,
    reserve_bytes: 0,
    tail_bytes: 8 << 10,
    gather_bytes: 4 << 10,
};

/// A journal in memory with its writer running, which ends when the journal is closed.
pub(crate) fn journal_in_memory() -> Journal {
    let settings =
        JournalSettings { reserve_bytes: 0, segment_bytes: 1 << 20, ..Default::default() };
    let (journal, writer) = Journal::open(Arc::new(Memory::new()), settings).unwrap();
    std::thread::spawn(|| writer.run());
    journal
}

/// A journal with its writer running; ends with the value.
struct Life {
    journal: Arc<Journal>,
    writer: Option<std::thread::JoinHandle<io::Result<()>>>,
    runtime: tokio::runtime::Runtime,
}

impl Life {
    fn start(disk: &Memory) -> Self {
        let (journal, writer) = Journal::open(Arc::new(disk.clone()), SETTINGS).unwrap();
        Self {
            journal: Arc::new(journal),
            writer: Some(std::thread::spawn(|| writer.run())),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        }
    }

    /// Appends all at once, as concurrent callers do.
    fn append(&self, bodies: &[Bytes]) -> Vec<Result<Position, AppendError>> {
        let append = |body: &Bytes| self.journal.append(record(body), Box::new(()));
        self.runtime.block_on(futures::future::join_all(bodies.iter().map(append)))
    }

    fn read_all(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut from = self.journal.first();
        while let Read::Entries(more) = self.journal.read(from, 5_000, Duration::ZERO).unwrap() {
            from = more.last().unwrap().position + 1;
            entries.extend(more);
        }
        entries
    }

    fn end(mut self) -> io::Result<()> {
        self.journal.close();
        self.writer.take().unwrap().join().unwrap()
    }
}

pub(super) fn record(body: &Bytes) -> Record {
    Record { cluster: "c".into(), source: "webhook".into(), received_at: 7, body: body.clone() }
}

/// Bodies of all sizes, some beyond a whole segment, all different.
fn bodies(rng: &mut TestRng, serial: &mut u32) -> Vec<Bytes> {
    let count = rng.random_range(1..8);
    let body = |_| {
        *serial += 1;
        let length = match rng.random_range(0..20) {
            0 => rng.random_range(10_000..30_000),
            1..10 => rng.random_range(1_000..4_000),
            _ => rng.random_range(0..300),
        };
        let mut body = format!("{serial}:").into_bytes();
        let start = body.len();
        body.resize(start + length, 0);
        rng.fill_bytes(&mut body[start..]);
        Bytes::from(body)
    };
    (0..count).map(body).collect()
}

#[test]
fn what_was_acknowledged_survives_power_loss_at_any_operation() {
    for seed in 0..40_u8 {
        let mut rng = TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &[seed; 32]);
        lives(&mut rng);
    }
}

/// Several lives of one journal, each ended by a power loss.
fn lives(rng: &mut TestRng) {
    let mut disk = Memory::new();
    let mut acknowledged: BTreeMap<Position, Bytes> = BTreeMap::new();
    let mut sent: HashSet<Bytes> = HashSet::new();
    let mut truncated = 0;
    let mut serial = 0;
    for _ in 0..4 {
        disk.0.lock().unwrap().power = rng.random_range(1..60);
        let life = Life::start(&disk);
        for _ in 0..12 {
            let bodies = bodies(rng, &mut serial);
            sent.extend(bodies.iter().cloned());
            for (body, answer) in bodies.iter().zip(life.append(&bodies)) {
                if let Ok(position) = answer {
                    let other = acknowledged.insert(position, body.clone());
                    assert_eq!(other, None, "a position is given out once");
                }
            }
            if rng.random_bool(0.3)
                && let Some(last) = acknowledged.keys().last()
            {
                let below = rng.random_range(0..=*last);
                truncated = truncated.max(below);
                // Without power it may get half way.
                let _ = life.journal.truncate(below);
            }
        }
        check(&life.read_all(), &acknowledged, &sent, life.journal.first());
        let _ = life.end();
        disk = disk.crashed(rng);
        let life = Life::start(&disk);
        let first = life.journal.first();
        assert!(first <= truncated, "more is gone than was given up");
        let found = life.read_all();
        check(&found, &acknowledged, &sent, first);
        // What was written but not acknowledged may have become durable.
        acknowledged.extend(found.into_iter().map(|entry| (entry.position, entry.record.body)));
        let _ = life.end();
    }
}

fn check(
    found: &[Entry],
    acknowledged: &BTreeMap<Position, Bytes>,
    sent: &HashSet<Bytes>,
    first: Position,
) {
    for (entry, position) in found.iter().zip(first..) {
        assert_eq!(entry.position, position, "positions follow each other");
        assert!(sent.contains(&entry.record.body), "nothing is made up");
    }
    for (position, body) in acknowledged.range(first..) {
        let index = usize::try_from(position - first).unwrap();
        let entry = found.get(index).unwrap_or_else(|| panic!("record {position} is lost"));
        assert_eq!(entry.record.body, body, "record {position} changed");
    }
}

#[test]
fn a_failed_sync_is_final_and_a_full_disk_is_not() {
    let disk = Memory::new();
    let life = Life::start(&disk);
    let body = Bytes::from(vec![7; 3_000]);
    assert_eq!(life.append(std::slice::from_ref(&body)), [Ok(0)]);
    disk.0.lock().unwrap().free = 0;
    let giant: Bytes = (0..40_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>().into();
    assert_eq!(life.append(std::slice::from_ref(&giant)), [Err(AppendError::Full)]);
    disk.0.lock().unwrap().free = u64::MAX;
    assert_eq!(life.append(std::slice::from_ref(&giant)), [Ok(1)]);
    disk.0.lock().unwrap().fail_sync = true;
    assert_eq!(life.append(std::slice::from_ref(&body)), [Err(AppendError::Poisoned)]);
    disk.0.lock().unwrap().fail_sync = false;
    assert_eq!(life.append(std::slice::from_ref(&body)), [Err(AppendError::Poisoned)]);
    assert!(life.end().is_err());
    let life = Life::start(&disk);
    let found = life.read_all();
    assert_eq!(found.iter().take(2).map(|entry| entry.position).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn damage_in_the_middle_is_not_taken_for_an_end() {
    let disk = Memory::new();
    let life = Life::start(&disk);
    let mut rng = TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &[7; 32]);
    let bodies: Vec<Bytes> =
        (0..20).map(|_| (0..3_000).map(|_| rng.random::<u8>()).collect()).collect();
    for body in &bodies {
        life.append(std::slice::from_ref(body)).pop().unwrap().unwrap();
    }
    life.end().unwrap();
    {
        let mut inner = disk.0.lock().unwrap();
        inner.files.values_mut().next().unwrap().written[5_000] ^= 1;
    }
    let error = Journal::open(Arc::new(disk), SETTINGS).unwrap_err();
    assert!(error.to_string().contains("segment-00000001` is damaged: records 0 to"), "{error}");
}

#[test]
fn a_damaged_head_is_told_and_its_file_left_alone() {
    let fill = |disk: &Memory| {
        let life = Life::start(disk);
        let mut rng = TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &[7; 32]);
        for _ in 0..20 {
            let body: Bytes = (0..3_000).map(|_| rng.random::<u8>()).collect();
            life.append(&[body]).pop().unwrap().unwrap();
        }
        life.end().unwrap();
    };
    let check = |newest: bool, damage: fn(&mut [u8]), told: bool, again: bool| {
        let disk = Memory::new();
        fill(&disk);
        let name = {
            let mut inner = disk.0.lock().unwrap();
            let named = if newest { inner.files.last_entry() } else { inner.files.first_entry() };
            let mut named = named.unwrap();
            damage(&mut named.get_mut().written[..64]);
            named.key().clone()
        };
        let damaged = |disk: &Memory| {
            let (journal, _) = Journal::open(Arc::new(disk.clone()), SETTINGS).unwrap();
            journal.damaged().to_vec()
        };
        let found = |told: bool| if told { vec![name.clone()] } else { vec![] };
        assert_eq!(damaged(&disk), found(told));
        let before = disk.0.lock().unwrap().files[&name].written.clone();
        fill(&disk);
        assert_eq!(damaged(&disk), found(again));
        let after = disk.0.lock().unwrap().files[&name].written.clone();
        assert_eq!(before == after, told, "a file with a damaged head is not used");
    };
    check(false, |head| head[20] ^= 1, true, true);
    check(true, |head| head[3] ^= 1, true, true);
    // Wiped: a newer file's records give it away, until others have their positions; an older's
    // cannot be told from forgotten ones.
    check(true, |head| head.fill(0), true, false);
    check(false, |head| head.fill(0), false, false);
}

#[test]
fn a_real_folder_keeps_what_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let disk = Arc::new(Folder::open(&folder.path().join("journal")).unwrap());
        let (journal, writer) = Journal::open(disk, SETTINGS).unwrap();
        (journal, std::thread::spawn(|| writer.run()))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for life in 0..3_u64 {
        let (journal, writer) = open();
        assert_eq!(journal.position(), life);
        let body = Bytes::from(format!("life {life}"));
        assert_eq!(runtime.block_on(journal.append(record(&body), Box::new(()))), Ok(life));
        let Read::Entries(entries) = journal.read(0, 1 << 20, Duration::ZERO).unwrap() else {
            panic!("nothing there");
        };
        assert_eq!(entries.first().unwrap().record.body, "life 0");
        journal.close();
        writer.join().unwrap().unwrap();
        assert_eq!(journal.read(life + 1, 1, Duration::from_secs(9)).unwrap(), Read::Closed);
    }
}
