//! `graded train` as a user runs it: the sample's recipe, a run that is killed and resumed, what is refused.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::graded::Folder;

const RECIPE: &str = include_str!("../harness/recipes/train-sample.toml");

/// The sample's recipe with fewer epochs and a checkpoint at every step.
pub fn short(epochs: u32) -> String {
    let changed = RECIPE.replace("epochs = 60", &format!("epochs = {epochs}"));
    changed.replace("checkpoint_every = 50", "checkpoint_every = 1")
}

#[test]
fn the_sample_s_recipe_trains_a_model_that_evaluates() {
    let folder = Folder::new();
    folder.write("recipe.toml", RECIPE);
    let answer = folder.json("train recipe.toml --out model");
    let (first, last) = (answer["first_loss"].as_f64().unwrap(), answer["last_loss"].as_f64().unwrap());
    assert!(last < 0.8 * first, "the loss went from {first} to {last}");
    let held_out = answer["held_out"].as_array().unwrap();
    let measure = |row: usize| held_out[row]["measures"]["nDCG@10"].as_f64().unwrap();
    assert_eq!((&held_out[1]["model"], &held_out[2]["model"]), (&"before".into(), &"trained".into()));
    assert!(measure(2) > 0.5 && measure(1) > 0.5, "{held_out:?}");
    assert!(answer["signs"].is_array(), "{answer}");
    let before = folder.json("evaluate --dataset sample --encoder embedded");
    let after = folder.json("evaluate --dataset sample --encoder ./model");
    let value = |answer: &serde_json::Value| answer["measures"]["nDCG@10"].as_f64().unwrap();
    assert!(value(&after) > value(&before) + 0.05, "{} {}", value(&before), value(&after));
    for file in
        ["model.safetensors", "config.json", "modules.json", "tokenizer.json", "README.md", "training.json"]
    {
        assert!(folder.path("model").join(file).is_file(), "{file}");
    }
    let card = std::fs::read_to_string(folder.path("model").join("README.md")).unwrap();
    for word in [answer["recipe"].as_str().unwrap(), "h_infonce", "nDCG@10", "sample"] {
        assert!(card.contains(word), "{word} is not on the card");
    }
    assert_eq!(folder.names(), ["model", "recipe.toml"]);
    folder.run("train recipe.toml --out model").refused(&["model", "--resume"]);
    assert_eq!(folder.json("train recipe.toml --out model --resume")["model"], answer["model"]);
}

#[test]
fn two_runs_are_compared_by_their_records_whatever_was_trained() {
    let folder = Folder::new();
    folder.write("one.toml", short(1));
    folder.write("ten.toml", short(10));
    let one = folder.json("train one.toml --out one");
    folder.run("train ten.toml --out ten").ok();
    let listed = folder.json("runs list --kind training");
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    let record = &folder.json("runs show latest~1")["record"];
    let names = record["systems"].as_array().unwrap().iter().map(|system| system["name"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["bm25", "before", "trained"]);
    for (system, held_out) in [(1, 1), (2, 2)] {
        let measured = &record["systems"][system]["measures"][0];
        let said = &one["held_out"][held_out]["measures"][measured["name"].as_str().unwrap()];
        assert_eq!(&measured["value"], said);
        assert_eq!(measured["values"].as_array().unwrap().len(), record["queries"].as_array().unwrap().len());
    }
    assert_eq!(record["settings"]["model"], one["model"]);
    assert_eq!(record["timings"][0]["name"], "training");
    let compared = folder.json("runs compare latest~1 latest --system trained");
    assert!(compared.to_string().contains("trained"), "{compared}");
    // A run that is finished already leaves no second record.
    folder.run("train one.toml --out one --resume").ok();
    folder.run("train one.toml --out other --no-record").ok();
    assert_eq!(folder.json("runs list --kind training").as_array().unwrap().len(), 2);
}

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let folder = Folder::new();
    folder.write("recipe.toml", short(40));
    folder.run("train recipe.toml --out whole --quiet").ok();
    let weights = |name: &str| std::fs::read(folder.path(name).join("model.safetensors")).unwrap();
    for round in 0..3 {
        let out = format!("killed-{round}");
        let checkpoint = folder.path(&format!("{out}.checkpoint"));
        // Killed at three different moments: as soon as there is a checkpoint, and a little later each time.
        let mut kills = 0;
        for _ in 0..2 {
            let mut run = Command::new(env!("CARGO_BIN_EXE_graded"))
                .args(["train", "recipe.toml", "--quiet", "--resume", "--out", &out])
                .current_dir(folder.path("."))
                .env("GRADED_CACHE", folder.path("cache"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let started = Instant::now();
            while !checkpoint.exists()
                && run.try_wait().unwrap().is_none()
                && started.elapsed() < Duration::from_secs(300)
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(37 * round));
            if run.try_wait().unwrap().is_none() {
                run.kill().unwrap();
                kills += 1;
            }
            run.wait().unwrap();
        }
        assert!(kills > 0 || round > 0, "the run ended before it could be killed");
        folder.run(&format!("train recipe.toml --out {out} --resume --quiet")).ok();
        assert!(
            weights("whole") == weights(&out),
            "round {round}: other weights than the uninterrupted run's"
        );
    }
}

/// The training recipes of the house that grades alone can drive.
const LOSSES: [(&str, &str); 13] = [
    ("infonce", include_str!("../harness/recipes/train-infonce.toml")),
    ("weighted_infonce", include_str!("../harness/recipes/train-weighted-infonce.toml")),
    ("h_infonce", include_str!("../harness/recipes/train-h-infonce.toml")),
    ("wasserstein", include_str!("../harness/recipes/train-wasserstein.toml")),
    ("listnet", include_str!("../harness/recipes/train-listnet.toml")),
    ("listmle", include_str!("../harness/recipes/train-listmle.toml")),
    ("lambda_loss", include_str!("../harness/recipes/train-lambda-loss.toml")),
    ("approx_ndcg", include_str!("../harness/recipes/train-approx-ndcg.toml")),
    ("ranknet", include_str!("../harness/recipes/train-ranknet.toml")),
    ("cosent", include_str!("../harness/recipes/train-cosent.toml")),
    ("rince", include_str!("../harness/recipes/train-rince.toml")),
    ("bixse", include_str!("../harness/recipes/train-bixse.toml")),
    ("mse", include_str!("../harness/recipes/train-mse.toml")),
];

#[test]
fn every_loss_falls_when_its_recipe_runs_on_the_sample() {
    let folder = Folder::new();
    for (name, recipe) in LOSSES {
        let changes = [
            ("all-MiniLM-L6-v2", "embedded"),
            ("\"chorus\"", "\"sample\""),
            ("learning_rate = 5e-5", "learning_rate = 2e-2"),
            ("epochs = 10", "epochs = 12"),
        ];
        let small = changes.iter().fold(recipe.to_owned(), |recipe, (old, new)| {
            assert!(recipe.contains(old), "{name}: {old}");
            recipe.replace(old, new)
        });
        folder.write("recipe.toml", small);
        let answer = folder.json(&format!("train recipe.toml --quiet --out {name}"));
        assert_eq!(answer["loss"], name);
        let losses: Vec<f64> =
            answer["losses"].as_array().unwrap().iter().map(|step| step[1].as_f64().unwrap()).collect();
        // Three batches an epoch: the first epoch and the last.
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&losses[..3]), mean(&losses[losses.len() - 3..]));
        assert!(last < 0.85 * first, "{name}: the loss went from {first} to {last}");
    }
}

#[test]
fn every_recipe_of_the_house_can_be_run() {
    let folder = Folder::new();
    let recipes = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes");
    let paths = std::fs::read_dir(recipes).unwrap().map(|entry| entry.unwrap().path().into_os_string());
    let answer = folder.graded(["recipe".into(), "check".into()].into_iter().chain(paths)).ok();
    assert!(answer.stdout.lines().count() > LOSSES.len(), "{}", answer.stdout);
    let shown = folder.graded(
        ["recipe", "show"]
            .map(std::ffi::OsString::from)
            .into_iter()
            .chain([folder.write("recipe.toml", RECIPE).into_os_string()]),
    );
    assert!(shown.ok().stdout.contains("[loss]"));
}

#[test]
fn hard_negatives_come_from_bm25_or_an_encoder() {
    let folder = Folder::new();
    for (system, expected) in [("bm25", "mined"), ("embedded", "mined")] {
        let mining = format!(
            "[mining]\nsystem = \"{system}\"\nper_query = 4\nmargin = {{ relative = 0.05 }}\n\n[training]"
        );
        let recipe = short(2)
            .replace("[training]", &mining)
            .replace("queries = 16", "queries = 16\nmined_per_query = 2");
        folder.write("recipe.toml", recipe);
        let answer = folder.json(&format!("train recipe.toml --out {system} --quiet"));
        let notes = answer["data"]["notes"].to_string();
        assert!(notes.contains(expected) && !notes.contains("mined 0"), "{notes}");
    }
}

#[test]
fn threads_change_no_bit_of_the_weights() {
    let folder = Folder::new();
    folder.write("recipe.toml", short(3));
    let digest = |threads: u32| {
        let line = format!("train recipe.toml --out t{threads} --threads {threads}");
        folder.json(&line)["model"].as_str().unwrap().to_owned()
    };
    assert_eq!(digest(1), digest(3));
}

#[test]
fn a_checkpoint_of_another_recipe_or_a_damaged_one_is_refused() {
    let folder = Folder::new();
    folder.write("recipe.toml", short(2));
    folder.write("model.checkpoint", "GRADEDCK and then nothing of use");
    folder.run("train recipe.toml --out model").refused(&["model.checkpoint", "--resume"]);
    folder.run("train recipe.toml --out model --resume").refused(&["checkpoint"]);
    folder.write("notes/README.md", "my notes");
    folder.run("train recipe.toml --out notes --resume").refused(&["notes", "training run"]);
}

#[test]
fn what_cannot_be_trained_is_refused_before_it_starts() {
    let folder = Folder::new();
    let refused = |change: &dyn Fn(&str) -> String, words: &[&str]| {
        folder.write("recipe.toml", change(&short(1)));
        folder.run("train recipe.toml --out model").refused(words);
        assert_eq!(folder.names().iter().filter(|name| name.starts_with("model")).count(), 0);
    };
    refused(&|recipe| recipe.replace("temperature", "temprature"), &["recipe.toml", "temprature"]);
    refused(&|recipe| recipe.replace("[training]", "[training]\nlearning = 1"), &["recipe.toml", "learning"]);
    refused(&|recipe| recipe.replace("2e-3", "-1.0"), &["learning_rate", "-1"]);
    refused(&|recipe| recipe.replace("\"embedded\"", "\"no-such-model\""), &["no-such-model"]);
    refused(&|recipe| recipe.replace("\"embedded\"", "\"embedded\"\nfreeze_layers = 1"), &["freeze_layers"]);
    refused(
        &|recipe| recipe.replace("\"h_infonce\"\ntemperature = 0.05", "\"kl_distillation\""),
        &["teacher", "kl_distillation"],
    );
    refused(&|recipe| recipe.replace("share = 0.2", "share = 1.5"), &["share"]);
    refused(&|recipe| recipe.replace("\"sample\"", "\"no-such-set\""), &["no-such-set"]);
    folder.write("pairs.csv", "query,document,grade\na,b,0\na,c,0\n");
    let pairs =
        "[data]\npairs = \"pairs.csv\"\n[scorer]\nencoder = \"embedded\"\n[loss]\nname = \"infonce\"\n";
    refused(&|_| pairs.to_owned(), &["infonce"]);
}

/// A labeler from a BERT of 32 dimensions with random weights: it learns little, but by every step of the way.
fn labeler(change: impl Fn(String) -> String) -> String {
    let encoder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scorer/tests/fixtures/tiny_bert");
    change(format!(
        "[data]\ndataset = \"sample\"\nheld_out = {{ share = 0.2, seed = 1 }}\n[scorer]\nkind = \"cross-encoder\"\n\
         encoder = '{encoder}'\nmax_tokens = 48\ncuts = \"fitted\"\n[loss]\nname = \"cross_entropy\"\n[training]\n\
         steps = 12\npairs = 16\nlearning_rate = 2e-3\nhead_learning_rate = 1e-2\ndropout = 0.1\ncheckpoint_every = 1\n"
    ))
}

#[test]
fn a_labeler_is_trained_labels_agrees_and_goes_into_8_bits() {
    let folder = Folder::new();
    folder.write("recipe.toml", labeler(|recipe| recipe));
    let answer = folder.json("train recipe.toml --out labeler");
    assert_eq!(
        answer["data"]["pairs"].as_u64().unwrap() + answer["data"]["held_out_pairs"].as_u64().unwrap(),
        1696
    );
    let measures = &answer["held_out"][0]["measures"];
    assert!(measures["cohen_kappa_quadratic"].is_f64() && measures["mae"].is_f64(), "{answer}");
    for file in
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "labeler.json"]
    {
        assert!(folder.path("labeler").join(file).is_file(), "{file}");
    }
    let config = std::fs::read_to_string(folder.path("labeler").join("config.json")).unwrap();
    assert!(config.contains("BertForSequenceClassification") && config.contains("grade 3"), "{config}");
    let card = std::fs::read_to_string(folder.path("labeler").join("README.md")).unwrap();
    assert!(card.contains("cross_entropy") && card.contains("cohen_kappa_quadratic"), "{card}");
    let record = &folder.json("runs show latest")["record"];
    assert_eq!(record["kind"], "training");
    assert_eq!(record["agreement"]["pairs"], answer["data"]["held_out_pairs"]);
    let kappa = record["agreement"]["measures"].as_array().unwrap().iter();
    let kappa = kappa.clone().find(|measure| measure["name"] == "cohen_kappa_quadratic").unwrap();
    assert_eq!(kappa["value"], measures["cohen_kappa_quadratic"]);
    // `agree` sees the labels that `label` writes.
    folder.run("label --dataset sample --labeler ./labeler --out labels.csv").ok();
    let written = folder.json("agree --pairs labels.csv");
    let direct = folder.json("agree --dataset sample --labeler ./labeler");
    assert_eq!(direct["measures"], written["measures"]);
    assert_eq!(direct["labeler"], answer["labeler"]);
    let small = folder.json("model quantize ./labeler --out small.bundle");
    let same = small["losses"][0]["same_grade"].as_f64().unwrap();
    assert!(same > 0.8, "only {same} of the grades are the same in 8 bits");
    assert_eq!(folder.json("agree --dataset sample --labeler small.bundle")["pairs"], direct["pairs"]);
    folder.run("model quantize small.bundle --out again.bundle").refused(&["bert_int8"]);
    folder.run("evaluate --dataset sample --encoder ./labeler").refused(&["1_Pooling"]);
}

#[test]
fn a_killed_labeler_resumes_to_the_same_bits() {
    let folder = Folder::new();
    folder.write("recipe.toml", labeler(|recipe| recipe.replace("steps = 12", "steps = 40")));
    folder.run("train recipe.toml --out whole --quiet").ok();
    let mut run = Command::new(env!("CARGO_BIN_EXE_graded"))
        .args(["train", "recipe.toml", "--quiet", "--out", "killed"])
        .current_dir(folder.path("."))
        .env("GRADED_CACHE", folder.path("cache"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !folder.path("killed.checkpoint").exists() && started.elapsed() < Duration::from_secs(300) {
        std::thread::sleep(Duration::from_millis(1));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    folder.run("train recipe.toml --out killed --resume --quiet").ok();
    for file in ["model.safetensors", "labeler.json"] {
        let content = |name: &str| std::fs::read(folder.path(name).join(file)).unwrap();
        assert!(content("whole") == content("killed"), "{file} differs from the uninterrupted run's");
    }
}

#[test]
fn every_labeler_loss_trains_and_teachers_are_columns_or_raters() {
    let folder = Folder::new();
    let mut rows = "query_id,query,doc_id,text,human,teacher,other\n".to_owned();
    for query in 0..6 {
        for document in 0..8 {
            let (human, teacher, other) = (document % 4, (document + query) % 4, (document + 1) % 4);
            rows += &format!(
                "q{query},find {query},d{query}{document},cat dog {document},{human},{teacher},{other}\n"
            );
        }
    }
    folder.write("pairs.csv", rows);
    let data = "dataset = \"sample\"\nheld_out = { share = 0.2, seed = 1 }";
    for (loss, labels) in [
        ("coral", ""),
        ("corn", "teacher = \"teacher\""),
        ("mse", ""),
        ("distillation", "raters = [\"human\", \"teacher\", \"other\"]"),
    ] {
        let pairs = format!("pairs = \"pairs.csv\"\nheld_out = {{ folds = 3, fold = 0 }}\n{labels}");
        let recipe = labeler(|recipe| recipe.replace(data, &pairs).replace("cross_entropy", loss));
        folder.write("recipe.toml", recipe);
        let answer = folder.json(&format!("train recipe.toml --out {loss}"));
        assert_eq!(
            (answer["loss"].as_str(), answer["data"]["held_out_pairs"].as_u64()),
            (Some(loss), Some(16))
        );
        let rows = answer["held_out"].as_array().unwrap();
        assert_eq!(rows.len(), if labels.starts_with("teacher") { 2 } else { 1 }, "{rows:?}");
        folder.run(&format!("label --pairs pairs.csv --labeler ./{loss}")).ok();
    }
}

#[test]
fn a_labeler_that_cannot_be_trained_is_refused_before_it_starts() {
    let folder = Folder::new();
    let refused = |change: &dyn Fn(String) -> String, words: &[&str]| {
        folder.write("recipe.toml", labeler(change));
        folder.run("train recipe.toml --out model").refused(words);
        assert_eq!(folder.names().iter().filter(|name| name.starts_with("model")).count(), 0);
    };
    refused(&|recipe| recipe.replace("cross_entropy", "h_infonce"), &["recipe.toml", "h_infonce"]);
    refused(
        &|recipe| recipe.replace("[loss]", "[mining]\nsystem = \"bm25\"\n[loss]"),
        &["mining", "single pairs"],
    );
    refused(&|recipe| recipe.replace("\ncuts", "\npooling = \"mean\"\ncuts"), &["scorer.pooling"]);
    refused(&|recipe| recipe.replace("max_tokens = 48", "max_tokens = 4"), &["max_tokens", "4"]);
    refused(
        &|recipe| recipe.replace("\nheld_out", "\nteacher = \"nobody\"\nheld_out"),
        &["data.teacher", "no raters"],
    );
    refused(
        &|recipe| recipe.replace("\"cross_entropy\"", "\"cross_entropy\"\nclass_weights = [1.0, 2.0]"),
        &["class_weights", "4", "2"],
    );
    folder.write("pairs.csv", "query,document,grade\na,b,0\na,c,0\n");
    let one_grade = "[data]\npairs = \"pairs.csv\"";
    let data = "[data]\ndataset = \"sample\"\nheld_out = { share = 0.2, seed = 1 }";
    refused(&|recipe| recipe.replace(data, one_grade), &["every pair has the grade 0"]);
    folder.write("pairs.csv", "query,document,grade\na,b,0\na,c,7\n");
    refused(&|recipe| recipe.replace(data, one_grade), &["grade 7", "scale"]);
    let static_table = |recipe: String| {
        let encoder = recipe.split('\'').nth(1).unwrap().to_owned();
        recipe.replace(&format!("'{encoder}'"), "\"embedded\"")
    };
    refused(&static_table, &["cross-encoder", "static_table"]);
}

/// A device or a precision that is named is used or refused, before anything is read; the processor named is the processor.
#[test]
fn a_device_that_is_named_is_used_or_refused() {
    let folder = Folder::new();
    let with = |lines: &str| short(1).replace("[training]\n", &format!("[training]\n{lines}\n"));
    folder.write("cuda.toml", with("device = \"cuda\""));
    folder.write("plain.toml", short(1));
    folder.write("cpu.toml", with("device = \"cpu\"\nprecision = \"f32\""));
    folder.write("tpu.toml", with("device = \"tpu\""));
    folder.write("half.toml", with("precision = \"bf16\""));
    for line in ["train cuda.toml --out gpu", "train plain.toml --out gpu --device cuda"] {
        let answer = folder.run(line);
        assert_eq!(answer.code, 2, "{}", answer.stderr);
        // The recipe trains a static table: with a GPU that is what is refused.
        let refusals = ["device cuda is not available", "training a static table on a GPU is not supported"];
        assert!(refusals.iter().any(|said| answer.stderr.contains(said)), "{}", answer.stderr);
        assert!(!folder.path("gpu").exists());
    }
    folder.run("train tpu.toml --out gpu").refused(&["tpu", "cpu", "cuda"]);
    folder.run("train half.toml --out gpu").refused(&["training.precision", "bf16", "f32"]);
    let model = |line: &str| folder.json(line)["model"].clone();
    let plain = model("train plain.toml --out plain");
    // The flag goes before the recipe, and where a run is computed is no part of what it is.
    let named = folder.json("train cuda.toml --out named --device simd");
    assert_eq!(
        (&named["device"], &named["recipe"]),
        (&"cpu".into(), &folder.json("train cpu.toml --out cpu")["recipe"])
    );
    assert!(plain.is_string());
}

/// On a GPU, or its simulator: the same losses as on the processor, and a run that goes on there from a checkpoint here.
#[test]
fn a_gpu_trains_what_the_processor_trains() {
    let folder = Folder::new();
    let doctor = folder.json("doctor");
    let has_gpu =
        doctor.as_array().unwrap().iter().any(|line| line["what"] == "device cuda" && line["state"] == "yes");
    if !has_gpu {
        println!("skipped: no GPU");
        return;
    }
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../scorer/tests/fixtures/tiny_bert");
    let recipe = short(1)
        .replace("encoder = \"embedded\"", &format!("encoder = {tiny:?}\nmax_tokens = 24"))
        .replace("queries = 16\ndocuments_per_query = 16", "queries = 4\ndocuments_per_query = 2")
        .replace("epochs = 1", "steps = 3\nchunk_tokens = 256\nprecision = \"f32\"");
    folder.write("recipe.toml", recipe);
    let here = folder.json("train recipe.toml --out here");
    let there = folder.json("train recipe.toml --out there --device cuda");
    assert_eq!((&here["device"], &there["device"]), (&"cpu".into(), &"cuda, f32".into()));
    let losses = |answer: &serde_json::Value| {
        let pairs = answer["losses"].as_array().unwrap().clone();
        pairs.iter().map(|pair| pair[1].as_f64().unwrap()).collect::<Vec<_>>()
    };
    for (a, b) in losses(&there).iter().zip(losses(&here)) {
        assert!((a / b - 1.0).abs() < 1e-3, "{a} {b}");
    }
    folder.json("evaluate --dataset sample --encoder ./there");
}
