//! The grades of the first ranks as one character each, as trec_eval's `relstring` prints them.

use crate::{Grade, JudgedRanking};

/// The first `length` ranks: `0` to `9`, `>` above, `-` where nobody judged the document, `.` for a negative grade.
pub fn relevance_string(ranking: &JudgedRanking, length: usize) -> String {
    let mut characters = vec!['-'; length.min(ranking.retrieved())];
    for hit in ranking.hits() {
        if let Some(character) = characters.get_mut(hit.rank - 1) {
            *character = symbol(hit.grade);
        }
    }
    characters.into_iter().collect()
}

fn symbol(grade: Grade) -> char {
    match u32::try_from(grade) {
        Err(_) => '.',
        Ok(grade) => char::from_digit(grade, 10).unwrap_or('>'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_document_has_its_character() {
        let ranking =
            JudgedRanking::from_grades(&[Some(3), None, Some(-1), Some(12), Some(0)], &[3, -1, 12, 0]);
        assert_eq!(relevance_string(&ranking, 4), "3-.>");
        assert_eq!(relevance_string(&ranking, 40), "3-.>0");
    }
}
