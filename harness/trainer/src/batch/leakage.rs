//! Queries of the test set in the training set.
//!
//! Two queries are the same when their words are: Unicode lower case, letters and digits only, whatever stands between
//! the words. A query without a letter or digit is compared as it is, less white space around it. Near-duplicates with
//! other words are not found.

use std::collections::HashMap;

use super::error::BatchError;
use super::lists::Lists;

/// A training query that is a test query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// The training query's number.
    pub query: u32,
    /// The test query's id.
    pub test: String,
}

/// The training queries that are among the test queries, given as (id, text), in the order of the lists.
pub fn leaked<'a>(lists: &Lists, test: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Leak> {
    let mut known: HashMap<String, &str> = HashMap::new();
    for (id, text) in test {
        known.entry(normalised(text)).or_insert(id);
    }
    let find = |(query, named): (u32, &super::NamedText)| {
        known.get(&normalised(&named.text)).map(|test| Leak { query, test: (*test).to_owned() })
    };
    (0u32..).zip(lists.queries()).filter_map(find).collect()
}

/// Refuses a training set with a query of the test set.
///
/// # Errors
/// [`BatchError::Leaked`], naming the first and counting the others.
pub fn refuse_leaked<'a>(
    lists: &Lists,
    test: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), BatchError> {
    let leaks = leaked(lists, test);
    let Some(first) = leaks.first() else { return Ok(()) };
    let training = &lists.queries()[first.query as usize];
    Err(BatchError::Leaked {
        training: training.id.clone(),
        test: first.test.clone(),
        text: training.text.clone(),
        others: leaks.len() - 1,
    })
}

/// The same for training queries given as (id, text), for those who learn from pairs rather than lists.
///
/// # Errors
/// [`BatchError::Leaked`], naming the first and counting the others.
pub fn refuse_leaked_queries<'a>(
    training: impl IntoIterator<Item = (&'a str, &'a str)>,
    test: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), BatchError> {
    let known: HashMap<String, &str> = test.into_iter().map(|(id, text)| (normalised(text), id)).collect();
    let find = |(id, text): (&'a str, &'a str)| Some((id, text, *known.get(&normalised(text))?));
    let mut leaks = training.into_iter().filter_map(find);
    let Some((training, text, test)) = leaks.next() else { return Ok(()) };
    Err(BatchError::Leaked {
        training: training.to_owned(),
        test: test.to_owned(),
        text: text.to_owned(),
        others: leaks.count(),
    })
}

/// What is left of a query when only its words count.
fn normalised(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { text.trim().to_owned() } else { words.join(" ") }
}
