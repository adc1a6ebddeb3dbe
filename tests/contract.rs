//! What scripts rely on: exit codes, stdout and stderr, nothing half-written.

use crate::graded::Folder;
#[cfg(target_os = "linux")]
use crate::graded::SmallDisk;

const QRELS: &str = "q1 0 a 3\nq1 0 b 0\nq2 0 a 1\n";
const RUN: &str = "q1 Q0 a 1 2.5 tag\nq1 Q0 b 2 1.5 tag\nq2 Q0 a 1 0.5 tag\n";

fn refused(qrels: impl AsRef<[u8]>, run: impl AsRef<[u8]>, words: &[&str]) {
    let folder = Folder::new();
    folder.write("qrels", qrels);
    folder.write("run", run);
    folder.run("evaluate --qrels qrels --run run").refused(words);
}

#[test]
fn wrong_usage_is_2() {
    let folder = Folder::new();
    assert_eq!(folder.run("evaluate --no-such-flag").code, 2);
    assert_eq!(folder.run("no-such-command").code, 2);
    folder.run("evaluate --measures nDGC@10").refused(&["nDGC", "there are"]);
    folder.run("evaluate --encoder no-such-model").refused(&["no-such-model", "embedded"]);
    folder.run("evaluate --dataset no-such-set").refused(&["no-such-set", "graded data list"]);
    folder.run("evaluate --dataset nfcorpus").refused(&["graded data pull nfcorpus"]);
    folder.run("evaluate --qrels absent --run absent").refused(&["absent"]);
    folder.run("evaluate --run absent").refused(&["--qrels"]);
    folder.run("evaluate --baseline nobody").refused(&["nobody", "bm25"]);
    folder.run("evaluate --ties sideways").refused(&["sideways", "docid-asc"]);
    folder.run("evaluate --device cuda").refused(&["cuda"]);
}

#[test]
fn a_bad_line_is_named_by_file_and_line() {
    refused("q1 0 a\n", RUN, &["qrels:1"]);
    refused("q1 0 a 3\nq1 0 b high\n", RUN, &["qrels:2", "high"]);
    refused("q1 0 a 3\nq1 0 a 2\n", RUN, &["qrels:2"]);
    refused(QRELS, "q1 Q0 a 1 2.5\n", &["run:1"]);
    refused(QRELS, "q1 Q0 a 1 2.5 tag\nq1 Q0 b 2 lots tag\n", &["run:2", "lots"]);
    refused(QRELS, "q1 Q0 a 1 NaN tag\n", &["run:1", "NaN"]);
    refused(QRELS, "q1 Q0 a 1 inf tag\n", &["run:1"]);
    refused(QRELS, "q1 Q0 a 1 2 tag\nq1 Q0 b 2 1 tag\nq1 Q0 a 3 0 tag\n", &["run:3", "a"]);
    refused(QRELS, b"q1 Q0 \xff 1 2 tag\n", &["run:1", "UTF-8"]);
    refused("", RUN, &["qrels"]);
    refused(QRELS, "", &["run"]);
}

#[test]
fn results_go_to_stdout_and_everything_else_to_stderr() {
    let folder = Folder::new();
    folder.write("qrels", QRELS);
    folder.write("run", RUN);
    let answer = folder.run("evaluate --qrels qrels --run run --format json").ok();
    serde_json::from_str::<serde_json::Value>(&answer.stdout).unwrap();
    let quiet = folder.run("evaluate --encoder bm25 --quiet").ok();
    assert_eq!(quiet.stderr, "");
}

#[test]
fn every_format_says_the_same_number() {
    let folder = Folder::new();
    folder.write("qrels", "q1 0 a 3\nq1 0 b 2\nq1 0 c 1\n");
    folder.write("run", "q1 Q0 c 1 3 tag\nq1 Q0 a 2 2 tag\nq1 Q0 b 3 1 tag\n");
    let line = "evaluate --qrels qrels --run run --measures nDCG@10";
    let value = folder.json(line)["measures"]["nDCG@10"].as_f64().unwrap();
    let written = |format: &str| folder.run(&format!("{line} --format {format}")).ok().stdout;
    assert!(written("csv").contains(&format!("{value}")));
    assert!(written("jsonl").contains(&format!("{value}")));
    assert!(written("table").contains(&format!("{value:.4}")));
    assert!(written("markdown").contains(&format!("| {value:.4} |")));
    assert_eq!(written("jsonl").lines().count(), 1);
    assert_eq!(written("csv").lines().next().unwrap().split(',').next().unwrap(), "system");
}

#[test]
fn a_refused_call_leaves_no_file_behind() {
    let folder = Folder::new();
    folder.run("evaluate --encoder bm25 --encoder no-such-model --save-run out").refused(&["no-such-model"]);
    assert_eq!(folder.names(), Vec::<String>::new());
    folder.run("model export no-such-model --out bundle").refused(&["no-such-model"]);
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let folder = Folder::new();
    let values = |threads: &str| {
        let answer = folder.json(&format!("evaluate --per-query --threads {threads}"));
        let systems = answer["systems"].as_array().unwrap().clone();
        systems
            .into_iter()
            .map(|system| (system["measures"].clone(), system["queries"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(values("1"), values("2"));
}

#[test]
fn a_run_is_saved_only_when_the_evaluation_stands() {
    let folder = Folder::new();
    folder.run("evaluate --encoder bm25 --baseline absent --save-run run").refused(&["absent"]);
    assert_eq!(folder.names(), Vec::<String>::new());
    folder.write("set/corpus.jsonl", "{\"_id\":\"a b\",\"text\":\"one\"}\n");
    folder.write("set/queries.jsonl", "{\"_id\":\"q\",\"text\":\"one\"}\n");
    folder.write("set/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\ta b\t1\n");
    folder.run("evaluate --dataset set --encoder bm25 --save-run run").refused(&["a b"]);
    assert_eq!(folder.names(), ["set"]);
}

#[cfg(unix)]
#[test]
fn a_file_is_written_through_a_link_and_a_device_stays_a_device() {
    let folder = Folder::new();
    folder.write("target", "before");
    std::os::unix::fs::symlink(folder.path("target"), folder.path("link")).unwrap();
    folder.run("evaluate --encoder bm25 --save-run link").ok();
    assert!(std::fs::symlink_metadata(folder.path("link")).unwrap().is_symlink());
    assert!(std::fs::read_to_string(folder.path("target")).unwrap().contains(" Q0 "));
    folder.run("evaluate --encoder bm25 --save-run /dev/null").ok();
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    folder.run("model export embedded --out set").ok();
    std::fs::create_dir(folder.path("folder")).unwrap();
    folder.run("model export embedded --out folder").refused(&["folder"]);
}

#[test]
fn nothing_to_average_over_is_no_result() {
    let folder = Folder::new();
    folder.write("qrels", QRELS);
    folder.write("run", "q9 Q0 a 1 2.5 tag\n");
    folder.run("evaluate --qrels qrels --run run --intersect").refused(&["no judged query"]);
}

#[test]
fn what_does_not_apply_to_run_files_is_refused_or_done() {
    let folder = Folder::new();
    folder.write("qrels", QRELS);
    folder.write("a.run", RUN);
    folder.write("b.run", "q1 Q0 b 1 9 b\nq1 Q0 a 2 8 b\nq2 Q0 a 1 1 b\n");
    folder.run("evaluate --qrels qrels --run a.run --split test").refused(&["--split"]);
    folder.run("evaluate --qrels qrels --run a.run --judged-candidates").refused(&["--judged-candidates"]);
    folder.run("evaluate --qrels qrels --run a.run --encoder bm25").refused(&["--encoder"]);
    let fused =
        folder.json("evaluate --qrels qrels --run a.run --run b.run --fuse rrf --measures RR@10 --per-query");
    let systems = fused["systems"].as_array().unwrap();
    assert_eq!(systems.len(), 3);
    // Both documents of q1 are fused to the same score: the id decides, and b stands first.
    assert_eq!(systems[2]["queries"]["q1"]["RR@10"], 0.5);
    let depth = folder.json("evaluate --qrels qrels --run b.run --measures RR@10 --depth 1");
    assert_eq!(depth["measures"]["RR@10"], 0.5);
}

#[test]
fn absurd_numbers_are_refused_before_anything_is_allocated() {
    let folder = Folder::new();
    folder.write("pairs.csv", "query,doc,human,predicted\n1,a,1,1\n2,b,0,1\n");
    folder.run("agree --pairs pairs.csv --resamples 4000000000").refused(&["1000000"]);
    folder.run("agree --pairs pairs.csv --raters human,human").refused(&["twice"]);
    assert_eq!(folder.run("evaluate --threads 100000").code, 2);
    folder.write("not-a-bundle", "just text");
    folder.run("model inspect not-a-bundle").refused(&["not-a-bundle", "bundle"]);
    folder.run("evaluate --dataset sample --split nope").refused(&["nope", "test"]);
}

/// A collection that takes a moment to write, and a manifest of it.
#[cfg(target_os = "linux")]
fn large_collection(folder: &Folder, documents: usize) {
    let line = |id| format!("{{\"_id\":\"d{id}\",\"text\":\"{}\"}}\n", "some words ".repeat(20));
    folder.write("home/corpus.jsonl", (0..documents).map(line).collect::<String>());
    folder.write("home/queries.jsonl", "{\"_id\":\"q\",\"text\":\"one\"}\n");
    folder.write("home/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\td1\t1\n");
    folder.write(
        "mine.toml",
        "name = \"mine\"\ndescription = \"mine\"\nformat = \"beir\"\nlicence = \"CC0-1.0\"\n\
         [[files]]\npath = \"corpus.jsonl\"\n[[files]]\npath = \"queries.jsonl\"\n[[files]]\npath = \"qrels/test.tsv\"\n",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_leaves_nothing_half_written() {
    use std::os::unix::process::ExitStatusExt;
    let folder = Folder::new();
    large_collection(&folder, 100_000);
    let unfinished = |place: &str| {
        let entries = std::fs::read_dir(folder.path(place)).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".tmp")).count()
    };
    // What a run that was not interrupted leaves: nothing less may stand in its place.
    let content = |place: &str| -> std::collections::BTreeMap<_, _> {
        let mut found = std::collections::BTreeMap::new();
        let mut folders = vec![folder.path(place)];
        while let Some(inner) = folders.pop() {
            for path in std::fs::read_dir(inner).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(folder.path(place)).unwrap().to_owned();
                    found.insert(name, std::fs::read(path).unwrap());
                }
            }
        }
        found
    };
    let cases = [
        ("data import home --out written", ".", "written", "INT", 2),
        ("data pull mine.toml --from home", "cache/data", "cache/data/mine", "TERM", 15),
    ];
    for (line, place, written, name, number) in cases {
        folder.run(line).ok();
        let whole = content(written);
        std::fs::remove_dir_all(folder.path(written)).unwrap();
        // On a busy machine the run may be done before the signal comes; then it is to come to another one.
        let interrupted = (0..20).any(|_| {
            let mut child = folder.start(line);
            while unfinished(place) == 0 && child.try_wait().unwrap().is_none() {}
            let process = child.id().to_string();
            let sent = std::process::Command::new("kill").args([&format!("-{name}"), &process]).status();
            let ended = child.wait().unwrap();
            assert_eq!(unfinished(place), 0, "{line}");
            let is_done = folder.path(written).exists();
            if is_done {
                assert!(content(written) == whole, "{line}: half-written");
                std::fs::remove_dir_all(folder.path(written)).unwrap();
            } else {
                assert!(sent.unwrap().success());
                assert_eq!(ended.signal(), Some(number), "{line}");
            }
            !is_done
        });
        assert!(interrupted, "{line}: done before each of twenty signals");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_nobodys_input() {
    let folder = Folder::new();
    large_collection(&folder, 10_000);
    let Some(small) = SmallDisk::mount(&folder.path("cache"), 256 << 10) else { return };
    let pulled = folder.run("data pull mine.toml --from home");
    let left = std::fs::read_dir(folder.path("cache/data")).unwrap().count();
    drop(small);
    assert_eq!(pulled.code, 3, "{}", pulled.stderr);
    assert!(pulled.stderr.contains("No space left"), "{}", pulled.stderr);
    assert_eq!(left, 0);
}
