//! `auditmill config`: prints the settings in effect.

use std::io::Write as _;

use anyhow::Result;

use super::Verdict;
use crate::cli::ConfigArgs;

/// Prints the settings in effect as TOML: defaults, file and environment together.
///
/// # Errors
/// When the settings are wrong.
pub fn run(args: &ConfigArgs) -> Result<Verdict> {
    let settings = args.settings()?;
    std::io::stdout().write_all(settings.to_toml()?.as_bytes())?;
    Ok(Verdict::Done)
}
