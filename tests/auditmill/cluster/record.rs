//! Writes the drive's audit events as labelled files, for tests that need no cluster.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::apiserver::{Cluster, mark_path};
use super::audit_log::text;
use super::drive;
use super::pki::Pki;

/// No more than this of ordinary traffic: enough to be quiet in, small enough for a repository.
const BACKGROUND_BYTES_MAX: usize = 1_500_000;

/// Where `AUDITMILL_RECORD` says to write to; `None` when nobody wants a recording.
pub(crate) fn destination() -> Option<PathBuf> {
    env::var_os("AUDITMILL_RECORD").map(PathBuf::from)
}

/// Drives a cluster that only writes its own audit log, then splits that log: one file for each
/// attack with the events of the people in it, and `background.jsonl` with all the rest.
pub(crate) fn write(bin: &Path, destination: &Path) {
    let dir = tempfile::tempdir().expect("create a folder");
    let pki = Pki::new(&dir.path().join("pki"));
    let cluster = Cluster::start(bin, dir.path(), &pki, None);
    drive::set_up(&cluster);
    drive::ordinary_work(&cluster);
    cluster.mark("ordinary_work");
    for (name, attack) in drive::ATTACKS {
        attack(&cluster);
        cluster.mark(name);
    }
    fs::create_dir_all(destination).expect("create the folder for recordings");
    let lines = cluster.audit_log.lines();
    let mut background = String::new();
    let mut rest = lines.iter();
    for name in ["ordinary_work"].into_iter().chain(drive::ATTACKS.map(|(name, _)| name)) {
        let end = mark_path(name);
        let mut scenario = String::new();
        for line in rest.by_ref() {
            let event: Value = serde_json::from_str(line).expect("a line is one event");
            if text(&event, "/requestURI") == end {
                break;
            }
            let attack = name != "ordinary_work" && is_of_a_person(&event);
            let file = if attack { &mut scenario } else { &mut background };
            file.push_str(line);
            file.push('\n');
        }
        if !scenario.is_empty() {
            save(destination, name, &scenario);
        }
    }
    let length = background.floor_char_boundary(BACKGROUND_BYTES_MAX);
    let end = background[..length].rfind('\n').map_or(0, |end| end + 1);
    save(destination, "background", &background[..end]);
}

/// Controllers, kubelet and API server go on during an attack; they are not part of it. A rejected
/// credential has no user name.
fn is_of_a_person(event: &Value) -> bool {
    let user = text(event, "/user/username");
    !user.starts_with("system:") || user == "system:anonymous"
}

fn save(destination: &Path, name: &str, text: &str) {
    let path = destination.join(format!("{name}.jsonl"));
    fs::write(&path, text).unwrap_or_else(|error| panic!("write `{}`: {error}", path.display()));
}
