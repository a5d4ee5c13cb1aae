//! Imports that are under way: what they have taken of the disk counts before there is an image.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use photon_resource::{Error, Scope};

/// How many imports one project may have under way.
const IMPORTS: usize = 8;

/// The imports of all projects. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct AllUnderway {
    projects: Arc<Mutex<HashMap<Scope, Project>>>,
}

#[derive(Debug, Default)]
struct Project {
    imports: usize,
    bytes: u64,
}

/// One import; what it has taken is forgotten when this is dropped.
#[derive(Debug)]
pub struct Underway {
    all: AllUnderway,
    scope: Scope,
    bytes: u64,
}

impl AllUnderway {
    /// Errors: `ResourceExhausted` when the project has too many.
    pub fn begin(&self, scope: Scope) -> Result<Underway, Error> {
        let mut projects = self.lock();
        let project = projects.entry(scope.clone()).or_default();
        if project.imports >= IMPORTS {
            return Err(Error::ResourceExhausted(format!(
                "a project may have {IMPORTS} imports of images under way, and has them: wait for one to end"
            )));
        }
        project.imports += 1;
        Ok(Underway {
            all: self.clone(),
            scope,
            bytes: 0,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Scope, Project>> {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Underway {
    /// Counts more bytes; gives how many this import then has.
    pub fn add(&mut self, bytes: u64) -> u64 {
        self.bytes += bytes;
        if let Some(project) = self.all.lock().get_mut(&self.scope) {
            project.bytes += bytes;
        }
        self.bytes
    }

    /// How many bytes all imports of its project have.
    pub fn of_project(&self) -> u64 {
        let projects = self.all.lock();
        projects.get(&self.scope).map_or(0, |project| project.bytes)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut projects = self.all.lock();
        if let Some(project) = projects.get_mut(&self.scope) {
            project.imports -= 1;
            project.bytes -= self.bytes;
            if project.imports == 0 {
                projects.remove(&self.scope);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_counts_for_its_project_until_it_ends() {
        let all = AllUnderway::default();
        let web: Scope = "org/acme/project/web".parse().unwrap();
        let mut imports: Vec<_> = (0..IMPORTS)
            .map(|_| all.begin(web.clone()).unwrap())
            .collect();
        for import in &mut imports {
            assert_eq!(import.add(3), 3);
        }
        assert_eq!(imports[0].of_project(), 3 * IMPORTS as u64);
        assert!(all.begin(web.clone()).is_err());
        all.begin("org/acme/project/db".parse().unwrap()).unwrap();
        imports.pop();
        assert_eq!(imports[0].of_project(), 3 * (IMPORTS as u64 - 1));
        drop(imports);
        assert!(all.lock().is_empty());
    }
}
