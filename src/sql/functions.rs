//! The functions known to every query: live detections, backtests, history, the console.
//!
//! All are immutable (the same arguments give the same answer for ever), so `DataFusion` may fold,
//! reorder and push them down. All take text in any of Arrow's forms without a cast: `Utf8`,
//! `LargeUtf8`, `Utf8View` and dictionaries of them; for a dictionary the work is done once per
//! distinct value in use. NULL in gives NULL out, but for `is_system_user`. None ever fails on a
//! row: what cannot be read gives NULL. Only a constant argument that makes no sense (a path that
//! is no path, a network that is no network) is an error, told when the query is planned.

use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;

mod address;
pub(super) mod bounded;
mod certificate;
mod column;
mod concatenation;
pub(crate) mod glob;
mod identity;
mod json;
mod lists;
mod members;
pub(super) mod network;
mod path_pattern;
pub(crate) mod pattern;
mod required;
mod text;
mod url;
mod workload;

use super::address::Addresses;
use text::TextUdf;

/// Makes every function of this module known to `context`, and those of
/// `datafusion-functions-json` (`json_get`, `json_get_str`, `json_contains`, `->`, `->>`, ...).
///
/// Registering twice is harmless: the later registration replaces the earlier.
///
/// # Errors
/// When `context` refuses the rewrite rules for the JSON operators.
pub fn register(context: &SessionContext) -> Result<()> {
    // A session's clones share its state; the registry trait asks for `&mut`.
    datafusion_functions_json::register_all(&mut context.clone())?;
    for function in functions() {
        context.register_udf(function);
    }
    register_addresses(context, &Addresses::default());
    Ok(())
}

/// Makes the functions that tell what was supplied about addresses known to `context`, in place of
/// those it had: queries planned from now on ask these.
pub fn register_addresses(context: &SessionContext, addresses: &Addresses) {
    for function in address::functions(addresses) {
        context.register_udf(function);
    }
}

/// The functions of our own, in the order a manual would list them.
fn functions() -> Vec<ScalarUDF> {
    vec![
        TextUdf::<json::Exists>::function(),
        TextUdf::<json::First>::function(),
        TextUdf::<json::All>::function(),
        TextUdf::<lists::HasGroup>::function(),
        TextUdf::<lists::Annotation>::function(),
        TextUdf::<identity::IsSystemUser>::function(),
        TextUdf::<workload::PodSpec>::function(),
        TextUdf::<url::ExecCommand>::function(),
        TextUdf::<url::UrlParam>::function(),
        TextUdf::<network::CidrMatch>::function(),
        TextUdf::<network::PrivateIp>::function(),
        TextUdf::<glob::Glob>::function(),
        TextUdf::<certificate::CommonName>::function(),
        TextUdf::<certificate::Organizations>::function(),
    ]
}

#[cfg(test)]
mod tests;
