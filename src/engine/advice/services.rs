//! Pods that wait for a Service of a later stage, as far as their manifest says so: what they call by its host name and port.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::desired::Problem;
use super::super::finding::{Part, Remark, Rule};
use super::pods::{At, pod_spec};
use super::{Place, Placed, Places};

/// A Service of the plan.
struct Service<'a> {
    place: &'a Place,
    /// The Service, or the first of the workloads behind it, whichever comes later.
    since: &'a Place,
    ports: Vec<String>,
}

/// Jobs and other hooks that run to an end, and init containers, which name a Service that nobody answers before a later stage.
///
/// Only what is plainly a call counts: a URL, a full host name, or a host name with one of the Service's ports. A long-running
/// container may try again until the Service is there: nothing is said of it.
pub(super) fn late_services(places: &Places<'_>) -> Vec<Problem> {
    let services = services(places);
    let mut late = Vec::new();
    for placed in places.all.iter().filter(|placed| placed.is_waited_for()) {
        let user = &placed.place;
        let Some(pod) = pod_spec(&user.key, &placed.manifest.body) else { continue };
        let mut containers = pod.list("initContainers");
        if placed.hook == Some(true) || user.key.kind.is("batch", "Job") {
            containers.extend(pod.list("containers"));
        }
        for service in services.iter().filter(|service| service.since.stage() > user.stage()) {
            let Some((field, part)) = containers.iter().find_map(|container| call(container, service, user)) else {
                continue;
            };
            let Service { place, since, .. } = service;
            let answered = if place.key == since.key {
                "which comes only in".to_owned()
            } else {
                format!("which {} answers only from", since.key)
            };
            let message = format!(
                "{} of {} wave {} calls {} ({field}), {answered} {} wave {} ({}): at a first deployment it waits for it in vain; bring the {} in an earlier stage than the {}, or the {} in a later one",
                user.key,
                user.phase,
                user.wave,
                place.key,
                since.phase,
                since.wave,
                since.seen_from(user),
                since.key.kind.kind,
                user.key.kind.kind,
                user.key.kind.kind,
            );
            let remark = Remark { rule: Rule::LateService, part, message };
            late.push(Problem { see: Some(since.see()), ..remark.at(&user.position, None) });
        }
    }
    late
}

fn services<'a>(places: &'a Places<'_>) -> Vec<Service<'a>> {
    let first = places.first();
    let is_service = |placed: &&Placed<'_>| placed.place.key.kind.is("", "Service");
    let is_first = |placed: &&Placed<'_>| first.get(&placed.place.key).is_some_and(|place| *place == &placed.place);
    let services = places.all.iter().filter(is_service).filter(is_first);
    services
        .filter_map(|placed| {
            let spec = placed.manifest.body.get("spec")?;
            if spec.get("type").and_then(Value::as_str) == Some("ExternalName") {
                return None;
            }
            let ports = spec.get("ports").and_then(Value::as_array).into_iter().flatten();
            let ports = ports.filter_map(|port| Some(port.get("port")?.as_u64()?.to_string())).collect();
            let place = &placed.place;
            let behind = spec.get("selector").and_then(Value::as_object).filter(|selector| !selector.is_empty());
            // What stands behind it in the order of the plan; the first of them answers.
            let behind = behind.and_then(|selector| {
                let selected = |other: &&Placed<'_>| {
                    let labels = labels(other);
                    other.place.key.namespace == place.key.namespace
                        && selector.iter().all(|(name, value)| labels.get(name.as_str()) == value.as_str().as_ref())
                };
                places.all.iter().find(selected)
            });
            let since = behind.map(|behind| &behind.place).filter(|behind| behind.stage() > place.stage());
            Some(Service { place, since: since.unwrap_or(place), ports })
        })
        .collect()
}

/// The labels of the pods of a workload.
fn labels<'a>(placed: &'a Placed<'_>) -> BTreeMap<&'a str, &'a str> {
    let body = &placed.manifest.body;
    let pointer =
        if placed.place.key.kind.is("", "Pod") { "/metadata/labels" } else { "/spec/template/metadata/labels" };
    let labels = body.pointer(pointer).and_then(Value::as_object);
    labels.into_iter().flatten().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect()
}

/// Where a container calls the Service: the field in words, and the place.
fn call(container: &At<'_>, service: &Service<'_>, user: &Place) -> Option<(String, Part)> {
    let Place { key, .. } = service.place;
    let namespace = key.namespace.as_deref()?;
    let host = Host { name: &key.name, namespace, near: user.key.namespace == key.namespace, ports: &service.ports };
    let of = format!("of container {}", container.text("name").unwrap_or("without a name"));
    for variable in container.list("env") {
        let Some(value) = variable.text("value") else { continue };
        let name = variable.text("name").unwrap_or_default();
        let is_host = host.near && name.to_uppercase().ends_with("HOST") && value == host.name;
        if is_host || host.is_called_in(value) {
            let path = [&variable.path[..], &["value".to_owned()]].concat();
            return Some((format!("env {name} {of}"), Part::Word(path, host.name.to_owned())));
        }
    }
    for field in ["command", "args"] {
        let items = container.list(field);
        for (index, item) in items.iter().enumerate() {
            let Some(value) = item.value.as_str() else { continue };
            // `nc -z db 5432`, word by word.
            let next = items.get(index + 1).and_then(|next| next.value.as_str());
            let with_port = host.near && value == host.name && next.is_some_and(|next| host.has_port(next));
            if with_port || host.is_called_in(value) {
                return Some((format!("{field} {of}"), Part::Word(item.path.clone(), host.name.to_owned())));
            }
        }
    }
    None
}

struct Host<'a> {
    name: &'a str,
    namespace: &'a str,
    /// Whether the short name is enough.
    near: bool,
    ports: &'a [String],
}

impl Host<'_> {
    fn has_port(&self, word: &str) -> bool {
        self.ports.iter().any(|port| port == word)
    }

    fn is_called_in(&self, text: &str) -> bool {
        text.match_indices(self.name).any(|(at, _)| self.is_called_at(&text[..at], &text[at + self.name.len()..]))
    }

    /// Whether the name between the two is a call of the Service.
    fn is_called_at(&self, before: &str, after: &str) -> bool {
        let in_url = before.ends_with("//") || before.ends_with('@') && before.contains("//");
        let begins = before.chars().next_back().is_none_or(|c| c.is_whitespace() || "'\"=,(;|&`[{".contains(c));
        if !in_url && !begins {
            return false;
        }
        let full = after.strip_prefix('.').and_then(|rest| rest.strip_prefix(self.namespace));
        if let Some(rest) = full.and_then(|rest| rest.strip_prefix(".svc")) {
            return ends(rest) || rest.starts_with('.');
        }
        let rest = match full {
            Some(rest) => rest,
            None if self.near => after,
            None => return false,
        };
        if in_url && ends(rest) {
            return true;
        }
        let Some(port) = rest.strip_prefix([':', ' ']) else { return false };
        self.has_port(port.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default())
    }
}

/// Whether a host name ends here.
fn ends(rest: &str) -> bool {
    rest.chars().next().is_none_or(|c| c.is_whitespace() || ":/?#'\",;)|&`]}".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_called_by_a_url_a_full_name_or_a_port_and_by_nothing_else() {
        let ports = ["5432".to_owned()];
        let near = Host { name: "db", namespace: "shop", near: true, ports: &ports };
        for called in [
            "http://db",
            "http://db/ready",
            "http://db:80",
            "postgres://user:password@db/shop",
            "db:5432",
            "until nc -z db 5432; do sleep 1; done",
            "db.shop.svc",
            "db.shop.svc.cluster.local:80",
            "http://db.shop/x",
            "--host=db.shop:5432",
        ] {
            assert!(near.is_called_in(called), "{called}");
        }
        for other in [
            "db",
            "mydb:5432",
            "db-old:5432",
            "db:80",
            "db 80",
            "db:54321",
            "/data/db:5432",
            "x.db.shop.svc",
            "db.other.svc",
            "http://db.example.com",
            "http://dbx",
            "http://host/db",
            "user@db",
        ] {
            assert!(!near.is_called_in(other), "{other}");
        }
        let far = Host { near: false, ..near };
        assert!(
            far.is_called_in("http://db.shop/x") && !far.is_called_in("http://db/x") && !far.is_called_in("db:5432")
        );
    }
}
