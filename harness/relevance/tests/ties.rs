//! The expectation over tied scores against the plain mean over every order there is, and what must hold of any
//! ranking whatever.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use relevance::{
    Evaluation, EvaluationOptions, Evaluator, Hit, Judgments, Measure, Ranking, TieOrder, parse_measures,
};

const WITH_EXPECTATION: &str = "P@1 P@3 P(rel=2)@5 RelP@3 R@2 R(rel=2)@4 Success@1 Success@2 Success(rel=2)@4 AP AP@3 \
    AP(rel=2) RR RR@2 RR(rel=2) Rprec Rprec(rel=2) RprecMult@0.5 RprecMult@1.5 nDCG nDCG@1 nDCG@3 nDCG(gain=exp)@4 \
    nDCG(gains={0:1,2:5})@4 RnDCG Bpref Bpref(rel=2) BinG BinG(rel=2) ERR ERR@2 ERR(max_rel=3)@4 RBP RBP(p=0.5,rel=1)@3 \
    RBPResid Judged Judged@2 Unjudged@3 SetP SetRelP SetR SetF SetAP Utility NumQ NumRet NumRel NumRelRet \
    NumNonRelJudgedRet PairAP";

/// One query `q`: documents `d0`, `d1`, ... with a score each, and a grade where somebody judged them. `lost` are
/// grades of documents that were not retrieved.
#[derive(Clone, Debug)]
struct Query {
    hits: Vec<(f64, Option<i32>)>,
    lost: Vec<i32>,
}

const NAMES: [&str; 40] = [
    "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9", "d10", "d11", "d12", "d13", "d14", "d15",
    "d16", "d17", "d18", "d19", "d20", "d21", "d22", "d23", "d24", "d25", "d26", "d27", "d28", "d29", "d30",
    "d31", "d32", "d33", "d34", "d35", "d36", "d37", "d38", "d39",
];

impl Query {
    fn judgments(&self) -> Judgments {
        let mut judgments = Judgments::new();
        judgments.insert("q", "never found, not relevant", 0);
        for (name, (_, grade)) in NAMES.iter().zip(&self.hits) {
            grade.map(|grade| judgments.insert("q", name, grade));
        }
        for (at, &grade) in self.lost.iter().enumerate() {
            judgments.insert("q", &format!("lost {at}"), grade);
        }
        judgments
    }

    /// The hits in the order of `places`.
    fn ranking(&self, places: &[usize]) -> Ranking<'static> {
        let hits = places.iter().map(|&at| Hit { document: NAMES[at], score: self.hits[at].0 }).collect();
        Ranking { query: "q", hits }
    }

    fn evaluate(&self, measures: &[Measure], places: &[usize], options: EvaluationOptions) -> Evaluation {
        let judgments = self.judgments();
        let evaluator = Evaluator::new(&judgments, measures, options).unwrap();
        evaluator.evaluate(&[self.ranking(places)]).unwrap()
    }

    fn places(&self) -> Vec<usize> {
        (0..self.hits.len()).collect()
    }
}

fn with(ties: TieOrder) -> EvaluationOptions {
    EvaluationOptions { ties, ..EvaluationOptions::default() }
}

/// Every order of the hits that is sorted by score.
fn orders(query: &Query) -> Vec<Vec<usize>> {
    let mut orders = vec![vec![]];
    for _ in 0..query.hits.len() {
        orders = orders.iter().flat_map(|order| extended(query, order)).collect();
    }
    orders
}

fn extended(query: &Query, order: &[usize]) -> Vec<Vec<usize>> {
    let left: Vec<usize> = query.places().into_iter().filter(|at| !order.contains(at)).collect();
    let best = left.iter().map(|&at| query.hits[at].0).fold(f64::MIN, f64::max);
    let next = left.into_iter().filter(|&at| query.hits[at].0 == best);
    next.map(|at| order.iter().copied().chain([at]).collect()).collect()
}

fn query(longest: usize) -> impl Strategy<Value = Query> {
    let grade = prop_oneof![1 => Just(None), 3 => (-1..4).prop_map(Some)];
    let score = prop_oneof![Just(0.5), Just(0.25), Just(1.0)];
    let hits = prop::collection::vec((score, grade), 0..=longest);
    (hits, prop::collection::vec(-1..4, 0..3)).prop_map(|(hits, lost)| Query { hits, lost })
}

/// Up to 40 hits with scores and grades of any size.
fn wild_query() -> impl Strategy<Value = Query> {
    let grade = prop_oneof![Just(None), any::<i32>().prop_map(Some), (-2..6).prop_map(Some)];
    let score = prop_oneof![any::<i8>().prop_map(f64::from), prop::num::f64::NORMAL | prop::num::f64::ZERO];
    let hits = prop::collection::vec((score, grade), 0..=40);
    (hits, prop::collection::vec(any::<i32>(), 0..3)).prop_map(|(hits, lost)| Query { hits, lost })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn the_expectation_is_the_mean_over_all_orders(query in query(6)) {
        let measures = parse_measures(WITH_EXPECTATION).unwrap();
        let orders = orders(&query);
        let mut means = vec![0.0; measures.len()];
        for order in &orders {
            // The scores still tie here: the order of the run decides.
            let values = query.evaluate(&measures, order, with(TieOrder::Run)).summary;
            for (mean, value) in means.iter_mut().zip(values) {
                *mean += value / orders.len() as f64;
            }
        }
        let expected = query.evaluate(&measures, &query.places(), with(TieOrder::Expected)).summary;
        for ((measure, mean), expected) in measures.iter().zip(means).zip(expected) {
            prop_assert!((mean - expected).abs() < 1e-12, "{measure}: {mean} {expected}");
        }
    }

    #[test]
    fn without_unjudged_documents_too(query in query(6)) {
        let measures = parse_measures(WITH_EXPECTATION).unwrap();
        let options = |ties| EvaluationOptions { judged_only: true, ..with(ties) };
        let orders = orders(&query);
        let mut means = vec![0.0; measures.len()];
        for order in &orders {
            let values = query.evaluate(&measures, order, options(TieOrder::Run)).summary;
            for (mean, value) in means.iter_mut().zip(values) {
                *mean += value / orders.len() as f64;
            }
        }
        let expected = query.evaluate(&measures, &query.places(), options(TieOrder::Expected)).summary;
        for ((measure, mean), expected) in measures.iter().zip(means).zip(expected) {
            prop_assert!((mean - expected).abs() < 1e-12, "{measure}: {mean} {expected}");
        }
    }
}

/// Measures that lie between 0 and 1 on any input. `infAP` exceeds 1 by its smoothing; tables of gains may be negative.
const SHARES: &str = "P@1 P@10 RelP@5 R@10 Success@3 AP AP@5 GMAP RR RR@5 Rprec RprecMult@0.5 nDCG nDCG@10 \
    nDCG(gain=exp)@10 nDCGRel RnDCG Bpref GMBpref IPrec@0 IPrec@0.5 IPrec@1 AvgIPrec BinG G ERR ERR@5 RBP RBP(rel=2) \
    RBPResid Judged@10 Judged Unjudged@10 SetP SetRelP SetR SetF SetF(beta=3) SetAP PairAP PairAP(rel=2)";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn shares_lie_between_0_and_1(query in wild_query(), depth in prop::option::of(0_usize..50), judged_only: bool) {
        let measures = parse_measures(SHARES).unwrap();
        let options = EvaluationOptions { depth, judged_only, ..EvaluationOptions::default() };
        let evaluation = query.evaluate(&measures, &query.places(), options);
        for (measure, value) in measures.iter().zip(&evaluation.summary) {
            prop_assert!((0.0..=1.0 + 1e-9).contains(value), "{measure}: {value}");
        }
        prop_assert!((0.0..=1.0).contains(&evaluation.judged_in_top_10));
        prop_assert!((0.0..=1.0).contains(&evaluation.tied_hits));
    }

    #[test]
    fn every_measure_is_a_number(query in wild_query()) {
        let measures = parse_measures(&format!("all_trec infAP nDCG(gains={{1:-3,2:1e9}})@5 {WITH_EXPECTATION}")).unwrap();
        let evaluation = query.evaluate(&measures, &query.places(), EvaluationOptions::default());
        for (measure, value) in measures.iter().zip(&evaluation.summary) {
            prop_assert!(value.is_finite(), "{measure}: {value}");
        }
    }

    #[test]
    fn the_order_of_the_run_does_not_matter(query in wild_query(), seed: u64) {
        let measures = parse_measures(&format!("{SHARES} infAP NumRelRet")).unwrap();
        let mut places = query.places();
        places.sort_by_key(|&at| (at as u64 + 1).wrapping_mul(seed | 1).rotate_left(17));
        for ties in [TieOrder::Trec, TieOrder::DocidAscending] {
            let as_it_came = query.evaluate(&measures, &query.places(), with(ties));
            let shuffled = query.evaluate(&measures, &places, with(ties));
            prop_assert_eq!(as_it_came, shuffled);
        }
    }

    #[test]
    fn the_fast_order_is_the_plain_one(query in wild_query()) {
        let measures = parse_measures("AP nDCG RR BinG").unwrap();
        for ties in [TieOrder::Trec, TieOrder::DocidAscending, TieOrder::Run] {
            let mut sorted = query.ranking(&query.places());
            sorted.sort(ties);
            let judgments = query.judgments();
            let evaluator = Evaluator::new(&judgments, &measures, with(TieOrder::Run)).unwrap();
            let plain = evaluator.evaluate(&[sorted]).unwrap().summary;
            prop_assert_eq!(query.evaluate(&measures, &query.places(), with(ties)).summary, plain);
        }
    }
}
