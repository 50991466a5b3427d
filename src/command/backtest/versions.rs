//! Which detections run: those that were asked for, and of another version only those that differ.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};

use crate::cli::BacktestArgs;
use crate::command::BadDetections;
use crate::detect::catalog::Catalog;
use crate::detect::detection::{Detection, Kind};

/// The detections that run.
pub(super) struct Versions {
    pub(super) now: Catalog,
    /// Of the other version, those that may find something else.
    pub(super) before: Option<Catalog>,
    /// The ids that were asked for; empty for all.
    asked: BTreeSet<String>,
    /// The ids whose findings may differ.
    differing: BTreeSet<String>,
}

impl Versions {
    /// Reads the folders.
    ///
    /// # Errors
    /// When a detection cannot be read, or one that was asked for is in no version.
    pub(super) fn load(args: &BacktestArgs) -> Result<Self> {
        let shipped = args.shipped.patterns();
        let addresses = args.addresses.files().read().map_err(BadDetections)?;
        let load = |dir: Option<&Path>| -> Result<Catalog, BadDetections> {
            let catalog = Catalog::load(dir).map_err(BadDetections)?;
            Ok(catalog.supplied(&addresses).limited(&shipped))
        };
        let now = load(args.dir.as_deref())?;
        let before = args.diff.as_deref().map(|dir| load(Some(dir))).transpose()?;
        let asked: BTreeSet<String> = args.detections.iter().cloned().collect();
        let catalogs = || [Some(&now), before.as_ref()].into_iter().flatten();
        for id in &asked {
            if catalogs().all(|catalog| catalog.get(id).is_none()) {
                bail!("no detection `{id}` that is on: `auditmill detections list` shows all");
            }
        }
        let is_asked = |id: &str| asked.is_empty() || asked.contains(id);
        // Who reads findings needs all who may find something.
        let reads_findings = catalogs()
            .flat_map(Catalog::detections)
            .any(|of| of.kind == Kind::OverFindings && is_asked(&of.id));
        let runs = |id: &str| reads_findings || is_asked(id);
        let ids: BTreeSet<String> =
            catalogs().flat_map(Catalog::detections).map(|of| of.id.clone()).collect();
        let mut differing: BTreeSet<String> = match &before {
            Some(before) => {
                ids.iter().filter(|id| runs(id) && differs(&now, before, id)).cloned().collect()
            }
            None => BTreeSet::new(),
        };
        if reads_findings && !differing.is_empty() {
            differing = ids;
        }
        let before = before.map(|before| before.selected(|id| differing.contains(id)));
        Ok(Self { now: now.selected(runs), before, asked, differing })
    }

    /// Whether findings of this detection are told.
    pub(super) fn is_asked(&self, id: &str) -> bool {
        self.asked.is_empty() || self.asked.contains(id)
    }

    /// Whether the other version may have found something else.
    pub(super) fn is_differing(&self, id: &str) -> bool {
        self.differing.contains(id)
    }
}

/// Whether two catalogues may find different things by this id. Where a file lies says nothing.
fn differs(now: &Catalog, before: &Catalog, id: &str) -> bool {
    let bare = |catalog: &Catalog| {
        let detection = catalog.get(id).map(|of| Detection { path: "".into(), ..(**of).clone() });
        let exceptions = catalog.exceptions_of(id).map(|of| {
            let mut exception = (**of).clone();
            (exception.path, exception.line) = (Arc::from(""), 0);
            exception
        });
        (detection, exceptions.collect::<Vec<_>>())
    };
    bare(now) != bare(before)
}
