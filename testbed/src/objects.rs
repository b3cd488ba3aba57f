//! What a cluster has from the start: nodes, StorageClasses, and an administrator that RBAC applies to.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Node, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::stages::PROVISIONER;

/// Namespace and name of the administrator.
pub(crate) const ADMIN: (&str, &str) = ("kube-system", "testbed-admin");

/// Creates the administrator.
pub(crate) async fn create_admin(client: &Client) -> Result<()> {
    let (namespace, name) = ADMIN;
    create_one::<ServiceAccount>(
        Api::namespaced(client.clone(), namespace),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}),
    )
    .await?;
    create_one::<ClusterRoleBinding>(
        Api::all(client.clone()),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}],
        }),
    )
    .await?;
    Ok(())
}

/// Creates the nodes, which become Ready once KWOK runs, and the StorageClasses.
pub(crate) async fn create_equipment(client: &Client, nodes: u32) -> Result<()> {
    for number in 1..=nodes {
        let hostname = format!("node-{number}");
        create_one::<Node>(
            Api::all(client.clone()),
            json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": hostname, "labels": {
                    "kubernetes.io/hostname": hostname,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64",
                    "type": "kwok",
                }},
            }),
        )
        .await?;
    }
    for (class, mode, default) in [("standard", "WaitForFirstConsumer", "true"), ("immediate", "Immediate", "false")] {
        create_one::<StorageClass>(
            Api::all(client.clone()),
            json!({
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": class, "annotations": {"storageclass.kubernetes.io/is-default-class": default}},
                "provisioner": PROVISIONER,
                "reclaimPolicy": "Delete",
                "volumeBindingMode": mode,
            }),
        )
        .await?;
    }
    Ok(())
}

/// What the cluster still lacks before pods can be created and are scheduled at once, or nothing.
pub(crate) async fn missing(client: &Client, nodes: u32) -> Result<Option<String>> {
    let list = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    let ready = list.items.iter().filter(|node| is_ready(node)).count();
    if ready < nodes as usize {
        return Ok(Some(format!("{ready} of {nodes} nodes are Ready and free of taints")));
    }
    let service_accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
    if service_accounts.get_opt("default").await?.is_none() {
        return Ok(Some("namespace default has no service account".to_owned()));
    }
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), "default");
    if config_maps.get_opt("kube-root-ca.crt").await?.is_none() {
        return Ok(Some("namespace default has no kube-root-ca.crt".to_owned()));
    }
    Ok(None)
}

/// A new node is tainted until the node controller has seen it Ready; until then the scheduler passes it by.
fn is_ready(node: &Node) -> bool {
    let ready = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).is_none_or(Vec::is_empty)
}

async fn create_one<K>(api: Api<K>, object: Value) -> Result<()>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + serde::Serialize + Clone + std::fmt::Debug,
{
    let name = object["metadata"]["name"].clone();
    let object = serde_json::from_value(object).context("an object of the testbed's own is malformed")?;
    api.create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("cannot create {} {name}", K::kind(&())))?;
    Ok(())
}
