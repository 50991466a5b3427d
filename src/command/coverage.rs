//! `auditmill detections coverage`: what of the published threat matrices detections see, what they
//! do not and why, and which behaviours no audit stream shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write};

use anyhow::{Context as _, Result};
use include_dir::{Dir, include_dir};
use serde::Deserialize;

use super::Verdict;
use super::catalogue::catalog;
use crate::cli::{CoverageArgs, Format};
use crate::detect::catalog::Catalog;

static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/queries/coverage");

/// The file of behaviours that no detection tells.
const GAPS: &str = "gaps.yaml";

/// How many detections are named of one technique.
const NAMED_MAX: usize = 6;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    #[serde(rename = "matrix")]
    name: String,
    version: String,
    #[serde(rename = "source")]
    _source: String,
    tactics: Vec<Tactic>,
    /// Techniques that detections name and that are of another matrix of the same maker.
    #[serde(default)]
    also: Vec<Technique>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tactic {
    name: String,
    techniques: Vec<Technique>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Technique {
    id: String,
    name: String,
    /// Those that see it, where detections do not name it themselves.
    #[serde(default)]
    detections: BTreeSet<String>,
    /// Why it is not seen, or not all of it.
    #[serde(default)]
    unseen: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gap {
    id: String,
    behaviour: String,
    reason: String,
}

impl Matrix {
    fn read(text: &str) -> Result<Self> {
        let mut matrix: Self = serde_saphyr::from_str(text)?;
        let techniques = std::mem::take(&mut matrix.also);
        if !techniques.is_empty() {
            matrix.tactics.push(Tactic { name: "Of other matrices".to_owned(), techniques });
        }
        Ok(matrix)
    }
}

/// Shows, technique by technique, which detections see it.
///
/// # Errors
/// When a detection cannot be read.
pub fn show(args: &CoverageArgs) -> Result<Verdict> {
    let catalog = catalog(args.dir.as_deref(), &args.addresses.files())?;
    let mut out = io::stdout().lock();
    for file in SHIPPED.files() {
        let text = file.contents_utf8().unwrap_or_default();
        let name = file.path().display().to_string();
        if name == GAPS {
            continue;
        }
        let matrix = Matrix::read(text).with_context(|| format!("read {name}"))?;
        match args.format {
            Format::Json => write_json(&mut out, &matrix, &catalog)?,
            Format::Table => write_matrix(&mut out, &matrix, &catalog)?,
        }
    }
    write_lacking(&mut out, &catalog, args.format)?;
    let gaps = SHIPPED.get_file(GAPS).and_then(|file| file.contents_utf8()).unwrap_or("[]");
    let gaps: Vec<Gap> = serde_saphyr::from_str(gaps).context("read the gaps")?;
    if args.format == Format::Table && !gaps.is_empty() {
        writeln!(out, "Not told by any detection")?;
    }
    for Gap { id, behaviour, reason } in gaps {
        match args.format {
            Format::Json => writeln!(
                out,
                "{}",
                serde_json::json!({
                    "kind": "gap",
                    "id": id,
                    "behaviour": behaviour,
                    "reason": reason,
                })
            )?,
            Format::Table => writeln!(out, "  {id:<12} {behaviour}: {reason}")?,
        }
    }
    Ok(Verdict::Done)
}

/// Detections that would see more, if they had what they need.
fn write_lacking(out: &mut impl Write, catalog: &Catalog, format: Format) -> io::Result<()> {
    if format == Format::Table && catalog.lacking().next().is_some() {
        writeln!(out, "Not evaluated")?;
    }
    for (detection, lacks) in catalog.lacking() {
        let (id, title) = (&detection.id, &detection.title);
        match format {
            Format::Json => {
                let line = serde_json::json!({
                    "kind": "not_evaluated",
                    "id": id,
                    "title": title,
                    "reason": lacks,
                });
                writeln!(out, "{line}")?;
            }
            Format::Table => writeln!(out, "  {id:<12} {title}: {lacks}")?,
        }
    }
    if format == Format::Table {
        writeln!(out)?;
    }
    Ok(())
}

/// The detections that see a technique: those named, and those that name it or a part of it.
fn seen_by(technique: &Technique, catalog: &Catalog) -> Vec<String> {
    let is_part = |named: &String| {
        named
            .strip_prefix(&technique.id)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let naming = catalog.detections().filter(|of| of.attack.iter().any(is_part));
    let mut ids: BTreeSet<String> = naming.map(|of| of.id.clone()).collect();
    ids.extend(technique.detections.iter().filter(|id| catalog.get(id).is_some()).cloned());
    ids.into_iter().collect()
}

fn write_matrix(out: &mut impl Write, matrix: &Matrix, catalog: &Catalog) -> io::Result<()> {
    let mut seen: BTreeMap<&str, bool> = BTreeMap::new();
    for technique in matrix.tactics.iter().flat_map(|tactic| &tactic.techniques) {
        *seen.entry(&technique.id).or_default() |= !seen_by(technique, catalog).is_empty();
    }
    let (of, all) = (seen.values().filter(|seen| **seen).count(), seen.len());
    writeln!(
        out,
        "{}, version {}: {of} of {all} techniques are seen\n",
        matrix.name, matrix.version
    )?;
    for tactic in &matrix.tactics {
        writeln!(out, "{}", tactic.name)?;
        for technique in &tactic.techniques {
            let ids = seen_by(technique, catalog);
            let more = ids.len().saturating_sub(NAMED_MAX);
            let mut words = ids.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
            if more > 0 {
                // Writing to a String cannot fail.
                let _ = write!(words, " and {more} more");
            }
            if let Some(unseen) = &technique.unseen {
                let join = if words.is_empty() { "not seen: " } else { "; not seen: " };
                words.push_str(join);
                words.push_str(unseen);
            }
            writeln!(out, "  {:<12} {:<46} {words}", technique.id, technique.name)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_json(out: &mut impl Write, matrix: &Matrix, catalog: &Catalog) -> io::Result<()> {
    for tactic in &matrix.tactics {
        for technique in &tactic.techniques {
            let line = serde_json::json!({
                "kind": "technique",
                "matrix": matrix.name,
                "version": matrix.version,
                "tactic": tactic.name,
                "technique": technique.id,
                "name": technique.name,
                "detections": seen_by(technique, catalog),
                "unseen": technique.unseen,
            });
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrices() -> Vec<Matrix> {
        let files = SHIPPED.files().filter(|file| !file.path().ends_with(GAPS));
        files.map(|file| Matrix::read(file.contents_utf8().unwrap()).unwrap()).collect()
    }

    #[test]
    fn every_technique_is_seen_or_says_why_it_is_not() {
        let catalog = Catalog::load(None).unwrap();
        for matrix in matrices() {
            for technique in matrix.tactics.iter().flat_map(|tactic| &tactic.techniques) {
                let unknown: Vec<&String> =
                    technique.detections.iter().filter(|id| catalog.any(id).is_none()).collect();
                assert!(unknown.is_empty(), "{}: no detections {unknown:?}", technique.id);
                let told = !seen_by(technique, &catalog).is_empty() || technique.unseen.is_some();
                assert!(told, "{}: {} is neither seen nor explained", matrix.name, technique.id);
            }
        }
    }

    #[test]
    fn detections_name_techniques_that_there_are() {
        let catalog = Catalog::load(None).unwrap();
        let matrices = matrices();
        let attack = matrices.iter().find(|of| of.name.contains("ATT&CK")).unwrap();
        let known: BTreeSet<&str> = attack
            .tactics
            .iter()
            .flat_map(|tactic| &tactic.techniques)
            .map(|technique| technique.id.as_str())
            .collect();
        for detection in catalog.detections().chain(catalog.disabled()) {
            for id in &detection.attack {
                assert!(known.contains(id.as_str()), "{}: no technique {id}", detection.id);
            }
        }
    }
}
