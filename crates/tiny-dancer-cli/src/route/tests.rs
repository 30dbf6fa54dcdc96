use super::*;
use tiny_dancer_train::past::Past;

/// A memory of three requests of two dimensions.
fn memory() -> CandidateSet {
    let folder = tempfile::tempdir().unwrap();
    let (rows, vectors) = (folder.path().join("rows.jsonl"), folder.path().join("e.safetensors"));
    let text = r#"{"id": "a", "lightweight_correct": 1}
{"id": "b", "lightweight_correct": 1}
{"id": "c", "lightweight_correct": 0}
"#;
    std::fs::write(&rows, text).unwrap();
    // The bytes of a safetensors file with the f32 tensor `embeddings` of shape 3 x 2.
    let header = br#"{"embeddings":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]}}"#;
    let values: [f32; 6] = [1.0, 0.0, 0.8, 0.6, 0.0, 1.0];
    let bytes =
        [&(header.len() as u64).to_le_bytes(), &header[..], &values.map(f32::to_le_bytes).concat()].concat();
    std::fs::write(&vectors, bytes).unwrap();
    CandidateSet::new(Past::remember(&rows, &vectors).unwrap().candidates()).unwrap()
}

fn run(input: &[u8]) -> (usize, Vec<Value>) {
    let router = Router::new(RouterConfig::default()).unwrap();
    let mut output = vec![];
    let bad = stream(&router, &memory(), None, input, &mut output).unwrap();
    let lines = output.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    (bad, lines.map(|line| serde_json::from_slice(line).unwrap()).collect())
}

#[test]
fn lines_are_answered_in_order_and_bad_lines_with_their_number() {
    let input = b"{\"id\": \"one\", \"embedding\": [1, 0.1]}\nno json\n\xff\n{\"id\": 2, \"embedding\": [0, 2], \"now\": 9}";
    let (bad, answers) = run(input);
    assert_eq!((bad, answers.len()), (2, 4));
    assert_eq!((&answers[0]["id"], &answers[3]["id"]), (&"one".into(), &2.into()));
    assert_eq!((&answers[1]["line"], &answers[2]["line"]), (&2.into(), &3.into()));
    assert!(answers[1]["error"].is_string());
    for answer in [&answers[0], &answers[3]] {
        let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 5);
        assert!(answer["confidence"].as_f64().unwrap() > 0.0);
        assert!(["lightweight", "powerful"].contains(&answer["model"].as_str().unwrap()));
    }
}

#[test]
fn the_error_of_the_router_is_in_the_answer() {
    let (bad, answers) = run(b"{\"id\": \"a\", \"embedding\": [1, 2, 3]}\n{\"id\": \"b\", \"embedding\": [0, 0]}\n{\"id\": \"c\", \"embedding\": []}\n");
    assert_eq!(bad, 3);
    let error = |i: usize| answers[i]["error"].as_str().unwrap();
    assert_eq!(error(0), "query: embedding has 3 dimensions, expected 2");
    assert!(error(1).contains("norm"), "{}", error(1));
    assert!(error(2).contains("empty"), "{}", error(2));
}

#[test]
fn the_error_of_a_bad_request_is_in_the_answer() {
    let (bad, answers) = run(br#"{"id": 1, "embedding": [1, "x"]}
{"id": 1, "embeding": [1, 0]}
{"embedding": [1, 0]}
{"id": 1, "embedding": [1, 0], "now": "noon"}
"#);
    assert_eq!(bad, 4);
    for (answer, expected) in answers.iter().zip([
        "embedding[1] is \"x\", expected a number",
        "unknown key \"embeding\", expected \"embedding\"",
        "id is missing, expected any value",
        "now is \"noon\", expected a whole number",
    ]) {
        assert_eq!(answer["error"], expected);
    }
}

#[test]
fn a_subject_at_the_top_is_metadata_as_in_rows() {
    let read = |text: &str| Request::read(text.as_bytes(), None).unwrap().metadata;
    let top = read(r#"{"id": 1, "embedding": [1], "subject": "law"}"#);
    assert_eq!(top, read(r#"{"id": 1, "embedding": [1], "metadata": {"subject": "law"}}"#));
    assert_eq!(top.unwrap()["subject"], "law");
}

#[test]
fn a_line_without_an_end_is_refused() {
    let router = Router::new(RouterConfig::default()).unwrap();
    let endless = std::io::BufReader::new(std::io::repeat(b' '));
    let error = stream(&router, &memory(), None, endless, std::io::sink()).unwrap_err();
    assert_eq!(error.to_string(), "line 1 has more than 16777216 bytes");
}
