//! The length of a vector.

use crate::error::EmbedError;

/// Scales a vector to length 1. The squares are added as f64, so that no finite vector is too long.
pub(crate) fn normalize(vector: &mut [f32], tokens: usize) -> Result<(), EmbedError> {
    if let Some(element) = vector.iter().position(|x| !x.is_finite()) {
        return Err(EmbedError::NonFinite { element, value: vector[element] });
    }
    let norm = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if norm == 0.0 {
        return Err(EmbedError::ZeroNorm { tokens });
    }
    for x in vector {
        *x = (f64::from(*x) / norm) as f32;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_1_from_the_smallest_to_the_largest_floats() {
        for factor in [f32::MIN_POSITIVE, 1.0, 2_f32.powi(124)] {
            let mut vector = [3.0 * factor, -4.0 * factor, 0.0];
            normalize(&mut vector, 1).unwrap();
            assert_eq!(vector, [0.6, -0.8, 0.0]);
        }
    }

    #[test]
    fn a_vector_without_a_direction_is_an_error() {
        assert_eq!(normalize(&mut [0.0, -0.0], 3), Err(EmbedError::ZeroNorm { tokens: 3 }));
        assert_eq!(normalize(&mut [], 0), Err(EmbedError::ZeroNorm { tokens: 0 }));
        let error = normalize(&mut [1.0, f32::INFINITY], 1);
        assert_eq!(error, Err(EmbedError::NonFinite { element: 1, value: f32::INFINITY }));
        assert!(matches!(normalize(&mut [f32::NAN], 1), Err(EmbedError::NonFinite { element: 0, .. })));
    }
}
