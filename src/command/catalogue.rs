//! The detections of a command: those shipped and of a folder, with what is supplied of addresses.

use std::path::Path;

use super::BadDetections;
use crate::config::Settings;
use crate::detect::addresses::AddressFiles;
use crate::detect::catalog::Catalog;

/// Reads them.
///
/// # Errors
/// Every file that cannot be used.
pub(super) fn catalog(dir: Option<&Path>, files: &AddressFiles) -> Result<Catalog, BadDetections> {
    let catalog = Catalog::load(dir).map_err(BadDetections)?;
    Ok(catalog.supplied(&files.read().map_err(BadDetections)?))
}

/// Where the settings say that they are.
pub(super) fn address_files(settings: &Settings) -> AddressFiles {
    let detect = &settings.detect;
    AddressFiles {
        lists: detect.address_lists.clone(),
        asn: detect.asn_database.clone(),
        country: detect.country_database.clone(),
    }
}
