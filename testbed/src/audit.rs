//! Reads the API server's audit log: what was asked, by whom, and what came of it. The product cannot fool it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::query;

/// How long [`AuditLog::flushed`] waits for its own request to appear.
const FLUSH_DEADLINE: Duration = Duration::from_secs(10);

/// One request, as the API server recorded it when the request was complete (or, of a watch, when it had begun as well).
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// `ResponseComplete`, `ResponseStarted` (long requests: watches, followed logs) or `Panic`.
    pub stage: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch` (server-side apply is one), `delete`, `deletecollection`.
    pub verb: String,
    /// Path and query, such as `/api/v1/namespaces/x/pods?limit=500`.
    pub request_uri: String,
    /// Who authenticated.
    pub user: String,
    /// Whom that user impersonated, if anybody: the rights of the request are this one's.
    pub impersonated_user: Option<String>,
    /// The program, as it calls itself; empty when it does not.
    pub user_agent: String,
    /// API group, empty for the core group and for requests that are not about a resource.
    pub group: String,
    /// Plural, such as `deployments`; empty when the request is not about a resource.
    pub resource: String,
    /// `status`, `scale`, `log`, `token` and so on; empty for the object itself.
    pub subresource: String,
    /// Empty for cluster-scoped objects and for requests across namespaces.
    pub namespace: String,
    /// Empty for lists, and for a create whose name the server generates (then the response has it).
    pub name: String,
    /// The request asked for a dry run: nothing was written.
    pub dry_run: bool,
    /// The field manager that the address names.
    pub field_manager: Option<String>,
    /// Why the acting user may or may not, as the API server recorded it, such as `RBAC: allowed by RoleBinding "a/b" of …`; may be empty.
    pub reason: String,
    /// Status code of the answer; 0 when there is none yet.
    pub code: u16,
    /// When the API server got the request, in microseconds since 1970.
    pub received_us: i64,
    /// When it was recorded, in microseconds since 1970: the end of the request, for `ResponseComplete`.
    pub stage_us: i64,
    /// The body, for writes to `swell.dev` objects, Jobs and Pods, and for deletes.
    pub request_object: Option<Value>,
    /// The answer, for the same requests.
    pub response_object: Option<Value>,
}

impl Entry {
    /// Create, update, patch, delete or deletecollection, and not a dry run.
    pub fn is_write(&self) -> bool {
        !self.dry_run && matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// Whose rights counted: the impersonated user, else the one who authenticated.
    pub fn acting_user(&self) -> &str {
        self.impersonated_user.as_deref().unwrap_or(&self.user)
    }

    /// The value of a key in the address's query.
    pub fn query(&self, key: &str) -> Option<String> {
        let (_, query) = self.request_uri.split_once('?')?;
        query::pairs(query).into_iter().find(|(candidate, _)| candidate == key).map(|(_, value)| value)
    }
}

/// Selects entries; an empty field selects all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The namespace.
    pub namespace: Option<String>,
    /// How the user agent begins.
    pub user_agent: Option<String>,
    /// The acting user ([`Entry::acting_user`]).
    pub user: Option<String>,
    /// Any of these verbs.
    pub verbs: Vec<String>,
    /// The resource's plural.
    pub resource: Option<String>,
}

impl Filter {
    /// Requests about that namespace.
    pub fn namespace(namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..Self::default() }
    }

    /// Requests of programs whose user agent begins so.
    pub fn user_agent(prefix: &str) -> Self {
        Self { user_agent: Some(prefix.to_owned()), ..Self::default() }
    }

    /// The same, of these verbs only.
    #[must_use]
    pub fn verbs(mut self, verbs: &[&str]) -> Self {
        self.verbs = verbs.iter().map(|&verb| verb.to_owned()).collect();
        self
    }

    /// The same, about this resource only.
    #[must_use]
    pub fn resource(mut self, plural: &str) -> Self {
        self.resource = Some(plural.to_owned());
        self
    }

    /// Whether the entry is selected.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == entry.namespace)
            && self.user_agent.as_ref().is_none_or(|prefix| entry.user_agent.starts_with(prefix.as_str()))
            && self.user.as_ref().is_none_or(|user| user == entry.acting_user())
            && (self.verbs.is_empty() || self.verbs.contains(&entry.verb))
            && self.resource.as_ref().is_none_or(|resource| *resource == entry.resource)
    }
}

/// A place in the log, from [`AuditLog::mark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

/// The audit log of one cluster: a file that only grows.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    /// The log at that path.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The log's end, to read only what comes after it: the end of the last whole line, for the API server may be writing one.
    pub fn mark(&self) -> Result<Mark> {
        let reading = || format!("cannot read {}", self.path.display());
        let mut file = File::open(&self.path).with_context(reading)?;
        let mut end = file.seek(SeekFrom::End(0)).with_context(reading)?;
        let mut piece = vec![0; 64 * 1024];
        while end > 0 {
            let begin = end.saturating_sub(piece.len() as u64);
            let piece = &mut piece[..usize::try_from(end - begin)?];
            file.seek(SeekFrom::Start(begin)).with_context(reading)?;
            file.read_exact(piece).with_context(reading)?;
            if let Some(place) = piece.iter().rposition(|byte| *byte == b'\n') {
                return Ok(Mark(begin + place as u64 + 1));
            }
            end = begin;
        }
        Ok(Mark(0))
    }

    /// All entries that `filter` selects, in the order of their end.
    pub fn read(&self, filter: &Filter) -> Result<Vec<Entry>> {
        self.read_since(Mark(0), filter)
    }

    /// The entries after `mark` that `filter` selects, in the order of their end. A line still being written is left out.
    pub fn read_since(&self, mark: Mark, filter: &Filter) -> Result<Vec<Entry>> {
        let mut file = File::open(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        file.seek(SeekFrom::Start(mark.0))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| format!("cannot read {}", self.path.display()))?;
        // Cut before it is read as text: the line being written may end in the middle of a character.
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0));
        let complete = String::from_utf8(bytes).context("the audit log is not UTF-8 text")?;
        let mut entries = Vec::new();
        for line in complete.lines() {
            let raw: Raw = serde_json::from_str(line).with_context(|| format!("not an audit event: {line}"))?;
            let entry = Entry::from(raw);
            if filter.matches(&entry) {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// Waits until what has been answered before this call is in the log: makes two requests, one after the other, and waits
    /// for their entries. The API server writes an entry within microseconds of the answer, so the entries of answered
    /// requests are there by then.
    pub async fn flushed(&self, client: &kube::Client) -> Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        for _ in 0..2 {
            let begin = self.mark()?;
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let uri = format!("/version?marker={}-{number}", std::process::id());
            client.request_text(http::Request::get(&uri).body(Vec::new())?).await?;
            let deadline = Instant::now() + FLUSH_DEADLINE;
            while !self.read_since(begin, &Filter::default())?.iter().any(|entry| entry.request_uri == uri) {
                ensure!(Instant::now() < deadline, "{} did not get {uri} within 10 s", self.path.display());
                // The log is a file that another process writes: it is read again until the entry is there, up to the deadline.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: RawUser,
    impersonated_user: Option<RawUser>,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: RawObject,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    response_status: RawStatus,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
    request_object: Option<Value>,
    response_object: Option<Value>,
}

#[derive(Deserialize)]
struct RawUser {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawObject {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    code: u16,
}

impl From<Raw> for Entry {
    fn from(mut raw: Raw) -> Self {
        let mut entry = Self {
            stage: raw.stage,
            verb: raw.verb,
            request_uri: raw.request_uri,
            user: raw.user.username,
            impersonated_user: raw.impersonated_user.map(|user| user.username),
            user_agent: raw.user_agent,
            group: raw.object_ref.api_group,
            resource: raw.object_ref.resource,
            subresource: raw.object_ref.subresource,
            namespace: raw.object_ref.namespace,
            name: raw.object_ref.name,
            dry_run: false,
            field_manager: None,
            reason: raw.annotations.remove("authorization.k8s.io/reason").unwrap_or_default(),
            code: raw.response_status.code,
            received_us: raw.request_received_timestamp.as_microsecond(),
            stage_us: raw.stage_timestamp.as_microsecond(),
            request_object: raw.request_object,
            response_object: raw.response_object,
        };
        entry.dry_run = entry.query("dryRun").is_some();
        entry.field_manager = entry.query("fieldManager");
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::{AuditLog, Filter};

    const LINES: &str = concat!(
        r#"{"kind":"Event","level":"Metadata","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/a/deployments/x?dryRun=All&fieldManager=swell","verb":"patch","user":{"username":"system:serviceaccount:swell:operator"},"impersonatedUser":{"username":"system:serviceaccount:a:deployer"},"userAgent":"swell/0.1","objectRef":{"resource":"deployments","namespace":"a","name":"x","apiGroup":"apps","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:00.000001Z","stageTimestamp":"2026-01-01T00:00:00.250000Z"}"#,
        "\n",
        r#"{"stage":"ResponseComplete","requestURI":"/version","verb":"get","user":{"username":"root"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:00.000001Z","stageTimestamp":"2026-01-01T00:00:00.250000Z"}"#,
        "\n",
        r#"{"stage":"Resp"#,
    );

    #[test]
    fn a_line_still_being_written_is_left_out_and_a_dry_run_is_no_write() {
        let path = std::env::temp_dir().join(format!("testbed-audit-{}", std::process::id()));
        std::fs::write(&path, LINES).unwrap();
        let log = AuditLog::new(&path);
        let all = log.read(&Filter::default()).unwrap();
        let of_swell = log.read(&Filter::user_agent("swell/").verbs(&["patch"])).unwrap();
        std::fs::remove_file(&path).unwrap();

        assert_eq!(all.len(), 2);
        let [apply] = of_swell.as_slice() else { panic!("one of two is swell's: {of_swell:?}") };
        assert!(apply.dry_run && !apply.is_write());
        assert_eq!(apply.acting_user(), "system:serviceaccount:a:deployer");
        assert_eq!(apply.field_manager.as_deref(), Some("swell"));
        assert_eq!((apply.group.as_str(), apply.resource.as_str(), apply.name.as_str()), ("apps", "deployments", "x"));
        assert_eq!(apply.stage_us - apply.received_us, 249_999);
    }

    #[test]
    fn a_mark_that_is_set_while_a_line_is_being_written_does_not_cut_it() {
        let path = std::env::temp_dir().join(format!("testbed-mark-{}", std::process::id()));
        let (written, rest) = LINES.split_at(LINES.find("/version").unwrap());
        std::fs::write(&path, written).unwrap();
        let log = AuditLog::new(&path);
        let mark = log.mark().unwrap();
        std::fs::write(&path, [written, rest].concat()).unwrap();
        let since = log.read_since(mark, &Filter::default());
        std::fs::remove_file(&path).unwrap();
        let uris: Vec<_> = since.unwrap().into_iter().map(|entry| entry.request_uri).collect();
        assert_eq!(uris, ["/version"], "the one whose line was not complete comes after the mark");
    }
}
