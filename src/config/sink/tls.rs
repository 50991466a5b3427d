//! Whom to trust at the other end of a connection, and who we are there: the same options wherever
//! something is sent.

use std::path::Path;

/// TLS as a sink's or a source's settings have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tls<'a> {
    /// PEM file with the authorities that the other's certificate must be of; else the machine's.
    pub ca: Option<&'a Path>,
    /// PEM file with our certificate, and what leads from it to an authority ...
    pub client_cert: Option<&'a Path>,
    /// ... and one with its key.
    pub client_key: Option<&'a Path>,
}

impl Tls<'_> {
    /// Whether anything is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.ca.is_some() || self.client_cert.is_some() || self.client_key.is_some()
    }

    /// A certificate without its key is of no use, nor the other way round.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.client_cert.is_some() == self.client_key.is_some() {
            return Ok(());
        }
        Err("`client_cert` and `client_key` go together: set both or none".to_owned())
    }
}
