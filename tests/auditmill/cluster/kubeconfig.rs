//! Files that say where a server is and who asks it: for kubectl, controllers and the webhook.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::pki::Pki;

/// Where the credentials of `user` are.
pub(crate) fn kubeconfig(dir: &Path, user: &str) -> PathBuf {
    dir.join(format!("{}.kubeconfig", user.replace(':', "-")))
}

/// Writes the file that [`kubeconfig`] names; `credentials` is the `user` part of it.
pub(crate) fn write_kubeconfig(dir: &Path, user: &str, port: u16, pki: &Pki, credentials: &Value) {
    let server = format!("https://127.0.0.1:{port}");
    let config = kubeconfig_json(&server, &pki.ca_cert(), credentials);
    fs::write(kubeconfig(dir, user), config.to_string()).expect("write a kubeconfig");
}

/// A kubeconfig with one server and one user. JSON is YAML.
pub(crate) fn kubeconfig_json(server: &str, ca_cert: &Path, credentials: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "there",
            "cluster": { "server": server, "certificate-authority": ca_cert },
        }],
        "users": [{ "name": "me", "user": credentials }],
        "contexts": [{ "name": "it", "context": { "cluster": "there", "user": "me" } }],
        "current-context": "it",
    })
}
