use super::*;
use crate::retrieval::tests::unit_rows;
use crate::rows::Row;

#[test]
fn every_row_is_assigned_to_its_nearest_centroid() {
    let rows = unit_rows(400, 8, 1);
    let profiles = Profiles::new(&rows, 12, 1).unwrap();
    let centroids = profiles.centroids();
    for (row, &assigned) in rows.outer_iter().zip(&profiles.assignment) {
        let cosines = centroids.dot(&row);
        let best = cosines.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // After the last round another centroid may still be slightly nearer.
        assert!(cosines[assigned as usize] >= best - 0.05);
    }
}

#[test]
fn every_centroid_is_the_direction_of_its_members_sum() {
    let rows = unit_rows(200, 8, 2);
    let profiles = Profiles::new(&rows, 10, 1).unwrap();
    for (centroid, members) in profiles.centroids().outer_iter().zip(profiles.members()) {
        let sum = rows.select(Axis(0), &members).sum_axis(Axis(0));
        let direction = &sum / sum.dot(&sum).sqrt();
        assert!(centroid.iter().zip(&direction).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

#[test]
fn no_profile_is_empty_and_every_row_has_one() {
    let rows = unit_rows(60, 4, 3);
    let profiles = Profiles::new(&rows, 40, 5).unwrap();
    let members = profiles.members();
    assert!(members.iter().all(|members| !members.is_empty()));
    assert_eq!(members.iter().map(Vec::len).sum::<usize>(), 60);
}

#[test]
fn separate_clusters_are_found() {
    // Three directions with a little noise, alternating.
    let mut rows = unit_rows(90, 6, 4);
    for (i, mut row) in rows.outer_iter_mut().enumerate() {
        row *= 0.1;
        row[i % 3] += 1.0;
        let norm = row.dot(&row).sqrt();
        row /= norm;
    }
    let profiles = Profiles::new(&rows, 3, 1).unwrap();
    for i in 0..90 {
        assert_eq!(profiles.assignment[i], profiles.assignment[i % 3]);
    }
    assert_eq!(profiles.members().iter().map(Vec::len).collect::<Vec<_>>(), [30; 3]);
}

#[test]
fn one_seed_gives_the_same_profiles_on_any_number_of_threads() {
    let rows = unit_rows(1000, 16, 5);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Profiles::new(&rows, 30, 9).unwrap())
    };
    let (one, three) = (with(1), with(3));
    assert_eq!((one.assignment, one.sums), (three.assignment, three.sums));
}

#[test]
fn more_profiles_than_different_rows_are_refused() {
    let rows = ndarray::array![[1.0_f32, 0.0], [0.0, 1.0], [1.0, 0.0]];
    assert_eq!(Profiles::new(&rows, 3, 1).unwrap_err(), ProfileError::Count { count: 3, rows: 2 });
    assert_eq!(Profiles::new(&rows, 0, 1).unwrap_err(), ProfileError::Count { count: 0, rows: 3 });
    assert_eq!(Profiles::new(&rows, 2, 1).unwrap().len(), 2);
}

#[test]
fn a_summary_counts_only_training_rows() {
    let row = |i: usize, part, lightweight| Row {
        id: i.to_string(),
        subject: Some(if i < 2 { "law" } else { "maths" }.to_owned()),
        part,
        lightweight,
        powerful: 1.0,
    };
    let rows = vec![
        row(0, Part::Fit, 1.0),
        row(1, Part::EarlyStopping, 0.0),
        row(2, Part::Fit, 1.0),
        row(3, Part::Test, 0.0),
    ];
    let embeddings = ndarray::array![[1.0_f32, 0.0], [0.8, 0.6], [0.0, 1.0], [0.0, 1.0]];
    let data = Dataset {
        rows,
        embeddings,
        embedder: None,
        split_by_hash: 0,
        without_powerful: 0,
        unread: vec![],
        provenance: String::new(),
    };
    let summary = summarise(&data, 2, 1).unwrap();
    let mut lines: Vec<_> = summary
        .profiles
        .iter()
        .map(|p| (p.access_count, p.success_rate, p.metadata["subject"].clone()))
        .collect();
    lines.sort_by_key(|line| line.0);
    assert_eq!(lines, [(1, 1.0, "maths".to_owned()), (2, 0.5, "law".to_owned())]);
    let first = summary.to_json_lines().lines().next().unwrap().to_owned();
    assert!(first.starts_with(r#"{"id":"profile-000","success_rate":"#), "{first}");
}
