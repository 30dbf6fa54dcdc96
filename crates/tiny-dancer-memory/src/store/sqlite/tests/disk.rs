//! A disk that fails, and one that loses power: a VFS of SQLite that records what is written and synchronized.
//!
//! Files are real ones, of SQLite's own VFS. Its methods that write are replaced by ones that first record the operation, or
//! fail. After a run, the files that a loss of power leaves at any of its operations are computed: what was synchronized, and
//! of what was written since then some sectors and not others, since a disk writes in any order.

#![expect(unsafe_code, reason = "SQLite's interface to the operating system is one of C")]

use rand::{Rng, RngExt};
use rusqlite::ffi;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use tempfile::TempDir;

/// What a power failure writes completely or not at all.
const SECTOR: usize = 512;

/// The name under which SQLite knows the VFS.
pub(super) const VFS: &str = "recorded";

/// What happened to files, in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operation {
    /// The test was promised that what it did so far is durable.
    Acknowledged,
    Delete {
        file: String,
        is_durable: bool,
    },
    Sync {
        file: String,
    },
    Truncate {
        file: String,
        length: usize,
    },
    Write {
        file: String,
        offset: usize,
        bytes: Vec<u8>,
    },
}

#[derive(Debug, Default)]
pub(super) struct Recorded {
    pub(super) operations: Vec<Operation>,
    /// All operations that write fail with the code after this many more.
    pub(super) fault: Option<(usize, c_int)>,
    /// Whether one has failed.
    pub(super) has_failed: bool,
}

/// A folder whose files are recorded.
pub(super) struct Disk {
    folder: TempDir,
    pub(super) recorded: Arc<Mutex<Recorded>>,
}

impl Disk {
    pub(super) fn new() -> Self {
        LazyLock::force(&REAL);
        let folder = tempfile::tempdir().unwrap();
        let recorded = Arc::<Mutex<Recorded>>::default();
        DISKS.lock().unwrap().insert(folder.path().canonicalize().unwrap(), recorded.clone());
        Self { folder, recorded }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("memory.db")
    }

    pub(super) fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap()
    }
}

/// Writes the files that are left in the folder after a loss of power.
pub(super) fn lose_power(operations: &[Operation], folder: &Path, rng: &mut impl Rng) {
    let mut files: BTreeMap<&str, (Option<Vec<u8>>, Vec<&Operation>)> = BTreeMap::new();
    for operation in operations {
        match operation {
            Operation::Acknowledged => {}
            Operation::Delete { file, is_durable: true } => drop(files.remove(file.as_str())),
            Operation::Sync { file } => {
                let (content, pending) = files.entry(file).or_default();
                for operation in pending.drain(..) {
                    apply(operation, content, |_| true);
                }
                content.get_or_insert_default();
            }
            Operation::Delete { file, .. }
            | Operation::Truncate { file, .. }
            | Operation::Write { file, .. } => {
                files.entry(file).or_default().1.push(operation);
            }
        }
    }
    // Sometimes all reaches the disk, sometimes nothing.
    let share = [0.0, 0.5, 0.9, 1.0][rng.random_range(0..4)];
    for (file, (mut content, pending)) in files {
        for operation in pending {
            apply(operation, &mut content, |_| rng.random_bool(share));
        }
        if let Some(content) = content {
            fs::write(folder.join(file), content).unwrap();
        }
    }
}

/// Makes those sectors of an operation that are kept.
fn apply(operation: &Operation, content: &mut Option<Vec<u8>>, mut keeps: impl FnMut(usize) -> bool) {
    match operation {
        Operation::Delete { .. } if keeps(0) => *content = None,
        Operation::Truncate { length, .. } if keeps(0) => content.get_or_insert_default().resize(*length, 0),
        Operation::Write { offset, bytes, .. } => {
            let mut start = *offset;
            while start < offset + bytes.len() {
                let end = ((start / SECTOR + 1) * SECTOR).min(offset + bytes.len());
                if keeps(start / SECTOR) {
                    let content = content.get_or_insert_default();
                    content.resize(content.len().max(end), 0);
                    content[start..end].copy_from_slice(&bytes[start - offset..end - offset]);
                }
                start = end;
            }
        }
        _ => {}
    }
}

/// Recorded folders.
static DISKS: LazyLock<Mutex<HashMap<PathBuf, Arc<Mutex<Recorded>>>>> = LazyLock::new(Mutex::default);

/// Open files of recorded folders, by the address of SQLite's object.
static FILES: LazyLock<Mutex<HashMap<usize, Open>>> = LazyLock::new(Mutex::default);

#[derive(Clone)]
struct Open {
    name: String,
    recorded: Arc<Mutex<Recorded>>,
    /// The methods of the real VFS.
    real: &'static ffi::sqlite3_io_methods,
}

/// SQLite's own VFS. Forcing it registers the recording one.
static REAL: LazyLock<Real> = LazyLock::new(|| {
    // SAFETY: a null name finds the default VFS, which lives as long as the process.
    let real = unsafe { &*ffi::sqlite3_vfs_find(std::ptr::null()) };
    let name = c"recorded".as_ptr();
    let recording = ffi::sqlite3_vfs {
        pNext: std::ptr::null_mut(),
        zName: name,
        xOpen: Some(open),
        xDelete: Some(delete),
        ..*real
    };
    // SAFETY: the object is never freed, and its methods are those of the default VFS or call them with their own arguments.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(recording)), 0) };
    assert_eq!(code, ffi::SQLITE_OK);
    Real(real)
});

struct Real(&'static ffi::sqlite3_vfs);

// SAFETY: the default VFS may be called by all threads.
unsafe impl Send for Real {}
// SAFETY: as above.
unsafe impl Sync for Real {}

impl Real {
    fn pointer(&self) -> *mut ffi::sqlite3_vfs {
        std::ptr::from_ref(self.0).cast_mut()
    }
}

/// The recorded folder of a file and the file's name.
fn of_disk(name: *const c_char) -> Option<(String, Arc<Mutex<Recorded>>)> {
    if name.is_null() {
        return None;
    }
    // SAFETY: SQLite passes strings that end with NUL.
    let path = Path::new(unsafe { CStr::from_ptr(name) }.to_str().ok()?);
    let recorded = DISKS.lock().unwrap().get(path.parent()?)?.clone();
    Some((path.file_name()?.to_str()?.to_owned(), recorded))
}

/// Records an operation, or returns the code with which it fails.
fn record(recorded: &Mutex<Recorded>, operation: impl FnOnce() -> Operation) -> Result<(), c_int> {
    let mut recorded = recorded.lock().unwrap();
    match &mut recorded.fault {
        Some((0, code)) => {
            let code = *code;
            recorded.has_failed = true;
            return Err(code);
        }
        Some((left, _)) => *left -= 1,
        None => {}
    }
    recorded.operations.push(operation());
    Ok(())
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's arguments are passed on.
    let code = unsafe { REAL.0.xOpen.unwrap()(REAL.pointer(), name, file, flags, out) };
    if let Some((name, recorded)) = of_disk(name)
        && code == ffi::SQLITE_OK
    {
        // SAFETY: an open file has methods, which live as long as the process.
        let real = unsafe { &*(*file).pMethods };
        let methods = ffi::sqlite3_io_methods {
            xClose: Some(close),
            xWrite: Some(write),
            xTruncate: Some(truncate),
            xSync: Some(sync),
            ..*real
        };
        FILES.lock().unwrap().insert(file.addr(), Open { name, recorded, real });
        // SAFETY: the file is ours until this function returns. The methods are never freed.
        unsafe { (*file).pMethods = Box::leak(Box::new(methods)) };
    }
    code
}

unsafe extern "C" fn delete(_vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    if let Some((file, recorded)) = of_disk(name)
        && let Err(code) = record(&recorded, || Operation::Delete { file, is_durable: sync != 0 })
    {
        return code;
    }
    // SAFETY: SQLite's arguments are passed on.
    unsafe { REAL.0.xDelete.unwrap()(REAL.pointer(), name, sync) }
}

fn opened(file: *mut ffi::sqlite3_file) -> Open {
    FILES.lock().unwrap()[&file.addr()].clone()
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let open = FILES.lock().unwrap().remove(&file.addr()).unwrap();
    // SAFETY: SQLite's argument is passed on.
    unsafe { open.real.xClose.unwrap()(file) }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    data: *const c_void,
    length: c_int,
    offset: i64,
) -> c_int {
    let open = opened(file);
    // SAFETY: SQLite passes this many bytes.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length as usize) }.to_vec();
    match record(&open.recorded, || Operation::Write { file: open.name, offset: offset as usize, bytes }) {
        // SAFETY: SQLite's arguments are passed on.
        Ok(()) => unsafe { open.real.xWrite.unwrap()(file, data, length, offset) },
        Err(code) => code,
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    let open = opened(file);
    match record(&open.recorded, || Operation::Truncate { file: open.name, length: length as usize }) {
        // SAFETY: SQLite's arguments are passed on.
        Ok(()) => unsafe { open.real.xTruncate.unwrap()(file, length) },
        Err(code) => code,
    }
}

/// The real file is not synchronized, since no power is lost during a test.
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    let open = opened(file);
    match record(&open.recorded, || Operation::Sync { file: open.name }) {
        Ok(()) => ffi::SQLITE_OK,
        Err(code) => code,
    }
}
