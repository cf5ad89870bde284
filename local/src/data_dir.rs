//! The data directory: what it holds is for its owner alone, as the keys in it sign.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::StartError;

const LOCK: &str = "lock";
const DATABASE: &str = "dynamodb.sqlite";
const KEYS: &str = "kms";

/// A data directory that no other process uses.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Held for as long as the directory is used.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if there is none, takes it from other users, and keeps every other process out of it.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(crate) fn open(path: PathBuf) -> Result<Self, StartError> {
        let unusable = |error: &dyn std::fmt::Display| {
            StartError(format!("cannot use the data directory {}: {error}", path.display()))
        };
        let lock = Self::prepare(&path).map_err(|error| unusable(&error))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => unusable(&"another process uses it"),
            fs::TryLockError::Error(error) => unusable(&error),
        })?;
        Ok(Self { path, _lock: lock })
    }

    /// The database's file.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// The directory of the keys.
    pub(crate) fn keys(&self) -> PathBuf {
        self.path.join(KEYS)
    }

    fn prepare(path: &Path) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        // Other people's files may be meant for others: closing, say, the home directory would be no favour.
        let is_ours = path.join(LOCK).exists() || fs::read_dir(path)?.next().is_none();
        if is_shared(path)? && !is_ours {
            return Err(io::Error::other(
                "it holds other files and other users can get into it; name an empty directory, or run chmod 700 on it",
            ));
        }
        close(path, 0o700)?;
        DirBuilder::new().recursive(true).mode(0o700).create(path.join(KEYS))?;
        let lock = private_file(&path.join(LOCK))?;
        // SQLite gives the files beside its database (-wal, -shm) the database's rights.
        private_file(&path.join(DATABASE))?;
        // Earlier versions left them to the umask.
        close(&path.join(KEYS), 0o700)?;
        for directory in [path, &path.join(KEYS)] {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    close(&entry.path(), 0o600)?;
                }
            }
        }
        Ok(lock)
    }
}

fn is_shared(path: &Path) -> io::Result<bool> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o077 != 0)
}

fn close(path: &Path, mode: u32) -> io::Result<()> {
    if is_shared(path)? { fs::set_permissions(path, Permissions::from_mode(mode)) } else { Ok(()) }
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}
