//! One detection: a `.sql` file whose leading comment carries its metadata as YAML.
//!
//! [`Detection`] is the file, [`Kind`] what it asks beyond its query.

mod file;
mod kind;
mod needs;
mod severity;

pub use file::{Detection, LoadError, Param, Window};
pub use kind::{Kind, Novelty};
pub use needs::Needs;
pub use severity::Severity;

pub(super) use file::{DEDUP_MAX, line_of_key, micros, param};
pub(crate) use file::{front_matter, yaml_message};
