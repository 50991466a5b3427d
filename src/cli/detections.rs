//! Commands and flags about detections and exceptions; no behaviour.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ConfigArgs, Format, ServerArgs};
use crate::detect::addresses::AddressFiles;
use crate::event::ClusterName;

const LIST_EXAMPLES: &str = "Examples:
  auditmill detections list
  auditmill detections list --dir my-detections/    yours too, and what yours override
  auditmill detections list --format json | jq -r 'select(.severity == \"high\").id'";

const EXPLAIN_EXAMPLES: &str = "Examples:
  auditmill detections explain K8A-205
  auditmill detections explain --dir my-detections/ ACME-1
  auditmill detections explain --url http://127.0.0.1:8080 K8A-205
      with what it costs on that server
  auditmill detections explain K8A-205 audit.log
      with how many events of a log pass each condition, and what that takes";

const LINT_EXAMPLES: &str = "Examples:
  auditmill detections lint                          the shipped detections
  auditmill detections lint --dir my-detections/     yours, overrides.yaml, exceptions.yaml
  auditmill detections lint --dir my-detections/ --format json ACME-1
Exit codes: 0 no errors (warnings are no errors); 1 errors; 2 the folder cannot be read.";

const COVERAGE_EXAMPLES: &str = "Examples:
  auditmill detections coverage
  auditmill detections coverage --format json | jq -r 'select(.detections == []) | .technique'";

const EXCEPTIONS_EXAMPLES: &str = "Examples:
  auditmill exceptions list --dir my-detections/ --url http://127.0.0.1:8080
  auditmill exceptions list --dir my-detections/ --data auditmill-data    while no server runs
  auditmill exceptions list --config auditmill.toml --format json";

/// `auditmill detections`
#[derive(Debug, Subcommand)]
pub enum DetectionsCommand {
    /// Show all detections, a line each
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Show one detection: what it says, needs, asks, and how it runs
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Look for mistakes: conditions that never hold, requests that count twice, needs left out
    #[command(after_help = LINT_EXAMPLES)]
    Lint(LintArgs),
    /// Show which techniques of published threat matrices are seen, by what, and which are not
    #[command(after_help = COVERAGE_EXAMPLES)]
    Coverage(CoverageArgs),
}

/// `auditmill detections list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Folder of detections that add to the shipped ones or override them by id
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What is known of addresses.
    #[command(flatten)]
    pub addresses: AddressArgs,
    /// `table` for people, `json` for machines (one detection per line)
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// `auditmill detections explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Id of the detection
    #[arg(value_name = "ID")]
    pub id: String,
    /// Audit logs to measure it over; `-` is standard input
    #[arg(value_name = "FILE", conflicts_with_all = ["url", "token_file", "ca", "data"])]
    pub files: Vec<PathBuf>,
    /// Which server says what it costs there; none unless it is named.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Name of the cluster that files are from: exceptions may be of some clusters only
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub cluster: ClusterName,
    /// Folder of detections that add to the shipped ones or override them by id
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What is known of addresses.
    #[command(flatten)]
    pub addresses: AddressArgs,
}

/// `auditmill detections lint`
#[derive(Debug, Args)]
pub struct LintArgs {
    /// Only these detections
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Folder of detections to judge instead of the shipped ones; tests lie beside them
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// `table` for people, `json` for machines (one complaint per line)
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// `auditmill detections coverage`
#[derive(Debug, Args)]
pub struct CoverageArgs {
    /// Folder of detections that add to the shipped ones or override them by id
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What is known of addresses.
    #[command(flatten)]
    pub addresses: AddressArgs,
    /// `table` for people, `json` for machines (one technique or gap per line)
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// `auditmill exceptions`
#[derive(Debug, Subcommand)]
pub enum ExceptionsCommand {
    /// Show all exceptions with owner, end and what they hid
    #[command(after_help = EXCEPTIONS_EXAMPLES)]
    List(ExceptionsArgs),
}

/// `auditmill exceptions list`
#[derive(Debug, Args)]
pub struct ExceptionsArgs {
    /// Where settings come from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Show what lists exempt, too
    #[arg(long)]
    pub lists: bool,
    /// Folder with exceptions.yaml; without it, `[detect] dir`, else those that the server uses
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Who knows what exceptions hid.
    #[command(flatten)]
    pub server: ServerArgs,
    /// `table` for people, `json` for machines (one exception per line)
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// Which shipped detections a command runs.
#[derive(Debug, Args)]
pub struct ShippedArgs {
    /// Run only these shipped detections: ids or patterns, with commas between [env:
    /// `AUDITMILL_DETECT_SHIPPED`]
    #[arg(long, value_name = "IDS")]
    shipped: Option<String>,
}

impl ShippedArgs {
    /// The patterns of ids: as given, else of the environment, else all.
    #[must_use]
    pub fn patterns(&self) -> String {
        let given = self.shipped.clone();
        let given = given.or_else(|| std::env::var("AUDITMILL_DETECT_SHIPPED").ok());
        given.unwrap_or_else(|| "*".to_owned())
    }
}

/// What is supplied about addresses.
#[derive(Debug, Args)]
pub struct AddressArgs {
    /// Folder of address lists, NAME.txt each [env: `AUDITMILL_DETECT_ADDRESS_LISTS`]
    #[arg(long, value_name = "DIR")]
    address_lists: Option<PathBuf>,
    /// Database (.mmdb) of providers' networks [env: `AUDITMILL_DETECT_ASN_DATABASE`]
    #[arg(long, value_name = "FILE")]
    asn_database: Option<PathBuf>,
    /// Database (.mmdb) of countries [env: `AUDITMILL_DETECT_COUNTRY_DATABASE`]
    #[arg(long, value_name = "FILE")]
    country_database: Option<PathBuf>,
}

impl AddressArgs {
    /// The first flag that is given.
    #[must_use]
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--address-lists", &self.address_lists),
            ("--asn-database", &self.asn_database),
            ("--country-database", &self.country_database),
        ];
        flags.into_iter().find(|(_, given)| given.is_some()).map(|(flag, _)| flag)
    }

    /// Where it is: as given, else of the environment, else nowhere.
    #[must_use]
    pub fn files(&self) -> AddressFiles {
        let or = |given: &Option<PathBuf>, name: &str| {
            let set = || std::env::var_os(name).filter(|value| !value.is_empty());
            given.clone().or_else(|| set().map(PathBuf::from))
        };
        AddressFiles {
            lists: or(&self.address_lists, "AUDITMILL_DETECT_ADDRESS_LISTS"),
            asn: or(&self.asn_database, "AUDITMILL_DETECT_ASN_DATABASE"),
            country: or(&self.country_database, "AUDITMILL_DETECT_COUNTRY_DATABASE"),
        }
    }
}

/// `auditmill test`
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Folder of detections to test instead of the shipped ones; tests lie beside them
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Test only this detection
    #[arg(long, value_name = "ID")]
    pub detection: Option<String>,
    /// Write what came of each case to this file, as `JUnit` XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}
