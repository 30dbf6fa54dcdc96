use super::*;
use std::collections::BTreeSet;
use tiny_dancer_core::observer::Stage;

/// A series is found by `value as usize`, and named by the place in `ALL`.
#[test]
fn every_closed_enum_lists_its_values_in_their_own_order() {
    macro_rules! check {
        ($($closed:ty),+) => {
            $(for (place, value) in <$closed>::ALL.into_iter().enumerate() {
                assert_eq!(value as usize, place, "{value:?}");
            })+
        };
    }
    check!(
        BatchSize,
        Circuit,
        CircuitState,
        ErrorKind,
        ModelType,
        Operation,
        OutcomeResult,
        Reason,
        ReloadResult,
        ExportResult,
        Stage,
        Status
    );
}

#[test]
fn all_labels_of_a_family_have_a_value_in_each_series() {
    for family in CATALOGUE {
        for label in family.labels {
            assert_eq!(label.values.len(), family.series(), "{} of {}", label.name, family.name);
        }
    }
}

#[test]
fn no_two_series_of_a_family_are_the_same() {
    for family in CATALOGUE {
        let rows =
            (0..family.series()).map(|series| family.labels.iter().map(move |label| label.values[series]));
        let distinct: BTreeSet<Vec<_>> = rows.map(Iterator::collect).collect();
        assert_eq!(distinct.len(), family.series(), "{}", family.name);
    }
}

#[test]
fn no_two_families_have_the_same_name() {
    let names: BTreeSet<_> = CATALOGUE.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), CATALOGUE.len());
}

#[test]
fn a_batch_size_holds_the_sizes_that_it_names() {
    let sizes = [(0, "0"), (1, "1-10"), (10, "1-10"), (11, "11-50"), (50, "11-50"), (51, "51-100")];
    for (candidates, name) in sizes.into_iter().chain([(100, "51-100"), (101, "101+"), (usize::MAX, "101+")])
    {
        assert_eq!(BatchSize::of(candidates).name(), name, "{candidates}");
    }
}
