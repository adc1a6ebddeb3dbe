//! How much new a round's queries bring. SSRA's authors watch the share of duplicate queries: 6.57 % before their second
//! stage, 5.20 % after it; above 10 % they speak of collapse.

use rustc_hash::FxHashSet;
use serde::Serialize;

use crate::normal_form;

/// A set of queries, beside those that were there before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Diversity {
    /// Queries.
    pub queries: u64,
    /// The share with the words of another of the set that stands before it: the duplicate-query rate.
    pub duplicate_rate: f64,
    /// The share with the words of one from before the set.
    pub seen_before: f64,
    /// Different words over all words.
    pub distinct_words: f64,
    /// Words of a query, on average.
    pub mean_words: f64,
}

/// Measures one set of queries after the other.
#[derive(Clone, Debug, Default)]
pub struct DiversityCheck {
    before: FxHashSet<String>,
}

impl DiversityCheck {
    /// Measures a set, which from then on was there before.
    pub fn measure<'q>(&mut self, queries: impl IntoIterator<Item = &'q str>) -> Diversity {
        let (mut set, mut words): (FxHashSet<String>, FxHashSet<String>) = Default::default();
        let (mut count, mut duplicates, mut before, mut all_words) = (0_u64, 0_u64, 0_u64, 0_u64);
        for query in queries {
            let form = normal_form(query);
            count += 1;
            before += u64::from(self.before.contains(&form));
            for word in form.split(' ') {
                all_words += 1;
                words.insert(word.to_owned());
            }
            duplicates += u64::from(!set.insert(form));
        }
        self.before.extend(set);
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        Diversity {
            queries: count,
            duplicate_rate: share(duplicates, count),
            seen_before: share(before, count),
            distinct_words: share(words.len() as u64, all_words),
            mean_words: share(all_words, count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_computed() {
        let mut check = DiversityCheck::default();
        // Words: wine stain, Wine stain, dog: five, three of them different.
        let first = check.measure(["wine stain", "Wine  stain", "dog"]);
        let expected = Diversity {
            queries: 3,
            duplicate_rate: 1.0 / 3.0,
            seen_before: 0.0,
            distinct_words: 0.6,
            mean_words: 5.0 / 3.0,
        };
        assert_eq!(first, expected);
        let second = check.measure(["dog", "cat"]);
        assert_eq!((second.duplicate_rate, second.seen_before), (0.0, 0.5));
        assert_eq!(check.measure([]), Diversity::default());
    }
}
