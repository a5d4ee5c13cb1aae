//! Kernel settings under `/proc/sys`.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::{Error, Result};

/// Kernel settings by path, such as `net/bridge/bridge-nf-call-iptables`.
pub trait Sysctls: Send + Sync {
    /// The value without the newline; `None` where this kernel has no such setting.
    fn get(&self, key: &str) -> Result<Option<String>>;
    /// Sets it.
    fn set(&self, key: &str, value: &str) -> Result<()>;
}

/// The kernel's.
#[derive(Debug)]
pub struct ProcSys(PathBuf);

impl Default for ProcSys {
    fn default() -> Self {
        Self(PathBuf::from("/proc/sys"))
    }
}

impl Sysctls for ProcSys {
    fn get(&self, key: &str) -> Result<Option<String>> {
        let path = self.0.join(key);
        match fs::read_to_string(&path) {
            Ok(value) => Ok(Some(value.trim_end().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read", path)(error)),
        }
    }

    fn set(&self, key: &str, value: &str) -> Result<()> {
        let path = self.0.join(key);
        fs::write(&path, value).map_err(Error::file("write", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_and_knows_what_is_absent() {
        let kernel = ProcSys::default();
        assert_eq!(
            kernel.get("kernel/ostype").unwrap().as_deref(),
            Some("Linux")
        );
        assert_eq!(kernel.get("kernel/no-such-setting").unwrap(), None);
    }
}
