use super::*;
use crate::config::Capability;

const CONFIG: &str = r#"
    version = 1
    mode = "live"
    min_evidence = 2
    [powerful]
    provider = "openai"
    model = "big"
    [lightweight]
    provider = "openai"
    model = "small"
    accepts = ["tools"]
    max_text_bytes = 100
"#;

fn config() -> Config {
    Config::parse(CONFIG, &|_| Some("sk".to_owned())).unwrap()
}

fn conversation(text: &str) -> Conversation {
    Conversation { text: text.to_owned(), bytes: text.len(), ..Conversation::default() }
}

fn decision(model: ModelType, reason: Option<Reason>) -> Decision {
    Decision {
        id: RequestId::now(),
        model,
        reason,
        confidence: 0.9,
        uncertainty: 0.1,
        shadow: None,
        ticket: None,
        bar: None,
    }
}

#[test]
fn a_request_is_served_as_decided_where_nothing_speaks_against_it() {
    let lightweight = decision(ModelType::Lightweight, Some(Reason::Confident));
    let with = |needs: &[Capability]| Conversation { needs: needs.to_vec(), ..conversation("Hi") };
    let with_bar = |decision: Decision, config: &Config, asked: &Conversation, evidence| {
        Decision { bar: bar(config, asked, evidence), ..decision }.serve().1.name()
    };
    let serve =
        |config: &Config, asked: &Conversation, evidence| with_bar(lightweight, config, asked, evidence);
    let live = config();
    assert_eq!(serve(&live, &with(&[Capability::Tools]), 2), "confident");
    assert_eq!(serve(&live, &with(&[Capability::Tools, Capability::Media]), 2), "capability");
    assert_eq!(serve(&live, &conversation(&"a".repeat(101)), 2), "long_text");
    assert_eq!(serve(&live, &conversation("Hi"), 1), "little_evidence");
    assert_eq!(serve(&Config { mode: Mode::Observe, ..live.clone() }, &conversation("Hi"), 2), "observe");
    let canary = |canary_share| Config { mode: Mode::Canary, canary_share, ..live.clone() };
    assert_eq!(serve(&canary(0.0), &conversation("Hi"), 2), "canary");
    assert_eq!(serve(&canary(1.0), &conversation("Hi"), 2), "confident");

    let powerful = decision(ModelType::Powerful, Some(Reason::LowConfidence));
    assert_eq!(with_bar(powerful, &live, &conversation("Hi"), 2), "low_confidence");
    assert_eq!(with_bar(powerful, &live, &with(&[Capability::Media]), 2), "low_confidence");
    assert_eq!(with_bar(powerful, &canary(0.0), &conversation("Hi"), 2), "canary");
    let failed = decision(ModelType::Powerful, None);
    assert_eq!(failed.serve(), (ModelType::Powerful, Why::Error));
}

#[test]
fn a_canary_has_its_share_of_requests() {
    let taken = (0..10_000).filter(|_| is_in(RequestId::now(), b"canary", 0.2)).count();
    // Five standard errors.
    assert!((1_800..=2_200).contains(&taken), "{taken}");
}

#[test]
fn a_shadow_is_drawn_where_the_lightweight_model_could_answer() {
    let text = format!("{CONFIG}\n[shadow]\nrate = 1.0\n[judge]\nkind = \"exact\"\n");
    let config = Config::parse(&text, &|_| Some("sk".to_owned())).unwrap();
    let with = |needs: &[Capability]| Conversation { needs: needs.to_vec(), ..conversation("Hi") };
    let lightweight = decision(ModelType::Lightweight, Some(Reason::Confident));
    assert!(lightweight.is_shadowed(&config, &with(&[])));
    assert!(!lightweight.is_shadowed(&config, &with(&[Capability::Media])));
    let powerful = decision(ModelType::Powerful, Some(Reason::LowConfidence));
    assert!(!powerful.is_shadowed(&config, &with(&[])), "the router did not draw");
    let drawn = |happened| Decision { shadow: Some(Draw { probability: 0.5, happened }), ..powerful };
    assert!(drawn(true).is_shadowed(&config, &with(&[])) && !drawn(false).is_shadowed(&config, &with(&[])));
}

fn decider() -> Decider {
    let (config, registry) = (config(), prometheus::Registry::new());
    Decider::new(&config, &registry, Clock::system()).unwrap()
}

#[test]
fn verdicts_on_a_question_move_its_next_decision() {
    let (decider, asked) = (decider(), conversation("How do I reset my password?"));
    let decide = |tenant: &str| {
        decider.decide(&asked, Context { tenant: Some(tenant.to_owned()), ..Context::default() }, None)
    };
    let first = decide("a");
    assert_eq!((first.model, first.reason), (ModelType::Powerful, Some(Reason::NoEvidence)));
    for _ in 0..30 {
        assert_eq!(decider.judge(decide("a").id, Verdict::judged(1.0, 0.5)).unwrap(), VerdictKind::Accepted);
    }
    let next = decide("a");
    assert_eq!((next.model, next.reason), (ModelType::Lightweight, Some(Reason::Confident)));
    assert_eq!(decide("b").reason, Some(Reason::NoEvidence));
}

#[test]
fn a_text_without_a_vector_goes_to_the_powerful_model() {
    let decider = decider();
    let decision = decider.decide(&conversation(""), Context::default(), None);
    assert_eq!((decision.model, decision.reason), (ModelType::Powerful, Some(Reason::NoEvidence)));
    let metrics = decider.router.export_metrics().unwrap();
    assert!(metrics.contains(r#"embedding_errors_total{error_type="no_tokens"} 1"#));
}

#[test]
fn all_reasons_have_names_of_their_own() {
    let names: std::collections::BTreeSet<_> = Why::names().collect();
    assert_eq!(names.len(), Why::names().count());
}
