//! What the API server does with the operator's requests.

use std::collections::BTreeSet;

use serde_json::Value;
use swell::engine::action::{Fault, FaultKind, Propagation, Write};
use swell::engine::object::ObjectKey;

use super::managed::{self, Path};
use super::{User, World};

impl World {
    /// Does a write; the object as it is then, nothing for a delete.
    pub(crate) fn write(&mut self, write: &Write, manager: &str, user: User) -> Result<Option<Value>, Fault> {
        self.asked += 1;
        self.admits(write, manager, false)?;
        match write {
            Write::Apply { key, body, .. } => self.apply(key, body, manager, user),
            Write::Replace { key, body, .. } => {
                let now = self.now;
                self.update(key, user, |stored| {
                    let before = managed::leaves(&stored.body);
                    let mut body = (**body).clone();
                    for field in
                        ["uid", "resourceVersion", "creationTimestamp", "generation", "deletionTimestamp", "finalizers"]
                    {
                        if let Some(value) = stored.body["metadata"].get(field) {
                            body["metadata"][field] = value.clone();
                        }
                    }
                    if let Some(status) = stored.body.get("status") {
                        body["status"] = status.clone();
                    }
                    let after = managed::leaves(&body);
                    let changed: BTreeSet<_> = after
                        .iter()
                        .filter(|(path, value)| before.get(*path) != Some(value))
                        .map(|(p, _)| p.clone())
                        .collect();
                    for (paths, _) in stored.owners.values_mut() {
                        paths.retain(|path| after.contains_key(path) && !changed.contains(path));
                    }
                    stored.owners.retain(|_, (paths, _)| !paths.is_empty());
                    let ours = stored.owners.entry((manager.to_owned(), "Update")).or_insert((BTreeSet::new(), now));
                    ours.0.extend(changed);
                    stored.body = body;
                });
            }
            Write::Migrate { key, .. } => {
                let now = self.now;
                self.update(key, user, |stored| {
                    let others: Vec<_> = stored
                        .owners
                        .keys()
                        .filter(|(name, operation)| {
                            name == "kubectl-create" || (name == manager && *operation == "Update")
                        })
                        .cloned()
                        .collect();
                    let mut theirs = BTreeSet::new();
                    for other in others {
                        theirs.extend(stored.owners.remove(&other).map(|(paths, _)| paths).unwrap_or_default());
                    }
                    stored
                        .owners
                        .entry((manager.to_owned(), "Apply"))
                        .or_insert((BTreeSet::new(), now))
                        .0
                        .extend(theirs);
                });
            }
            Write::Create { key, body, .. } => self.insert(key, (**body).clone(), manager, "Update", user),
            Write::Delete { key, propagation, .. } => {
                self.delete(key, *propagation == Propagation::Foreground, user);
                return Ok(None);
            }
            Write::Patch { key, patch, .. } => {
                let now = self.now;
                self.update(key, user, |stored| {
                    managed::merge(&mut stored.body, patch);
                    let paths = managed::leaves(patch).into_keys();
                    stored
                        .owners
                        .entry((manager.to_owned(), "Update"))
                        .or_insert((BTreeSet::new(), now))
                        .0
                        .extend(paths);
                });
            }
        }
        Ok(self.objects.get(write.key()).map(super::Stored::full))
    }

    /// Whether a write would be done: the dry run, and the first half of the write itself.
    pub(crate) fn admits(&self, write: &Write, manager: &str, dry_run: bool) -> Result<(), Fault> {
        let key = write.key();
        let live = self.objects.get(key);
        match write {
            Write::Apply { body, force, version, .. } => {
                self.refusal(key, dry_run)?;
                immutable(key, live, body)?;
                match (live, version) {
                    (None, Some(version)) => Err(conflict(key, &format!("there is none at resourceVersion {version}"))),
                    (Some(live), Some(version)) if live.text("/metadata/resourceVersion") != version.to_string() => {
                        Err(conflict(key, &format!("it is not at resourceVersion {version}")))
                    }
                    (Some(_), _) if !force => match self.owned_by_others(key, body, manager).first() {
                        Some((other, path)) => Err(conflict(key, &format!("{other} owns {}", path.join(".")))),
                        None => Ok(()),
                    },
                    (Some(_) | None, _) => Ok(()),
                }
            }
            Write::Replace { version, body, .. } => {
                self.refusal(key, dry_run)?;
                immutable(key, live, body)?;
                let live = live.ok_or_else(|| not_found(key))?;
                if live.text("/metadata/resourceVersion") == version.to_string() {
                    Ok(())
                } else {
                    Err(conflict(key, &format!("it is not at resourceVersion {version}")))
                }
            }
            Write::Create { .. } => {
                self.refusal(key, dry_run)?;
                match live {
                    Some(_) => Err(fault(FaultKind::Exists, format!("{key} already exists"))),
                    None => Ok(()),
                }
            }
            Write::Delete { uid, version, .. } => {
                let live = live.ok_or_else(|| not_found(key))?;
                if live.uid() != &**uid {
                    return Err(conflict(key, &format!("its uid is not {uid}")));
                }
                match version {
                    Some(version) if live.text("/metadata/resourceVersion") != version.to_string() => {
                        Err(conflict(key, &format!("it is not at resourceVersion {version}")))
                    }
                    _ => Ok(()),
                }
            }
            Write::Patch { uid, .. } | Write::Migrate { uid, .. } => {
                let live = live.ok_or_else(|| not_found(key))?;
                if live.uid() == &**uid { Ok(()) } else { Err(conflict(key, &format!("its uid is not {uid}"))) }
            }
        }
    }

    /// Sets one field as another manager.
    pub(super) fn write_as(
        &mut self,
        key: &ObjectKey,
        manager: &str,
        operation: &'static str,
        path: Path,
        value: Value,
        user: User,
    ) {
        let now = self.now;
        self.update(key, user, |stored| {
            managed::set(&mut stored.body, &path, value);
            for (paths, _) in stored.owners.values_mut() {
                paths.remove(&path);
            }
            stored.owners.entry((manager.to_owned(), operation)).or_insert((BTreeSet::new(), now)).0.insert(path);
        });
    }

    /// Server-side apply, admitted before.
    fn apply(&mut self, key: &ObjectKey, body: &Value, manager: &str, user: User) {
        if !self.objects.contains_key(key) {
            self.insert(key, body.clone(), manager, "Apply", user);
            return;
        }
        let taken = self.owned_by_others(key, body, manager);
        let now = self.now;
        self.update(key, user, |stored| {
            let wanted = managed::leaves(body);
            let mine = (manager.to_owned(), "Apply");
            let before = stored.owners.get(&mine).map(|(paths, _)| paths.clone()).unwrap_or_default();
            for (other, path) in taken {
                for ((name, _), (paths, _)) in &mut stored.owners {
                    if *name == other {
                        paths.remove(&path);
                    }
                }
            }
            for path in before.iter().filter(|path| !wanted.contains_key(*path)) {
                let shared = stored.owners.iter().any(|(owner, (paths, _))| *owner != mine && paths.contains(path));
                if !shared {
                    managed::remove(&mut stored.body, path);
                }
            }
            for (path, value) in &wanted {
                managed::set(&mut stored.body, path, value.clone());
            }
            stored.owners.insert(mine, (wanted.into_keys().collect(), now));
            stored.owners.retain(|_, (paths, _)| !paths.is_empty());
        });
    }

    /// Fields of the body that others own with another value.
    fn owned_by_others(&self, key: &ObjectKey, body: &Value, manager: &str) -> Vec<(String, Path)> {
        let Some(stored) = self.objects.get(key) else { return Vec::new() };
        let wanted = managed::leaves(body);
        let mut found = Vec::new();
        for ((other, operation), (paths, _)) in &stored.owners {
            if other == manager && *operation == "Apply" {
                continue;
            }
            for path in paths {
                if wanted.get(path).is_some_and(|value| managed::get(&stored.body, path) != Some(value)) {
                    found.push((other.clone(), path.clone()));
                }
            }
        }
        found
    }

    fn refusal(&self, key: &ObjectKey, dry_run: bool) -> Result<(), Fault> {
        match self.refused.get(&*key.name) {
            Some((kind, rehearsed)) if *rehearsed || !dry_run => {
                Err(fault(*kind, format!("admission webhook denied {key}")))
            }
            _ => Ok(()),
        }
    }
}

/// The template of a Job cannot be changed.
fn immutable(key: &ObjectKey, live: Option<&super::Stored>, body: &Value) -> Result<(), Fault> {
    let template = |object: &Value| object.pointer("/spec/template/spec/containers").cloned();
    match live.filter(|_| key.kind.is("batch", "Job")) {
        Some(live) if template(&live.body) != template(body) => {
            Err(fault(FaultKind::Invalid, format!("{key} is invalid: spec.template: field is immutable")))
        }
        Some(_) | None => Ok(()),
    }
}

/// A refusal without a wait that is asked for.
pub(crate) fn fault(kind: FaultKind, message: String) -> Fault {
    Fault { kind, message, retry_after: None }
}

fn conflict(key: &ObjectKey, why: &str) -> Fault {
    fault(FaultKind::Conflict, format!("conflict on {key}: {why}"))
}

fn not_found(key: &ObjectKey) -> Fault {
    fault(FaultKind::NotFound, format!("{key} not found"))
}
