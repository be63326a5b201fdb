//! Writing files so that they are whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Most links that are followed one after the other, as systems have it.
const MOST_LINKS: usize = 40;

/// Most names that are tried for the file aside: others are left from processes that were killed.
const MOST_NAMES: usize = 1000;

/// The file that writing to `path` replaces: `path`, or where its symbolic links lead, there or not.
///
/// # Errors
/// When it is there and no regular file: a folder, a device, a pipe and a socket cannot be replaced by one.
pub fn replaceable(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        let found = match fs::symlink_metadata(&target) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(target),
            Err(e) => return Err(e),
        };
        if found.is_file() {
            return Ok(target);
        }
        if !found.is_symlink() {
            let what = if found.is_dir() { "a folder" } else { "a device, a pipe or a socket" };
            let text = format!("{} is {what}; give the name of a file to write", target.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let to = fs::read_link(&target)?;
        target = target.parent().unwrap_or(Path::new("")).join(to);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{} leads through too many links", path.display()),
    ))
}

/// Writes a file aside, then renames it: an old file stays until the new one is whole, and keeps its permissions. A
/// symbolic link stays, and what it leads to is replaced.
///
/// # Errors
/// When the target is no regular file, the folder cannot be written, the disk is full, or `write` fails; nothing is left
/// behind then.
pub fn write_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let target = replaceable(path)?;
    let (aside, file) = create_aside(&target)?;
    let written = || {
        if let Ok(old) = fs::metadata(&target) {
            file.set_permissions(old.permissions())?;
        }
        let mut out = BufWriter::new(file);
        write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&aside, &target)
    };
    let written = written();
    if written.is_err() {
        // The error that counts is the one being returned.
        let _ = fs::remove_file(&aside);
    }
    written
}

/// A new file beside the target.
fn create_aside(target: &Path) -> io::Result<(PathBuf, File)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..MOST_NAMES {
        let mut name = target.as_os_str().to_owned();
        name.push(format!(".{}.{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        match OpenOptions::new().write(true).create_new(true).open(&name) {
            Ok(file) => return Ok((name.into(), file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("too many files beside {}", target.display())))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
