//! Who asks, and what they may: bearer tokens and client certificates, each with a role and bound
//! to clusters.
//!
//! A request has one identity: that of its `Authorization` header if it has one, else that of its
//! connection's certificate. 401 is for whom we do not know, 403 for whom we know and who may not.
//! Tokens are compared as SHA-256 digests in constant time, and are never kept or logged.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tracing::{debug, warn};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::routes::{Failure, HostCheck, Shared};
use crate::config::auth::{Auth, Client, Credential, Role};
use crate::event::{ClusterName, Clusters};
use crate::query::asker::{Asker, Sight};

/// Tells callers apart; built once from the settings.
#[derive(Clone, Debug)]
pub struct Gate(Mode);

#[derive(Clone, Debug)]
enum Mode {
    /// No `[auth]`: everybody who reaches the loopback address.
    Local,
    /// `client_ca` alone: the handshake let in only those with a certificate of it.
    AnyCertificate,
    /// `[[auth.client]]`
    Clients(Vec<Arc<Client>>),
}

impl Gate {
    /// The gate that these settings ask for.
    #[must_use]
    pub fn new(auth: &Auth) -> Self {
        if !auth.clients.is_empty() {
            return Self(Mode::Clients(auth.clients.iter().cloned().map(Arc::new).collect()));
        }
        Self(if auth.client_ca.is_some() { Mode::AnyCertificate } else { Mode::Local })
    }

    /// Who may ask, of those who show this token, or this certificate, in DER and verified, or
    /// neither; `wire` is how.
    #[must_use]
    pub fn asker(
        &self,
        token: Option<&[u8]>,
        certificate: Option<&[u8]>,
        wire: &'static str,
    ) -> Option<Asker> {
        let caller = match (&self.0, token) {
            (Mode::Local | Mode::AnyCertificate, _) => Caller::Anyone,
            (Mode::Clients(clients), Some(token)) => {
                Caller::Known(Arc::clone(by_token(clients, token)?))
            }
            (Mode::Clients(clients), None) => {
                let peer = certificate.map(Peer::from_certificate);
                Caller::Known(Arc::clone(by_certificate(clients, peer.as_ref())?))
            }
        };
        caller.may_ask().ok()?;
        Some(caller.asker(wire))
    }

    /// Names are checked where nothing else is.
    pub(super) fn host_check(&self) -> HostCheck {
        match self.0 {
            Mode::Local => HostCheck::LoopbackOnly,
            Mode::AnyCertificate | Mode::Clients(_) => HostCheck::Any,
        }
    }

    /// Who asks, by the only `Authorization` header, else by the certificate.
    ///
    /// # Errors
    /// When that is nobody we know.
    pub(super) fn caller(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Caller, Failure> {
        let Mode::Clients(clients) = &self.0 else { return Ok(Caller::Anyone) };
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let found = match (shown.next(), shown.next()) {
            (Some(value), None) => match bearer_token(value.as_bytes()) {
                Some(token) => by_token(clients, token),
                None => None,
            },
            // Which of two would a proxy have looked at? Neither counts.
            (Some(_), Some(_)) => None,
            (None, _) => by_certificate(clients, peer),
        };
        found.map(|client| Caller::Known(Arc::clone(client))).ok_or_else(|| {
            debug!(certificate = peer.and_then(|peer| peer.common_name.as_deref()), "not known");
            Failure::Unauthorized
        })
    }
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// Looks at every client, so that the time taken tells nothing of where a match is.
fn by_token<'a>(clients: &'a [Arc<Client>], token: &[u8]) -> Option<&'a Arc<Client>> {
    let shown: [u8; 32] = Sha256::digest(token).into();
    let mut found = None;
    for client in clients {
        let Credential::Token(hash) = &client.credential else { continue };
        if bool::from(hash.0.ct_eq(&shown)) {
            found = Some(client);
        }
    }
    found
}

fn by_certificate<'a>(clients: &'a [Arc<Client>], peer: Option<&Peer>) -> Option<&'a Arc<Client>> {
    let shown = peer?.common_name.as_deref()?;
    clients.iter().find(|client| match &client.credential {
        Credential::Certificate(common_name) => common_name == shown,
        Credential::Token(_) => false,
    })
}

/// Who is at the other end of a connection; travels with each of its requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    common_name: Option<Arc<str>>,
}

impl Peer {
    /// The holder of a certificate that the handshake has verified, in DER. Nobody, when its
    /// subject does not have exactly one common name: two would be two identities.
    pub(super) fn from_certificate(der: &[u8]) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Self::default() };
        let mut names = certificate.subject().iter_common_name();
        let common_name = match (names.next(), names.next()) {
            (Some(name), None) => name.as_str().ok().map(Arc::from),
            _ => None,
        };
        Self { common_name }
    }
}

/// Who sent a request. As an extractor, it refuses those who are not known.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// Somebody who needs no name: whoever got here may do everything.
    Anyone,
    /// A client of the settings.
    Known(Arc<Client>),
}

impl Caller {
    /// Whether deliveries of this cluster may come from here.
    pub(super) fn may_deliver(&self, cluster: &ClusterName) -> Result<(), Failure> {
        let Self::Known(client) = self else { return Ok(()) };
        let name = client.name.as_str();
        if !matches!(client.role, Role::Sender | Role::Admin) {
            return Err(self.lacks(Role::Sender));
        }
        if client.clusters.contains(cluster.as_str()) {
            return Ok(());
        }
        warn!(client = name, %cluster, "refused a delivery for a cluster that is not the client's");
        let message = format!("client `{name}` may not deliver for cluster `{cluster}`");
        Err(Failure::Forbidden(message))
    }

    /// Whether questions may come from here.
    pub(super) fn may_ask(&self) -> Result<(), Failure> {
        self.has(Role::Viewer)
    }

    /// Whether findings and incidents may be acknowledged, closed and so on from here.
    pub(super) fn may_triage(&self) -> Result<(), Failure> {
        self.has(Role::Responder)
    }

    /// Whether what is of all clusters together may be seen from here.
    pub(super) fn may_see_all(&self) -> Result<(), Failure> {
        let Self::Known(client) = self else { return Ok(()) };
        match client.clusters {
            Clusters::All => Ok(()),
            Clusters::Named(_) => Err(Failure::Forbidden(format!(
                "this is of all clusters, and client `{}` sees some: it is for clients with \
                 `clusters = [\"*\"]`",
                client.name
            ))),
        }
    }

    /// The clusters whose events and findings may be seen from here.
    pub(super) fn clusters(&self) -> Clusters {
        match self {
            Self::Anyone => Clusters::All,
            Self::Known(client) => client.clusters.clone(),
        }
    }

    /// Whether what is of this cluster may be seen from here.
    pub(super) fn sees(&self, cluster: &str) -> bool {
        match self {
            Self::Anyone => true,
            Self::Known(client) => client.clusters.contains(cluster),
        }
    }

    /// Who asks, as questions know it.
    pub(super) fn asker(&self, wire: &'static str) -> Asker {
        match self {
            Self::Anyone => Asker { wire, ..Asker::local() },
            Self::Known(client) => Asker {
                name: Arc::from(client.name.as_str()),
                wire,
                sight: Sight {
                    clusters: client.clusters.clone(),
                    admin: client.role == Role::Admin,
                },
            },
        }
    }

    fn has(&self, role: Role) -> Result<(), Failure> {
        match self {
            Self::Known(client) if client.role < role => Err(self.lacks(role)),
            Self::Anyone | Self::Known(_) => Ok(()),
        }
    }

    fn lacks(&self, role: Role) -> Failure {
        let Self::Known(client) = self else {
            return Failure::Forbidden("nobody may do this".to_owned());
        };
        let message = format!(
            "client `{}` has the role {}, and this is for the role {role} or admin: change \
             `role` of its `[[auth.client]]`",
            client.name, client.role
        );
        Failure::Forbidden(message)
    }

    /// Who asks, for people to read: the client's name, with the name that it gives itself.
    pub(super) fn name(&self, by: Option<&str>) -> String {
        let by = by.map(str::trim).filter(|by| !by.is_empty());
        match (self, by) {
            (Self::Anyone, by) => by.unwrap_or("somebody on this machine").to_owned(),
            (Self::Known(client), None) => client.name.clone(),
            (Self::Known(client), Some(by)) => format!("{by} by client {}", client.name),
        }
    }
}

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        shared: &Arc<Shared>,
    ) -> Result<Self, Self::Rejection> {
        shared.gate.caller(&parts.headers, parts.extensions.get::<Peer>())
    }
}

/// Somebody who may ask. As an extractor, it refuses those who may not.
#[derive(Clone, Debug)]
pub(super) struct Viewer(pub(super) Caller);

impl FromRequestParts<Arc<Shared>> for Viewer {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        shared: &Arc<Shared>,
    ) -> Result<Self, Self::Rejection> {
        let caller = Caller::from_request_parts(parts, shared).await?;
        caller.may_ask()?;
        Ok(Self(caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn gate() -> Gate {
        let client = |name: &str, credential| Client {
            name: name.to_owned(),
            role: Role::Sender,
            clusters: Clusters::All,
            credential,
        };
        let hash = crate::config::auth::TokenHash(Sha256::digest(b"one").into());
        let by_name = Credential::Certificate("two".to_owned());
        Gate::new(&Auth {
            client_ca: None,
            clients: vec![client("t", Credential::Token(hash)), client("c", by_name)],
        })
    }

    fn certificate(common_names: &[&str]) -> Peer {
        let mut params = CertificateParams::new(["two".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in common_names {
            // Of one type, the library keeps only the last name: two are written as two types.
            let kind = match params.distinguished_name.get(&DnType::CommonName) {
                None => DnType::CommonName,
                Some(_) => DnType::CustomDnType(vec![2, 5, 4, 3]),
            };
            params.distinguished_name.push(kind, *name);
        }
        let key = KeyPair::generate().unwrap();
        Peer::from_certificate(params.self_signed(&key).unwrap().der())
    }

    /// The name of the client, or none for a 401.
    fn known(values: &[&str], peer: Option<&Peer>) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        match gate().caller(&headers, peer) {
            Ok(Caller::Known(client)) => Some(client.name.clone()),
            Ok(Caller::Anyone) => panic!("clients are asked for"),
            Err(_) => None,
        }
    }

    #[test]
    fn a_token_is_one_header_of_one_form() {
        for value in ["Bearer one", "bearer one", "BEARER  one "] {
            assert_eq!(known(&[value], None).as_deref(), Some("t"), "{value}");
        }
        for value in
            ["", "Bearer", "Bearer ", "Bearer on", "Bearer onee", "one", "Basic one", "Bearerxone"]
        {
            assert_eq!(known(&[value], None), None, "{value}");
        }
        assert_eq!(known(&["Bearer one", "Bearer one"], None), None);
    }

    #[test]
    fn each_role_does_what_is_its_own() {
        let caller = |role, names: &[&str]| {
            let clusters = match names {
                ["*"] => Clusters::All,
                names => Clusters::Named(names.iter().map(|name| name.parse().unwrap()).collect()),
            };
            let credential = Credential::Certificate("c".to_owned());
            Caller::Known(Arc::new(Client { name: "c".to_owned(), role, clusters, credential }))
        };
        let may = |caller: &Caller| {
            let (east, west) = ("east".parse().unwrap(), "west".parse().unwrap());
            [
                caller.may_deliver(&east).is_ok(),
                caller.may_deliver(&west).is_ok(),
                caller.may_ask().is_ok(),
                caller.may_triage().is_ok(),
                caller.asker("http").sight.admin,
                caller.may_see_all().is_ok(),
                caller.sees("west"),
            ]
        };
        let of = |role, names| may(&caller(role, names)).map(u8::from);
        assert_eq!(of(Role::Sender, &["east"]), [1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(of(Role::Viewer, &["east"]), [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(of(Role::Viewer, &["*"]), [0, 0, 1, 0, 0, 1, 1]);
        assert_eq!(of(Role::Responder, &["east"]), [0, 0, 1, 1, 0, 0, 0]);
        assert_eq!(of(Role::Admin, &["east"]), [1, 0, 1, 1, 1, 0, 0]);
        assert_eq!(may(&Caller::Anyone), [true; 7]);
        let known = caller(Role::Responder, &["*"]);
        assert_eq!(
            (known.name(None), known.name(Some("bob"))),
            ("c".into(), "bob by client c".into())
        );
        assert_eq!(Caller::Anyone.name(Some(" bob ")), "bob");
    }

    #[test]
    fn other_wires_let_in_who_may_ask() {
        let auth = |role| {
            let hash = crate::config::auth::TokenHash(Sha256::digest(b"one").into());
            let credential = Credential::Token(hash);
            let client = Client { name: "t".to_owned(), role, clusters: Clusters::All, credential };
            Gate::new(&Auth { client_ca: None, clients: vec![client] })
        };
        let name = |gate: &Gate, token: Option<&[u8]>| {
            gate.asker(token, None, "postgres").map(|asker| asker.name.to_string())
        };
        assert_eq!(name(&auth(Role::Viewer), Some(b"one")).as_deref(), Some("t"));
        assert_eq!(name(&auth(Role::Viewer), Some(b"two")), None);
        assert_eq!(name(&auth(Role::Viewer), None), None);
        assert_eq!(name(&auth(Role::Sender), Some(b"one")), None);
        assert_eq!(name(&Gate::new(&Auth::default()), None).as_deref(), Some(""));
    }

    #[test]
    fn a_certificate_is_its_one_common_name_and_a_token_comes_first() {
        let two = certificate(&["two"]);
        assert_eq!(known(&[], Some(&two)).as_deref(), Some("c"));
        assert_eq!(known(&["Bearer one"], Some(&two)).as_deref(), Some("t"));
        assert_eq!(known(&["Bearer wrong"], Some(&two)), None);
        for names in [&[][..], &["TWO"], &["two "], &["two", "three"], &["three", "two"]] {
            let other = certificate(names);
            assert_eq!(known(&[], Some(&other)), None, "{other:?}");
        }
        assert_eq!(known(&[], Some(&Peer::from_certificate(b"no certificate"))), None);
        assert_eq!(known(&[], None), None);
    }
}
