//! Files of any bytes as a journal: recovery ends without a panic in what the format says is
//! sound, the same each time, and the journal goes on from there. The first byte says what the
//! rest is:
//!
//! - `M`: files, `=====` between them, with checksums and positions put right. A file is a head of
//!   40 bytes and, without the gap between them, its records.
//! - `D`: what a journal was given, and what then happened to its files.
//! - anything else: files as they are, but for the gap.
#![no_main]

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use auditmill_fuzz::disk::{Files, Memory};
use auditmill_fuzz::journal::{
    AppendError, Entry, Journal, JournalSettings, Position, Read, Record,
};
use auditmill_fuzz::segments::{RECORDS_START, mend, sound};
use libfuzzer_sys::fuzz_target;

const SETTINGS: JournalSettings = JournalSettings {
    segment_bytes: 8 << 10,
    reserve_bytes: 0,
    space_bytes: u64::MAX,
    first: 0,
    tail_bytes: 0,
    gather_bytes: 1,
};

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let (files, given) = match first {
        b'M' => {
            let mut files = split(rest);
            mend(&mut files);
            (files, None)
        }
        b'D' => {
            let (files, given) = damaged(rest);
            (files, Some(given))
        }
        _ => (split(rest), None),
    };
    let Some((first, expected)) = sound(&files) else {
        assert!(
            Journal::open(Arc::new(Memory::new(files)), SETTINGS).is_err(),
            "it must not go on"
        );
        return;
    };
    let memory = Memory::new(files.clone());
    let found = recovered(&memory);
    assert_eq!(*memory.files(), files, "recovery changes nothing");
    let Some(found) = found.entries else {
        let readable =
            expected.iter().all(|record| record.names().is_some() && record.body().is_some());
        assert!(!readable, "a sound record is not read");
        return;
    };
    assert_eq!(found.len(), expected.len());
    for (entry, record) in found.iter().zip(&expected) {
        assert_eq!(entry.position, record.position);
        let names = (entry.record.cluster.as_str(), entry.record.source.as_ref());
        assert_eq!(Some(names), record.names());
        assert_eq!(Some(&entry.record.body[..]), record.body().as_deref());
        if let Some(given) = &given {
            assert_eq!(Some(&entry.record), given.get(&entry.position), "nothing is made up");
        }
    }
    goes_on(&memory, first, &found);
});

/// What a start finds.
struct Recovered {
    first: Position,
    /// All that can be read; nothing when a record cannot.
    entries: Option<Vec<Entry>>,
}

fn recovered(memory: &Memory) -> Recovered {
    let (journal, _) = Journal::open(Arc::new(memory.clone()), SETTINGS).expect("sound files");
    let first = journal.first();
    let mut entries: Vec<Entry> = Vec::new();
    while first + (entries.len() as u64) < journal.position() {
        // A byte at a time is a record at a time, over and over from where the last one ended.
        match journal.read(first + entries.len() as u64, 1, Duration::ZERO) {
            Ok(Read::Entries(more)) => entries.extend(more),
            Ok(other) => panic!("{other:?} before the end"),
            Err(_) => return Recovered { first, entries: None },
        }
    }
    Recovered { first, entries: Some(entries) }
}

/// A record that is appended now is there at the next start, behind those that were.
fn goes_on(memory: &Memory, first: Position, before: &[Entry]) {
    let position = first + before.len() as u64;
    let record = record(b"more".to_vec());
    assert_eq!(append(memory, vec![record.clone()], 0), [Ok(position)]);
    let after = recovered(memory);
    assert_eq!(after.first, first);
    let after = after.entries.expect("they were read before");
    let (last, others) = after.split_last().expect("one was appended");
    assert_eq!(others, before);
    assert_eq!((last.position, &last.record), (position, &record));
}

/// One life of a journal: records are appended, one by one, then those below a position forgotten.
fn append(
    memory: &Memory,
    records: Vec<Record>,
    below: Position,
) -> Vec<Result<Position, AppendError>> {
    let (journal, writer) = Journal::open(Arc::new(memory.clone()), SETTINGS).expect("sound files");
    let mut context = Context::from_waker(Waker::noop());
    let mut sent: Vec<_> =
        records.into_iter().map(|record| Box::pin(journal.append(record, Box::new(())))).collect();
    for append in &mut sent {
        assert!(append.as_mut().poll(&mut context).is_pending(), "nobody writes yet");
    }
    journal.close();
    writer.run().expect("memory does not fail");
    let answers = sent.into_iter().map(|append| match pin!(append).poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it was not answered"),
    });
    let answers = answers.collect();
    journal.truncate(below).expect("memory does not fail");
    answers
}

fn record(body: Vec<u8>) -> Record {
    Record { cluster: "c".into(), source: "webhook".into(), received_at: 7, body: body.into() }
}

fn name(number: usize) -> String {
    format!("segment-{number:08}")
}

fn split(mut rest: &[u8]) -> Files {
    const BETWEEN: &[u8] = b"=====";
    let mut files = Files::new();
    loop {
        let end = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN);
        let (head, records) =
            rest[..end.unwrap_or(rest.len())].split_at_checked(40).unwrap_or((rest, b""));
        let mut bytes = head.to_vec();
        if !records.is_empty() {
            bytes.resize(RECORDS_START, 0);
            bytes.extend(records);
        }
        files.insert(name(files.len() + 1), bytes);
        match end {
            Some(end) => rest = &rest[end + BETWEEN.len()..],
            None => return files,
        }
    }
}

/// Files of a journal that lived several times, damaged; and all that it ever held.
fn damaged(input: &[u8]) -> (Files, BTreeMap<Position, Record>) {
    let Some((count, rest)) = input.split_first() else { return Default::default() };
    let (lives, damage) = rest.split_at(rest.len().min(usize::from(count & 31) * 2));
    let memory = Memory::default();
    let (mut given, mut waiting) = (BTreeMap::new(), Vec::new());
    for step in lives.chunks_exact(2) {
        let (kind, size) = (step[0], usize::from(step[1]));
        if kind < 0xC0 {
            // Some compress well and some do not.
            let spread = usize::from(kind % 3) * 61;
            let body = (0..size * 24).map(|at| (at * spread + at * at / 7) as u8).collect();
            waiting.push(record(body));
        } else {
            live(&memory, &mut waiting, &mut given, size as u64);
        }
    }
    live(&memory, &mut waiting, &mut given, 0);
    let mut files = memory.files().clone();
    for change in damage.chunks_exact(5) {
        harm(&mut files, change);
    }
    (files, given)
}

fn live(
    memory: &Memory,
    waiting: &mut Vec<Record>,
    given: &mut BTreeMap<Position, Record>,
    below: Position,
) {
    let answers = append(memory, waiting.clone(), below);
    for (record, answer) in waiting.drain(..).zip(answers) {
        let position = answer.expect("memory has room");
        assert!(given.insert(position, record).is_none(), "a position is given out once");
    }
}

/// Five bytes: which file, what happens to it, where, and a value.
fn harm(files: &mut Files, change: &[u8]) {
    let names: Vec<String> = files.keys().cloned().collect();
    let Some(name) = names.get(usize::from(change[0]) % names.len().max(1)) else { return };
    let Some(file) = files.get_mut(name) else { return };
    let (at, value) = (usize::from(u16::from_le_bytes([change[2], change[3]])), change[4]);
    let at = at % file.len().max(1);
    match change[1] % 6 {
        0 => file.truncate(at),
        1 => file[at..].iter_mut().take(usize::from(value) * 8).for_each(|byte| *byte = 0),
        2 => {
            // A sector that was written to another place.
            let from = usize::from(value) * 64 % file.len().max(1);
            let piece: Vec<u8> = file[from..].iter().take(512).copied().collect();
            file[at..].iter_mut().zip(piece).for_each(|(byte, other)| *byte = other);
        }
        3 => {
            files.remove(name);
        }
        4 => {
            let copy = file.clone();
            files.insert(self::name(names.len() + 1), copy);
        }
        _ => file.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= value),
    }
}
