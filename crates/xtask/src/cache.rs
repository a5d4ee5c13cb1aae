//! What takes minutes to build is built once and kept outside the tree.
//!
//! ```text
//! <cache>/<kind>.lock           held while one process looks or builds
//! <cache>/<kind>/<key>/…        finished: only ever appears by a rename
//! <cache>/<kind>/<key>/.in-use  locked, shared, by everyone who uses it
//! <cache>/building/<kind>/…     unfinished; of no value to anyone but its builder
//! <cache>/runs/<id>/…           a running rack (see `rack::run`)
//! ```

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::progress::say;

/// Everything that decides how an artifact comes out. Two recipes with the same parts are the same.
pub struct Recipe {
    digest: Sha256,
}

impl Recipe {
    /// `revision` is raised when the code that builds changes in a way that its parts do not show.
    pub fn new(revision: u32) -> Self {
        let mut digest = Sha256::new();
        digest.update(revision.to_be_bytes());
        Recipe { digest }
    }

    pub fn part(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        // The length keeps ("ab", "c") apart from ("a", "bc").
        self.digest.update((part.len() as u64).to_be_bytes());
        self.digest.update(part);
        self
    }

    fn key(self) -> String {
        let digest = self.digest.finalize();
        hex::encode(&digest[..8])
    }
}

pub struct Cache {
    root: PathBuf,
}

/// A finished artifact. It is not removed from the cache for as long as this lives.
#[derive(Debug)]
pub struct Artifact {
    pub dir: PathBuf,
    _in_use: File,
}

impl Artifact {
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Cache {
    /// The cache of this user: `$PHOTON_CACHE`, else `$XDG_CACHE_HOME/photoncloud`, else
    /// `~/.cache/photoncloud`.
    pub fn open() -> Result<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let root = if let Some(path) = set("PHOTON_CACHE") {
            PathBuf::from(path)
        } else if let Some(path) = set("XDG_CACHE_HOME") {
            PathBuf::from(path).join("photoncloud")
        } else if let Some(home) = set("HOME") {
            PathBuf::from(home).join(".cache/photoncloud")
        } else {
            bail!("no place for the cache: set PHOTON_CACHE, XDG_CACHE_HOME or HOME");
        };
        Self::at(root)
    }

    pub fn at(root: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&root)
            .with_context(|| format!("cannot make the cache {}", root.display()))?;
        // Absolute, because hosts are given paths inside it.
        let root = root.canonicalize()?;
        // Paths in here are words of a kernel's command line.
        if root.as_os_str().as_encoded_bytes().contains(&b' ') {
            bail!(
                "the cache {} has a space in its name, which a host's kernel command line \
                 cannot carry: set PHOTON_CACHE to a path without one",
                root.display()
            );
        }
        Ok(Cache { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The artifact of this recipe, built by `build` into the directory it is given if nobody has
    /// yet. When another process is building the same kind, waits for it.
    pub fn artifact(
        &self,
        kind: &str,
        recipe: Recipe,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Artifact> {
        let _lock = self.lock(kind)?;
        let finished = self.root.join(kind).join(recipe.key());
        if !finished.is_dir() {
            // Nobody else builds this kind while the lock is held, so what lies here is a leftover.
            let building = self.root.join("building").join(kind);
            remove_tree(&building)?;
            std::fs::create_dir_all(&building)?;
            build(&building)?;
            File::create(building.join(".in-use"))?;
            std::fs::create_dir_all(self.root.join(kind))?;
            std::fs::rename(&building, &finished)?;
            self.forget_others(kind, &finished)?;
        }
        let in_use = File::open(finished.join(".in-use"))?;
        in_use.lock_shared()?;
        Ok(Artifact {
            dir: finished,
            _in_use: in_use,
        })
    }

    /// Locks `<name>.lock` for this process until the file is dropped.
    pub fn lock(&self, name: &str) -> Result<File> {
        let path = self.root.join(format!("{name}.lock"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open the lock {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                say(format!("waiting for another process that holds {name}"));
                file.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(file)
    }

    /// Artifacts of older recipes go, unless someone still uses them.
    fn forget_others(&self, kind: &str, keep: &Path) -> Result<()> {
        for entry in std::fs::read_dir(self.root.join(kind))? {
            let path = entry?.path();
            if path == keep {
                continue;
            }
            let unused = File::open(path.join(".in-use"))
                .map(|file| file.try_lock().is_ok())
                .unwrap_or(true);
            if unused {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }
}

/// Removes a directory and what is in it; one that is not there is fine.
pub fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("xtask-cache-{name}-{}", std::process::id()));
            Scratch(path)
        }

        fn cache(&self) -> Cache {
            Cache::at(self.0.clone()).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            remove_tree(&self.0).unwrap();
        }
    }

    #[test]
    fn many_at_once_build_once() {
        let scratch = Scratch::new("once");
        let built = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let artifact = scratch
                        .cache()
                        .artifact("thing", Recipe::new(1).part("x"), |dir| {
                            built.fetch_add(1, Ordering::SeqCst);
                            Ok(std::fs::write(dir.join("content"), "made")?)
                        })
                        .unwrap();
                    let content = std::fs::read_to_string(artifact.file("content")).unwrap();
                    assert_eq!(content, "made");
                });
            }
        });
        assert_eq!(built.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_failed_build_leaves_nothing_that_looks_finished() {
        let scratch = Scratch::new("failed");
        let cache = scratch.cache();
        cache
            .artifact("thing", Recipe::new(1), |dir| {
                std::fs::write(dir.join("half"), "")?;
                bail!("broken")
            })
            .unwrap_err();
        let artifact = cache
            .artifact("thing", Recipe::new(1), |dir| {
                assert!(!dir.join("half").exists());
                Ok(())
            })
            .unwrap();
        assert!(artifact.dir.is_dir());
    }

    #[test]
    fn an_older_artifact_goes_only_when_nobody_uses_it() {
        let scratch = Scratch::new("older");
        let cache = scratch.cache();
        let make = |part: &str| {
            cache
                .artifact("thing", Recipe::new(1).part(part), |_| Ok(()))
                .unwrap()
        };
        let first = make("first");
        let second = make("second");
        assert!(first.dir.is_dir(), "it is in use");
        let gone = (first.dir.clone(), second.dir.clone());
        drop((first, second));
        let third = make("third");
        assert!(!gone.0.exists() && !gone.1.exists() && third.dir.is_dir());
    }

    #[test]
    fn the_parts_of_a_recipe_do_not_run_together() {
        let key = |parts: &[&str]| {
            let recipe = parts.iter().fold(Recipe::new(1), |r, part| r.part(part));
            recipe.key()
        };
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    }
}
