//! Pods that start before the account that they run as has any of the rights which its own plan gives it.

use serde_json::Value;

use super::super::desired::Problem;
use super::super::finding::{Part, Remark, Rule};
use super::super::object::ObjectKey;
use super::pods::{account, pod_spec};
use super::{Place, Places};

/// A binding of the plan: whom it gives rights, and since which stage.
struct Binding<'a> {
    place: &'a Place,
    /// The binding, or the role that it names, whichever comes later.
    since: &'a Place,
    subjects: Vec<(String, String)>,
}

/// Hooks and workloads whose account is bound to roles by their own plan, but in later stages only.
pub(super) fn late_rights(places: &Places<'_>) -> Vec<Problem> {
    let bindings = bindings(places);
    let mut late = Vec::new();
    for placed in places.all.iter().filter(|placed| placed.is_waited_for()) {
        let user = &placed.place;
        let Some(pod) = pod_spec(&user.key, &placed.manifest.body) else { continue };
        let Some((field, name)) = account(&pod) else { continue };
        let subject = (user.key.namespace_or_empty().to_owned(), name);
        // An account with some rights in time may have all that this pod needs.
        let mut of_account = bindings.iter().filter(|binding| binding.subjects.contains(&subject)).peekable();
        let Some(first) = of_account.peek().copied() else { continue };
        if !of_account.all(|binding| binding.since.stage() > user.stage()) {
            continue;
        }
        let Binding { place, since, .. } = first;
        let through = if place.key == since.key { String::new() } else { format!(" through {}", place.key) };
        let message = format!(
            "{} of {} wave {} runs as the ServiceAccount {}/{}, which has rights by {}{through} only from {} wave {} on ({}): at a first deployment it runs without them; bring the {} in {} wave {} or before",
            user.key,
            user.phase,
            user.wave,
            subject.0,
            subject.1,
            since.key,
            since.phase,
            since.wave,
            since.seen_from(user),
            since.key.kind.kind,
            user.phase,
            user.wave,
        );
        let part = Part::Value([&pod.path[..], &[field.to_owned()]].concat());
        let remark = Remark { rule: Rule::LateRights, part, message };
        late.push(Problem { see: Some(since.see()), ..remark.at(&user.position, None) });
    }
    late
}

fn bindings<'a>(places: &'a Places<'_>) -> Vec<Binding<'a>> {
    const RBAC: &str = "rbac.authorization.k8s.io";
    let first = places.first();
    let mut found = Vec::new();
    for placed in &places.all {
        let place = &placed.place;
        if !place.key.kind.is(RBAC, "RoleBinding") && !place.key.kind.is(RBAC, "ClusterRoleBinding") {
            continue;
        }
        let body = &placed.manifest.body;
        let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
        let role = body.get("roleRef").and_then(|role| {
            let (kind, name) = (text(role, "kind")?, text(role, "name")?);
            let namespace = place.key.namespace.as_deref().filter(|_| kind == "Role");
            first.get(&ObjectKey::new(RBAC, &kind, namespace, &name)).copied()
        });
        let subjects = body.get("subjects").and_then(Value::as_array).into_iter().flatten();
        let subjects = subjects.filter(|subject| text(subject, "kind").as_deref() == Some("ServiceAccount"));
        let subjects = subjects.filter_map(|subject| {
            let namespace = text(subject, "namespace").or_else(|| place.key.namespace.as_deref().map(str::to_owned));
            Some((namespace?, text(subject, "name")?))
        });
        let since = role.filter(|role| role.stage() > place.stage()).unwrap_or(place);
        found.push(Binding { place, since, subjects: subjects.collect() });
    }
    found
}
