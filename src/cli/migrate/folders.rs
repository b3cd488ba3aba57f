//! Which local folder stands for a repository, and which for what a tool has rendered.

use std::path::{Path, PathBuf};

/// `--repo DIR` or `--repo URL=DIR`.
#[derive(Clone, Debug)]
pub(super) struct Repo {
    /// The repository, as [`same`] compares it; every one when not given.
    url: Option<String>,
    folder: PathBuf,
}

/// `--rendered APP=PATH` or `--rendered APP:N=PATH`.
#[derive(Clone, Debug)]
pub(super) struct Rendered {
    /// The whole text before `=`, to be named in messages.
    pub(super) name: String,
    namespace: Option<String>,
    application: String,
    /// The source, from 1; all of them when not given.
    source: Option<usize>,
    /// File or folder.
    pub(super) path: PathBuf,
}

impl std::str::FromStr for Repo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A folder may have a `=` in its name; a repository has a scheme, or a user and a host.
        let split = text.rsplit_once('=').filter(|(url, _)| url.contains("://") || url.contains('@'));
        let (url, folder) = split.map_or((None, text), |(url, folder)| (Some(url), folder));
        let folder = PathBuf::from(folder);
        if !folder.is_dir() {
            return Err(format!("{} is no folder; DIR or URL=DIR would be right", folder.display()));
        }
        Ok(Self { url: url.map(canonical), folder })
    }
}

impl std::str::FromStr for Rendered {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, path) =
            text.split_once('=').ok_or_else(|| format!("{text:?} has no path; APP=DIR or APP=FILE would be right"))?;
        let path = PathBuf::from(path);
        if !path.exists() {
            return Err(format!("{} is not there", path.display()));
        }
        let (application, source) = match name.rsplit_once(':') {
            Some((application, number)) => {
                let number = number.parse().ok().filter(|number| *number > 0);
                (application, Some(number.ok_or_else(|| format!("{name:?}: sources are counted from 1"))?))
            }
            None => (name, None),
        };
        let (namespace, application) =
            application.rsplit_once('/').map_or((None, application), |(namespace, name)| (Some(namespace), name));
        Ok(Self {
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
            application: application.to_owned(),
            source,
            path,
        })
    }
}

impl Rendered {
    /// Whether it stands for that source of that Application, counted from 1; `None` for all of them.
    pub(super) fn is_for(&self, namespace: &str, application: &str, source: Option<usize>) -> bool {
        self.application == application
            && self.namespace.as_deref().is_none_or(|own| own == namespace)
            && self.source == source
    }
}

/// The folder of a repository: one that was given for it, else the one that was given for all.
pub(super) fn folder<'a>(repos: &'a [Repo], url: &str) -> Option<&'a Path> {
    let url = canonical(url);
    let own = repos.iter().rev().find(|repo| repo.url.as_ref() == Some(&url));
    own.or_else(|| repos.iter().rev().find(|repo| repo.url.is_none())).map(|repo| repo.folder.as_path())
}

/// `https://host/a/b.git`, `ssh://git@host:22/a/b` and `git@host:a/b.git` name one repository: host and path are compared.
fn canonical(url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    let (rest, with_scheme) = url.split_once("://").map_or((url, false), |(_, rest)| (rest, true));
    let (host, path) = if with_scheme {
        rest.split_once('/').unwrap_or((rest, ""))
    } else {
        rest.split_once(':').or_else(|| rest.split_once('/')).unwrap_or((rest, ""))
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    format!("{}/{}", host.to_lowercase(), path.trim_matches('/').to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_the_same_by_whatever_protocol_it_is_named() {
        for url in [
            "https://github.com/Acme/shop.git",
            "https://github.com/acme/shop/",
            "git@github.com:acme/shop.git",
            "ssh://git@github.com:22/acme/shop",
            "https://token@github.com/acme/shop",
        ] {
            assert_eq!(canonical(url), "github.com/acme/shop", "{url}");
        }
        assert_ne!(canonical("https://github.com/acme/shop"), canonical("https://github.com/acme/web"));
    }

    #[test]
    fn the_folder_of_a_repository_wins_over_the_one_for_all() {
        let repos: Vec<Repo> =
            ["src", "https://github.com/acme/shop=tests"].iter().map(|t| t.parse().unwrap()).collect();
        assert_eq!(folder(&repos, "git@github.com:acme/shop.git"), Some(Path::new("tests")));
        assert_eq!(folder(&repos, "https://github.com/acme/web"), Some(Path::new("src")));
        assert!(folder(&repos[1..], "https://github.com/acme/web").is_none());
        assert!("no/such".parse::<Repo>().unwrap_err().contains("no/such is no folder"));
    }

    #[test]
    fn what_was_rendered_is_for_an_application_or_for_one_of_its_sources() {
        let rendered: Rendered = "argocd/shop:2=src".parse().unwrap();
        assert!(rendered.is_for("argocd", "shop", Some(2)) && !rendered.is_for("argocd", "shop", None));
        assert!(!rendered.is_for("other", "shop", Some(2)));
        assert!("shop=src".parse::<Rendered>().unwrap().is_for("any", "shop", None));
        for wrong in ["shop", "shop:0=src", "shop=no/such"] {
            assert!(wrong.parse::<Rendered>().is_err(), "{wrong}");
        }
    }
}
