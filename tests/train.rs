//! `graded train` as a user runs it: the sample's recipe, a run that is killed and resumed, what is refused.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::graded::Folder;
#[cfg(target_os = "linux")]
use crate::graded::SmallDisk;

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
    // The embedded bundle's head was fitted to other vectors.
    assert!(!folder.path("model").join("labeler.json").exists());
    folder.run("train recipe.toml --out model/").refused(&["model", "--resume"]);
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

/// Runs the recipe again and again, each time killed (`kill -9`) at a moment drawn from the time that a whole run takes,
/// until one is through. How often it was killed.
fn run_killed_at_random(folder: &Folder, recipe: &str, out: &str, whole: Duration, seed: u64) -> u32 {
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_graded"))
            .args(["train", recipe, "--quiet", "--resume", "--no-record", "--out", out])
            .current_dir(folder.path("."))
            .env("GRADED_CACHE", folder.path("cache"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut draw = seed;
    for kills in 0..40 {
        // Knuth's multiplier: any spread of moments will do.
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let until = Instant::now() + whole.mul_f64((draw >> 40) as f64 / (1 << 24) as f64);
        let mut run = start();
        while run.try_wait().unwrap().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(200));
        }
        run.kill().unwrap();
        if run.wait().unwrap().success() {
            return kills;
        }
    }
    assert!(start().wait().unwrap().success());
    40
}

#[test]
fn a_run_killed_at_any_moment_resumes_to_the_same_bits() {
    let folder = Folder::new();
    folder.write("recipe.toml", short(40));
    let started = Instant::now();
    folder.run("train recipe.toml --out whole --quiet").ok();
    let took = started.elapsed();
    let weights = |name: &str| std::fs::read(folder.path(name).join("model.safetensors")).unwrap();
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let mut kills = 0;
    for round in 0..3 {
        let out = format!("killed-{round}");
        kills += run_killed_at_random(&folder, "recipe.toml", &out, took, seed + round);
        assert!(weights("whole") == weights(&out), "seed {seed}: other weights than the uninterrupted run's");
    }
    assert!(kills > 0, "seed {seed}: no run was killed before its end");
    assert_eq!(
        folder.names(),
        ["killed-0", "killed-1", "killed-2", "recipe.toml", "whole"],
        "nothing half-written"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_a_training_run_nothing_but_the_time_since_its_last_checkpoint() {
    let folder = Folder::new();
    let recipe = short(10);
    folder.write("recipe.toml", &recipe);
    let every =
        |steps: u32| recipe.replace("checkpoint_every = 1\n", &format!("checkpoint_every = {steps}\n"));
    folder.write("once.toml", every(1000));
    folder.write("never.toml", every(0));
    folder.run("train recipe.toml --out whole --quiet").ok();
    let weights = std::fs::read(folder.path("whole/model.safetensors")).unwrap();
    let Some(disk) = SmallDisk::mount(&folder.path("disk"), weights.len()) else { return };
    let said = |recipe: &str, words: &[&str]| {
        let answer = folder.run(&format!("train {recipe} --out disk/model --resume"));
        assert_eq!((answer.code, answer.stdout.as_str()), (3, ""), "{}", answer.stderr);
        for word in words.iter().chain(&["disk/model", "bytes", "No space left"]) {
            assert!(answer.stderr.contains(word), "{word:?} is not in: {}", answer.stderr);
        }
    };
    let names = || {
        let entries = std::fs::read_dir(folder.path("disk")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    // Weights and two moments do not fit where the weights alone would: nothing is trained in vain.
    said("recipe.toml", &["first checkpoint", "nothing was trained"]);
    assert_eq!(names(), Vec::<String>::new());
    // One fits, the next beside it does not.
    disk.resize(weights.len() * 9 / 2);
    said("recipe.toml", &["model.checkpoint", "--resume goes on from the one before"]);
    assert_eq!(names(), ["model.checkpoint"]);
    let kept = std::fs::read(folder.path("disk/model.checkpoint")).unwrap();
    said("recipe.toml", &["model.checkpoint", "--resume goes on from the one before"]);
    assert!(kept == std::fs::read(folder.path("disk/model.checkpoint")).unwrap(), "the one before is whole");
    // A checkpoint, and from there on none: what has no room is the finished folder.
    disk.resize(weights.len() * 20);
    std::fs::remove_file(folder.path("disk/model.checkpoint")).unwrap();
    let mut run = folder.start("train once.toml --out disk/model");
    while !folder.path("disk/model.checkpoint").exists() {
        assert!(run.try_wait().unwrap().is_none(), "the run ended before its first checkpoint");
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let first = std::fs::read(folder.path("disk/model.checkpoint")).unwrap();
    disk.resize(first.len() + weights.len() / 2);
    said("never.toml", &["the trained model", "--resume goes on from the checkpoint", "disk/model.partial"]);
    assert_eq!(names(), ["model.checkpoint"]);
    assert!(first == std::fs::read(folder.path("disk/model.checkpoint")).unwrap());
    disk.resize(weights.len() * 20);
    folder.run("train recipe.toml --out disk/model --resume --quiet").ok();
    assert!(weights == std::fs::read(folder.path("disk/model/model.safetensors")).unwrap(), "other weights");
    assert!(!folder.path("disk/model.checkpoint").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_history_without_room_costs_the_record_alone() {
    let folder = Folder::new();
    folder.write("recipe.toml", short(2));
    let Some(_disk) = SmallDisk::mount(&folder.path("runs"), 4 << 10) else { return };
    let answer = folder.run("train recipe.toml --out model --format json --record runs");
    assert_eq!(answer.code, 3, "{}", answer.stderr);
    for word in ["runs/", "-training-", "bytes", "the result stands", "No space left"] {
        assert!(answer.stderr.contains(word), "{word:?} is not in: {}", answer.stderr);
    }
    let said: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(said["model"], folder.json("train recipe.toml --out model --resume")["model"]);
    assert_eq!(std::fs::read_dir(folder.path("runs")).unwrap().count(), 0, "nothing half-written");
}

/// The training recipes of the house that grades alone can drive.
const LOSSES: [(&str, &str); 15] = [
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
    ("matryoshka", include_str!("../harness/recipes/train-matryoshka.toml")),
    ("sum", include_str!("../harness/recipes/train-sum.toml")),
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
        // The static table's vectors are half as long as MiniLM's.
        folder.write("recipe.toml", small.replace("[384, 192,", "[192,"));
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
    let reference = std::fs::read_to_string(recipes.join("README.md")).unwrap();
    let files = std::fs::read_dir(recipes).unwrap().map(|entry| entry.unwrap().path());
    let paths: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    // The simulated platform's own keys stand in its recipes, at their defaults and with comments.
    let is_simulated = |path: &&std::path::PathBuf| path.to_string_lossy().contains("simulate");
    for path in paths.iter().filter(|path| !is_simulated(path)) {
        let recipe = std::fs::read_to_string(path).unwrap();
        let keys = recipe.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key);
        for key in keys.filter(|key| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')) {
            assert!(
                reference.contains(&format!("`{key}`")),
                "recipes/README.md lacks {key} of {}",
                path.display()
            );
        }
    }
    let paths = paths.into_iter().map(std::path::PathBuf::into_os_string);
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
fn a_folder_is_the_same_with_a_slash_at_its_end() {
    let folder = Folder::new();
    folder.write("recipe.toml", short(2));
    folder.run("train recipe.toml --out model/").ok();
    assert_eq!(folder.names(), ["model", "recipe.toml"]);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere", folder.path("link")).unwrap();
        folder.run("train recipe.toml --out link").refused(&["link", "nothing"]);
        folder.run("train recipe.toml --out link --resume").refused(&["link", "nothing"]);
    }
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let folder = Folder::new();
    folder.write("recipe.toml", short(3000));
    let mut run = folder.start("train recipe.toml --out model");
    while !folder.path("model.checkpoint").exists() {
        assert!(run.try_wait().unwrap().is_none(), "the run ended before its first checkpoint");
        std::thread::sleep(Duration::from_millis(1));
    }
    // What another run would leave there.
    folder.write("model.checkpoint", [7; 64]);
    assert_eq!(run.wait().unwrap().code(), Some(2));
    assert_eq!(std::fs::read(folder.path("model.checkpoint")).unwrap(), [7; 64]);
    assert!(!folder.path("model").exists());
}

#[test]
fn a_run_does_not_go_on_over_other_data() {
    let folder = Folder::new();
    write_recipes_over_pairs(&folder, 3000, 900);
    for name in ["encoder", "labeler"] {
        write_pairs(&folder, "cat");
        let line = format!("train {name}.toml --out {name}");
        let mut run = folder.start(&line);
        let checkpoint = folder.path(&format!("{name}.checkpoint"));
        while !checkpoint.exists() {
            assert!(run.try_wait().unwrap().is_none(), "{name}: the run ended before its first checkpoint");
            std::thread::sleep(Duration::from_millis(1));
        }
        run.kill().unwrap();
        run.wait().unwrap();
        let kept = std::fs::read(&checkpoint).unwrap();
        write_pairs(&folder, "dog");
        folder.run(&format!("{line} --resume")).refused(&["other data", &format!("{name}.checkpoint")]);
        assert!(kept == std::fs::read(&checkpoint).unwrap(), "{name}: the checkpoint has changed");
    }
}

#[test]
fn what_is_at_out_is_said() {
    let folder = Folder::new();
    folder.write("recipe.toml", short(1));
    std::fs::create_dir(folder.path("mine")).unwrap();
    for resume in ["", " --resume"] {
        let line = format!("train recipe.toml --out mine{resume}");
        folder.run(&line).refused(&["mine: not the folder of a training run"]);
    }
    let answer = folder.run("train recipe.toml --out misspelt --resume").ok();
    assert!(answer.stderr.contains("misspelt: nothing there to resume"), "{}", answer.stderr);
}

#[test]
fn a_finished_run_is_not_the_answer_to_other_data() {
    let folder = Folder::new();
    write_recipes_over_pairs(&folder, 1, 12);
    for name in ["encoder", "labeler"] {
        write_pairs(&folder, "cat");
        let line = format!("train {name}.toml --out {name} --resume");
        folder.run(&line).ok();
        assert!(folder.run(&line).ok().stdout.contains("is finished"));
        write_pairs(&folder, "dog");
        folder.run(&line).refused(&[name, "other data", "another --out"]);
    }
}

/// 970 graded pairs whose documents are numbered words.
fn write_pairs(folder: &Folder, word: &str) {
    let row = |at: usize| format!("q{},find {},d{at},{word} {at},{}\n", at % 97, at % 97, at / 97 % 4);
    let rows: String = (0..970).map(row).collect();
    folder.write("pairs.csv", format!("query_id,query,doc_id,text,human\n{rows}"));
}

/// `encoder.toml` and `labeler.toml`, over the pairs of [`write_pairs`].
fn write_recipes_over_pairs(folder: &Folder, epochs: u32, steps: u32) {
    let of_pairs = SAMPLE_DATA.replace("dataset = \"sample\"", "pairs = \"pairs.csv\"");
    folder.write("encoder.toml", short(epochs).replace(SAMPLE_DATA, &of_pairs));
    let steps = format!("= {steps}");
    let labeler = labeler(|recipe| recipe.replace(SAMPLE_DATA, &of_pairs).replace("= 12", &steps));
    folder.write("labeler.toml", labeler);
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
    refused(&|recipe| recipe.replace("epochs = 1", "epochs = 0"), &["training.epochs", "at least 1"]);
    refused(&|recipe| recipe.replace("share = 0.2", "share = 1.5"), &["share"]);
    refused(&|recipe| recipe.replace("\"sample\"", "\"no-such-set\""), &["no-such-set"]);
    folder.write("pairs.csv", "query,document,grade\na,b,0\na,c,0\n");
    let pairs =
        "[data]\npairs = \"pairs.csv\"\n[scorer]\nencoder = \"embedded\"\n[loss]\nname = \"infonce\"\n";
    refused(&|_| pairs.to_owned(), &["infonce"]);
}

/// What [`labeler`] learns from.
const SAMPLE_DATA: &str = "dataset = \"sample\"\nheld_out = { share = 0.2, seed = 1 }";

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
fn a_labeler_killed_at_any_moment_resumes_to_the_same_bits() {
    let folder = Folder::new();
    folder.write("recipe.toml", labeler(|recipe| recipe.replace("steps = 12", "steps = 40")));
    let started = Instant::now();
    folder.run("train recipe.toml --out whole --quiet").ok();
    let took = started.elapsed();
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let kills = run_killed_at_random(&folder, "recipe.toml", "killed", took, seed)
        + run_killed_at_random(&folder, "recipe.toml", "again", took, seed + 1);
    assert!(kills > 0, "seed {seed}: no run was killed before its end");
    for file in ["model.safetensors", "labeler.json"] {
        let content = |name: &str| std::fs::read(folder.path(name).join(file)).unwrap();
        for name in ["killed", "again"] {
            let same = content("whole") == content(name);
            assert!(same, "seed {seed}: {file} of {name} differs from the uninterrupted run's");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_labeler_killed_while_it_labels_held_out_pairs_loses_none_of_its_work() {
    let folder = Folder::new();
    let row = |at: usize| format!("q{},find {at},d{at},cat dog {},{}\n", at % 97, at % 89, at % 4);
    let rows: String = (0..40_000).map(row).collect();
    folder.write("pairs.csv", format!("query_id,query,doc_id,text,human\n{rows}"));
    let many = "pairs = \"pairs.csv\"\nheld_out = { share = 0.9, seed = 1 }";
    let few_steps = |recipe: String| recipe.replace(SAMPLE_DATA, many).replace("steps = 12", "steps = 3");
    folder.write("recipe.toml", labeler(few_steps));
    folder.run("train recipe.toml --out whole --quiet").ok();
    let labels = || {
        let names = folder.names().into_iter().filter(|name| name.starts_with("killed.labels-held-out-"));
        names.map(|name| folder.path(&name)).next()
    };
    let mut run = folder.start("train recipe.toml --out killed");
    // Some thousand of the 36,000 are on disk.
    while labels().is_none_or(|path| std::fs::metadata(path).map_or(0, |file| file.len()) < 200_000) {
        assert!(run.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let kept = std::fs::read(labels().unwrap()).unwrap();
    let resumed = folder.run("train recipe.toml --out killed --resume").ok().stderr;
    assert!(resumed.contains("goes on after step 3 of 3"), "{resumed}");
    let there = resumed.lines().find(|line| line.contains("killed.labels-held-out-")).unwrap();
    let count: usize = there.split(": ").last().unwrap().split(' ').next().unwrap().parse().unwrap();
    let whole_lines = kept.iter().filter(|&&byte| byte == b'\n').count() - 1;
    assert!(count == whole_lines && count > 1000, "{there}, of {whole_lines} lines");
    for file in ["model.safetensors", "labeler.json"] {
        let content = |name: &str| std::fs::read(folder.path(name).join(file)).unwrap();
        assert!(content("whole") == content("killed"), "{file} differs from the uninterrupted run's");
    }
    let record = |name: &str| -> serde_json::Value {
        let text = std::fs::read(folder.path(name).join("training.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    assert_eq!(record("whole")["held_out"], record("killed")["held_out"]);
    assert_eq!(folder.names(), ["killed", "pairs.csv", "recipe.toml", "whole"], "nothing else is left");
}

/// Pairs that nobody has graded, with texts; what a teacher says of them; the same file with both.
fn taught(folder: &Folder) {
    let mut rows = "query_id,query,doc_id,text\n".to_owned();
    for at in 0..48 {
        rows += &format!("q{},find {},d{at},cat dog {at}\n", at / 8, at / 8);
    }
    folder.write("pairs.csv", rows);
    folder.run("label --pairs pairs.csv --labeler embedded --out labels.csv").ok();
}

#[test]
fn a_labeler_is_distilled_from_the_probabilities_that_another_wrote() {
    let folder = Folder::new();
    taught(&folder);
    let distilled = |data: &'static str| {
        move |recipe: String| recipe.replace(SAMPLE_DATA, data).replace("cross_entropy", "distillation")
    };
    // Pairs without a human grade, measured on people's grades of another collection.
    let ungraded =
        "pairs = \"pairs.csv\"\nteacher_file = \"labels.csv\"\nheld_out = { dataset = \"sample\" }";
    folder.write("recipe.toml", labeler(distilled(ungraded)));
    let answer = folder.json("train recipe.toml --out from-file");
    assert_eq!(
        (answer["data"]["pairs"].as_u64(), answer["data"]["held_out_pairs"].as_u64()),
        (Some(48), Some(1696))
    );
    assert!(answer["data"]["notes"].to_string().contains("48 pairs have no human grade"), "{answer}");
    let card = std::fs::read_to_string(folder.path("from-file").join("README.md")).unwrap();
    assert!(card.contains("the probabilities of labels.csv"), "{card}");
    // One file with texts and probabilities, as JSON lines, trains the same labeler.
    let pairs = std::fs::read_to_string(folder.path("pairs.csv")).unwrap();
    let labels = std::fs::read_to_string(folder.path("labels.csv")).unwrap();
    let mut both = String::new();
    for (pair, label) in pairs.lines().zip(labels.lines()).skip(1) {
        let (pair, label) = (pair.split(',').collect::<Vec<_>>(), label.split(',').collect::<Vec<_>>());
        assert_eq!((pair[0], pair[2]), (label[0], label[1]));
        both += &format!(
            "{{\"query_id\":\"{}\",\"query\":\"{}\",\"doc_id\":\"{}\",\"text\":\"{}\",\"p0\":{},\"p1\":{},\"p2\":{},\"p3\":{}}}\n",
            pair[0], pair[1], pair[2], pair[3], label[5], label[6], label[7], label[8]
        );
    }
    folder.write("both.jsonl", both);
    let one_file =
        "pairs = \"both.jsonl\"\nteacher_file = \"both.jsonl\"\nheld_out = { dataset = \"sample\" }";
    folder.write("recipe.toml", labeler(distilled(one_file)));
    folder.run("train recipe.toml --out from-one-file").ok();
    let weights = |name: &str| std::fs::read(folder.path(name).join("model.safetensors")).unwrap();
    assert!(weights("from-file") == weights("from-one-file"));
    // A collection's own pairs: the labels are found by id.
    folder.run("label --dataset sample --labeler embedded --out sample.csv").ok();
    let sample = "dataset = \"sample\"\nteacher_file = \"sample.csv\"\nheld_out = { share = 0.2, seed = 1 }";
    folder.write("recipe.toml", labeler(distilled(sample)));
    folder.run("train recipe.toml --out of-sample").ok();
    // What cannot be measured is not.
    let held_out = "pairs = \"pairs.csv\"\nteacher_file = \"labels.csv\"\nheld_out = { folds = 3, fold = 0 }";
    folder.write("recipe.toml", labeler(distilled(held_out)));
    folder.run("train recipe.toml --out none").refused(&["data.held_out", "no human grade"]);
    // Rows that are no distributions over the scale.
    for (wrong, words) in [
        ("query_id,doc_id,p0,p1,p2,p3\nq0,d0,0.5,0.2,0,0\n", ["labels.csv:2", "add up to 1"]),
        ("query_id,doc_id,p0,p1,p2\nq0,d0,1,0,0\n", ["labels.csv", "p3"]),
        ("query_id,doc_id,p0,p1,p2,p3,p4\nq0,d0,1,0,0,0,0\n", ["labels.csv:1", "p4"]),
        ("query_id,doc_id,p0,p1,p2,p3\nq0,d0,1.5,-0.5,0,0\n", ["labels.csv:2", "p0"]),
    ] {
        folder.write("labels.csv", wrong);
        folder.write("recipe.toml", labeler(distilled(ungraded)));
        folder.run("train recipe.toml --out none").refused(&words);
    }
    folder.write("labels.csv", "query_id,doc_id,p0,p1,p2,p3\nother,d0,1,0,0,0\n");
    folder.run("train recipe.toml --out none").refused(&["pairs.csv", "teacher"]);
}

#[test]
fn a_distilled_labeler_gives_its_teacher_s_probabilities_back() {
    let folder = Folder::new();
    let teacher = [("cat cat cat", "0.05,0.05,0.1,0.8"), ("dog dog dog", "0.8,0.1,0.05,0.05")];
    let mut rows = "query_id,query,doc_id,text,p0,p1,p2,p3\n".to_owned();
    for at in 0..48 {
        let (text, probabilities) = teacher[at % 2];
        rows += &format!("q{},find {},d{at},{text},{probabilities}\n", at / 8, at / 8);
    }
    folder.write("pairs.csv", rows);
    let data = "pairs = \"pairs.csv\"\nteacher_file = \"pairs.csv\"\nheld_out = { dataset = \"sample\" }";
    let change = |recipe: String| {
        let recipe = recipe.replace(SAMPLE_DATA, data).replace("cross_entropy", "distillation");
        recipe.replace("steps = 12", "steps = 60").replace("learning_rate = 2e-3", "learning_rate = 5e-3")
    };
    folder.write("recipe.toml", labeler(change));
    folder.run("train recipe.toml --out taught").ok();
    let labels = folder.run("label --pairs pairs.csv --labeler ./taught --format csv").ok().stdout;
    assert_eq!(labels.lines().count(), 49);
    for (at, row) in labels.lines().skip(1).enumerate() {
        let given: Vec<f64> = row.split(',').skip(5).take(4).map(|cell| cell.parse().unwrap()).collect();
        let wanted: Vec<f64> = teacher[at % 2].1.split(',').map(|cell| cell.parse().unwrap()).collect();
        let furthest =
            given.iter().zip(&wanted).map(|(given, wanted)| (given - wanted).abs()).fold(0.0, f64::max);
        assert!(furthest < 0.1, "{row}: the teacher says {wanted:?}");
    }
}

#[test]
fn an_encoder_learns_the_scores_that_a_labeler_wrote() {
    let folder = Folder::new();
    folder.run("label --dataset sample --labeler embedded --out labels.csv").ok();
    let told = |file: &str, loss: &str| {
        let recipe = short(6).replace("dataset = \"sample\"", file);
        recipe.replace("name = \"h_infonce\"\ntemperature = 0.05", &format!("name = \"{loss}\""))
    };
    let file = "dataset = \"sample\"\nteacher_file = \"labels.csv\"";
    folder.write("recipe.toml", told(file, "kl_distillation"));
    let answer = folder.json("train recipe.toml --out taught");
    let (first, last) = (answer["first_loss"].as_f64().unwrap(), answer["last_loss"].as_f64().unwrap());
    assert!(last < first, "from {first} to {last}");
    // Another column of the file, by name; one that is not there.
    folder.write("recipe.toml", told(&format!("{file}\nteacher = \"p3\""), "kl_distillation"));
    assert_ne!(folder.json("train recipe.toml --out by-p3")["model"], answer["model"]);
    folder.write("recipe.toml", told(&format!("{file}\nteacher = \"logit\""), "kl_distillation"));
    folder.run("train recipe.toml --out none").refused(&["labels.csv", "logit"]);
    folder.write("recipe.toml", told(file, "infonce"));
    folder.run("train recipe.toml --out none").refused(&["data.teacher_file", "infonce"]);
    // A column of the pairs themselves.
    let row = |at: usize| format!("q{},find {},d{at},cat dog {at},{},{}.5\n", at / 4, at / 4, at % 4, at % 4);
    let rows: String = (0..32).map(row).collect();
    folder.write("pairs.csv", format!("query_id,query,doc_id,text,human,logit\n{rows}"));
    folder.write("recipe.toml", told("pairs = \"pairs.csv\"\nteacher = \"logit\"", "margin_mse"));
    folder.run("train recipe.toml --out by-logit").ok();
}

#[test]
fn a_guide_masks_and_sifts_and_says_how_much() {
    let folder = Folder::new();
    let guided = |guide: &str, mining: &str| {
        let tables = format!("{mining}[guide]\nencoder = \"embedded\"\n{guide}\n[training]");
        let plan = "queries = 16\nmined_per_query = 2";
        short(2).replace("[training]", &tables).replace("queries = 16", plan)
    };
    let train = |name: &str, recipe: String| {
        folder.write("recipe.toml", recipe);
        folder.json(&format!("train recipe.toml --out {name}"))
    };
    let mining = "[mining]\nsystem = \"bm25\"\nper_query = 4\nmargin = \"unbounded\"\n\n";
    let plain = train("plain", guided("", mining).replace("[guide]\nencoder = \"embedded\"\n", ""));
    assert!(plain.get("guide").is_none());
    let count = |answer: &serde_json::Value, name: &str| answer["guide"][name].as_u64().unwrap();
    let own = train("own", guided("", mining));
    let strict = train("strict", guided("margin = { relative = 0.3 }\npositive_from = 2", mining));
    assert!(count(&own, "mined_left_out") > 0 && count(&own, "in_batch_masked") > 0, "{}", own["guide"]);
    assert!(count(&own, "in_batch_masked") < count(&own, "in_batch_pairs"), "{}", own["guide"]);
    assert!(count(&strict, "mined_left_out") > count(&own, "mined_left_out"), "{}", strict["guide"]);
    assert_ne!(own["model"], plain["model"]);
    assert!(own["data"]["notes"].to_string().contains("the guide embedded left out"), "{own}");
    // A guide in a folder of its own, which gives the same vectors, masks the same.
    folder.run("model export embedded --out guide.bundle").ok();
    let elsewhere = guided("", mining)
        .replace("encoder = \"embedded\"\n\n[training]", "encoder = \"guide.bundle\"\n\n[training]");
    assert!(elsewhere.contains("guide.bundle"));
    assert_eq!(train("elsewhere", elsewhere)["held_out"], own["held_out"]);
    // Killed and resumed, it masks the same: the weights are those of the run that was not.
    folder.write("recipe.toml", guided("", mining));
    let took = Instant::now();
    folder.run("train recipe.toml --out timed").ok();
    run_killed_at_random(&folder, "recipe.toml", "resumed", took.elapsed(), 7);
    let weights = |name: &str| std::fs::read(folder.path(name).join("model.safetensors")).unwrap();
    assert!(weights("own") == weights("resumed"));
    folder.write("recipe.toml", guided("margin = \"unbounded\"", ""));
    folder.run("train recipe.toml --out none").refused(&["guide", "margin"]);
    folder.write(
        "recipe.toml",
        guided("", "").replace("encoder = \"embedded\"\n\n[training]", "encoder = \"nobody\"\n[training]"),
    );
    folder.run("train recipe.toml --out none").refused(&["nobody"]);
    let listwise = guided("", "").replace("\"h_infonce\"\ntemperature = 0.05", "\"listnet\"");
    folder.write("recipe.toml", listwise);
    folder.run("train recipe.toml --out none").refused(&["guide", "listnet"]);
}

#[test]
fn progress_shows_the_mean_of_many_steps() {
    let folder = Folder::new();
    folder.write("recipe.toml", short(4));
    let answer = folder.run("train recipe.toml --out model --format json").ok();
    let said: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    let losses: Vec<f64> =
        said["losses"].as_array().unwrap().iter().map(|step| step[1].as_f64().unwrap()).collect();
    assert_eq!(losses.len(), 12);
    let mean = losses.iter().sum::<f64>() / 12.0;
    let last = answer.stderr.lines().find(|line| line.contains("step 12 of 12")).unwrap();
    let expected = format!("loss {mean:.4} (mean of 12 steps; this one {:.4})", losses[11]);
    assert!(last.contains(&expected), "{last}: expected {expected}");
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
