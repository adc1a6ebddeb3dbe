//! Lists, batches, masks, mining and leakage on data small enough to work out by hand, and on any data.
#![allow(clippy::unwrap_used)]

use kernels::Matrix;
use proptest::prelude::*;
use relevance::Scale;
use serde_json::json;

use super::*;
use crate::losses::{IGNORED, Listed, Loss, Targets};

fn pair<'a>(query: &'a str, document: &'a str, grade: i32) -> GradedPair<'a> {
    GradedPair { query_id: query, query, document_id: document, document, grade, teacher: None }
}

fn lists(pairs: &[(&str, &str, i32)]) -> Lists {
    Lists::new(&Scale::ssra(), pairs.iter().map(|&(query, document, grade)| pair(query, document, grade)))
        .unwrap()
}

fn loss(settings: serde_json::Value) -> Loss {
    serde_json::from_value(settings).unwrap()
}

fn all(queries: usize) -> BatchPlan {
    BatchPlan { queries, documents_per_query: 0, ..BatchPlan::default() }
}

#[test]
fn a_digest_is_of_all_that_is_learned_and_of_no_id() {
    let own = pair("q", "d", 1);
    let digest = |changed: GradedPair<'_>, mined: &[TrainingDocument]| {
        let mut lists = Lists::new(&Scale::ssra(), [changed, pair("p", "e", 0)]).unwrap();
        lists.set_mined(0, mined).unwrap();
        lists.digest()
    };
    let same = digest(own, &[]);
    assert_eq!(same, digest(GradedPair { query_id: "r", document_id: "f", ..own }, &[]));
    let others = [
        digest(GradedPair { query: "Q", ..own }, &[]),
        digest(GradedPair { document: "D", ..own }, &[]),
        digest(GradedPair { grade: 2, ..own }, &[]),
        digest(GradedPair { teacher: Some(0.0), ..own }, &[]),
        digest(own, &[TrainingDocument::negative(1)]),
        digest(own, &[TrainingDocument { grade: 1, ..TrainingDocument::negative(1) }]),
        // One text that two could be, split elsewhere.
        digest(GradedPair { query: "qp", ..own }, &[]),
    ];
    let all: std::collections::HashSet<&String> = others.iter().chain([&same]).collect();
    assert_eq!(all.len(), others.len() + 1, "{others:?}");
}

#[test]
fn equal_texts_are_one_text() {
    let pairs = [
        GradedPair {
            query_id: "q1",
            query: "cats",
            document_id: "d1",
            document: "a cat",
            grade: 1,
            teacher: Some(0.5),
        },
        GradedPair {
            query_id: "q2",
            query: "cats",
            document_id: "d2",
            document: "a cat",
            grade: 3,
            teacher: Some(0.75),
        },
        GradedPair {
            query_id: "q1",
            query: "cats",
            document_id: "d1",
            document: "a cat",
            grade: 3,
            teacher: None,
        },
        GradedPair {
            query_id: "q1",
            query: "cats",
            document_id: "d3",
            document: "a dog",
            grade: 0,
            teacher: None,
        },
    ];
    let lists = Lists::new(&Scale::ssra(), pairs).unwrap();
    assert_eq!(lists.queries().len(), 1);
    assert_eq!(lists.documents().len(), 2);
    assert_eq!(lists.list(0)[0], TrainingDocument { document: 0, grade: 3, teacher: Some(0.75) });
    let expected = Merged { queries: 1, documents: 1, repeated_pairs: 1, conflicting_pairs: 1 };
    assert_eq!(lists.merged(), expected);
}

#[test]
fn a_shared_document_is_one_column_and_keeps_each_query_s_grade() {
    // d2 stands in both lists; d3 is graded for "a" but let in only by "b".
    let lists = lists(&[("a", "d1", 3), ("a", "d2", 1), ("b", "d2", 2), ("b", "d3", 0)]);
    let batch = Batches::new(&lists, all(2)).unwrap().batch(0).unwrap();
    assert_eq!(batch.documents.len(), 3, "d2 once");
    let row =
        |query: &str| batch.queries.iter().position(|at| lists.queries()[*at as usize].id == query).unwrap();
    let column = |document: &str| {
        batch.documents.iter().position(|at| lists.documents()[*at as usize].id == document).unwrap() as u32
    };
    let grade = |query, document| {
        batch
            .targets
            .listed(row(query))
            .iter()
            .find(|pair| pair.document == column(document))
            .map(|pair| pair.grade)
    };
    assert_eq!((grade("a", "d2"), grade("b", "d2")), (Some(1), Some(2)));
    assert_eq!((grade("a", "d3"), grade("b", "d1")), (None, None), "not graded: in-batch documents");
}

#[test]
fn a_graded_document_that_comes_with_another_query_stays_graded() {
    // Each query brings one document, its best; d2 comes with "b", and is graded 1 for "a".
    let lists = lists(&[("a", "d1", 3), ("a", "d2", 1), ("b", "d2", 2), ("b", "d3", 0)]);
    let plan = BatchPlan { queries: 2, documents_per_query: 1, pick: Pick::Highest, ..BatchPlan::default() };
    let batch = Batches::new(&lists, plan).unwrap().batch(0).unwrap();
    assert_eq!(batch.documents.len(), 2);
    let row = batch.queries.iter().position(|at| lists.queries()[*at as usize].id == "a").unwrap();
    let known: Vec<(u8, bool)> =
        batch.targets.listed(row).iter().map(|pair| (pair.grade, pair.own)).collect();
    assert_eq!(known.len(), 2);
    assert!(known.contains(&(3, true)) && known.contains(&(1, false)), "{known:?}");
}

#[test]
fn grades_outside_the_scale_are_refused_by_query_and_document() {
    let error = Lists::new(&Scale::ssra(), [pair("q", "d", 4)]).unwrap_err();
    assert_eq!(error.to_string(), "query q, document d: grade 4 is not on the scale ssra (0, 1, 2, 3)");
    assert!(Lists::new(&Scale::ssra(), [pair("q", "d", -1)]).is_err());
    assert_eq!(Lists::new(&Scale::ssra(), []).unwrap_err(), BatchError::Empty);
    let level = |grade| relevance::scale::Level { grade, meaning: String::new() };
    let percent = Scale::new("percent", vec![level(0), level(100)], 1).unwrap();
    assert_eq!(
        Lists::new(&percent, [pair("q", "d", 0)]).unwrap_err().to_string(),
        "the scale percent has grade 100; training knows grades 0 to 15"
    );
    let odd = GradedPair { teacher: Some(f32::NAN), ..pair("q", "d", 1) };
    assert!(matches!(Lists::new(&Scale::ssra(), [odd]), Err(BatchError::TeacherScore { .. })));
}

#[test]
fn a_training_set_the_loss_cannot_use_is_refused_before_training() {
    let mixed = lists(&[("a", "d1", 3), ("a", "d2", 0), ("b", "d3", 0), ("b", "d4", 0), ("c", "d1", 0)]);
    let refused = |lists: &Lists, settings| lists.check(&loss(settings)).unwrap_err().to_string();
    assert_eq!(
        refused(&mixed, json!({"name": "infonce"})),
        "query b: none of its 2 documents has grade 1 or more, which infonce needs (1 further lists like it; data.drop_silent = true leaves them out)"
    );
    assert_eq!(
        refused(&mixed, json!({"name": "lambda_loss"})),
        "query b: all 2 documents have the same grade, and lambda_loss compares different ones (1 further lists like it; data.drop_silent = true leaves them out)"
    );
    assert!(
        refused(&mixed, json!({"name": "margin_mse"}))
            .starts_with("query a, document d1 has no teacher's score")
    );
    assert_eq!(
        refused(&mixed, json!({"name": "bixse", "highest_grade": 2})),
        "query a, document d1: grade 3, but bixse knows grades up to 2"
    );
    mixed.check(&loss(json!({"name": "mse"}))).unwrap();
    let binary = lists(&[("a", "d1", 1), ("b", "d2", 1)]);
    assert!(
        refused(&binary, json!({"name": "ranknet"}))
            .starts_with("ranknet compares documents of different grades")
    );
    binary.check(&loss(json!({"name": "ranknet", "scope": "batch"}))).unwrap();
    assert!(
        refused(&binary, json!({"name": "cosent"}))
            .starts_with("cosent compares documents of different grades")
    );
    mixed.check(&loss(json!({"name": "weighted_infonce"}))).unwrap();
    let zeros = lists(&[("a", "d1", 0), ("b", "d2", 0)]);
    assert_eq!(
        refused(&zeros, json!({"name": "weighted_infonce"})),
        "query a: none of its 1 documents has grade 1 or more, which weighted_infonce needs (1 further lists like it; data.drop_silent = true leaves them out)"
    );
    // A sum has use for a list when one of its terms has.
    let both = json!({"name": "sum", "terms": [
        {"weight": 1.0, "loss": {"name": "infonce"}},
        {"weight": 1.0, "loss": {"name": "ranknet"}},
    ]});
    binary.check(&loss(both)).unwrap();
}

#[test]
fn silent_lists_can_be_dropped_and_mined_negatives_give_them_a_voice() {
    let set = || lists(&[("a", "d1", 3), ("a", "d2", 0), ("b", "d3", 1), ("c", "d1", 0)]);
    let (ranknet, infonce) = (loss(json!({"name": "ranknet"})), loss(json!({"name": "infonce"})));
    let mut dropped = set();
    assert_eq!(dropped.drop_silent(&infonce).unwrap(), 1);
    dropped.check(&infonce).unwrap();
    assert_eq!(dropped.queries().iter().map(|query| query.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let mut mined = set();
    mined.set_mined(1, &[0, 2, 0].map(TrainingDocument::negative)).unwrap();
    assert_eq!(mined.mined(1), [TrainingDocument::negative(0)], "graded ones and repetitions are left out");
    assert_eq!(mined.drop_silent(&ranknet).unwrap(), 1, "only c");
    assert_eq!(mined.mined(1), [TrainingDocument::negative(0)]);
    assert!(matches!(
        mined.set_mined(0, &[TrainingDocument::negative(9)]),
        Err(BatchError::Number { what: "document", number: 9, count: 3 })
    ));
    let mut alone = lists(&[("c", "d1", 0)]);
    assert_eq!(alone.drop_silent(&infonce), Err(BatchError::Empty));
}

#[test]
fn stratified_picks_hold_every_grade() {
    let pairs: Vec<(String, i32)> =
        (0..40).map(|k| (format!("d{k}"), i32::from(k == 7) + 2 * i32::from(k == 9))).collect();
    let pairs: Vec<(&str, &str, i32)> = pairs.iter().map(|(id, grade)| ("q", id.as_str(), *grade)).collect();
    let lists = lists(&pairs);
    for seed in 0..50 {
        let plan = BatchPlan { documents_per_query: 4, seed, ..BatchPlan::default() };
        let batch = Batches::new(&lists, plan).unwrap().batch(0).unwrap();
        let mut grades: Vec<u8> = batch.targets.listed(0).iter().map(|pair| pair.grade).collect();
        grades.sort_unstable();
        assert_eq!(grades, [0, 0, 1, 2]);
    }
}

#[test]
fn mined_negatives_come_with_the_list_or_beside_it() {
    let mut lists = lists(&[("a", "d1", 3), ("b", "d2", 2)]);
    let extra = lists.intern_document("x", "never graded").unwrap();
    lists.set_mined(0, &[TrainingDocument::negative(extra)]).unwrap();
    for (mined_in_list, expected) in [(true, vec![(3, true), (0, true)]), (false, vec![(3, true)])] {
        let plan = BatchPlan { mined_per_query: 2, mined_in_list, ..all(2) };
        let batch = Batches::new(&lists, plan).unwrap().batch(0).unwrap();
        assert_eq!(batch.documents.len(), 3);
        let row = batch.queries.iter().position(|query| *query == 0).unwrap();
        let mut known: Vec<(u8, bool)> =
            batch.targets.listed(row).iter().map(|pair| (pair.grade, pair.own)).collect();
        known.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(known, expected);
    }
}

#[test]
fn a_mined_document_may_have_a_teacher_s_score_and_a_judge_s_grade() {
    let mut lists = lists(&[("a", "d1", 3), ("b", "d2", 2)]);
    let extra = lists.intern_document("x", "mined").unwrap();
    let judged = TrainingDocument { document: extra, grade: 1, teacher: Some(0.25) };
    lists.set_mined(0, &[judged]).unwrap();
    for mined_in_list in [true, false] {
        let plan = BatchPlan { mined_per_query: 1, mined_in_list, ..all(2) };
        let batch = Batches::new(&lists, plan).unwrap().batch(0).unwrap();
        let row = batch.queries.iter().position(|query| *query == 0).unwrap();
        let column = batch.documents.iter().position(|document| *document == extra).unwrap() as u32;
        let listed = batch.targets.listed(row).iter().find(|pair| pair.document == column).unwrap();
        assert_eq!((listed.grade, listed.own, listed.teacher), (1, mined_in_list, Some(0.25)));
    }
    assert!(matches!(
        lists.set_mined(0, &[TrainingDocument { grade: 16, ..judged }]),
        Err(BatchError::Label { grade: 16, .. })
    ));
    let odd = TrainingDocument { teacher: Some(f32::INFINITY), ..judged };
    assert!(matches!(lists.set_mined(0, &[odd]), Err(BatchError::TeacherScore { .. })));
    let unscored = lists.check(&loss(json!({"name": "kl_distillation"}))).unwrap_err();
    assert_eq!(
        unscored.to_string(),
        "query a, document d1 has no teacher's score, and kl_distillation learns from one"
    );
}

#[test]
fn an_epoch_meets_every_list_once_and_the_next_in_another_order() {
    let names: Vec<String> = (0..23).map(|k| format!("q{k}")).collect();
    let pairs: Vec<(&str, &str, i32)> = names.iter().map(|name| (name.as_str(), "d", 1)).collect();
    let lists = lists(&pairs);
    let mut batches = Batches::new(&lists, all(5)).unwrap();
    assert_eq!(batches.per_epoch(), 5);
    let mut epoch = |first: u64| -> Vec<u32> {
        (first..first + 5).flat_map(|s| batches.batch(s).unwrap().queries).collect()
    };
    let (one, two) = (epoch(0), epoch(5));
    for order in [&one, &two] {
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..23).collect::<Vec<u32>>());
    }
    assert_ne!(one, two);
    let dropping = BatchPlan { drop_last: true, ..all(5) };
    assert_eq!(Batches::new(&lists, dropping).unwrap().per_epoch(), 4);
    assert!(Batches::new(&lists, BatchPlan { drop_last: true, ..all(24) }).is_err());
    assert!(Batches::new(&lists, all(0)).unwrap_err().to_string().starts_with("queries is 0"));
}

#[test]
fn a_guide_hides_ungraded_documents_that_look_relevant() {
    // Columns: two positives (grades 3 and 1), a graded 0, three ungraded.
    let own = |document, grade| Listed::own(document, grade);
    let targets = Targets::new(6, vec![vec![own(0, 3), own(1, 1), own(2, 0)], vec![]]).unwrap();
    let scores = [0.8f32, 0.6, 0.9, 0.7, 0.56, 0.2, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9];
    let scores = Matrix::new("scores", &scores, 2, 6).unwrap();
    let hidden = |margin, reference| -> Vec<u32> {
        let masked = mask_above(&targets, scores, margin, reference, 1).unwrap();
        assert!(masked.listed(1).is_empty(), "no positive, no measure");
        assert_eq!(masked.listed(0).iter().filter(|pair| pair.own).count(), 3, "graded pairs stay");
        masked.listed(0).iter().filter(|pair| pair.ignored()).map(|pair| pair.document).collect()
    };
    assert_eq!(hidden(Margin::Absolute(0.0), Reference::Lowest), [3]);
    assert_eq!(hidden(Margin::Relative(0.1), Reference::Lowest), [3, 4]);
    assert_eq!(hidden(Margin::Absolute(0.0), Reference::Highest), [0u32; 0]);
    assert_eq!(hidden(Margin::Absolute(0.15), Reference::Highest), [3]);
    assert_eq!(hidden(Margin::Unbounded, Reference::Lowest), [0u32; 0]);
    assert!(mask_above(&targets, scores, Margin::Relative(1.5), Reference::Lowest, 1).is_err());
    let few = Matrix::new("scores", &[0.0f32; 6], 1, 6).unwrap();
    assert_eq!(
        mask_above(&targets, few, Margin::Absolute(0.0), Reference::Lowest, 1).unwrap_err().to_string(),
        "the targets are for 2 queries, the batch has 1"
    );
}

/// Two queries with two lists, a document that none lists, and what a guide of two dimensions thinks of them: its angle
/// to query 0, in degrees.
fn guided() -> (Lists, GuideVectors) {
    let mut lists = lists(&[("q0", "d0", 3), ("q0", "d1", 1), ("q1", "d2", 2), ("q1", "d3", 0)]);
    lists.intern_document("d4", "d4").unwrap();
    lists.intern_document("d5", "d5").unwrap();
    let unit = |degrees: &f32| [degrees.to_radians().cos(), degrees.to_radians().sin()];
    let documents: Vec<f32> = [10.0, 40.0, 40.0, 5.0, 60.0, 30.0].iter().flat_map(unit).collect();
    (lists, GuideVectors { queries: [0.0f32, 90.0].iter().flat_map(unit).collect(), documents, width: 2 })
}

#[test]
fn a_guide_masks_what_it_holds_to_be_as_good_as_the_positive() {
    let (lists, vectors) = guided();
    // All documents of both lists in one batch: columns are sorted by nothing, so they are found by number.
    let plan = BatchPlan { queries: 2, documents_per_query: 0, ..BatchPlan::default() };
    let batch = Batches::new(&lists, plan).unwrap().batch(0).unwrap();
    let masked = |rule: GuideRule| -> Vec<(u32, u32)> {
        let guide = Guide::new(&lists, vectors.clone(), &rule).unwrap();
        let found = guide.mask(&batch).unwrap();
        let pairs = found.targets.pairs().filter(|(_, pair)| pair.ignored());
        let mut pairs: Vec<(u32, u32)> =
            pairs.map(|(row, pair)| (batch.queries[row], batch.documents[pair.document as usize])).collect();
        pairs.sort_unstable();
        assert_eq!((found.ungraded, found.masked), (4, pairs.len()));
        pairs
    };
    let rule = GuideRule::default();
    // Query 0 has its lowest positive at 40 degrees: d2 is as near, d3 nearer. Query 1 has its own at 50 from itself.
    assert_eq!(masked(rule), [(0, 2), (0, 3), (1, 1)]);
    assert_eq!(masked(GuideRule { reference: Reference::Highest, ..rule }), [(0, 3), (1, 1)]);
    // cos 10 + 0.05 is above everything; a positive less everything is below everything.
    assert_eq!(
        masked(GuideRule { reference: Reference::Highest, margin: Margin::Absolute(-0.05), ..rule }),
        [(0u32, 0u32); 0]
    );
    assert_eq!(masked(GuideRule { margin: Margin::Relative(1.0), ..rule }).len(), 4);
    // Without a positive nothing is masked: query 1 has none of grade 3.
    let strict = GuideRule { positive_from: 3, ..rule };
    assert_eq!(masked(strict), [(0, 3)]);
    assert_eq!(Guide::new(&lists, vectors.clone(), &strict).unwrap().unguided_queries(), 1);
    let unbounded = GuideRule { margin: Margin::Unbounded, ..rule };
    assert!(unbounded.check().unwrap_err().to_string().contains("margin"));
    let short = GuideVectors { documents: vec![0.0; 4], ..vectors.clone() };
    assert!(Guide::new(&lists, short, &rule).is_err());
    let lost = GuideVectors { queries: vec![f32::NAN; 4], ..vectors };
    assert!(Guide::new(&lists, lost, &rule).is_err());
}

#[test]
fn a_guide_sifts_mined_documents_before_training() {
    let (mut lists, vectors) = guided();
    let negatives = [4, 5].map(TrainingDocument::negative);
    let sifted = |lists: &mut Lists, mined: &[TrainingDocument]| {
        (0..2).for_each(|query| lists.set_mined(query, mined).unwrap());
        let guide = Guide::new(lists, vectors.clone(), &GuideRule::default()).unwrap();
        let count = guide.sift_mined(lists).unwrap();
        let left = |query: u32| lists.mined(query).iter().map(|mined| mined.document).collect::<Vec<_>>();
        (count, left(0), left(1))
    };
    // d5 is nearer to query 0 than its lowest positive, d4 nearer to query 1 than its own.
    assert_eq!(sifted(&mut lists, &negatives), (2, vec![4], vec![5]));
    // What a judge has seen stays.
    let judged = negatives.map(|mined| TrainingDocument { grade: 1, ..mined });
    assert_eq!(sifted(&mut lists, &judged), (0, vec![4, 5], vec![4, 5]));
}

#[test]
fn grades_one_does_not_trust_can_be_left_out() {
    let targets =
        Targets::new(3, vec![vec![Listed::own(0, 3), Listed::own(1, 1), Listed::own(2, 0)]]).unwrap();
    let masked = mask_grades(&targets, &[1, 2]).unwrap();
    let grades: Vec<u8> = masked.listed(0).iter().map(|pair| pair.grade).collect();
    assert_eq!(grades, [3, IGNORED, 0]);
}

fn ranking(hits: &[(u32, f32)]) -> Vec<RankedDocument> {
    hits.iter().map(|&(document, score)| RankedDocument { document, score }).collect()
}

#[test]
fn negatives_are_high_up_ungraded_and_not_too_close() {
    let mut lists = lists(&[("q", "d0", 3), ("q", "d1", 1), ("q", "d2", 0)]);
    for id in ["d3", "d4", "d5", "d6", "d7"] {
        lists.intern_document(id, id).unwrap();
    }
    let hits = ranking(&[(3, 10.0), (0, 9.0), (4, 8.5), (2, 8.2), (1, 8.0), (5, 7.8), (6, 7.0), (7, 1.0)]);
    let mine = |mining: Mining| mining.mine(&lists, 0, &hits, |_| None).unwrap();
    let base = Mining { per_query: 2, ..Mining::default() };
    // 95 % of the lowest positive, 8.0, is 7.6.
    let mined = mine(base.clone());
    assert_eq!(mined.documents, [6, 7]);
    let expected = MiningCounts { mined: 2, graded: 3, too_close: 3, ..MiningCounts::default() };
    assert_eq!(mined.counts, expected);
    let highest = Mining { reference: Reference::Highest, margin: Margin::Absolute(0.5), ..base.clone() };
    assert_eq!(mine(highest).documents, [4, 5], "at most 8.5");
    let unbounded = Mining { margin: Margin::Unbounded, first_rank: 2, last_rank: 6, ..base.clone() };
    let mined = mine(unbounded);
    assert_eq!(mined.documents, [4, 5]);
    assert_eq!(mined.counts.outside_ranks, 3);
    let random = Mining { margin: Margin::Unbounded, pick: MinedPick::Random, ..base.clone() };
    let draws: std::collections::HashSet<Vec<u32>> =
        (0..40).map(|seed| mine(Mining { seed, ..random.clone() }).documents).collect();
    assert!(draws.len() > 5 && draws.iter().all(|drawn| drawn.len() == 2));
    assert_eq!(mine(random.clone()), mine(random));
    for (wrong, setting) in [
        (Mining { first_rank: 0, ..base.clone() }, "first_rank"),
        (Mining { first_rank: 5, last_rank: 4, ..base.clone() }, "last_rank"),
    ] {
        assert!(matches!(wrong.check(), Err(BatchError::Setting { setting: found, .. }) if found == setting));
    }
}

#[test]
fn without_a_positive_s_score_nothing_is_mined_and_it_is_counted() {
    let mut lists = lists(&[("q", "d0", 3), ("q", "d1", 2)]);
    lists.intern_document("d2", "d2").unwrap();
    let hits = ranking(&[(0, 9.0), (2, 3.0)]);
    let mining = Mining::default();
    let lost = mining.mine(&lists, 0, &hits, |_| None).unwrap();
    assert!(lost.documents.is_empty());
    assert_eq!(lost.counts.queries_without_reference, 1);
    let asked = mining.mine(&lists, 0, &hits, |document| (document == 1).then_some(5.0)).unwrap();
    assert_eq!(asked.documents, [2]);
    let highest = Mining { reference: Reference::Highest, ..mining };
    assert_eq!(highest.mine(&lists, 0, &hits, |_| None).unwrap().documents, [2]);
    assert!(matches!(
        highest.mine(&lists, 1, &hits, |_| None),
        Err(BatchError::Number { what: "query", .. })
    ));
}

#[test]
fn recipes_can_say_every_choice() {
    let mining: Mining = serde_json::from_value(
        json!({"margin": {"relative": 0.05}, "pick": "random", "reference": "highest"}),
    )
    .unwrap();
    assert_eq!((mining.margin, mining.pick), (Margin::Relative(0.05), MinedPick::Random));
    let mining: Mining = serde_json::from_value(json!({"margin": "unbounded"})).unwrap();
    assert_eq!(mining, Mining { margin: Margin::Unbounded, ..Mining::default() });
    let plan: BatchPlan =
        serde_json::from_value(json!({"queries": 8, "documents_per_query": 0, "pick": "highest"})).unwrap();
    assert_eq!((plan.queries, plan.documents_per_query, plan.pick), (8, 0, Pick::Highest));
    assert!(
        serde_json::from_value::<BatchPlan>(json!({"querys": 8})).unwrap_err().to_string().contains("querys")
    );
    assert!(serde_json::from_value::<Mining>(json!({"margins": 1})).is_err());
}

#[test]
fn test_queries_are_found_whatever_their_dress() {
    let lists = lists(&[("How to cook rice?", "d", 1), ("Straße nach Ulm", "d", 1), ("???", "d", 1)]);
    let test = [("t1", "unrelated"), ("t2", "  how TO cook -- rice "), ("t3", "STRASSE nach Ulm")];
    assert_eq!(
        refuse_leaked(&lists, test).unwrap_err().to_string(),
        "training query How to cook rice? is test query t2: \"How to cook rice?\" (0 further ones); take them out of the training set"
    );
    assert_eq!(leaked(&lists, [("t", "??"), ("u", " ??? ")]), [Leak { query: 2, test: "u".to_owned() }]);
    refuse_leaked(&lists, [("t1", "how to cook rice today")]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_batch_depends_on_seed_and_number_alone(
        grades in prop::collection::vec((0u32..12, 0u32..30, 0i32..4), 1..120),
        plan in (1usize..6, 0usize..5, 0u64..4, prop::sample::select(vec![Pick::Stratified, Pick::Random, Pick::Highest])),
        mined in 0usize..3,
    ) {
        let names: Vec<(String, String, i32)> = grades.iter().map(|(q, d, grade)| (format!("q{q}"), format!("d{d}"), *grade)).collect();
        let mut lists = Lists::new(&Scale::ssra(), names.iter().map(|(q, d, grade)| pair(q, d, *grade))).unwrap();
        let documents: Vec<TrainingDocument> =
            (0..lists.documents().len() as u32).map(TrainingDocument::negative).collect();
        (0..lists.queries().len() as u32).for_each(|query| lists.set_mined(query, &documents).unwrap());
        let (queries, documents_per_query, seed, pick) = plan;
        let plan = BatchPlan { queries, documents_per_query, seed, pick, mined_per_query: mined, ..BatchPlan::default() };
        let mut forward = Batches::new(&lists, plan.clone()).unwrap();
        let run: Vec<Batch> = (0..2 * forward.per_epoch()).map(|s| forward.batch(s).unwrap()).collect();
        for (number, batch) in run.iter().enumerate().rev() {
            // A run that starts here, and one that came from behind.
            prop_assert_eq!(&Batches::new(&lists, plan.clone()).unwrap().batch(number as u64).unwrap(), batch);
            prop_assert_eq!(&forward.batch(number as u64).unwrap(), batch);
            let mut columns = batch.documents.clone();
            columns.sort_unstable();
            columns.dedup();
            prop_assert_eq!(columns.len(), batch.documents.len(), "each document once");
            for (row, query) in batch.queries.iter().enumerate() {
                for (column, document) in (0u32..).zip(&batch.documents) {
                    let graded = lists.list(*query).iter().find(|graded| graded.document == *document);
                    let listed = batch.targets.listed(row).iter().find(|pair| pair.document == column);
                    match (graded, listed) {
                        (Some(graded), Some(listed)) => prop_assert_eq!(graded.grade, listed.grade),
                        (None, Some(listed)) => prop_assert!(listed.own && listed.grade == 0, "mined"),
                        (Some(_), None) => prop_assert!(false, "a grade was lost"),
                        (None, None) => {}
                    }
                }
            }
        }
    }
}
