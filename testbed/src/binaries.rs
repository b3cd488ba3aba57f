//! Finds the control plane's binaries, building them first where they are missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// Minor versions of kube-apiserver that are taken from `KUBEBUILDER_ASSETS`.
const SUPPORTED_MINORS: std::ops::RangeInclusive<u32> = 33..=37;

/// Where the control plane's binaries are.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The folder with all of them, `kubectl` and `helm` included.
    pub dir: PathBuf,
    /// etcd; from `KUBEBUILDER_ASSETS` where that names a usable pair.
    pub etcd: PathBuf,
    /// kube-apiserver; from `KUBEBUILDER_ASSETS` where that names a usable pair.
    pub kube_apiserver: PathBuf,
}

impl Binaries {
    /// The folder that `SWELL_CONTROLPLANE` names, else the one that `scripts/controlplane.sh` prints, which builds what is
    /// missing (minutes, the first time; its progress goes to standard error). Blocks.
    pub fn locate() -> Result<Self> {
        let dir = match std::env::var_os("SWELL_CONTROLPLANE") {
            Some(dir) => PathBuf::from(dir),
            None => build()?,
        };
        for name in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kubectl"] {
            ensure!(dir.join(name).is_file(), "{} has no {name}; `make controlplane` builds it", dir.display());
        }
        let mut found = Self { etcd: dir.join("etcd"), kube_apiserver: dir.join("kube-apiserver"), dir };
        if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS").filter(|assets| !assets.is_empty()) {
            found.prefer(Path::new(&assets));
        }
        Ok(found)
    }

    /// The binary of that name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn prefer(&mut self, assets: &Path) {
        let (etcd, kube_apiserver) = (assets.join("etcd"), assets.join("kube-apiserver"));
        let verdict = if etcd.is_file() && kube_apiserver.is_file() {
            match server_version(&kube_apiserver) {
                Ok((1, minor)) if SUPPORTED_MINORS.contains(&minor) => {
                    (self.etcd, self.kube_apiserver) = (etcd, kube_apiserver);
                    return;
                }
                Ok((major, minor)) => format!("kube-apiserver there is {major}.{minor}, supported are 1.33 to 1.37"),
                Err(error) => format!("{error:#}"),
            }
        } else {
            "etcd or kube-apiserver is missing there".to_owned()
        };
        eprintln!("testbed: KUBEBUILDER_ASSETS={} is not used: {verdict}", assets.display());
    }
}

fn build() -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/controlplane.sh");
    let output = Command::new(&script).stdin(Stdio::null()).stderr(Stdio::inherit()).output().with_context(|| {
        format!("cannot run {}; SWELL_CONTROLPLANE can name a folder of binaries instead", script.display())
    })?;
    ensure!(output.status.success(), "{} failed ({}); what it said is above", script.display(), output.status);
    let stdout =
        String::from_utf8(output.stdout).context("the folder that scripts/controlplane.sh prints is not UTF-8")?;
    match stdout.lines().last() {
        Some(folder) if !folder.is_empty() => Ok(PathBuf::from(folder)),
        _ => bail!("{} printed no folder", script.display()),
    }
}

/// Major and minor of `kube-apiserver --version`, which prints `Kubernetes v1.37.2`.
fn server_version(binary: &Path) -> Result<(u32, u32)> {
    let output = Command::new(binary).arg("--version").stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text)
        .with_context(|| format!("{} --version says {:?}, not a version", binary.display(), text.trim()))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix("Kubernetes v")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn the_version_line_of_kube_apiserver_gives_major_and_minor() {
        assert_eq!(parse_version("Kubernetes v1.37.2\n"), Some((1, 37)));
        assert_eq!(parse_version("Kubernetes v1.34.0-rc.1\n"), Some((1, 34)));
        assert_eq!(parse_version("etcd Version: 3.7.3"), None);
    }
}
