//! Commands and flags about sinks; no behaviour.

use clap::{Args, Subcommand};

use super::{ConfigArgs, Format, ServerArgs};

const TEST_EXAMPLES: &str = "Examples:
  auditmill alert test pager --config auditmill.toml
Exit codes: 0 the sink took the sample; 1 it did not; 2 there is no such sink.";

const LIST_EXAMPLES: &str = "Examples:
  auditmill alert list --url http://127.0.0.1:8080
  auditmill alert list --format json | jq -r 'select(.trouble != null).name'";

/// `auditmill alert`
#[derive(Debug, Subcommand)]
pub enum AlertCommand {
    /// Send a sample through a sink, and tell what came of it
    #[command(after_help = TEST_EXAMPLES)]
    Test(AlertTestArgs),
    /// Show the sinks of a server: what waits, what was refused, what went wrong last
    #[command(after_help = LIST_EXAMPLES)]
    List(AlertListArgs),
}

/// `auditmill alert test`
#[derive(Debug, Args)]
pub struct AlertTestArgs {
    /// The sink's name in the settings
    #[arg(value_name = "SINK")]
    pub sink: String,
    /// Where settings come from.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `auditmill alert list`
#[derive(Debug, Args)]
pub struct AlertListArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// `table` for people, `json` for machines (one sink per line)
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}
