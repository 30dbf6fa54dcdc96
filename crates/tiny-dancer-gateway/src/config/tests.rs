use super::*;

const MODELS: &str = r#"
    [powerful]
    provider = "openai"
    model = "big"
    [lightweight]
    provider = "openai"
    model = "small"
"#;

fn keys(variable: &str) -> Option<String> {
    variable.ends_with("_API_KEY").then(|| format!("secret of {variable}"))
}

fn parse(root: &str, tables: &str) -> Result<Config, ConfigError> {
    Config::parse(&format!("version = 1\n{root}\n{MODELS}\n{tables}"), &keys)
}

fn mistakes(text: &str, environment: Environment<'_>) -> Vec<String> {
    Config::parse(text, environment).unwrap_err().mistakes().iter().map(ToString::to_string).collect()
}

#[test]
fn two_models_are_enough_and_the_rest_has_safe_defaults() {
    let config = parse("", "").unwrap();
    assert!(config.listen.ip().is_loopback());
    assert_eq!((config.mode, config.provider()), (Mode::Observe, Provider::Openai));
    assert_eq!(config.routed, ["auto"]);
    assert_eq!(config.powerful.base_url.as_str(), "https://api.openai.com/v1");
    assert_eq!(config.powerful.key, Some(Secret::new("secret of OPENAI_API_KEY")));
    assert_eq!((config.lightweight.accepts.len(), config.powerful.accepts.len()), (0, 3));
}

#[test]
fn every_mistake_is_named_at_once() {
    let text = r#"
        version = 2
        mode = "on"
        canary_share = 1.5
        colour = "red"
        [powerful]
        provider = "openai"
        model = "big"
        [lightweight]
        provider = "anthropic"
        [limits]
        concurrent = 0
        bodies = 3
        [timeouts]
        idle = -1.0
        [[clients]]
        name = "a"
        key_sha256 = "sk-a"
    "#;
    let expected = [
        "version is 2, expected 1",
        "mode: unknown variant `on`, expected one of `canary`, `live`, `observe`",
        "canary_share is 1.5, expected 0 to 1",
        "powerful: the environment has no OPENAI_API_KEY",
        "lightweight.model is missing",
        "lightweight: the environment has no ANTHROPIC_API_KEY",
        "limits.concurrent is 0, expected 1 or more",
        "limits.bodies is unknown",
        "timeouts.idle is -1, expected 0.001 to 86400 seconds",
        "clients[0].key_sha256 is another text, expected 64 hexadecimal digits",
        "colour is unknown",
    ];
    assert_eq!(mistakes(text, &|_| None), expected);
}

#[test]
fn a_text_that_is_no_toml_is_refused_with_its_line_and_without_its_content() {
    let mistakes = mistakes("version = 1\nkey = sk-secret", &keys);
    assert!(mistakes[0].starts_with("not a TOML file: line 2: "), "{mistakes:?}");
    assert!(!mistakes[0].contains("secret"), "{mistakes:?}");
}

#[test]
fn models_of_two_interfaces_are_refused() {
    let text = format!("version = 1\n{}", MODELS.replacen("openai", "anthropic", 1));
    let expected =
        "powerful.provider is anthropic, and lightweight.provider is openai: both need the same interface";
    assert_eq!(mistakes(&text, &keys), [expected]);
}

#[test]
fn an_address_that_others_reach_needs_clients() {
    let error = parse(r#"listen = "0.0.0.0:80""#, "").unwrap_err().to_string();
    assert!(error.contains("listen is 0.0.0.0:80, which other machines reach"), "{error}");
    let client = format!("[[clients]]\nname = \"a\"\nkey_sha256 = \"{}\"", "0a".repeat(32));
    assert_eq!(parse(r#"listen = "0.0.0.0:80""#, &client).unwrap().clients[0].key_sha256, [10; 32]);
    let error = parse("", &format!("{client}\n{client}")).unwrap_err().to_string();
    assert!(error.contains("clients[1]: two clients have the name or the key of a"), "{error}");
}

#[test]
fn another_address_needs_no_key_and_may_have_one() {
    let with = |lines: &str| {
        let models = MODELS.replacen("model = \"big\"", &format!("model = \"big\"\n{lines}"), 1);
        Config::parse(&format!("version = 1\n{models}"), &keys)
    };
    let local = "base_url = \"http://127.0.0.1:8000/v1\"";
    assert_eq!(with(local).unwrap().powerful.key, None);
    let key = with(&format!("{local}\nkey_variable = \"MY_API_KEY\"")).unwrap().powerful.key;
    assert_eq!(key, Some(Secret::new("secret of MY_API_KEY")));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "from a file\n").unwrap();
    let key = with(&format!("key_file = {:?}", file.display().to_string())).unwrap().powerful.key;
    assert_eq!(key, Some(Secret::new("from a file")));
    let error = with("key_file = \"/nowhere\"").unwrap_err().to_string();
    assert!(error.contains("powerful.key_file is /nowhere, which cannot be read"), "{error}");

    for address in ["ftp://a", "http://user:secret@a", "a"] {
        let error = with(&format!("base_url = {address:?}")).unwrap_err().to_string();
        assert!(error.contains("powerful.base_url is another text") && !error.contains("secret"), "{error}");
    }
}

#[test]
fn a_shadow_needs_a_judge_and_a_limit_needs_prices() {
    let error = parse("", "[shadow]\nrate = 0.1").unwrap_err().to_string();
    assert!(error.ends_with("judge is missing"), "{error}");
    let tables = "[shadow]\nrate = 0.1\n[judge]\nkind = \"exact\"\ndaily_cost = 1.0";
    let error = parse("", tables).unwrap_err().to_string();
    assert!(error.ends_with("lightweight.prices is missing"), "{error}");
    let judge =
        |lines: &str| parse("", &format!("[judge]\n{lines}")).map(|config| config.judge.unwrap().kind);
    assert!(matches!(judge("kind = \"exact\""), Ok(JudgeKind::Exact)));
    let model = judge("kind = \"model\"\nprovider = \"anthropic\"\nmodel = \"claude\"");
    assert!(matches!(model, Ok(JudgeKind::Model { prompt, .. }) if prompt.contains("{question}")));
    let error = judge("kind = \"webhook\"\nurl = \"http://user:secret@a\"").unwrap_err().to_string();
    assert!(error.contains("judge.url is another text") && !error.contains("secret"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prompt.txt");
    std::fs::write(&file, "{question} {a}").unwrap();
    let lines = "kind = \"model\"\nprovider = \"openai\"\nmodel = \"m\"\n";
    let error =
        judge(&format!("{lines}prompt_file = {:?}", file.display().to_string())).unwrap_err().to_string();
    assert!(error.contains("judge.prompt_file is a text without {b}, expected one with it"), "{error}");
}

#[test]
fn the_debug_of_a_configuration_shows_no_key() {
    assert!(!format!("{:?}", parse("", "").unwrap()).contains("secret of"));
}

#[test]
fn a_budget_has_the_defaults_of_the_router_and_may_judge_a_fixed_share() {
    let budget = |lines: &str| {
        let config = parse("", &format!("[judge]\nkind = \"exact\"\n[budget]\n{lines}"));
        config.map(|config| config.budget.unwrap())
    };
    let max_judgements = MAX_JUDGEMENTS;
    assert_eq!(budget("").unwrap(), QualityBudget { max_judgements, ..QualityBudget::default() });
    let lines =
        "loss_rate = 0.1\ndelta = 0.01\nburst = 3\nmargin = 0.25\njudge_rate = 1\njudgement_timeout = 60";
    let expected = QualityBudget {
        loss_rate: 0.1,
        delta: 0.01,
        burst: 3.0,
        margin: 0.25,
        judge_rate: JudgeRate::Fixed(1.0),
        judgement_timeout: Duration::from_secs(60),
        max_judgements,
    };
    assert_eq!(budget(lines).unwrap(), expected);
    let adaptive = budget("judge_rate = \"adaptive\"\njudge_floor = 0.5").unwrap().judge_rate;
    assert_eq!(adaptive, JudgeRate::Adaptive { floor: 0.5 });
    let error = budget("judge_rate = \"often\"").unwrap_err().to_string();
    assert!(error.contains(r#"budget.judge_rate: expected 0.001 to 1, or "adaptive""#), "{error}");
}

#[test]
fn every_mistake_of_a_budget_is_named_at_once() {
    let text = format!(
        "version = 1\n{MODELS}
        [budget]
        loss_rate = 1.0
        delta = 0
        burst = -1.0
        margin = 2.0
        judge_rate = 0.0001
        judge_floor = 0.2
        judgement_timeout = 0.5
        rate = 1
        [judge]
        concurrent = 0
        queue = 20000
        daily_cost = -1
        kind = \"exact\""
    );
    let expected = [
        "judge.concurrent is 0, expected 1 to 1000",
        "judge.queue is 20000, expected 1 to 16384",
        "judge.daily_cost is -1, expected 0 or more",
        "budget.loss_rate is 1, expected between 0 and 1",
        "budget.delta is 0, expected between 0 and 1",
        "budget.burst is -1, expected 0 to 1e9",
        "budget.margin is 2, expected 0 to 1",
        "budget.judgement_timeout is 0.5, expected 1 to 86400 seconds",
        "budget.judge_rate is 0.0001, expected 0.001 to 1, or \"adaptive\"",
        "budget.judge_floor is 0.2, expected none, since judge_rate is not adaptive",
        "budget.rate is unknown",
        "powerful.prices is missing",
    ];
    assert_eq!(mistakes(&text, &keys), expected);
    let error = parse("", "[budget]").unwrap_err().to_string();
    assert!(error.ends_with("judge is missing"), "{error}");
}
