//! Writes kubeconfigs (as JSON, which is YAML) and makes clients from them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::certificates::Pair;

/// The kubeconfig, as text, of the service account `namespace/name` on the cluster of `client` and `base`: a token by
/// TokenRequest, valid for `seconds`. `base` gives the server's address and its authority.
pub async fn for_service_account(base: &Path, namespace: &str, name: &str, seconds: i64) -> Result<String> {
    let client = client(base).await?;
    let token = request_token(&client, namespace, name, seconds).await?;
    let read = Kubeconfig::read_from(base).with_context(|| format!("cannot read {}", base.display()))?;
    let context = read.current_context.as_deref();
    let cluster_name = read
        .contexts
        .iter()
        .find(|candidate| Some(candidate.name.as_str()) == context)
        .and_then(|named| named.context.as_ref())
        .map(|context| context.cluster.clone());
    let cluster = read
        .clusters
        .iter()
        .find(|candidate| Some(&candidate.name) == cluster_name.as_ref())
        .and_then(|named| named.cluster.as_ref())
        .with_context(|| format!("{} has no current context with a cluster", base.display()))?;
    let mut cluster = serde_json::to_value(cluster)?;
    // A relative path would be read relative to wherever the new file is put.
    if let Some(file) = cluster.get("certificate-authority").and_then(Value::as_str) {
        let file = base.parent().unwrap_or(Path::new("")).join(file);
        let pem = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        cluster["certificate-authority"] = Value::Null;
        cluster["certificate-authority-data"] = STANDARD.encode(pem).into();
    }
    if let Some(fields) = cluster.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    render(&cluster, &format!("{namespace}/{name}"), &json!({"token": token}))
}

/// A client for the kubeconfig at `path`; it belongs to the runtime that calls this.
pub(crate) async fn client(path: &Path) -> Result<kube::Client> {
    // Two of rustls's cryptographies may be compiled in; a second installation is refused and does no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    if matches!(config.cluster_url.host(), Some("127.0.0.1" | "localhost" | "[::1]")) {
        // HTTPS_PROXY of the environment is not for loopback.
        config.proxy_url = None;
    }
    Ok(kube::Client::try_from(config)?)
}

/// Writes a kubeconfig with a client certificate.
pub(crate) fn write_for_certificate(path: &Path, server: &str, ca: &Path, user: &str, pair: &Pair) -> Result<()> {
    let credentials = json!({
        "client-certificate-data": encode(&pair.cert)?,
        "client-key-data": encode(&pair.key)?,
    });
    write(path, &render(&cluster(server, ca)?, user, &credentials)?)
}

/// Writes a kubeconfig with a bearer token.
pub(crate) fn write_for_token(path: &Path, server: &str, ca: &Path, user: &str, token: &str) -> Result<()> {
    write(path, &render(&cluster(server, ca)?, user, &json!({"token": token}))?)
}

/// A token of that service account, valid for `seconds`.
pub(crate) async fn request_token(client: &kube::Client, namespace: &str, name: &str, seconds: i64) -> Result<String> {
    let request = TokenRequest {
        spec: TokenRequestSpec { expiration_seconds: Some(seconds), ..TokenRequestSpec::default() },
        ..TokenRequest::default()
    };
    Api::<ServiceAccount>::namespaced(client.clone(), namespace)
        .create_token_request(name, &kube::api::PostParams::default(), &request)
        .await
        .with_context(|| format!("cannot get a token for service account {namespace}/{name}"))?
        .status
        .map(|status| status.token)
        .with_context(|| format!("the server gave no token for service account {namespace}/{name}"))
}

fn cluster(server: &str, ca: &Path) -> Result<Value> {
    Ok(json!({"server": server, "certificate-authority-data": encode(ca)?}))
}

fn encode(path: &Path) -> Result<String> {
    Ok(STANDARD.encode(fs::read(path).with_context(|| format!("cannot read {}", path.display()))?))
}

fn render(cluster: &Value, user: &str, credentials: &Value) -> Result<String> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "testbed",
        "clusters": [{"name": "testbed", "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
    });
    Ok(serde_json::to_string_pretty(&config)?)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| writeln!(file, "{text}"))
        .with_context(|| format!("cannot write {}", path.display()))
}
