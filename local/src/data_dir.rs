//! The data directory. It holds private keys, so only its owner can read it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::start_error::StartError;

const LOCK: &str = "lock";
const DATABASE: &str = "dynamodb.sqlite";
const KEYS: &str = "kms";

/// A data directory, locked for this process.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it does not exist, makes it private, and locks it.
    pub(crate) fn open(path: PathBuf) -> Result<Self, StartError> {
        let unusable = |error| StartError::new(&format!("cannot use the data directory {}", path.display()), error);
        let lock = Self::prepare(&path).map_err(unusable)?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => unusable(io::Error::other("another process uses it")),
            fs::TryLockError::Error(error) => unusable(error),
        })?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.path.join(KEYS)
    }

    fn prepare(path: &Path) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        // A directory with other files in it, such as a home directory, may be shared on purpose: its mode does not
        // change.
        let belongs_to_us = path.join(DATABASE).exists() || fs::read_dir(path)?.next().is_none();
        if others_have_access(path)? && !belongs_to_us {
            return Err(io::Error::other(
                "it holds other files and other users can get into it; name an empty directory, or run chmod 700 on it",
            ));
        }
        make_private(path, 0o700)?;
        DirBuilder::new().recursive(true).mode(0o700).create(path.join(KEYS))?;
        let lock = private_file(&path.join(LOCK))?;
        // SQLite gives the files beside its database (-wal, -shm) the mode of the database.
        private_file(&path.join(DATABASE))?;
        // Earlier versions left the modes to the umask. The files of others in a private directory stay as they are.
        make_private(&path.join(KEYS), 0o700)?;
        make_private(&path.join(LOCK), 0o600)?;
        make_files_private(path, |name| name.starts_with(DATABASE))?;
        make_files_private(&path.join(KEYS), |_| true)?;
        Ok(lock)
    }
}

fn make_files_private(directory: &Path, ours: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name().to_str().is_some_and(&ours) {
            make_private(&entry.path(), 0o600)?;
        }
    }
    Ok(())
}

fn others_have_access(path: &Path) -> io::Result<bool> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o077 != 0)
}

fn make_private(path: &Path, mode: u32) -> io::Result<()> {
    if others_have_access(path)? { fs::set_permissions(path, Permissions::from_mode(mode)) } else { Ok(()) }
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}
