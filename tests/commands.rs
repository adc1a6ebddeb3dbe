//! `graded data`, `graded model`, `graded recipe`, `graded doctor`, completions and manual.

use crate::graded::Folder;

fn broken_collection(folder: &Folder) {
    folder.write("set/corpus.jsonl", "{\"_id\":\"a\",\"text\":\"one\"}\n{\"_id\":\"a\",\"text\":\"\"}\n");
    folder.write("set/queries.jsonl", "{\"_id\":\"q\",\"text\":\"one\"}\n");
    folder.write("set/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\ta\t1\nq\tnowhere\t1\n");
}

#[test]
fn the_sample_is_sound() {
    let answer = Folder::new().json("data check sample");
    assert_eq!(answer["sound"], true, "{answer}");
    assert!(answer["documents"].as_u64().unwrap() >= 400);
    assert!(answer["judgments"].as_u64().unwrap() >= 1500);
}

#[test]
fn a_broken_collection_is_1_and_says_where() {
    let folder = Folder::new();
    broken_collection(&folder);
    let answer = folder.run("data check set");
    assert_eq!(answer.code, 1, "{}", answer.stderr);
    assert!(answer.stdout.contains("nowhere"), "{}", answer.stdout);
    folder.run("evaluate --dataset set --encoder bm25").refused(&["corpus.jsonl:2", "\"a\" again", "line 1"]);
}

#[test]
fn a_line_that_is_not_a_document_is_named() {
    let folder = Folder::new();
    broken_collection(&folder);
    folder.write("set/corpus.jsonl", "{\"_id\":\"a\",\"text\":\"one\"}\n[1, 2]\n");
    folder.run("data check set").refused(&["corpus.jsonl:2"]);
    folder.run("evaluate --dataset set --encoder bm25").refused(&["corpus.jsonl:2"]);
}

#[test]
fn an_imported_collection_evaluates_as_the_original() {
    let folder = Folder::new();
    folder.run("data import sample --out copy").ok();
    folder.run("data import sample --out copy").refused(&["copy"]);
    let original = folder.json("evaluate --dataset sample --encoder bm25");
    let copy = folder.json("evaluate --dataset copy --encoder bm25");
    assert_eq!(original["measures"], copy["measures"]);
    assert_eq!(original["fingerprint"]["data"]["judgments"], copy["fingerprint"]["data"]["judgments"]);
}

#[test]
fn a_collection_is_pulled_from_a_folder_by_manifest() {
    let folder = Folder::new();
    let qrels = "query-id\tcorpus-id\tscore\nq\ta\t1\n";
    folder.write("home/corpus.jsonl", "{\"_id\":\"a\",\"text\":\"one\"}\n");
    folder.write("home/queries.jsonl", "{\"_id\":\"q\",\"text\":\"one\"}\n");
    folder.write("home/qrels/test.tsv", qrels);
    let manifest = format!(
        "name = \"mine\"\ndescription = \"mine\"\nformat = \"beir\"\nlicence = \"CC0-1.0\"\n\
         [[files]]\npath = \"corpus.jsonl\"\n[[files]]\npath = \"queries.jsonl\"\n\
         [[files]]\npath = \"qrels/test.tsv\"\nbytes = {}\n",
        qrels.len()
    );
    folder.write("mine.toml", &manifest);
    folder.run("data pull mine.toml --from home").ok();
    assert_eq!(folder.json("evaluate --dataset mine --encoder bm25")["measures"]["nDCG@10"], 1.0);
    folder.write("wrong.toml", manifest.replace("bytes = 31", "bytes = 33").replace("\"mine\"", "\"wrong\""));
    folder.run("data pull wrong.toml --from home").refused(&["qrels/test.tsv", "33"]);
    assert!(!folder.path("cache/data/wrong").exists());
}

#[test]
fn lists_name_what_is_embedded() {
    let folder = Folder::new();
    let names = |line: &str, key: &str| {
        let rows = folder.json(line);
        rows.as_array().unwrap().iter().map(|row| row[key].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let datasets = names("data list", "dataset");
    assert!(
        ["sample", "nfcorpus", "cranfield"].iter().all(|name| datasets.iter().any(|found| found == name))
    );
    let models = names("model list", "model");
    assert!(["embedded", "all-MiniLM-L6-v2"].iter().all(|name| models.iter().any(|found| found == name)));
}

#[test]
fn a_bundle_is_one_file_with_a_digest() {
    let folder = Folder::new();
    folder.run("model export embedded --out copy.bundle").ok();
    let embedded = folder.json("model inspect embedded");
    let copy = folder.json("model inspect copy.bundle");
    assert_eq!(embedded["digest"], copy["digest"]);
    let original = folder.json("evaluate --encoder embedded");
    assert_eq!(original["measures"], folder.json("evaluate --encoder copy.bundle")["measures"]);
}

#[test]
fn a_damaged_bundle_is_refused() {
    let folder = Folder::new();
    folder.run("model export embedded --out whole.bundle").ok();
    let bytes = std::fs::read(folder.path("whole.bundle")).unwrap();
    folder.write("cut.bundle", &bytes[..bytes.len() / 2]);
    folder.run("evaluate --encoder cut.bundle").refused(&["cut.bundle"]);
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    folder.write("flipped.bundle", &flipped);
    folder.run("evaluate --encoder flipped.bundle").refused(&["flipped.bundle"]);
    folder.write("empty.bundle", "");
    folder.run("model inspect empty.bundle").refused(&["empty.bundle"]);
    std::fs::create_dir(folder.path("no-model")).unwrap();
    folder.run("model inspect no-model").refused(&["no-model", "config.json"]);
}

#[test]
fn a_recipe_is_shown_complete_and_checked() {
    let folder = Folder::new();
    folder.write("recipe.toml", "[evaluation]\nmeasures = [\"nDCG@10\"]\n");
    let shown = folder.run("recipe show recipe.toml").ok().stdout;
    assert!(shown.contains("dataset = \"sample\"") && shown.contains("depth = 1000"), "{shown}");
    folder.write("shown.toml", &shown);
    let digest = |name: &str| folder.json(&format!("recipe check {name}"))[0]["digest"].clone();
    assert_eq!(digest("recipe.toml"), digest("shown.toml"));
    folder.write("wrong.toml", "[evaluation]\nmeasure = [\"nDCG@10\"]\n");
    folder.run("recipe check wrong.toml").refused(&["wrong.toml", "line 2", "measure"]);
    // Every file is looked at, whatever the one before it was.
    let both = folder.run("recipe check wrong.toml recipe.toml nowhere.toml");
    both.refused(&["2 of 3 recipes", "wrong.toml", "line 2", "nowhere.toml"]);
    folder.write("broken.toml", "[evaluation\n");
    folder.run("recipe show broken.toml").refused(&["broken.toml", "line 1"]);
}

#[test]
fn the_doctor_says_what_is_there_and_why_something_is_not() {
    let answer = Folder::new().json("doctor");
    let line =
        |what: &str| answer.as_array().unwrap().iter().find(|row| row["what"] == what).cloned().unwrap();
    assert_eq!(line("device scalar")["state"], "yes");
    assert!(!line("device cuda")["detail"].as_str().unwrap().is_empty());
    assert_eq!(line("bundle embedded")["state"], "yes");
}

#[test]
fn completions_and_manual_pages_come_from_the_binary() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(folder.run(&format!("completions {shell}")).ok().stdout.contains("evaluate"));
    }
    folder.run("manual man").ok();
    let page = std::fs::read_to_string(folder.path("man/graded-evaluate.1")).unwrap();
    assert!(page.contains("measures"));
}

#[test]
fn a_quantised_model_says_what_it_costs_and_evaluates_near_its_floats() {
    let folder = Folder::new();
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../scorer/tests/fixtures/tiny_bert");
    let made = folder.graded(["model", "quantize", tiny, "--out", "int8.bundle", "--format", "json"]).json();
    let loss = &made["losses"][0];
    assert_eq!((loss["collection"].as_str(), loss["queries"].as_u64()), (Some("sample"), Some(60)));
    assert!(loss["least_cosine"].as_f64().unwrap() > 0.9, "{made}");
    let found = folder.json("evaluate --dataset sample --encoder int8.bundle --measures nDCG@10");
    assert_eq!(found["measures"]["nDCG@10"], loss["nDCG@10 quantized"], "{found}");
    let inspected = folder.run("model inspect int8.bundle").ok();
    assert!(inspected.stdout.contains("bert_int8"), "{}", inspected.stdout);
    assert!(inspected.stdout.contains("| sample | 60 |"), "{}", inspected.stdout);
    folder.write("blank.txt", " \n\n");
    let line = format!("model quantize {tiny} --texts blank.txt --out none.bundle");
    folder.run(&line).refused(&["blank.txt", "a text a line"]);
    folder.run("model quantize int8.bundle --out twice.bundle").refused(&["config.json", "bert_int8"]);
    folder.run("model quantize embedded --out table.bundle").refused(&["config.json", "static_table"]);
}
