//! Where a sink's secret comes from: an environment variable or a file, never the settings
//! themselves.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// The secret in this variable or this file; `None` when neither is named. White space around it is
/// not part of it.
///
/// # Errors
/// When it is not there, is empty, or both are named.
pub fn read(variable: Option<&str>, file: Option<&Path>) -> Result<Option<String>> {
    let (text, origin) = match (variable, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => bail!("has both `secret_env` and `secret_file`: leave one out"),
        (Some(variable), None) => {
            let origin = format!("environment variable `{variable}` of `secret_env`");
            (std::env::var(variable).with_context(|| format!("read {origin}"))?, origin)
        }
        (None, Some(file)) => {
            let origin = format!("`{}` of `secret_file`", file.display());
            (std::fs::read_to_string(file).with_context(|| format!("read {origin}"))?, origin)
        }
    };
    let secret = text.trim();
    if secret.is_empty() {
        bail!("{origin} is empty");
    }
    Ok(Some(secret.to_owned()))
}
