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
    // The ids are the same, a text is not.
    let named = "query_id,doc_id,query,text\nq,d,bread,Bake bread at home\nq,e,bread,Fix a bike\n";
    folder.write("named.csv", named);
    folder.run("label --pairs named.csv --out named-out.csv").ok();
    folder.write("named.csv", named.replace("Fix a bike", "Bread for beginners"));
    folder.run("label --pairs named.csv --out named-out.csv").refused(&[
        "named-out.csv:3",
        "texts have changed",
        "--restart",
    ]);
    folder.run("label --pairs named.csv --out named-out.csv --restart").ok();
}

#[test]
fn what_a_run_has_not_written_is_never_overwritten() {
    let folder = Folder::new();
    folder.write("pairs.csv", PAIRS);
    let foreign = [
        "query,doc,grade\r\nq1,d1,3\r\n",
        "one line and no end",
        "{\"precious\": 1}",
        "query_id,doc_id,human,predicted,grade",
        "\r",
        "a\rb\r",
    ];
    for content in foreign {
        folder.write("out.csv", content);
        for restart in ["", " --restart"] {
            let line = format!("label --pairs pairs.csv --out out.csv{restart}");
            folder.run(&line).refused(&["out.csv:1", "another header", "another --out"]);
        }
        assert_eq!(std::fs::read_to_string(folder.path("out.csv")).unwrap(), content);
    }
    folder.run("label --pairs pairs.csv --out ./pairs.csv --restart").refused(&["the file of the pairs"]);
    folder.write("windows.csv", PAIRS.replace('\n', "\r\n"));
    folder.run("label --pairs windows.csv --out windows.csv").refused(&["the file of the pairs"]);
    for line in
        ["model calibrate embedded --pairs pairs.csv", "model quantize no-model", "model export embedded"]
    {
        folder.run(&format!("{line} --out pairs.csv")).refused(&["pairs.csv", "no bundle", "not replaced"]);
    }
    folder.run("model export embedded --out one.bundle").ok();
    folder.run("model export embedded --out one.bundle").ok();
    assert_eq!(std::fs::read_to_string(folder.path("pairs.csv")).unwrap(), PAIRS);
    std::fs::remove_file(folder.path("out.csv")).unwrap();
    // A spreadsheet's line ends are those of the same rows.
    folder.write("pairs.csv", PAIRS.replace(",\nstep", ", step"));
    folder.run("label --pairs pairs.csv --out out.csv --restart").ok();
    let whole = std::fs::read_to_string(folder.path("out.csv")).unwrap();
    let saved = whole.replace('\n', "\r\n");
    folder.write("out.csv", &saved);
    let again = folder.json("label --pairs pairs.csv --out out.csv");
    assert_eq!(again[0]["already there"], 3, "{again}");
    assert_eq!(std::fs::read_to_string(folder.path("out.csv")).unwrap(), saved);
    folder.write("out.csv", &saved[..saved.len() - 9]);
    let again = folder.json("label --pairs pairs.csv --out out.csv");
    assert_eq!(again[0]["already there"], 2, "{again}");
}

#[cfg(target_os = "linux")]
#[test]
fn one_run_at_a_time_writes_a_file_and_only_a_file() {
    let folder = Folder::new();
    folder.write("pairs.csv", PAIRS);
    let held = std::fs::File::create(folder.path("out.csv")).unwrap();
    held.lock().unwrap();
    folder.run("label --pairs pairs.csv --out out.csv").refused(&["out.csv", "another run"]);
    held.unlock().unwrap();
    folder.run("label --pairs pairs.csv --out out.csv").ok();
    for device in ["/dev/null", "/dev/full", "/dev/stdout", "."] {
        folder.run(&format!("label --pairs pairs.csv --out {device}")).refused(&[device, "regular file"]);
    }
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
fn what_was_taken_for_what_and_what_is_blank_is_said() {
    let folder = Folder::new();
    folder.write("pairs.csv", PAIRS.replace("Feed your sourdough starter twice a day", " "));
    for line in ["label --pairs", "agree --labeler embedded --pairs", "evaluate --encoder embedded --pairs"] {
        let answer = folder.run(&format!("{line} pairs.csv")).ok();
        for said in ["human = human (guessed)", "1 of 3 pairs have no text of the document (column text)"] {
            assert!(answer.stderr.contains(said), "{line}: {}", answer.stderr);
        }
    }
}

#[test]
fn what_cannot_label_is_refused() {
    let folder = Folder::new();
    folder.write("ids.csv", "query_id,doc_id,human\nq,d,1\n");
    folder.run("label --pairs ids.csv").refused(&["ids.csv:2", "texts of query and document"]);
    let lines = "{\"query\":\"a\",\"text\":\"b\",\"human\":1}\n{\"query\":\"a\",\"human\":1}\n";
    folder.write("absent.jsonl", lines);
    folder.run("label --pairs absent.jsonl").refused(&["absent.jsonl:2", "texts of query and document"]);
    folder.write("large.jsonl", lines.replace("1}", "1,\"doc_id\":12345678901234567890123}"));
    folder.run("label --pairs large.jsonl").refused(&["large.jsonl:1", "12345678901234567890123", "2^64"]);
    folder.write("beyond.csv", PAIRS.replace(",0\n", ",9\n"));
    folder.run("model calibrate embedded --pairs beyond.csv --out x").refused(&[
        "beyond.csv",
        "parenting tips for toddlers",
        "grade 9",
        "ssra",
    ]);
    folder.write("pairs.csv", PAIRS);
    folder.run("label --pairs pairs.csv --labeler nowhere").refused(&["nowhere", "no such"]);
    folder
        .run("model calibrate embedded --pairs pairs.csv --hold-out 0 --out x")
        .refused(&["of the 3 pairs to fit to (0 are held out by --hold-out)", "no pair has the grade 1"]);
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../scorer/tests/fixtures/tiny_bert");
    for line in ["label --pairs pairs.csv", "agree --pairs pairs.csv"] {
        folder.run(&format!("{line} --labeler {tiny}")).refused(&["tiny_bert", "graded model calibrate"]);
    }
    folder
        .run("model calibrate embedded --dataset sample --features luck --out x")
        .refused(&["luck", "similarity"]);
    assert_eq!(folder.names(), ["absent.jsonl", "beyond.csv", "ids.csv", "large.jsonl", "pairs.csv"]);
}
