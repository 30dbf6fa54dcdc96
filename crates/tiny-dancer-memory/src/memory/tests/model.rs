//! Any order of requests, verdicts, erasures and restarts gives the evidence of a simple model.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What a program may do with a memory.
#[derive(Clone, Debug)]
enum Step {
    Route { tenant: Option<u8>, user: Option<u8> },
    Record { request: prop::sample::Index, good: bool, time: Option<i64> },
    EraseTenant(u8),
    EraseUser { tenant: Option<u8>, user: u8 },
    Flush,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || prop::option::of(0..2_u8);
    let step = prop_oneof![
        8 => (name(), name()).prop_map(|(tenant, user)| Step::Route { tenant, user }),
        12 => (any::<prop::sample::Index>(), any::<bool>(), prop::option::of(0..4_i64))
            .prop_map(|(request, good, time)| Step::Record { request, good, time }),
        1 => (0..2_u8).prop_map(Step::EraseTenant),
        1 => (name(), 0..2_u8).prop_map(|(tenant, user)| Step::EraseUser { tenant, user }),
        1 => Just(Step::Flush),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

/// A request, as the model knows it.
struct Request {
    id: RequestId,
    tenant: Option<String>,
    user: Option<String>,
    verdict: Option<Verdict>,
    is_erased: bool,
}

fn name(number: u8) -> String {
    format!("name {number}")
}

/// The rates of all entries that a tenant's requests find.
fn found(memory: &Memory, tenant: Option<&str>) -> BTreeMap<String, f32> {
    let found = memory.tenants.nearest(tenant, &[0.6, 0.8], 4096).unwrap();
    found.into_iter().map(|found| (found.candidate.id.clone(), found.candidate.success_rate)).collect()
}

/// Runs the steps, and compares the evidence with the model's after each one.
fn agrees(steps: Vec<Step>, open: impl Fn() -> Memory) {
    let router = router();
    let mut memory = open();
    let mut model: Vec<Request> = Vec::new();
    for step in steps {
        match step {
            Step::Route { tenant, user } => {
                let (tenant, user) = (tenant.map(name), user.map(name));
                let context = Context { tenant: tenant.clone(), user: user.clone(), ..Context::default() };
                let id = route(&memory, &router, context).id;
                model.push(Request { id, tenant, user, verdict: None, is_erased: false });
            }
            Step::Record { request, good, time } if !model.is_empty() => {
                let request = request.index(model.len());
                let request = &mut model[request];
                let verdict = Verdict { at: time, ..Verdict::lightweight(f32::from(good)) };
                let recorded = memory.record(&router, request.id, verdict);
                // The manual clock stands still.
                let verdict = Verdict { at: Some(time.unwrap_or(NOW * 1000)), ..verdict };
                let counts = request.verdict;
                match recorded {
                    Ok(kind) => {
                        assert!(!request.is_erased, "{kind}");
                        let expected = match counts {
                            None => VerdictKind::Accepted,
                            Some(counts) if counts.lightweight == verdict.lightweight => {
                                VerdictKind::Repeated
                            }
                            Some(counts) if verdict.supersedes(&counts) => VerdictKind::Contradicting,
                            Some(_) => VerdictKind::Superseded,
                        };
                        assert_eq!(kind, expected);
                        if counts.is_none_or(|counts| verdict.supersedes(&counts)) {
                            request.verdict = Some(verdict);
                        }
                    }
                    Err(RecordError::Unknown { .. }) => assert!(request.is_erased),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Record { .. } => {}
            Step::EraseTenant(tenant) => {
                let tenant = name(tenant);
                memory.erase(&Erasure::Tenant(tenant.clone())).unwrap();
                for request in &mut model {
                    request.is_erased |= request.tenant.as_ref() == Some(&tenant);
                }
            }
            Step::EraseUser { tenant, user } => {
                let (tenant, user) = (tenant.map(name), name(user));
                memory.erase(&Erasure::User { tenant: tenant.clone(), user: user.clone() }).unwrap();
                for request in &mut model {
                    request.is_erased |= request.tenant == tenant && request.user.as_ref() == Some(&user);
                }
            }
            Step::Flush => memory.flush().unwrap(),
            Step::Restart => {
                drop(memory);
                memory = open();
            }
        }
        for tenant in [None, Some(name(0)), Some(name(1))] {
            let expected: BTreeMap<_, _> = model
                .iter()
                .filter(|request| request.tenant == tenant && !request.is_erased)
                .filter_map(|request| Some((request.id.to_string(), request.verdict?.lightweight)))
                .collect();
            assert_eq!(found(&memory, tenant.as_deref()), expected, "{tenant:?}");
        }
        let kept = model.iter().filter(|request| !request.is_erased && request.verdict.is_some()).count();
        assert_eq!(memory.stats().evidence, kept);
    }
}

proptest! {
    #[test]
    fn any_order_of_steps_gives_the_evidence_of_a_model(steps in steps()) {
        let store = InProcessStore::default();
        agrees(steps, || {
            Memory::with_store(store.clone(), clocked(MemoryConfig::default()).0).unwrap()
        });
    }

    #[test]
    fn without_a_store_too_as_long_as_it_runs(steps in steps()) {
        let steps = steps.into_iter().filter(|step| !matches!(step, Step::Restart)).collect();
        agrees(steps, memory);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn in_a_file_of_sqlite_too(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.db");
        agrees(steps, || Memory::open_with(&path, clocked(MemoryConfig::default()).0).unwrap());
    }
}
