//! `auditmill rbac suggest`: the smallest roles and bindings that cover what an identity used, and
//! what it was granted and did not use.
//!
//! Promise: what is suggested grants nothing that was not allowed and asked for, and whoever holds
//! it may do again what is in the log. Never: a word of a request becomes more than a word, such as
//! a `*` that a client wrote into a path, or a line of YAML.

mod grants;
mod permission;
mod role;
mod run;
mod usage;
mod yaml;

pub use run::suggest;
