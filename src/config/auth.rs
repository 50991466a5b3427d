//! `[auth]` and `[[auth.client]]`: who may ask what. Values only; [`crate::http::auth`] acts on
//! them.
//! A token's hash is never shown.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::event::Clusters;

/// `[auth]`: who may ask what. Without any of it, everybody who can reach a loopback address; with
/// `client_ca` alone, everybody who has a certificate; with clients, each what is theirs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// PEM file with certificate authorities. A client must show a certificate that one of them
    /// signed; when some `[[auth.client]]` has a token, it may instead.
    pub client_ca: Option<PathBuf>,
    /// The clients that are known. None: see `client_ca`.
    #[serde(rename = "client", deserialize_with = "clients")]
    pub clients: Vec<Client>,
}

/// `[[auth.client]]`: a client, what it may do, and the clusters that it may do that with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ClientText", into = "ClientText")]
pub struct Client {
    /// Its name in messages.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The clusters that it may deliver for, or whose events and findings it may see.
    pub clusters: Clusters,
    /// How it proves who it is.
    pub credential: Credential,
}

/// What a client may do with its clusters. Each of the last three may do what the one before may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// An API server, or what brings its log: it delivers, and sees nothing.
    #[default]
    Sender,
    /// It asks.
    Viewer,
    /// It acknowledges, assigns, closes, and makes silences.
    Responder,
    /// It delivers too, and reads who asked what.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sender => "sender",
            Self::Viewer => "viewer",
            Self::Responder => "responder",
            Self::Admin => "admin",
        })
    }
}

/// How a client proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `token_sha256`: it sends `Authorization: Bearer TOKEN`, and this is TOKEN's SHA-256.
    Token(TokenHash),
    /// `certificate`: the one common name (CN) in the subject of its certificate, exactly;
    /// alternative names do not count. `CN=` before it may be left out.
    Certificate(String),
}

/// The SHA-256 of a token, 64 hexadecimal digits. It is never shown: neither in logs nor when
/// settings are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

/// A client as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientText {
    name: String,
    #[serde(default)]
    role: Role,
    clusters: Vec<String>,
    #[serde(default)]
    token_sha256: Option<TokenHash>,
    #[serde(default)]
    certificate: Option<String>,
}

impl TryFrom<ClientText> for Client {
    type Error = String;

    fn try_from(text: ClientText) -> Result<Self, Self::Error> {
        let ClientText { name, role, clusters, token_sha256, certificate } = text;
        let credential = match (token_sha256, certificate) {
            (Some(hash), None) => Credential::Token(hash),
            (None, Some(common_name)) => {
                let common_name = common_name.strip_prefix("CN=").unwrap_or(&common_name);
                if common_name.is_empty() {
                    return Err(format!("client `{name}`: `certificate` is empty"));
                }
                Credential::Certificate(common_name.to_owned())
            }
            _ => {
                let must = "must have one of `token_sha256` and `certificate`";
                return Err(format!("client `{name}` {must}"));
            }
        };
        if clusters.is_empty() {
            let hint = "name them, or `[\"*\"]` for every cluster";
            return Err(format!("client `{name}`: no clusters, so it may do nothing: {hint}"));
        }
        let clusters = match clusters.as_slice() {
            [all] if all == "*" => Clusters::All,
            named => {
                let named: Result<_, String> = named.iter().map(|name| name.parse()).collect();
                let hint = "or `[\"*\"]` for every cluster";
                Clusters::Named(
                    named.map_err(|error| format!("client `{name}`: clusters: {error}, {hint}"))?,
                )
            }
        };
        Ok(Self { name, role, clusters, credential })
    }
}

impl From<Client> for ClientText {
    fn from(client: Client) -> Self {
        let Client { name, role, clusters, credential } = client;
        let clusters = match clusters {
            Clusters::All => vec!["*".to_owned()],
            Clusters::Named(names) => names.iter().map(ToString::to_string).collect(),
        };
        let (token_sha256, certificate) = match credential {
            Credential::Token(hash) => (Some(hash), None),
            Credential::Certificate(common_name) => (None, Some(common_name)),
        };
        Self { name, role, clusters, token_sha256, certificate }
    }
}

/// Clients whose names and credentials are their own: with one credential for two, which
/// clusters it opens would depend on their order.
fn clients<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Client>, D::Error> {
    let clients = Vec::<Client>::deserialize(deserializer)?;
    for (n, one) in clients.iter().enumerate() {
        for other in clients.iter().skip(n + 1) {
            if one.name == other.name {
                let message = format!("two clients have the name `{}`", one.name);
                return Err(de::Error::custom(message));
            }
            if one.credential == other.credential {
                let (one, other) = (&one.name, &other.name);
                let message = format!("clients `{one}` and `{other}` have the same credential");
                return Err(de::Error::custom(message));
            }
        }
    }
    Ok(clients)
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Whatever else stands here may be the token itself: it is not repeated.
        let wrong = || {
            de::Error::custom("not a SHA-256 in 64 hexadecimal digits, see `auditmill token new`")
        };
        let digits: Option<Vec<u8>> =
            text.chars().map(|c| u8::try_from(c.to_digit(16)?).ok()).collect();
        let digits = digits.ok_or_else(wrong)?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |b, d| b << 4 | d)).collect();
        if digits.len() != 64 {
            return Err(wrong());
        }
        bytes.try_into().map(Self).map_err(|_| wrong())
    }
}

/// What is shown instead of a secret.
const MASK: &str = "***";

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use super::*;

    const TOKEN_SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn client(name: &str, rest: &str) -> String {
        format!("[[auth.client]]\nname = \"{name}\"\n{rest}\n")
    }

    #[test]
    fn clients_are_read_and_their_hashes_never_shown() {
        let token = format!("clusters = [\"east\", \"west\"]\ntoken_sha256 = \"{TOKEN_SHA256}\"");
        let text = client("a", &token)
            + &client("b", "clusters = [\"*\"]\ncertificate = \"CN=b.example\"")
            + &client("c", "role = \"viewer\"\nclusters = [\"west\"]\ncertificate = \"c\"");
        let settings = load(&text, &[("AUDITMILL_HTTP_CONNECTIONS_MAX", "7")]).unwrap();
        assert_eq!(settings.http.connections_max.get(), 7);
        let clients = &settings.auth.clients;
        let Credential::Token(hash) = clients[0].credential else { panic!("{clients:?}") };
        assert_eq!((hash.0[0], hash.0[31]), (0x9f, 0x08));
        let names = ["east", "west"].map(|name| name.parse().unwrap());
        assert_eq!(clients[0].clusters, Clusters::Named(names.into()));
        assert_eq!(clients[1].clusters, Clusters::All);
        assert_eq!(clients[1].credential, Credential::Certificate("b.example".to_owned()));
        assert_eq!(clients[2].clusters.names(), Some(vec!["west".to_owned()]));
        let roles: Vec<Role> = clients.iter().map(|client| client.role).collect();
        assert_eq!(roles, [Role::Sender, Role::Sender, Role::Viewer], "the least is the default");
        let printed = settings.to_toml().unwrap();
        assert!(printed.contains("token_sha256 = \"***\""), "{printed}");
        for text in [printed, format!("{settings:?}")] {
            assert!(!text.contains("9f86") && !text.contains("159, 134"), "{text}");
        }
    }

    #[test]
    fn wrong_clients_are_refused_without_showing_secrets() {
        let check = |text: &str, expected: &str| {
            let error = load(text, &[]).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        };
        let token = format!("clusters = [\"*\"]\ntoken_sha256 = \"{TOKEN_SHA256}\"");
        let certificate = "clusters = [\"*\"]\ncertificate = \"a\"";
        check(&client("a", "clusters = [\"*\"]\ntoken_sha256 = \"hunter2\""), "not a SHA-256");
        check(&client("a", "clusters = [\"*\"]\ntoken = \"hunter2\""), "unknown field `token`");
        check(&client("a", "clusters = [\"*\"]\ntoken_sha256 = \"hunter2"), "line 4");
        check(&client("a", &token.replace("08\"", "0\"")), "not a SHA-256");
        check(&client("a", &token.replace("08\"", "0g\"")), "not a SHA-256");
        check(&client("a", "clusters = [\"*\"]"), "client `a` must have one of");
        check(&client("a", "clusters = []\ncertificate = \"a\""), "it may do nothing");
        check(&client("a", &format!("{certificate}\nrole = \"root\"")), "`responder`, `admin`");
        check(&client("a", &format!("{token}\ncertificate = \"a\"")), "must have one of");
        check(&client("a", "clusters = []\ncertificate = \"CN=\""), "`certificate` is empty");
        check(&client("a", "certificate = \"a\""), "missing field `clusters`");
        check(&client("a", &certificate.replace('*', "East")), "client `a`: clusters: a cluster's");
        check(&client("a", &certificate.replace("\"*\"", "\"*\", \"b\"")), "`[\"*\"]` for every");
        check(&(client("a", &token) + &client("a", certificate)), "have the name `a`");
        check(&(client("a", &token) + &client("b", &token)), "`a` and `b` have the same");
        check("[http]\nconnections_max = 0", "nonzero");
    }
}
