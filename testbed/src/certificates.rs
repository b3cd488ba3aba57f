//! The cluster's certificate authority and everything that it signs, made afresh for each cluster.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// A certificate and its key, as files in PEM.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certificate that nobody has signed but itself: whoever is told of it trusts it, and nothing else does.
pub(crate) fn alone(user: &str, names: &[&str]) -> Result<Identity> {
    let key = KeyPair::generate()?;
    let mut params = params(user, None, names)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(Identity { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

/// All certificates of one cluster.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// The authority's certificate.
    pub(crate) ca: PathBuf,
    /// Serves etcd, kube-apiserver and the log server: all of them are 127.0.0.1.
    pub(crate) server: Pair,
    /// kube-apiserver towards etcd and towards the log server.
    pub(crate) apiserver_client: Pair,
    /// `system:masters`: every right, not subject to RBAC.
    pub(crate) admin: Pair,
    pub(crate) controller_manager: Pair,
    pub(crate) scheduler: Pair,
    /// KWOK plays all kubelets: `system:masters` as well.
    pub(crate) kwok: Pair,
    /// Signs the tokens of service accounts: no certificate, `cert` is the public key alone.
    pub(crate) service_accounts: Pair,
}

impl Certificates {
    /// Makes and writes them into `dir`, private keys with mode 0600. Valid until 2100: a cluster left running stays usable.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let key = KeyPair::generate()?;
        let mut params = params("testbed-ca", None, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key)?;
        let ca = dir.join("ca.crt");
        write(&ca, &certificate.pem())?;
        let authority = Authority { dir, issuer: Issuer::new(params, key) };

        let key = KeyPair::generate()?;
        let service_accounts = Pair { cert: dir.join("service-accounts.pub"), key: dir.join("service-accounts.key") };
        write(&service_accounts.cert, &key.public_key_pem())?;
        write(&service_accounts.key, &key.serialize_pem())?;
        let names =
            ["127.0.0.1", "10.96.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        Ok(Self {
            ca,
            service_accounts,
            server: authority.sign("server", "testbed", None, &names)?,
            apiserver_client: authority.sign("apiserver-client", "kube-apiserver", None, &[])?,
            admin: authority.sign("admin", "testbed:root", Some("system:masters"), &[])?,
            controller_manager: authority.sign("controller-manager", "system:kube-controller-manager", None, &[])?,
            scheduler: authority.sign("scheduler", "system:kube-scheduler", None, &[])?,
            kwok: authority.sign("kwok", "testbed:kwok", Some("system:masters"), &[])?,
        })
    }
}

struct Authority<'a> {
    dir: &'a Path,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority<'_> {
    fn sign(&self, file: &str, user: &str, group: Option<&str>, names: &[&str]) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let mut params = params(user, group, names)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !names.is_empty() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let certificate = params.signed_by(&key, &self.issuer)?;
        let pair = Pair { cert: self.dir.join(format!("{file}.crt")), key: self.dir.join(format!("{file}.key")) };
        write(&pair.cert, &certificate.pem())?;
        write(&pair.key, &key.serialize_pem())?;
        Ok(pair)
    }
}

/// User and group of a client are common name and organisation of its certificate.
fn params(user: &str, group: Option<&str>, names: &[&str]) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, user);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    Ok(params)
}

fn write(path: &Path, pem: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(pem.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
