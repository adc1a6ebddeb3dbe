//! Generation and stage 2: queries for a document at target grades, and which of them are what they were written for.

use std::collections::BTreeMap;

use relevance::Grade;
use rustc_hash::FxHashSet;
use scorer::Pair;
use serde::Serialize;

use super::{Order, Stage2};
use crate::Result;
use crate::generator::{Example, Generator, Request, Task, without_markup};
use crate::judge::{Judge, Preference, Verdict};
use crate::normal_form;

/// A longer line is no query.
const MOST_CHARACTERS: usize = 200;

/// A query that was written for a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The query's normal form.
    pub query: String,
    /// The grade it was written for.
    pub target: Grade,
    /// What the score model says.
    pub verdict: Verdict,
}

/// What became of the answers for one target grade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Funnel {
    /// The target.
    pub grade: Grade,
    /// Answers that came.
    pub answers: u64,
    /// Answers that are no query: empty, or too long.
    pub unreadable: u64,
    /// Queries with the words of another of the document's.
    pub repeated: u64,
    /// Queries that went into the filters.
    pub proposed: u64,
    /// Of these by the score model's grade, from 0 to 3.
    pub judged: [u64; 4],
    /// Those the score model could not grade.
    pub unjudged: u64,
    /// What agreement alone keeps.
    pub agree_alone: u64,
    /// What order alone keeps; nothing is counted unless it is asked for.
    pub order_alone: u64,
    /// What both keep.
    pub both: u64,
    /// What the filters that are on let through, before a document's number of a grade is cut.
    pub passed: u64,
    /// Written out.
    pub kept: u64,
}

impl Funnel {
    /// Adds another document's.
    pub fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.unreadable += other.unreadable;
        self.repeated += other.repeated;
        self.proposed += other.proposed;
        self.unjudged += other.unjudged;
        self.agree_alone += other.agree_alone;
        self.order_alone += other.order_alone;
        self.both += other.both;
        self.passed += other.passed;
        self.kept += other.kept;
        for (own, other) in self.judged.iter_mut().zip(other.judged) {
            *own += other;
        }
    }
}

/// An answer as a query: its last line that says something, without markup and quotation marks.
pub fn read_query(answer: &str) -> Option<String> {
    let plain = without_markup(answer);
    let line = plain.lines().rev().find(|line| !line.trim().is_empty())?;
    let query = normal_form(line.trim().trim_matches(['"', '\'', '`', '“', '”']));
    (!query.is_empty() && query.chars().count() <= MOST_CHARACTERS).then_some(query)
}

/// Has queries written for a document at each target grade, and asks the score model about them. `known` are the normal
/// forms of queries that the document has. Returns the new ones, and a funnel for each target.
///
/// # Errors
/// When the generator or the judge fails.
pub fn propose(
    document: &str,
    known: &FxHashSet<String>,
    examples: &[Example],
    rules: &Stage2,
    generator: &dyn Generator,
    score_model: &dyn Judge,
    seed: u64,
) -> Result<(Vec<Proposal>, Vec<Funnel>)> {
    let mut seen = known.clone();
    let (mut queries, mut funnels) = (Vec::new(), Vec::new());
    for &grade in &rules.grades {
        let mut funnel = Funnel { grade, ..Funnel::default() };
        let task = match examples.is_empty() {
            true => Task::Query { document: document.to_owned(), grade },
            false => Task::QueryLike { document: document.to_owned(), grade, examples: examples.to_vec() },
        };
        let request = Request { task, samples: rules.attempts, temperature: rules.temperature, seed };
        for answer in generator.generate(&request)? {
            funnel.answers += 1;
            match read_query(&answer) {
                None => funnel.unreadable += 1,
                Some(query) if !seen.insert(query.clone()) => funnel.repeated += 1,
                Some(query) => {
                    funnel.proposed += 1;
                    queries.push((query, grade));
                }
            }
        }
        funnels.push(funnel);
    }
    let pairs: Vec<Pair<'_>> = queries.iter().map(|(query, _)| Pair { query, document }).collect();
    let verdicts = score_model.judge(&pairs)?;
    let proposals = queries.into_iter().zip(verdicts);
    let proposals = proposals.map(|((query, target), verdict)| Proposal { query, target, verdict });
    Ok((proposals.collect(), funnels))
}

/// What stage 2 decided for one document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aligned {
    /// The places of the proposals that are kept, in order.
    pub kept: Vec<usize>,
    /// Pairs of queries that were compared.
    pub compared: u64,
    /// Those whose order contradicts their grades.
    pub contradicted: u64,
}

/// Stage 2 for one document: fills in the rest of `funnels` (one a target grade, in the order of the rules).
///
/// # Errors
/// When the pairwise judge fails.
pub fn align(
    document: &str,
    proposals: &[Proposal],
    rules: &Stage2,
    pairwise: &dyn Judge,
    funnels: &mut [Funnel],
) -> Result<Aligned> {
    let mut comparisons = Comparisons { document, proposals, pairwise, known: BTreeMap::new() };
    let everything: Vec<usize> = (0..proposals.len()).collect();
    let agrees = |at: &usize| proposals[*at].verdict.grade() == Some(proposals[*at].target);
    let agreeing: Vec<usize> = everything.iter().copied().filter(agrees).collect();
    let order = if rules.order == Order::Off { Order::Both } else { rules.order };
    let (both, alone) = match (rules.order, rules.each_alone) {
        (Order::Off, false) => (agreeing.clone(), Vec::new()),
        (_, false) => (comparisons.keep(&agreeing, order)?, Vec::new()),
        (_, true) => (comparisons.keep(&agreeing, order)?, comparisons.keep(&everything, order)?),
    };
    let passed = match (rules.agree, rules.order) {
        (true, Order::Off) => agreeing.clone(),
        (true, _) => both.clone(),
        (false, Order::Off) => everything,
        (false, _) if rules.each_alone => alone.clone(),
        (false, _) => comparisons.keep(&everything, order)?,
    };
    let mut kept = Vec::new();
    for funnel in funnels {
        let of = |places: &[usize]| {
            places.iter().filter(|at| proposals[**at].target == funnel.grade).count() as u64
        };
        for proposal in proposals.iter().filter(|proposal| proposal.target == funnel.grade) {
            match proposal.verdict.grade().and_then(|grade| usize::try_from(grade).ok()).filter(|at| *at < 4)
            {
                Some(grade) => funnel.judged[grade] += 1,
                None => funnel.unjudged += 1,
            }
        }
        let own: Vec<usize> =
            passed.iter().copied().filter(|at| proposals[*at].target == funnel.grade).collect();
        let (agree_alone, order_alone, of_both) = (of(&agreeing), of(&alone), of(&both));
        funnel.agree_alone += agree_alone;
        funnel.order_alone += order_alone;
        funnel.both += of_both;
        funnel.passed += own.len() as u64;
        let taken = &own[..own.len().min(rules.most_per_grade)];
        funnel.kept += taken.len() as u64;
        kept.extend_from_slice(taken);
    }
    kept.sort_unstable();
    let contradicted = comparisons.known.values().filter(|contradicted| **contradicted).count() as u64;
    Ok(Aligned { kept, compared: comparisons.known.len() as u64, contradicted })
}

/// The comparisons of one document's queries, each asked for once.
struct Comparisons<'a> {
    document: &'a str,
    proposals: &'a [Proposal],
    pairwise: &'a dyn Judge,
    /// Whether the order of two proposals contradicts their grades.
    known: BTreeMap<(usize, usize), bool>,
}

impl Comparisons<'_> {
    fn contradict(&mut self, first: usize, second: usize) -> Result<bool> {
        let (a, b) = (&self.proposals[first], &self.proposals[second]);
        if a.target == b.target {
            return Ok(false);
        }
        if let Some(&known) = self.known.get(&(first, second)) {
            return Ok(known);
        }
        let pair = |query| Pair { query, document: self.document };
        let preference = self.pairwise.prefer(pair(&a.query), pair(&b.query))?;
        let contradicted = match preference {
            Preference::First => a.target < b.target,
            Preference::Second => a.target > b.target,
            Preference::Neither => false,
        };
        self.known.insert((first, second), contradicted);
        Ok(contradicted)
    }

    /// Those of `places` (ascending) that are left when contradictions among them are resolved.
    fn keep(&mut self, places: &[usize], order: Order) -> Result<Vec<usize>> {
        let mut contradictions: Vec<(usize, usize)> = Vec::new();
        for (at, &first) in places.iter().enumerate() {
            for &second in &places[at + 1..] {
                if self.contradict(first, second)? {
                    contradictions.push((first, second));
                }
            }
        }
        let mut gone: FxHashSet<usize> = FxHashSet::default();
        if order == Order::Both {
            gone.extend(contradictions.iter().flat_map(|&(first, second)| [first, second]));
        }
        loop {
            contradictions.retain(|(first, second)| !gone.contains(first) && !gone.contains(second));
            let mut count: BTreeMap<usize, usize> = BTreeMap::new();
            for place in contradictions.iter().flat_map(|&(first, second)| [first, second]) {
                *count.entry(place).or_default() += 1;
            }
            // Of equally contradicted ones the later goes.
            let Some((&worst, _)) = count.iter().max_by_key(|&(place, count)| (*count, *place)) else {
                break;
            };
            gone.insert(worst);
        }
        Ok(places.iter().copied().filter(|place| !gone.contains(place)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::RecordedJudge;

    fn proposal(query: &str, target: Grade, judged: Grade) -> Proposal {
        Proposal { query: query.into(), target, verdict: Verdict::Graded { grade: judged, score: 0.0 } }
    }

    fn funnels(rules: &Stage2) -> Vec<Funnel> {
        rules.grades.iter().map(|&grade| Funnel { grade, ..Funnel::default() }).collect()
    }

    /// Five queries of document `d`; the score model disagrees with the last. The pairwise judge ranks e > c > a > b > o.
    fn example() -> (Vec<Proposal>, RecordedJudge) {
        let proposals = vec![
            proposal("a", 3, 3),
            proposal("b", 2, 2),
            proposal("c", 1, 1),
            proposal("o", 0, 0),
            proposal("e", 0, 2),
        ];
        let levels = (0..5).map(|grade| relevance::Level { grade, meaning: String::new() });
        let scale = relevance::Scale::new("order", levels.collect(), 1).unwrap();
        let order = [("e", "d", 4), ("c", "d", 3), ("a", "d", 2), ("b", "d", 1), ("o", "d", 0)];
        (proposals, RecordedJudge::new(scale, order))
    }

    #[test]
    fn hand_computed() {
        let (proposals, judge) = example();
        let rules = Stage2::default();
        let mut counted = funnels(&rules);
        let aligned = align("d", &proposals, &rules, &judge, &mut counted).unwrap();
        // Among the agreeing a, b, c, o: c before a and before b contradict; a, b, c go, o stays.
        assert_eq!(aligned.kept, [3]);
        // All pairs of different targets: 10 less o and e, which share one. Contradicted: ca, cb, ea, eb, ec.
        assert_eq!((aligned.compared, aligned.contradicted), (9, 5));
        let of = |grade: Grade| counted.iter().find(|funnel| funnel.grade == grade).unwrap().clone();
        assert_eq!((of(0).agree_alone, of(0).order_alone, of(0).both, of(0).kept), (1, 1, 1, 1));
        assert_eq!((of(3).agree_alone, of(3).order_alone, of(3).both, of(3).kept), (1, 0, 0, 0));
        assert_eq!(of(0).judged, [1, 0, 1, 0]);
    }

    #[test]
    fn each_filter_can_be_switched_off_and_the_worst_goes_first() {
        let (proposals, judge) = example();
        let kept = |rules: &Stage2| align("d", &proposals, rules, &judge, &mut funnels(rules)).unwrap();
        let alone =
            |agree, order| Stage2 { agree, order, most_per_grade: 9, each_alone: false, ..Stage2::default() };
        let off = kept(&alone(true, Order::Off));
        assert_eq!((off.kept.as_slice(), off.compared), ([0, 1, 2, 3].as_slice(), 0));
        assert_eq!(kept(&alone(false, Order::Off)).kept, [0, 1, 2, 3, 4]);
        assert_eq!(kept(&alone(false, Order::Both)).kept, [3]);
        // c has two contradictions, a and b one each: c alone goes.
        assert_eq!(kept(&alone(true, Order::Worst)).kept, [0, 1, 3]);
        // With e there are ca, cb, ea, eb, ec: c and e have three each, e stands later and goes, then c.
        assert_eq!(kept(&alone(false, Order::Worst)).kept, [0, 1, 3]);
        let one = Stage2 { most_per_grade: 1, ..alone(false, Order::Off) };
        assert_eq!(kept(&one).kept, [0, 1, 2, 3]);
    }

    #[test]
    fn answers_are_queries_once_a_document() {
        struct Says;
        impl Generator for Says {
            fn model(&self) -> &str {
                "says"
            }
            fn revision(&self) -> &str {
                ""
            }
            fn generate(&self, request: &Request) -> Result<Vec<String>> {
                assert!(matches!(&request.task, Task::QueryLike { examples, .. } if examples.len() == 1));
                Ok(["Here you are:\n\"Wine Stain\"", "wine stain", " ", "known", "rug"]
                    .map(str::to_owned)
                    .into())
            }
        }
        let known = FxHashSet::from_iter(["known".to_owned()]);
        let rules = Stage2 { grades: vec![3, 1], ..Stage2::default() };
        let examples = [Example { query: "q".into(), document: "x".into(), grade: 2 }];
        let judge = RecordedJudge::new(relevance::Scale::ssra(), [("wine stain", "d", 3)]);
        let (proposals, funnels) = propose("d", &known, &examples, &rules, &Says, &judge, 1).unwrap();
        let said: Vec<_> =
            proposals.iter().map(|p| (p.query.as_str(), p.target, p.verdict.grade())).collect();
        assert_eq!(said, [("wine stain", 3, Some(3)), ("rug", 3, None)]);
        let counts = |at: usize| {
            let funnel: &Funnel = &funnels[at];
            (funnel.answers, funnel.unreadable, funnel.repeated, funnel.proposed)
        };
        assert_eq!((counts(0), counts(1)), ((5, 1, 2, 2), (5, 1, 4, 0)));
        assert_eq!(read_query(&"x".repeat(300)), None);
    }
}
