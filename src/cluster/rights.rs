//! Asks the API server what the Application's account may do: one rules review for each namespace, and an access review for what
//! that does not show.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::client::Calls;
use crate::engine::action::{Fault, FaultKind};
use crate::engine::rights::{MissingRight, Right};

/// The rights of `needed` that the account does not have. An account that does not exist is a fault that says so: the API server lets
/// anybody act as one, without any rights. `calls` act as the account, `operator` asks for the account itself.
pub async fn missing(
    calls: &Calls,
    operator: &Calls,
    account: (&str, &str),
    needed: Vec<Right>,
) -> Result<Vec<MissingRight>, Fault> {
    let (namespace, name) = account;
    if let Err(fault) = operator.get(format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}")).await
        && fault.kind == FaultKind::NotFound
    {
        let message = format!(
            "the service account {namespace}/{name} does not exist; to create it: kubectl create serviceaccount {name} --namespace {namespace}"
        );
        return Err(Fault { kind: FaultKind::Invalid, message, retry_after: None });
    }
    let mut by_namespace: BTreeMap<Option<String>, Vec<Right>> = BTreeMap::new();
    for right in needed {
        by_namespace.entry(right.namespace.clone()).or_default().push(right);
    }
    let mut missing = Vec::new();
    for (namespace, rights) in by_namespace {
        let rules = match &namespace {
            Some(namespace) => rules(calls, namespace).await?,
            None => Vec::new(),
        };
        for right in rights {
            if rules.iter().any(|rule| allows(rule, &right)) || is_allowed(calls, &right).await? {
                continue;
            }
            missing.push(MissingRight {
                right,
                account_namespace: account.0.to_owned(),
                account: account.1.to_owned(),
            });
        }
    }
    Ok(missing)
}

async fn rules(calls: &Calls, namespace: &str) -> Result<Vec<Value>, Fault> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}
    });
    let mut answer = calls.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews".to_owned(), &review).await?;
    match answer.pointer_mut("/status/resourceRules").map(Value::take) {
        Some(Value::Array(rules)) => Ok(rules),
        _ => Ok(Vec::new()),
    }
}

/// Whether a rule grants the right for every object of the resource.
fn allows(rule: &Value, right: &Right) -> bool {
    let lists = |field: &str, wanted: &str| {
        rule.get(field).and_then(Value::as_array).into_iter().flatten().any(|item| item == "*" || item == wanted)
    };
    let unnamed = rule.get("resourceNames").and_then(Value::as_array).is_none_or(Vec::is_empty);
    unnamed && lists("verbs", right.verb) && lists("apiGroups", &right.group) && lists("resources", &right.resource)
}

async fn is_allowed(calls: &Calls, right: &Right) -> Result<bool, Fault> {
    let mut attributes = json!({"group": right.group, "resource": right.resource, "verb": right.verb});
    if let Some(namespace) = &right.namespace {
        attributes["namespace"] = Value::from(namespace.clone());
    }
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes}
    });
    let answer = calls.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned(), &review).await?;
    answer.pointer("/status/allowed").and_then(Value::as_bool).ok_or_else(|| Fault {
        kind: FaultKind::Transient,
        message: "the access review has no answer".to_owned(),
        retry_after: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_named_objects_is_not_taken_for_one_for_all() {
        let right = Right { namespace: None, group: "apps".into(), resource: "deployments".into(), verb: "patch" };
        let all = json!({"verbs": ["*"], "apiGroups": ["apps"], "resources": ["deployments"]});
        let one = json!({"verbs": ["*"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["x"]});
        assert!(allows(&all, &right));
        assert!(!allows(&one, &right));
    }
}
