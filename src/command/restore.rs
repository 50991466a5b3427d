//! `auditmill restore FROM`: a data directory of a backup.
//!
//! A backup is a data directory already ([`super::backup`] says why it is whole), so this is a
//! copy: first looked at whether all is there, then written under a name that ends in `.partial`,
//! synced, and renamed last. Nothing is overwritten.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::Verdict;
use super::backup::{FORMAT, MANIFEST, Manifest, clear, must_be_new, partial, settle};
use super::parts::lock;
use crate::cli::RestoreArgs;
use crate::history::copy::copy_file;

/// Makes a data directory of a backup.
///
/// # Errors
/// When the backup is not whole, or the directory has something in it.
pub fn run(args: &RestoreArgs) -> Result<Verdict> {
    let manifest = manifest(&args.from)?;
    must_be_new(&args.data)?;
    let partial = partial(&args.data)?;
    let _lock = lock(&partial)?;
    clear(&partial)?;
    for (path, _) in &manifest.files {
        let from = args.from.join(path);
        copy_file(&from, &partial.join(path))
            .with_context(|| format!("copy `{}`", from.display()))?;
    }
    settle(&partial, &args.data)?;
    eprintln!(
        "`{}` is as it was at {}: start `auditmill serve` on it",
        args.data.display(),
        manifest.made_at
    );
    if let Some(url) = &manifest.history_elsewhere {
        eprintln!("its history is in `{url}`, as it is now");
    }
    Ok(Verdict::Done)
}

/// What the backup says of itself, once all is there.
fn manifest(from: &Path) -> Result<Manifest> {
    let path = from.join(MANIFEST);
    let bytes = std::fs::read(&path).with_context(|| {
        format!("read `{}`: `{}` is no finished backup", path.display(), from.display())
    })?;
    let manifest: Manifest = serde_json::from_slice(&bytes).with_context(|| {
        format!("`{}` is damaged, or of another version of auditmill", path.display())
    })?;
    if manifest.format != FORMAT {
        bail!(
            "backup `{}` is of format {}, this version reads {FORMAT}: use auditmill {}",
            from.display(),
            manifest.format,
            manifest.program
        );
    }
    for (path, bytes) in &manifest.files {
        let path = Path::new(path);
        let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        let found = std::fs::metadata(from.join(path)).map(|metadata| metadata.len());
        if !inside || !found.as_ref().is_ok_and(|found| found == bytes) {
            bail!(
                "backup `{}` is not whole: `{}` should have {bytes} bytes; take another backup",
                from.display(),
                path.display()
            );
        }
    }
    Ok(manifest)
}
