//! Commands and flags about incidents and triage; no behaviour.

use clap::{Args, Subcommand};

use super::{Format, ServerArgs};

const LIST_EXAMPLES: &str = "Examples:
  auditmill incidents list
  auditmill incidents list --all --format json | jq -r .id
  auditmill incidents list --data auditmill-data        while no server runs";

const TRIAGE_EXAMPLES: &str = "Examples:
  auditmill triage 4c1f... --ack --comment 'looking'
  auditmill triage 4c1f... --assign bob
  auditmill triage 4c1f... --close false-positive --comment 'the nightly backup'
      prints an entry for exceptions.yaml, filled in
  auditmill triage 4c1f... --reopen";

/// `auditmill incidents`
#[derive(Debug, Subcommand)]
pub enum IncidentsCommand {
    /// Show incidents, the latest first, a line each
    #[command(after_help = LIST_EXAMPLES)]
    List(IncidentsArgs),
    /// Show the whole story of one: who, what, from where, what to do
    Show(IncidentArgs),
}

/// `auditmill incidents list`
#[derive(Debug, Args)]
pub struct IncidentsArgs {
    /// Who is asked.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Also those that are closed, and those that became a part of another
    #[arg(long)]
    pub all: bool,
    /// `table` for people, `json` for machines (one incident per line)
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// `auditmill incidents show`
#[derive(Debug, Args)]
pub struct IncidentArgs {
    /// Id of the incident
    #[arg(value_name = "ID")]
    pub id: String,
    /// Who is asked; a server must run.
    #[command(flatten)]
    pub server: ServerArgs,
    /// `table` for people, `json` for machines
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// `auditmill triage`
#[derive(Debug, Args)]
#[command(after_help = TRIAGE_EXAMPLES)]
pub struct TriageArgs {
    /// Id of an incident or a finding; of a finding that opened an incident, the incident is meant
    /// unless `--finding` says otherwise
    #[arg(value_name = "ID")]
    pub id: String,
    /// The id is a finding's
    #[arg(long)]
    pub finding: bool,
    /// Say that somebody looks at it
    #[arg(long, conflicts_with_all = ["close", "reopen"])]
    pub ack: bool,
    /// Say who looks after it; an empty name for nobody
    #[arg(long, value_name = "NAME")]
    pub assign: Option<String>,
    /// Say something about it
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Say that it is over: `resolved` or `false-positive`
    #[arg(long, value_name = "REASON", num_args = 0..=1, default_missing_value = "resolved",
        conflicts_with = "reopen")]
    pub close: Option<String>,
    /// Say that it is not over
    #[arg(long)]
    pub reopen: bool,
    /// Who you are; without it the variable `USER`
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Who is asked; a server must run.
    #[command(flatten)]
    pub server: ServerArgs,
}
