//! Many questions at a time, and what the answers cost.
//!
//! A live model answers several questions side by side. [`ask_all`] keeps as many under way as the generator bears, hands
//! the answers back in the order of the questions, and asks nothing further once something fails that would fail again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde::Serialize;

use crate::Result;
use crate::error::SynthesisError;
use crate::generator::{Generator, Request};

/// A generator's answer, and the name under which it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The completions as they came.
    pub completions: Vec<String>,
    /// The model that a server says has answered, where it is another than the one expected.
    pub served_as: Option<String>,
}

/// What became of one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The completions.
    Answered(Vec<String>),
    /// The server refuses this very question (too long, filtered), and would again: why. It is not remembered.
    Refused(String),
}

/// What asking has come to: in the report of whoever asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Requests sent, attempts that failed included.
    pub requests: u64,
    /// Questions answered by the model.
    pub answered: u64,
    /// Questions answered from the journal, at no cost.
    pub recalled: u64,
    /// Questions that the server refused for themselves.
    pub refused: u64,
    /// What it said of the first of them.
    pub first_refusal: Option<String>,
    /// Attempts that failed and were made again, by reason.
    pub retries: BTreeMap<String, u64>,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of completions.
    pub completion_tokens: u64,
    /// Answers whose tokens the server did not count: a token is taken to be four characters.
    pub without_token_counts: u64,
    /// Answers that were cut at the longest length allowed.
    pub cut_answers: u64,
    /// What the tokens cost by the recipe's prices; `None` without prices.
    pub cost: Option<f64>,
    /// What the cost is counted in.
    pub currency: Option<String>,
    /// Wall time since the first request, in seconds.
    pub seconds: f64,
    /// How the form of an answer was asked for: `json_schema`, `json_object` or `last_line`.
    pub format: Option<String>,
    /// Names other than the expected one under which a server answered.
    pub served_as: BTreeSet<String>,
}

impl Usage {
    /// The cost of 1,000 of `count` things, where there are prices.
    pub fn cost_per_1000(&self, count: u64) -> Option<f64> {
        self.cost.filter(|_| count > 0).map(|cost| cost * 1000.0 / count as f64)
    }
}

/// Asks everything, as many at a time as the generator bears; the answers are in the order of the requests.
///
/// # Errors
/// The first failure that is not about one question alone: what was under way is waited for, nothing more is asked.
pub fn ask_all(generator: &dyn Generator, requests: &[Request]) -> Result<Vec<Reply>> {
    let next = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    let replies: Vec<Mutex<Option<Result<Reply>>>> = requests.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while !stopped.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(request) = requests.get(at) else { return };
            let reply = match generator.generate(request) {
                Ok(completions) => Ok(Reply::Answered(completions)),
                Err(SynthesisError::Refused { reason, .. }) => Ok(Reply::Refused(reason)),
                Err(error) => {
                    stopped.store(true, Ordering::Relaxed);
                    Err(error)
                }
            };
            *replies[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
        }
    };
    let threads = generator.concurrency().clamp(1, requests.len().max(1));
    if threads == 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    }
    let replies: Vec<_> =
        replies.into_iter().map(|reply| reply.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
    // Of several failures the first in order of the questions; what was not asked comes after one.
    let mut answered = Vec::with_capacity(requests.len());
    let mut unasked = false;
    for reply in replies {
        match reply {
            Some(Ok(reply)) => answered.push(reply),
            Some(Err(error)) => return Err(error),
            None => unasked = true,
        }
    }
    match unasked {
        true => Err(SynthesisError::Generation {
            model: generator.model().to_owned(),
            reason: "some questions were not asked".to_owned(),
        }),
        false => Ok(answered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Task;

    /// Answers with the seed; refuses 3, fails at 40.
    struct Counting {
        under_way: AtomicUsize,
        most: AtomicUsize,
        asked: AtomicUsize,
    }

    impl Generator for Counting {
        fn model(&self) -> &str {
            "counting"
        }
        fn revision(&self) -> &str {
            ""
        }
        fn concurrency(&self) -> usize {
            4
        }
        fn generate(&self, request: &Request) -> Result<Vec<String>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(2));
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            let model = "counting".to_owned();
            match request.seed {
                3 => Err(SynthesisError::Refused { model, reason: "too long".into() }),
                40 => Err(SynthesisError::Stopped { model, reason: "budget".into() }),
                seed => Ok(vec![seed.to_string()]),
            }
        }
    }

    fn requests(seeds: std::ops::Range<u64>) -> Vec<Request> {
        let request = |seed| {
            let task = Task::Query { document: "d".into(), grade: 1 };
            Request { task, samples: 1, temperature: 0.0, seed }
        };
        seeds.map(request).collect()
    }

    #[test]
    fn answers_stand_in_the_order_of_the_questions_and_a_failure_ends_the_asking() {
        let counting = Counting { under_way: 0.into(), most: 0.into(), asked: 0.into() };
        let replies = ask_all(&counting, &requests(0..20)).unwrap();
        assert_eq!(replies.len(), 20);
        for (seed, reply) in replies.iter().enumerate() {
            match seed {
                3 => assert_eq!(*reply, Reply::Refused("too long".into())),
                _ => assert_eq!(*reply, Reply::Answered(vec![seed.to_string()])),
            }
        }
        let most = counting.most.load(Ordering::SeqCst);
        assert!((2..=4).contains(&most), "{most} at a time");
        let failed = ask_all(&counting, &requests(30..400)).unwrap_err();
        assert!(matches!(failed, SynthesisError::Stopped { .. }), "{failed}");
        assert!(counting.asked.load(Ordering::SeqCst) < 60);
        assert_eq!(ask_all(&counting, &[]).unwrap(), []);
    }
}
