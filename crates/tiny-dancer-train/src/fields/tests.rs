use super::*;

#[test]
fn misspelt_keys_are_recognised_and_other_words_are_not() {
    for (found, known) in [
        ("powerful_corect", "powerful_correct"),
        ("powerfulCorrect", "powerful_correct"),
        ("PowerfulCorrect", "powerful_correct"),
        ("spilt", "split"),
        ("splits", "split"),
        ("subjct", "subject"),
        ("meta_data", "metadata"),
        ("created", "created_at"),
        ("ID", "id"),
    ] {
        assert!(alike(found, known), "{found} is {known} misspelt");
    }
    for (found, known) in [
        ("powerful_cost", "powerful_correct"),
        ("idx", "id"),
        ("row", "now"),
        ("prompt", "split"),
        ("object", "subject"),
        ("updated_at", "created_at"),
        ("win_rate", "success_rate"),
    ] {
        assert!(!alike(found, known), "{found} is not {known}");
    }
}

#[test]
fn a_vector_names_the_element_that_is_no_number() {
    let mut fields = Fields::parse(br#"{"embedding": [1, "x"]}"#, &["embedding"]).unwrap();
    let error = fields.vector("embedding").unwrap_err().to_string();
    assert_eq!(error, "embedding[1] is \"x\", expected a number");
}

#[test]
fn metadata_names_the_pair_that_is_no_text() {
    let mut fields = Fields::parse(br#"{"metadata": {"tier": 3}}"#, &["metadata"]).unwrap();
    assert_eq!(fields.metadata().unwrap_err().to_string(), "metadata.tier is 3, expected text");
}

#[test]
fn a_long_value_is_cut() {
    let line = format!("{{\"id\": [{}]}}", "1,".repeat(1000) + "1");
    let error = Fields::parse(line.as_bytes(), &["id"]).unwrap().text("id").unwrap_err().to_string();
    assert!(error.len() < 80 && error.contains("..."), "{error}");
}
