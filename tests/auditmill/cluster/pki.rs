//! The certificates of one test cluster: one authority, and what it signs.
//!
//! Every key is fresh, lives in the test's folder and is worth nothing outside it.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A certificate authority and the folder its files are written to.
pub(crate) struct Pki {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, both PEM files.
pub(crate) struct Identity {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pki {
    /// A new authority; its certificate is at [`Pki::ca_cert`].
    pub(crate) fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("create the folder for certificates");
        let mut params = named("auditmill-test-ca", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("generate the authority's key");
        let cert = params.self_signed(&key).expect("sign the authority's certificate");
        write(&dir.join("ca.crt"), &cert.pem());
        write(&dir.join("ca.key"), &key.serialize_pem());
        Self { dir: dir.to_owned(), issuer: Issuer::new(params, key) }
    }

    /// The authority's certificate.
    pub(crate) fn ca_cert(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// The authority's private key, for the controller manager's signers.
    pub(crate) fn ca_key(&self) -> PathBuf {
        self.dir.join("ca.key")
    }

    /// A certificate for a server on the loopback address. It may act as a client too: the API
    /// server shows its own to kubelets.
    pub(crate) fn server(&self, name: &str) -> Identity {
        let mut params = named(name, None);
        params.subject_alt_names = CertificateParams::new(vec![
            "127.0.0.1".to_owned(),
            "localhost".to_owned(),
            "kubernetes.default.svc".to_owned(),
        ])
        .expect("names that are valid in a certificate")
        .subject_alt_names;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(name, &params)
    }

    /// A client certificate. To Kubernetes the common name is the user, the organization its group.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Identity {
        let mut params = named(user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&user.replace(':', "-"), &params)
    }

    /// A key pair without a certificate, to sign service account tokens: `cert` is the public key.
    pub(crate) fn signing_keys(&self, name: &str) -> Identity {
        let key = KeyPair::generate().expect("generate a key");
        self.store(name, &key.public_key_pem(), &key)
    }

    fn issue(&self, name: &str, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("generate a key");
        let cert = params.signed_by(&key, &self.issuer).expect("sign a certificate");
        self.store(name, &cert.pem(), &key)
    }

    fn store(&self, name: &str, public: &str, key: &KeyPair) -> Identity {
        let cert = self.dir.join(format!("{name}.crt"));
        let private = self.dir.join(format!("{name}.key"));
        write(&cert, public);
        write(&private, &key.serialize_pem());
        Identity { cert, key: private }
    }
}

/// A request to be signed as `common_name`, as `CertificateSigningRequest.spec.request` has it.
pub(crate) fn request(common_name: &str) -> String {
    let key = KeyPair::generate().expect("generate a key");
    let request = named(common_name, None).serialize_request(&key).expect("sign a request");
    BASE64_STANDARD.encode(request.pem().expect("write a request as PEM"))
}

fn named(common_name: &str, organization: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("write `{}`: {error}", path.display()));
}
