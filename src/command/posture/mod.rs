//! `auditmill posture`: which hardening controls hold.
//!
//! Promise: each control has one line: pass, fail or no evidence. Fail names events that show it,
//! pass has events that could have shown it broken and did not, and no evidence says why and which
//! rule of an audit policy would change that. Never: a pass because nobody looked.

mod html;
mod judge;
mod line;
mod print;
mod run;

pub use run::run;
