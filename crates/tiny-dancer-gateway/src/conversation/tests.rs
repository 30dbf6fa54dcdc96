use super::*;
use tiny_dancer::parts::core::ManualClock;

const PRICED: &str = r#"
    version = 1
    [powerful]
    provider = "openai"
    model = "big"
    prices = { input = 1.25, cached_input = 0.125, output = 10.0 }
    [lightweight]
    provider = "openai"
    model = "small"
    prices = { input = 0.25, cached_input = 0.025, output = 2.0 }
"#;

const UP: (ModelType, Why) = (ModelType::Powerful, Why::Decided(Reason::LowConfidence));
const DOWN: (ModelType, Why) = (ModelType::Lightweight, Why::Decided(Reason::Confident));
const STAYS: (ModelType, Why) = (ModelType::Powerful, Why::Conversation);

fn config(text: &str) -> Config {
    Config::parse(text, &|_| Some("sk".to_owned())).unwrap()
}

fn conversations() -> (Conversations, ManualClock) {
    let (clock, hand) = Clock::manual(0);
    (Conversations::new(clock), hand)
}

fn key(name: &str) -> Key {
    Key::new(None, Some(name), &[0; 32])
}

/// A conversation that the powerful model began, since the mode was observe, with a text of so many tokens.
fn begun(input: u64) -> (Conversations, ManualClock) {
    let (conversations, hand) = conversations();
    conversations.stay(key("a"), false, (ModelType::Powerful, Why::Observe), &config(PRICED));
    delivered(&conversations, input);
    (conversations, hand)
}

fn delivered(conversations: &Conversations, input: u64) {
    let tokens = Tokens { input, cached_input: 0, output: 300 };
    conversations.delivered(key("a"), ModelType::Powerful, Some(tokens));
}

#[test]
fn the_example_of_the_record_is_computed_as_it_says() {
    let config = config(PRICED);
    let (powerful, lightweight) = (config.powerful.prices.unwrap(), config.lightweight.prices.unwrap());
    let (saving, loss) = change(powerful, lightweight, 50_000, 300);
    assert!((saving - 0.0074).abs() < 1e-12 && (loss - 0.01125).abs() < 1e-12, "{saving} {loss}");
}

#[test]
fn a_long_conversation_stays_until_it_has_waived_what_the_cache_is_worth() {
    let (conversations, _hand) = begun(49_700);
    let config = config(PRICED);
    assert_eq!(conversations.stay(key("a"), false, DOWN, &config), STAYS);
    assert_eq!(
        conversations.stay(key("a"), false, DOWN, &config),
        DOWN,
        "two savings are more than the loss"
    );
    assert_eq!(conversations.stay(key("a"), false, DOWN, &config), DOWN);
}

#[test]
fn a_short_conversation_follows_each_decision() {
    let (conversations, _hand) = begun(1_000);
    assert_eq!(conversations.stay(key("a"), false, DOWN, &config(PRICED)), DOWN);
}

#[test]
fn a_cache_that_the_provider_has_dropped_is_no_reason_to_stay() {
    let (conversations, hand) = begun(49_700);
    hand.advance(Duration::from_mins(5));
    assert_eq!(conversations.stay(key("a"), false, DOWN, &config(PRICED)), DOWN);
}

#[test]
fn without_prices_or_tokens_only_difficulty_is_a_reason_to_stay() {
    let without =
        config(&PRICED.lines().filter(|line| !line.contains("prices")).collect::<Vec<_>>().join("\n"));
    let (conversations, _hand) = begun(49_700);
    assert_eq!(conversations.stay(key("a"), false, DOWN, &without), DOWN);
    let (conversations, _hand) = begun(49_700);
    conversations.delivered(key("a"), ModelType::Powerful, None);
    assert_eq!(conversations.stay(key("a"), false, DOWN, &config(PRICED)), DOWN);

    assert_eq!(conversations.stay(key("a"), false, UP, &without), UP);
    assert_eq!(conversations.stay(key("a"), false, DOWN, &without), STAYS);
}

#[test]
fn a_conversation_that_went_up_for_difficulty_never_goes_down() {
    let config = config(PRICED);
    for reason in Reason::ALL.into_iter().filter(|reason| reason.model() == ModelType::Powerful) {
        let (conversations, hand) = conversations();
        assert_eq!(conversations.stay(key("a"), false, DOWN, &config), DOWN);
        let up = (ModelType::Powerful, Why::Decided(reason));
        assert_eq!(
            conversations.stay(key("a"), false, up, &config),
            up,
            "a decision for the powerful model stands"
        );
        let is_difficult = matches!(reason, Reason::LowConfidence | Reason::HighUncertainty);
        let expected = if is_difficult { STAYS } else { DOWN };
        for _ in 0..3 {
            hand.advance(Duration::from_mins(50));
            assert_eq!(conversations.stay(key("a"), false, DOWN, &config), expected, "{reason}");
        }
        hand.advance(Duration::from_hours(1));
        assert_eq!(conversations.stay(key("a"), false, DOWN, &config), DOWN, "it is forgotten");
    }
}

#[test]
fn a_lightweight_conversation_has_no_reason_to_refuse_a_decision() {
    let (conversations, _hand) = conversations();
    let config = config(PRICED);
    conversations.stay(key("a"), false, DOWN, &config);
    let tokens = Tokens { input: 1_000_000, cached_input: 0, output: 1 };
    conversations.delivered(key("a"), ModelType::Lightweight, Some(tokens));
    let spent = (ModelType::Powerful, Why::Decided(Reason::BudgetSpent));
    assert_eq!(conversations.stay(key("a"), false, spent, &config), spent);
}

#[test]
fn a_request_that_begins_a_conversation_is_another_one_with_the_same_beginning() {
    let (conversations, _hand) = conversations();
    let config = config(PRICED);
    for served in [DOWN, UP] {
        conversations.stay(key("a"), false, served, &config);
    }
    assert_eq!(conversations.stay(key("a"), true, DOWN, &config), DOWN);
    assert_eq!(conversations.stay(key("a"), false, DOWN, &config), DOWN);
}

#[test]
fn a_conversation_is_that_of_its_client_and_its_name_or_else_its_beginning() {
    let keys = [
        Key::new(None, None, &[0; 32]),
        Key::new(None, None, &[1; 32]),
        Key::new(Some("ab"), None, &[0; 32]),
        Key::new(None, Some("c"), &[0; 32]),
        Key::new(Some("ab"), Some("c"), &[0; 32]),
        Key::new(Some("a"), Some("bc"), &[0; 32]),
    ];
    let different: std::collections::HashSet<_> = keys.into_iter().collect();
    assert_eq!(different.len(), keys.len());
    assert_eq!(Key::new(None, Some("c"), &[0; 32]), Key::new(None, Some("c"), &[1; 32]));
}

#[test]
fn the_number_of_known_conversations_is_bounded() {
    let (conversations, _hand) = conversations();
    let config = config(PRICED);
    for number in 0..KNOWN.get() + 10 {
        conversations.stay(key(&number.to_string()), false, DOWN, &config);
    }
    assert_eq!(conversations.known().len(), KNOWN.get());
}
