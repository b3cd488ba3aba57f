//! A request as the proxy sees it.

use http::request::Parts;
use serde_json::Value;

use crate::query;

/// One request of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its number among the calls, from 1 on; 0 for a request for a watch.
    pub number: usize,
    /// `GET`, `POST`, `PUT`, `PATCH`, `DELETE`.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query.
    pub query: String,
    /// Whom the client impersonates.
    pub user: Option<String>,
    /// Plural of the resource, such as `jobs`; empty when it is not about a resource.
    pub resource: String,
    /// Namespace of the object; empty for none.
    pub namespace: String,
    /// Name of the object, for a create from its body; empty for lists.
    pub name: String,
    /// `status`, `log` and so on; empty for the object itself.
    pub subresource: String,
    /// Whether it asks for a dry run.
    pub dry_run: bool,
    /// Whether it is a watch.
    pub watch: bool,
    /// Status code of the API server's answer, once that has come; of a refusal by a rule, the refusal's.
    pub code: Option<u16>,
}

impl Call {
    /// Whether it changes something when it is done: neither a read, nor a dry run, nor a question about rights.
    pub fn is_write(&self) -> bool {
        self.method != "GET" && !self.dry_run && !self.path.starts_with("/apis/authorization.k8s.io/")
    }

    /// Whether it is this method (`POST`, say) on that object.
    pub fn is(&self, method: &str, resource: &str, name: &str) -> bool {
        self.method == method && self.resource == resource && self.name == name && self.subresource.is_empty()
    }

    pub(crate) fn read(head: &Parts, body: &[u8]) -> Self {
        let path = head.uri.path().to_owned();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let pairs = query::pairs(&query);
        let asks =
            |key: &str| pairs.iter().any(|(candidate, value)| candidate == key && !matches!(&**value, "false" | "0"));
        let mut call = Self {
            number: 0,
            method: head.method.to_string(),
            query: query.clone(),
            user: head.headers.get("impersonate-user").and_then(|user| user.to_str().ok()).map(str::to_owned),
            resource: String::new(),
            namespace: String::new(),
            name: String::new(),
            subresource: String::new(),
            // A delete says in its body that it is a dry run.
            dry_run: asks("dryRun") || (head.method == http::Method::DELETE && body.get("dryRun").is_some()),
            watch: head.method == http::Method::GET && asks("watch"),
            code: None,
            path,
        };
        let path = call.path.clone();
        call.place(&path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>());
        if call.name.is_empty() && call.method == "POST" {
            body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().clone_into(&mut call.name);
        }
        call
    }

    /// Reads `/api/VERSION/...` and `/apis/GROUP/VERSION/...`.
    fn place(&mut self, parts: &[&str]) {
        let (["api", _, rest @ ..] | ["apis", _, _, rest @ ..]) = parts else { return };
        let (namespace, rest) = match *rest {
            ["namespaces", namespace, ref rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => {
                (namespace, rest)
            }
            _ => ("", rest),
        };
        let part = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
        namespace.clone_into(&mut self.namespace);
        (self.resource, self.name, self.subresource) = (part(0), part(1), part(2));
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dry_run = if self.dry_run { " (dry run)" } else { "" };
        let name =
            if self.method == "POST" && !self.name.is_empty() { format!(" {}", self.name) } else { String::new() };
        let code = self.code.map(|code| format!(" = {code}")).unwrap_or_default();
        write!(f, "call {}: {} {}{name}{dry_run}{code}", self.number, self.method, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::Call;

    fn read(method: &str, uri: &str, body: &str) -> Call {
        let (head, ()) = http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
        Call::read(&head, body.as_bytes())
    }

    #[test]
    fn a_call_knows_its_object() {
        let call = read("PUT", "/apis/swell.dev/v1alpha1/namespaces/shop/applications/app/status?a=b", "");
        assert_eq!(
            (&*call.namespace, &*call.resource, &*call.name, &*call.subresource),
            ("shop", "applications", "app", "status")
        );
        assert!(call.is_write() && !call.watch);
        assert!(
            read("POST", "/apis/batch/v1/namespaces/shop/jobs", r#"{"metadata": {"name": "x"}}"#)
                .is("POST", "jobs", "x")
        );
        let namespace = read("GET", "/api/v1/namespaces/shop", "");
        assert_eq!((&*namespace.resource, &*namespace.name, &*namespace.namespace), ("namespaces", "shop", ""));
    }

    #[test]
    fn reads_dry_runs_and_questions_about_rights_are_no_writes() {
        assert!(!read("GET", "/api/v1/pods?watch=true", "").is_write());
        assert!(read("GET", "/api/v1/pods?watch=true", "").watch && !read("GET", "/api/v1/pods?watch=false", "").watch);
        assert!(!read("PATCH", "/api/v1/namespaces/a/configmaps/x?dryRun=All", "").is_write());
        assert!(!read("DELETE", "/api/v1/namespaces/a/configmaps/x", r#"{"dryRun": ["All"]}"#).is_write());
        assert!(!read("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", "{}").is_write());
        assert!(read("DELETE", "/api/v1/namespaces/a/configmaps/x", "").is_write());
    }
}
