use super::*;
use tempfile::TempDir;

#[cfg(unix)]
use std::os::unix::fs::{PermissionsExt, symlink};

fn write(path: &Path) -> anyhow::Result<()> {
    Output::new(path)?.write(b"new")
}

/// The names in a folder.
fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[cfg(unix)]
#[test]
fn a_link_is_kept_and_its_target_is_written() {
    let folder = TempDir::new().unwrap();
    let (link, real) = (folder.path().join("link"), folder.path().join("real"));
    symlink("real", &link).unwrap();
    // First without the target, then with it.
    for _ in 0..2 {
        write(&link).unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        fs::write(&real, "old").unwrap();
    }
    assert_eq!(names(&folder), ["link", "real"]);
}

#[cfg(unix)]
#[test]
fn a_file_keeps_its_mode() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model");
    for mode in [0o600, 0o640] {
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}

#[cfg(unix)]
#[test]
fn a_new_file_has_the_mode_of_any_new_file() {
    let folder = TempDir::new().unwrap();
    let (output, ordinary) = (folder.path().join("output"), folder.path().join("ordinary"));
    write(&output).unwrap();
    fs::write(&ordinary, "").unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(output), mode(ordinary));
}

#[cfg(unix)]
#[test]
fn a_pipe_a_device_and_a_folder_are_refused_beforehand() {
    let folder = TempDir::new().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    for path in [&pipe, Path::new("/dev/null"), folder.path()] {
        let error = Output::new(path).unwrap_err().to_string();
        assert!(error.ends_with("not a regular file"), "{error}");
    }
    let error = Output::new(&folder.path().join("nowhere/model")).unwrap_err();
    assert!(error.to_string().contains("nowhere/model"), "{error}");
    assert_eq!(names(&folder), ["pipe"]);
}
