use super::*;
use crate::past::{Item, ItemOutcome};
use crate::retrieval::tests::unit_rows;
use tiny_dancer_core::RouterConfig;

fn past(n: usize) -> Past {
    let item = |i: usize| Item {
        id: i.to_string(),
        split: None,
        metadata: [].into(),
        created_at: None,
        access_count: 1,
        outcome: ItemOutcome::Row { lightweight: f64::from(u8::from(!i.is_multiple_of(3))), powerful: 1.0 },
    };
    Past { items: (0..n).map(item).collect(), embeddings: unit_rows(n, 8, 1), embedder: None, unread: vec![] }
}

#[test]
fn a_judgement_is_the_routers_decision_with_the_nearest() {
    let (router, past, queries) =
        (Router::new(RouterConfig::default()).unwrap(), past(90), unit_rows(5, 8, 2));
    let candidates = past.candidates();
    for (query, judgement) in queries.outer_iter().zip(judge(&router, &queries, &past, 20).unwrap()) {
        let mut near = candidates.clone();
        near.sort_by(|a, b| {
            let cosine = |c: &Candidate| c.embedding.iter().zip(query).map(|(a, b)| a * b).sum::<f32>();
            cosine(b).total_cmp(&cosine(a))
        });
        near.truncate(20);
        let query = query.to_vec();
        let answer = router.route(RoutingRequest::new(&query, &near)).unwrap();
        assert!((answer.confidence - judgement.confidence).abs() < 1e-5);
        assert_eq!((judgement.candidates, answer.uncertainty), (20, judgement.uncertainty));
    }
}

#[test]
fn a_row_is_not_judged_by_its_own_outcome() {
    let (router, past) = (Router::new(RouterConfig::default()).unwrap(), past(30));
    let judgements = judge(&router, &past.embeddings, &past, 64).unwrap();
    assert!(
        judgements.iter().all(|judgement| judgement.candidates == 29 && judgement.top_similarity < 0.9999)
    );
}

#[test]
fn a_query_of_another_dimension_is_refused() {
    let router = Router::new(RouterConfig::default()).unwrap();
    let mut candidates = past(4).candidates();
    candidates[2].embedding.pop();
    let queries = unit_rows(1, 8, 3);
    let retrieved = nearest(&queries, &past(4).embeddings, 4);
    assert!(matches!(
        judge_retrieved(&router, &queries, &candidates, &retrieved, 4),
        Err(RouteError::DimensionMismatch { .. })
    ));
}
