//! Many rows in few statements: each statement is a hand-over to the connection's thread, which costs more than a row.

/// Rows of one statement: at most this many, and a power of two, so that the connection keeps few prepared statements.
const ROWS_MAX: usize = 64;

/// Ids as one argument: `IN (SELECT unhex(value) FROM json_each($1))`.
pub(super) fn ids<'a>(ids: impl IntoIterator<Item = &'a [u8; 16]>) -> String {
    let quoted: Vec<String> = ids
        .into_iter()
        .map(|id| format!("\"{}\"", hex::encode(id)))
        .collect();
    format!("[{}]", quoted.join(","))
}

/// Splits rows, in order, into pieces whose lengths are powers of two.
pub(super) fn pieces<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let length = rest
            .len()
            .min(ROWS_MAX)
            .checked_ilog2()
            .map(|log| 1_usize << log)?;
        let (piece, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_powers_of_two_and_hold_every_row_in_order() {
        for count in 0..300 {
            let rows: Vec<usize> = (0..count).collect();
            let pieces: Vec<&[usize]> = pieces(&rows).collect();
            assert!(
                pieces
                    .iter()
                    .all(|piece| piece.len().is_power_of_two() && piece.len() <= ROWS_MAX)
            );
            assert_eq!(pieces.concat(), rows);
        }
    }
}
