//! Asks the API server what the Application's account may do: one rules review for each namespace, and an access review for what
//! that does not show.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::account::is_dns_name;
use super::client::Calls;
use crate::engine::action::{Fault, FaultKind};
use crate::engine::rights::{Account, Lack, Needs, Right};

/// What is lacking of `needs`. `calls` act as the account (`None`: as the operator itself), `operator` asks for the account itself and
/// for namespaces: the API server lets anybody act as an account that does not exist, without any rights, and an account that may write
/// into a namespace may hardly ever read it. `home` is the Application's namespace, which is there.
pub async fn lacking(
    calls: &Calls,
    operator: &Calls,
    account: Option<&(String, String)>,
    home: &str,
    needs: Needs,
) -> Result<Vec<Lack>, Fault> {
    if let Some((namespace, name)) = account {
        if !is_dns_name(name) {
            let message = format!("{name:?} is not the name of a service account");
            return Err(Fault { kind: FaultKind::Invalid, message, retry_after: None });
        }
        let there = operator.get(format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}")).await;
        if there.is_err_and(|fault| fault.kind == FaultKind::NotFound) {
            return Ok(vec![Lack::Account { namespace: namespace.clone(), name: name.clone() }]);
        }
    }
    let mut by_place: BTreeMap<Option<String>, Vec<Right>> = BTreeMap::new();
    for right in needs.rights {
        by_place.entry(right.namespace.clone()).or_default().push(right);
    }
    let mut lacks = Vec::new();
    for (namespace, rights) in by_place {
        let rules = match &namespace {
            Some(namespace) => rules(calls, namespace).await?,
            None => Vec::new(),
        };
        let mut missing = Vec::new();
        for right in rights {
            if !rules.iter().any(|rule| allows(rule, &right)) && !is_allowed(calls, &right).await? {
                missing.push(right);
            }
        }
        let absent = match namespace.as_deref().filter(|namespace| *namespace != home) {
            Some(namespace) => is_absent(operator, namespace).await,
            None => false,
        };
        let brought = namespace.as_ref().is_some_and(|namespace| needs.brings.contains(namespace));
        if missing.is_empty() && (!absent || brought) {
            continue;
        }
        let account = match account {
            Some((namespace, name)) => Account::Service { namespace: namespace.clone(), name: name.clone() },
            None => Account::Operator(own_name(operator).await?),
        };
        lacks.push(Lack::Place { namespace, absent, account, rights: missing });
    }
    Ok(lacks)
}

/// Whether a namespace is known not to be there.
async fn is_absent(operator: &Calls, namespace: &str) -> bool {
    let there = operator.get(format!("/api/v1/namespaces/{namespace}")).await;
    there.is_err_and(|fault| fault.kind == FaultKind::NotFound)
}

/// The user as whom the API server knows the operator.
async fn own_name(operator: &Calls) -> Result<String, Fault> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = operator.post("/apis/authentication.k8s.io/v1/selfsubjectreviews".to_owned(), &review).await?;
    Ok(answer.pointer("/status/userInfo/username").and_then(Value::as_str).unwrap_or_default().to_owned())
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
