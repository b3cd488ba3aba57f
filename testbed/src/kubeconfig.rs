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
    let (_, cluster) = current(base)?;
    render(&cluster, &format!("{namespace}/{name}"), &json!({"token": token}))
}

/// The API server of a kubeconfig.
#[derive(Debug)]
pub(crate) struct Target {
    /// Its address.
    pub(crate) server: String,
    /// Who vouches for it, in PEM.
    pub(crate) authority_pem: Vec<u8>,
}

/// The API server of the current context of the kubeconfig at `base`.
pub(crate) fn target(base: &Path) -> Result<Target> {
    let (_, cluster) = current(base)?;
    let text = |field: &str| {
        let missing = || format!("the cluster of {} has no {field}", base.display());
        cluster.get(field).and_then(Value::as_str).with_context(missing)
    };
    Ok(Target {
        server: text("server")?.to_owned(),
        authority_pem: STANDARD.decode(text("certificate-authority-data")?)?,
    })
}

/// Writes the kubeconfig at `base` once more, to `path`, for another server that this certificate stands for.
pub(crate) fn write_redirected(base: &Path, path: &Path, server: &str, certificate: &str) -> Result<()> {
    let (user, _) = current(base)?;
    let token = user.get("token").and_then(Value::as_str);
    let token = token.with_context(|| format!("the user of {} has no token", base.display()))?;
    let cluster = json!({"server": server, "certificate-authority-data": STANDARD.encode(certificate)});
    write(path, &render(&cluster, "redirected", &json!({"token": token}))?)
}

/// User and cluster of the current context, as JSON; the authority in the cluster itself.
fn current(base: &Path) -> Result<(Value, Value)> {
    let read = Kubeconfig::read_from(base).with_context(|| format!("cannot read {}", base.display()))?;
    let context = read.current_context.as_deref();
    let context = read
        .contexts
        .iter()
        .find(|candidate| Some(candidate.name.as_str()) == context)
        .and_then(|named| named.context.as_ref());
    let cluster = read
        .clusters
        .iter()
        .find(|candidate| Some(&candidate.name) == context.map(|context| &context.cluster))
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
    let user = context.and_then(|context| context.user.as_ref());
    let user = read.auth_infos.iter().find(|candidate| Some(&candidate.name) == user);
    Ok((serde_json::to_value(user.and_then(|named| named.auth_info.as_ref()))?, cluster))
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
