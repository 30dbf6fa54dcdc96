use super::*;
use std::fs::File;

fn config(root: &str, tables: &str) -> Config {
    let models = "[powerful]\nprovider = \"openai\"\nmodel = \"big\"\n[lightweight]\nprovider = \"openai\"\nmodel = \"small\"";
    Config::parse(&format!("version = 1\n{root}\n{models}\n{tables}"), &|_| Some("sk".to_owned())).unwrap()
}

#[tokio::test]
async fn a_file_is_read_again_once_after_a_change_and_only_when_it_rests() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny-dancer.toml");
    let write = |text: &str, seconds: u64| {
        std::fs::write(&path, text).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    write("a", 1);
    let mut reloads = Reloads::new(Some(path.clone())).unwrap();
    assert!(!reloads.has_changed(), "it is as it was read");
    write("ab", 1);
    assert!(!reloads.has_changed(), "it may be half written");
    write("abc", 1);
    assert!(!reloads.has_changed(), "it is still being written");
    assert!(reloads.has_changed() && !reloads.has_changed());
    write("abd", 2);
    assert!(!reloads.has_changed() && reloads.has_changed(), "the same length at another time is a change");
    std::fs::remove_file(&path).unwrap();
    assert!(
        !reloads.has_changed() && reloads.has_changed() && !reloads.has_changed(),
        "a missing file is one"
    );
    assert!(!Reloads::new(None).unwrap().has_changed());
}

#[test]
fn all_that_only_a_restart_changes_is_named() {
    let judge = "[judge]\nkind = \"exact\"";
    let running = config("", judge);
    let new = config(
        "listen = \"127.0.0.1:9000\"\nmode = \"live\"",
        &format!(
            "{judge}\n[memory]\npath = \"m.db\"\nstore_prompts = true\n[risk]\nalpha = 0.2\n[shadow]\nrate = 0.5"
        ),
    );
    assert_eq!(fixed(&running, &running), []);
    let error = ReloadError::Restart { changes: fixed(&running, &new) };
    assert_eq!(
        error.to_string(),
        "a restart is required for listen (127.0.0.1:8080 is in use, 127.0.0.1:9000 is configured), \
         risk (none is in use, alpha 0.2 and delta 0.05 is configured), \
         memory.path (none is in use, m.db is configured), \
         memory.store_prompts (false is in use, true is configured), \
         shadow.rate (0 is in use, 0.5 is configured)"
    );
}
