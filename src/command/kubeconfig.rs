//! `auditmill kubeconfig`: the file that tells an API server where to send its audit events.
//!
//! The form is that of a kubeconfig, the roles are turned around: the "cluster" is auditmill, the
//! "user" is the API server. Authority and token go into the file; a client certificate stays
//! where the API server has it, so that it can be renewed there.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Verdict;
use crate::cli::KubeconfigArgs;

/// Writes the kubeconfig; warns of what the API server would ignore in silence.
///
/// # Errors
/// When the URL or a file cannot be used, or the output exists already.
pub fn run(args: &KubeconfigArgs) -> Result<Verdict> {
    let address = Address::parse(&args.url)?;
    let user = user(args)?;
    if address.scheme == Scheme::Http && user != json!({}) {
        eprintln!(
            "warning: over plain http the API server leaves out its credentials without a word; \
             use an https URL"
        );
    }
    let server = format!("{}/v1/audit/{}", address.url, args.cluster);
    let text = kubeconfig(&server, args.ca.as_deref().map(authority).transpose()?, &user);
    match &args.output {
        None => std::io::stdout().write_all(text.as_bytes())?,
        Some(path) => {
            // It may hold a secret: never into a file that others can read already.
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
            written.with_context(|| format!("write `{}`", path.display()))?;
        }
    }
    Ok(Verdict::Done)
}

struct Address<'a> {
    scheme: Scheme,
    /// Without a slash at the end.
    url: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl<'a> Address<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let url = text.trim_end_matches('/');
        let (scheme, rest) = if let Some(rest) = url.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else if let Some(rest) = url.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else {
            bail!("`--url` starts with https:// or http://: `{text}`");
        };
        if rest.is_empty() || rest.starts_with(['/', ':']) {
            bail!("`--url` names no host: `{text}`");
        }
        if rest.contains(['?', '#', '@', '\\', '"']) || !rest.chars().all(|c| c.is_ascii_graphic())
        {
            bail!(
                "`--url` has only a host, a port and a path (the API server drops the rest): \
                 `{text}`"
            );
        }
        if rest.contains("/v1/audit") {
            bail!("`--url` ends before /v1/audit, which is added: `{text}`");
        }
        Ok(Self { scheme, url })
    }
}

/// The `user` part: what the API server shows to auditmill.
fn user(args: &KubeconfigArgs) -> Result<Value> {
    if let Some(path) = &args.token_file {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("read token `{}`", path.display()))?;
        let token = text.trim();
        if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
            bail!("no token in this file, see `auditmill token new`: `{}`", path.display());
        }
        return Ok(json!({ "token": token }));
    }
    Ok(match (&args.client_certificate, &args.client_key) {
        (Some(certificate), Some(key)) => {
            json!({ "client-certificate": utf8(certificate)?, "client-key": utf8(key)? })
        }
        _ => json!({}),
    })
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("path is not UTF-8: `{}`", path.display()))
}

/// The authority's certificates in base64.
fn authority(path: &Path) -> Result<String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    let pem = std::fs::read(path);
    let pem = pem.with_context(|| format!("read authority `{}`", path.display()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates =
        certificates.with_context(|| format!("read authority `{}`", path.display()))?;
    if pem.windows(PRIVATE_KEY.len()).any(|bytes| bytes == PRIVATE_KEY) {
        bail!("this file has a private key, which must not be given away: `{}`", path.display());
    }
    if certificates.is_empty() {
        bail!("no certificate in this file: `{}`", path.display());
    }
    Ok(STANDARD.encode(pem))
}

const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";

/// The file, in YAML: values in JSON, which is YAML.
fn kubeconfig(server: &str, authority: Option<String>, user: &Value) -> String {
    let mut cluster = json!({ "server": server });
    if let (Some(cluster), Some(authority)) = (cluster.as_object_mut(), authority) {
        cluster.insert("certificate-authority-data".to_owned(), authority.into());
    }
    format!(
        "# For kube-apiserver:\n\
         #   --audit-webhook-config-file=THIS-FILE\n\
         #   --audit-webhook-batch-max-wait=1s (findings come that much sooner than with 30s)\n\
         apiVersion: v1\n\
         kind: Config\n\
         clusters:\n  - name: auditmill\n    cluster:\n{}\
         users:\n  - name: kube-apiserver\n    user:{}\
         contexts:\n  - name: auditmill\n    context:\n      cluster: auditmill\n      \
         user: kube-apiserver\n\
         current-context: auditmill\n",
        lines(&cluster),
        if *user == json!({}) { " {}\n".to_owned() } else { format!("\n{}", lines(user)) },
    )
}

/// `key: value` lines of an object.
fn lines(object: &Value) -> String {
    let fields = object.as_object().into_iter().flatten();
    fields.fold(String::new(), |lines, (key, value)| lines + &format!("      {key}: {value}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_perhaps_a_port_and_a_path() {
        for (url, expected) in [
            ("https://a.example:8443", "https://a.example:8443"),
            ("http://[::1]:80/", "http://[::1]:80"),
            ("https://a.example/audit//", "https://a.example/audit"),
        ] {
            assert_eq!(Address::parse(url).unwrap().url, expected);
        }
        for wrong in [
            "",
            "https://",
            "https:///x",
            "https://:1",
            "a.example:8443",
            "ftp://a",
            "https://a?cluster=b",
            "https://a#b",
            "https://me:secret@a",
            "https://a b",
            "https://a\nserver: b",
            "https://a\"",
            "https://a/v1/audit",
            "https://a/v1/audit/east",
        ] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
