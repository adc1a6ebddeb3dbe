//! `graded agree`: two raters, several, two sets of judgments.

use serde_json::json;

use crate::graded::Folder;

const PAIRS: &str = "query,doc,human,model\n1,a,3,3\n1,b,0,1\n1,c,2,2\n2,a,0,0\n2,b,1,0\n2,c,3,2\n";

#[test]
fn predicted_against_human_answers_with_the_documented_keys() {
    let folder = Folder::new();
    folder.write("pairs.csv", PAIRS);
    let answer = folder.json("agree --pairs pairs.csv --human human --predicted model");
    assert_eq!(answer["pairs"], 6);
    assert_eq!(answer["unparsed"], 0);
    for name in [
        "cohen_kappa",
        "cohen_kappa_linear",
        "cohen_kappa_quadratic",
        "krippendorff_alpha_ordinal",
        "krippendorff_alpha_nominal",
        "krippendorff_alpha_interval",
        "kendall_tau_b",
        "spearman",
        "mae",
        "accuracy",
        "macro_f1",
    ] {
        assert!(answer["measures"][name].is_number(), "{name}: {answer}");
        assert!(answer["intervals"].get(name).is_some(), "{name}");
    }
    assert_eq!(answer["measures"]["accuracy"], 0.5);
    assert_eq!(answer["measures"]["mae"], 0.5);
    assert_eq!(answer["confusion"], json!([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]));
}

#[test]
fn the_same_seed_gives_the_same_intervals_on_any_number_of_threads() {
    let folder = Folder::new();
    let row = |at: usize| format!("{},d{at},{},{}\n", at / 4, (at * at / 7) % 4, (at * 13 / 5) % 4);
    folder.write("pairs.csv", format!("query,doc,human,model\n{}", (0..200).map(row).collect::<String>()));
    let line = "agree --pairs pairs.csv --predicted model --seed 7";
    let one = folder.json(&format!("{line} --threads 1"));
    let two = folder.json(&format!("{line} --threads 2"));
    assert_eq!(one, two);
    assert_ne!(
        one["intervals"],
        folder.json("agree --pairs pairs.csv --predicted model --seed 8")["intervals"]
    );
}

#[test]
fn a_prediction_that_is_no_grade_is_counted_not_scored() {
    let folder = Folder::new();
    folder.write("pairs.csv", "query,doc,human,predicted\n1,a,3,3\n1,b,0,I cannot say\n2,a,1,1\n");
    let answer = folder.json("agree --pairs pairs.csv");
    assert_eq!((&answer["pairs"], &answer["unparsed"]), (&json!(2), &json!(1)));
    assert_eq!(answer["measures"]["accuracy"], 1.0);
}

#[test]
fn several_raters_are_read_from_their_columns() {
    let folder = Folder::new();
    folder.write("pairs.csv", "query,doc,ann,bob,cid\n1,a,3,3,3\n1,b,0,0,\n2,a,1,1,1\n2,b,2,2,2\n");
    let answer = folder.json("agree --pairs pairs.csv --raters ann,bob,cid");
    assert_eq!(answer["raters"], 3);
    assert_eq!(answer["measures"]["krippendorff_alpha_ordinal"], 1.0);
    assert_eq!(answer["rater_pairs"].as_array().unwrap().len(), 3);
}

#[test]
fn two_sets_of_judgments_order_the_same_runs() {
    let folder = Folder::new();
    folder.write("human", "1 0 a 3\n1 0 b 0\n2 0 a 2\n2 0 b 1\n");
    folder.write("model", "1 0 a 2\n1 0 b 0\n2 0 a 3\n2 0 b 0\n");
    folder.write("good.run", "1 Q0 a 1 2 good\n1 Q0 b 2 1 good\n2 Q0 a 1 2 good\n2 Q0 b 2 1 good\n");
    folder.write("bad.run", "1 Q0 b 1 2 bad\n1 Q0 a 2 1 bad\n2 Q0 b 1 2 bad\n2 Q0 a 2 1 bad\n");
    let answer = folder.json("agree --qrels human --against model --run good.run --run bad.run");
    assert_eq!(answer["pairs"], 4);
    assert_eq!(answer["systems"]["measures"]["kendall_tau"], 1.0);
    assert_eq!(answer["systems"]["measures"]["tau_ap"], 1.0);
}

#[test]
fn bad_pairs_are_refused_by_file_line_and_column() {
    let folder = Folder::new();
    folder.write("grade.csv", "query,doc,human,predicted\n1,a,3,3\n1,\"b\nc\",high,0\n");
    folder.run("agree --pairs grade.csv").refused(&["grade.csv:4", "human", "high"]);
    folder.write("pairs.csv", PAIRS);
    folder
        .run("agree --pairs pairs.csv --human nobody --predicted model")
        .refused(&["nobody", "human, model"]);
    folder.run("agree --pairs pairs.csv --predicted model --scale binary").refused(&[
        "pairs.csv:2",
        "binary",
        "found 3",
    ]);
    folder.run("agree --pairs absent.csv").refused(&["absent.csv"]);
    folder.run("agree --pairs pairs.csv --predicted model --level 2").refused(&["--level"]);
    folder.run("agree --pairs pairs.csv --raters human").refused(&["at least two"]);
    folder.run("agree --pairs pairs.csv --raters human,Human").refused(&["pairs.csv", "human", "twice"]);
    folder.write("a", "1 0 a 1\n");
    folder.write("b", "2 0 a 1\n");
    folder.run("agree --qrels a --against b").refused(&["no pair in common"]);
}
