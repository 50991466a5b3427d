//! `auditmill evidence FINDING`: its events with the proof that they are in the history.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, Result, bail};

use super::Verdict;
use super::parts::location;
use crate::cli::EvidenceArgs;
use crate::findings::glance;
use crate::history::evidence::{Wanted, gather};
use crate::proof::bundle::{Bundle, FORMAT};
use crate::proof::key::SigningKey;

/// Writes a bundle.
///
/// # Errors
/// When there is no such finding or no proof, or a file cannot be read or written.
pub fn run(args: &EvidenceArgs) -> Result<Verdict> {
    let settings = args.config.settings()?;
    let path = args.data.join("findings.db");
    if !path.exists() {
        bail!("`{}` has no findings: name a data directory with `--data`", args.data.display());
    }
    let Some(finding) = glance::finding(&path, &args.finding)? else {
        eprintln!("no finding has the id `{}`", args.finding);
        return Ok(Verdict::No);
    };
    let key = match &settings.history.signing_key {
        Some(path) => Some(SigningKey::read(path)?),
        None => SigningKey::existing(&args.data)?,
    };
    let Some(key) = key else {
        bail!("nothing of `{}` is signed: start `auditmill serve` on it", args.data.display());
    };
    let wanted = finding
        .evidence
        .iter()
        .filter_map(|event| Wanted::at(&finding.cluster, &event.event_id, &event.event_time));
    let wanted: Vec<Wanted> = wanted.collect();
    let location = location(&settings, &args.data)?;
    let Some(gathered) = gather(&location, key.public(), &wanted)? else {
        bail!("nothing of `{}` is signed: start `auditmill serve` on it", location.address());
    };
    let bundle = Bundle {
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        finding: serde_json::to_value(&finding)?,
        key: key.public().text().to_owned(),
        checkpoint: gathered.head.note,
        leaves: gathered.leaves,
        events: gathered.events,
        missing: gathered.missing,
    };
    let mut json = serde_json::to_vec_pretty(&bundle)?;
    json.push(b'\n');
    match &args.out {
        None => io::stdout().write_all(&json)?,
        Some(path) => {
            let mut options = File::options();
            let file = options.write(true).create_new(true).mode(0o600).open(path);
            let written = file.and_then(|mut file| file.write_all(&json));
            written.with_context(|| format!("write `{}`", path.display()))?;
        }
    }
    let (events, missing) = (bundle.events.len(), bundle.missing.len());
    eprintln!("{events} events with their proof, {missing} without");
    for missing in &bundle.missing {
        eprintln!("event {}: {}", missing.event_id, missing.why);
    }
    Ok(if missing == 0 { Verdict::Done } else { Verdict::No })
}
