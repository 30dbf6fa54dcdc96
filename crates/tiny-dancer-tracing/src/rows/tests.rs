use super::*;

#[test]
fn decoded_rows_equal_the_encoded_ones_to_the_last_bit() {
    let odd = [f32::MIN_POSITIVE, -0.0, 1.0e-45, f32::from_bits(0x3f7f_ffff), 1.0];
    for rows in [vec![], vec![odd], (0..64_u8).map(|i| odd.map(|x| x * f32::from(i))).collect()] {
        let bits = |rows: &[Row]| rows.iter().flatten().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&decode(&encode(rows.clone())).unwrap()), bits(&rows));
    }
}

/// Other programs rely on this format.
#[test]
fn the_text_has_the_hexadecimal_digits_of_the_bits_row_by_row() {
    let text = encode([[1.0, 0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, -2.0]]);
    assert_eq!(text, "3f800000000000003f0000000000000000000000".to_owned() + &"0".repeat(32) + "c0000000");
}

#[test]
fn a_text_without_whole_rows_is_an_error() {
    assert_eq!(decode("3f8000000?"), Err(RowsError::Digit { found: '?', place: 9 }));
    assert_eq!(decode("3f8"), Err(RowsError::OddLength { digits: 3 }));
    assert_eq!(decode("3f800000"), Err(RowsError::NotWhole { bytes: 4 }));
}
