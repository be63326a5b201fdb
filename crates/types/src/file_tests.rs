use std::io::Write;

use super::*;

fn write(path: &Path, text: &str) -> io::Result<()> {
    write_file(path, |out| out.write_all(text.as_bytes()))
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut list: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    list.sort();
    list
}

#[test]
fn files_are_replaced_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    write(&path, "old").unwrap();
    write(&path, "new").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    let failed = write_file(&path, |out| {
        out.write_all(b"half")?;
        Err(io::Error::other("no more"))
    });
    assert!(failed.is_err());
    assert_eq!((fs::read_to_string(&path).unwrap(), names(folder.path())), ("new".into(), vec!["a".into()]));
    assert_eq!(write(&folder.path().join("no/b"), "").unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_stays() {
    use std::os::unix::fs::FileTypeExt;
    let folder = tempfile::tempdir().unwrap();
    let [pipe, socket, inner, link] = ["pipe", "socket", "inner", "link"].map(|n| folder.path().join(n));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fs::create_dir(&inner).unwrap();
    std::os::unix::fs::symlink("pipe", &link).unwrap();
    for path in [&pipe, &socket, &inner, &link] {
        let e = write(path, "text").unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::InvalidInput, "{e}");
        assert!(e.to_string().contains("give the name of a file"), "{e}");
    }
    assert_eq!(names(folder.path()), ["inner", "link", "pipe", "socket"]);
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
}

#[cfg(unix)]
#[test]
fn links_stay_and_lead_to_the_new_file() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let at = |n: &str| folder.path().join(n);
    fs::create_dir(at("real")).unwrap();
    fs::write(at("real/file"), "old").unwrap();
    fs::set_permissions(at("real/file"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real/file", at("one")).unwrap();
    symlink(at("one"), at("two")).unwrap();
    symlink("real/absent", at("dangling")).unwrap();
    symlink("loop", at("loop")).unwrap();
    write(&at("two"), "new").unwrap();
    write(&at("dangling"), "made").unwrap();
    assert_eq!(fs::read_to_string(at("real/file")).unwrap(), "new");
    assert_eq!(fs::metadata(at("real/file")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_to_string(at("real/absent")).unwrap(), "made");
    assert!(["one", "two", "dangling"].iter().all(|n| fs::symlink_metadata(at(n)).unwrap().is_symlink()));
    assert!(write(&at("loop"), "").unwrap_err().to_string().contains("links"));
    assert_eq!(names(&at("real")), ["absent", "file"]);
}
