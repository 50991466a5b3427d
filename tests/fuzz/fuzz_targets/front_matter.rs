//! Any text as a detection's file: it is read, and then holds what the engine relies on, or the
//! error names the file and a line of it.
#![no_main]

use auditmill_fuzz::detection::Detection;
use libfuzzer_sys::fuzz_target;

const PATH: &str = "own/detection.sql";
const KEYS: [&str; 15] = [
    "id",
    "title",
    "severity",
    "attack",
    "controls",
    "window",
    "slide",
    "dedup",
    "key",
    "params",
    "needs",
    "describe",
    "false_positives",
    "respond",
    "none",
];

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let lines = text.split(['\n', '\r']).count() as u64;
    match Detection::parse(PATH, text) {
        Ok(detection) => {
            check(&detection);
            assert_eq!(detection.sql, text, "the query is the file");
            let found = KEYS.iter().filter_map(|key| detection.line_of(key));
            assert!(found.into_iter().all(|line| (1..=lines).contains(&line)));
        }
        Err(error) => {
            let line = error.line.unwrap_or_else(|| panic!("no line: {error}"));
            assert!((1..=lines).contains(&line), "no such line: {error}");
            assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error:?}");
            assert!(error.to_string().starts_with(&format!("{PATH}:{line}: ")));
        }
    }
});

fn check(detection: &Detection) {
    assert!(!detection.id.is_empty() && !detection.id.contains(['/', ' ', '\n']));
    assert!(detection.dedup > 0);
    if let Some(window) = detection.window {
        assert!(window.slide > 0 && window.length >= window.slide);
        assert_eq!((window.length % window.slide, detection.dedup % window.slide), (0, 0));
        assert!(detection.dedup.checked_add(window.length).is_some(), "times are added up");
    }
    let text = &detection.describe;
    assert!(detection.placeholders().all(|name| text.contains(name) && name.trim() == name));
}
