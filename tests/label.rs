//! `graded label`, `graded model calibrate` and `graded agree --labeler`.

use crate::graded::Folder;

const PAIRS: &str = "query,text,human\n\
    parenting tips for toddlers,Five calm ways to handle a toddler's tantrum,3\n\
    parenting tips for toddlers,\"Changing a bike tyre,\nstep by step\",0\n\
    sourdough starter,Feed your sourdough starter twice a day,3\n";

#[test]
fn the_embedded_bundle_labels_and_ranks_the_right_document_first() {
    let folder = Folder::new();
    folder.write("pairs.csv", PAIRS);
    let labels = folder.json("label --pairs pairs.csv");
    let grade = |at: usize| labels[at]["predicted"].as_str().unwrap().parse::<u8>().unwrap();
    assert!(grade(0) > grade(1) && grade(2) > grade(1), "{labels}");
    let sum: f64 = (0..4).map(|level| labels[0][format!("p{level}")].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-12, "{labels}");
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes() {
    let folder = Folder::new();
    folder.run("label --dataset sample --out whole.csv").ok();
    let whole = std::fs::read(folder.path("whole.csv")).unwrap();
    for cut in [0, 10, whole.len() / 3, whole.len() - 1, whole.len()] {
        folder.write("part.csv", &whole[..cut]);
        folder.run("label --dataset sample --out part.csv").ok();
        assert!(std::fs::read(folder.path("part.csv")).unwrap() == whole, "cut at {cut}");
    }
    let shards = ["1/3", "2/3", "3/3"].map(|shard| {
        folder.run(&format!("label --dataset sample --out shard.csv --restart --shard {shard}")).ok();
        std::fs::read_to_string(folder.path("shard.csv")).unwrap()
    });
    let rows = shards.iter().flat_map(|shard| shard.lines().skip(1));
    let whole = String::from_utf8(whole).unwrap();
    assert!(rows.eq(whole.lines().skip(1)), "the shards are the whole");
}

#[test]
fn rows_of_something_else_are_not_continued() {
    let folder = Folder::new();
    folder.write("pairs.csv", PAIRS);
    folder.run("label --pairs pairs.csv --out out.csv").ok();
    let before = std::fs::read(folder.path("out.csv")).unwrap();
    folder.run("label --dataset sample --out out.csv").refused(&["out.csv:2", "another pair", "--restart"]);
    let altered = String::from_utf8(before.clone()).unwrap().replacen("labeler", "judge", 1);
    folder.write("altered.csv", &altered);
    folder.run("label --pairs pairs.csv --out altered.csv").refused(&["altered.csv:1", "another header"]);
    assert!(std::fs::read(folder.path("out.csv")).unwrap() == before, "a refused run changes nothing");
}

#[test]
fn agreement_with_a_labeler_is_agreement_with_its_written_labels() {
    let folder = Folder::new();
    folder.run("label --dataset sample --out labels.csv").ok();
    let written = folder.json("agree --pairs labels.csv");
    let kappa = written["measures"]["cohen_kappa_quadratic"].as_f64().unwrap();
    assert!(kappa > 0.55, "{kappa}");
    folder.write("pairs.csv", PAIRS);
    let direct = folder.json("agree --pairs pairs.csv --labeler embedded");
    folder.run("label --pairs pairs.csv --out three.csv").ok();
    let three = folder.json("agree --pairs three.csv");
    assert_eq!(direct["measures"], three["measures"]);
    assert_eq!(direct["confusion"], three["confusion"]);
    assert_eq!(direct["labeler"].as_str().unwrap().len(), 64);
}

#[test]
fn a_collection_is_agreed_with_and_the_digest_is_of_every_score() {
    let folder = Folder::new();
    folder.run("label --dataset sample --out labels.csv").ok();
    let labels = std::fs::read_to_string(folder.path("labels.csv")).unwrap();
    let scores = labels.lines().skip(1).map(|row| row.split(',').nth(4).unwrap().parse::<f64>().unwrap());
    let bits: Vec<u8> = scores.flat_map(|score| score.to_bits().to_le_bytes()).collect();
    let direct = folder.json("agree --dataset sample --labeler embedded");
    assert_eq!(direct["scores_digest"].as_str().unwrap(), blake3::hash(&bits).to_hex().as_str());
    let written = folder.json("agree --pairs labels.csv");
    for part in ["pairs", "queries", "measures", "intervals", "confusion", "per_grade", "bootstrap"] {
        assert_eq!(direct[part], written[part], "{part}");
    }
    assert_eq!(direct["file"], "sample");
    assert!(written.get("scores_digest").is_none());
    folder.run("agree --dataset sample").refused(&["--labeler"]);
    folder.run("agree --labeler embedded").refused(&["--pairs"]);
}

#[test]
fn the_embedded_head_is_what_the_documented_command_makes() {
    let folder = Folder::new();
    let card = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scorer/bundles/README.md");
    let bundles = card.with_file_name("static-minilm-l6-v2.bundle");
    let card = card.display().to_string();
    let made =
        ["model", "calibrate", "embedded", "--dataset", "sample", "--card", &card, "--out", "made.bundle"];
    folder.graded(made).ok();
    let (made, shipped) =
        (std::fs::read(folder.path("made.bundle")).unwrap(), std::fs::read(bundles).unwrap());
    assert!(made == shipped, "the embedded bundle is not what its model card says makes it");
}

#[test]
fn what_cannot_label_is_refused() {
    let folder = Folder::new();
    folder.write("ids.csv", "query_id,doc_id,human\nq,d,1\n");
    folder.run("label --pairs ids.csv").refused(&["ids.csv:2", "texts of query and document"]);
    folder.write("pairs.csv", PAIRS);
    folder.run("label --pairs pairs.csv --labeler nowhere").refused(&["nowhere", "no such"]);
    folder
        .run("model calibrate embedded --pairs pairs.csv --hold-out 0 --out x")
        .refused(&["no pair has the grade 1"]);
    folder
        .run("model calibrate embedded --dataset sample --features luck --out x")
        .refused(&["luck", "similarity"]);
    assert_eq!(folder.names(), ["ids.csv", "pairs.csv"]);
}
