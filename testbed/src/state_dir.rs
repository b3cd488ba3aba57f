//! The folder of one cluster's state, removed when the cluster stops, or by the next one when that was killed.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A fresh folder for one cluster. Dropping it removes the folder, unless it is to be kept.
///
/// The folders live in the user's cache directory, not in the system's temporary one: they hold private keys, and the
/// temporary directory is often in memory, which would make timings with fsync a lie.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    keep: bool,
    /// Held as long as the folder is in use.
    _lock: File,
}

impl StateDir {
    /// Creates `<parent>/<pid>-<n>` with mode 0700, and removes the folders there whose owners are gone.
    pub(crate) fn create(parent: &Path, keep: bool) -> Result<Self> {
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        let guard_path = parent.join(".lock");
        // Between creating a folder and locking it, another start must not take it for an abandoned one.
        let guard = File::create(&guard_path).with_context(|| format!("cannot create {}", guard_path.display()))?;
        guard.lock().with_context(|| format!("cannot lock {}", guard_path.display()))?;
        sweep(parent);

        let pid = std::process::id();
        for number in 0_u32.. {
            let path = parent.join(format!("{pid}-{number}"));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let lock = File::create(path.join("lock"))?;
                    lock.lock()?;
                    if keep {
                        File::create(path.join("keep"))?;
                    }
                    return Ok(Self { path, keep, _lock: lock });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("cannot create {}", path.display())),
            }
        }
        anyhow::bail!("{} has no free name left", parent.display())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes folders that nobody holds and nobody wants kept. What cannot be removed is left: it is only in the way.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.join("keep").exists() {
            continue;
        }
        let abandoned = match File::open(path.join("lock")).map(|lock| lock.try_lock()) {
            Ok(Ok(())) => true,
            Ok(Err(TryLockError::WouldBlock | TryLockError::Error(_))) | Err(_) => false,
        };
        if abandoned {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StateDir;

    #[test]
    fn an_abandoned_folder_is_removed_by_the_next_start_and_one_in_use_is_not() {
        let parent = std::env::temp_dir().join(format!("testbed-state-{}", std::process::id()));
        let abandoned = parent.join("1-0");
        std::fs::create_dir_all(&abandoned).unwrap();
        std::fs::write(abandoned.join("lock"), "").unwrap();

        let first = StateDir::create(&parent, false).unwrap();
        assert!(!abandoned.exists());
        let second = StateDir::create(&parent, true).unwrap();
        assert!(first.path().exists());

        let (first_path, second_path) = (first.path().to_owned(), second.path().to_owned());
        drop((first, second));
        assert!(!first_path.exists());
        assert!(second_path.exists(), "a kept folder stays");
        drop(StateDir::create(&parent, false).unwrap());
        assert!(second_path.exists(), "also after the next start");
        std::fs::remove_dir_all(parent).unwrap();
    }
}
