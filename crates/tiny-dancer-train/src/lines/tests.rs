use super::*;
use tempfile::TempDir;

#[cfg(unix)]
#[test]
fn the_error_of_an_endless_line_has_its_number_and_the_limit() {
    let error = read(Path::new("/dev/zero"), &[], |_| Ok(())).unwrap_err().to_string();
    assert_eq!(error, "/dev/zero: line 1 has more than 16777216 bytes");
}

#[test]
fn a_small_compressed_file_with_an_overlong_line_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("rows.jsonl.zst");
    let packed = zstd::encode_all(io::repeat(b' ').take(64 << 20), 1).unwrap();
    assert!(packed.len() < 10_000);
    std::fs::write(&path, packed).unwrap();
    let error = read(&path, &[], |_| Ok(())).unwrap_err();
    assert!(matches!(error, ReadError::LongLine { line: 1, limit: MAX_LINE_BYTES, .. }), "{error}");
}

#[test]
fn more_rows_than_the_limit_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, "{}\n{}\n{}").unwrap();
    assert!(read_at_most(3, &path, &[], |_| Ok(())).is_ok());
    let error = read_at_most(2, &path, &[], |_| Ok(())).unwrap_err();
    assert!(error.to_string().ends_with("more than 2 rows"), "{error}");
}

#[test]
fn the_digest_is_that_of_the_whole_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, "{}\n").unwrap();
    // printf '{}\n' | sha256sum
    assert_eq!(read(&path, &[], |_| Ok(())).unwrap().digest, "ca3d163bab05");
}
