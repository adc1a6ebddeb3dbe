//! `graded data import-log`: public logs of other schemas, in a form that `graded synthesize crops` reads.

use serde_json::Value;

use crate::graded::{Folder, shared};

fn events(folder: &Folder, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.path(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn searches_and_ratings_become_logs_in_the_order_of_users_and_times() {
    let folder = Folder::new();
    folder.write(
        "e.log",
        "b\t970916120000\tred wine\na\t970916105432\tyahoo chat\nb\t970916115900\twine\nb\t970916115901\t\n",
    );
    let summary = folder.json("data import-log excite e.log --out excite");
    assert_eq!(summary["imported"], serde_json::json!({"lines": 4, "events": 3, "without_query": 1}));
    let found = events(&folder, "excite/log.jsonl");
    let queries: Vec<_> = found.iter().map(|event| event["query"].as_str().unwrap()).collect();
    assert_eq!(queries, ["yahoo chat", "wine", "red wine"]);
    assert_eq!(found[2]["time_ms"].as_i64().unwrap() - found[1]["time_ms"].as_i64().unwrap(), 60_000);
    assert_eq!(summary["histories"]["rewordings_within_window"], 1);
    // Ratings, and films beside them.
    folder.write(
        "ml/ratings.csv",
        "userId,movieId,rating,timestamp,,\n1,31,2.5,1260759200,,\n1,10,3,1260759100,,\n",
    );
    folder.write(
        "ml/movies.csv",
        "movieId,title,genres\n10,\"Film, The (1995)\",Action|Drama\n31,Other,Comedy\n",
    );
    let summary = folder.json("data import-log movielens ml --out feed");
    assert_eq!((&summary["imported"]["events"], &summary["documents"]), (&2.into(), &2.into()));
    let documents: Vec<_> =
        events(&folder, "feed/log.jsonl").iter().map(|event| event["document"].clone()).collect();
    assert_eq!(documents, ["10", "31"]);
    assert_eq!(events(&folder, "feed/corpus.jsonl")[0]["text"], "Action, Drama");
    // A search beside the feed: the films that its user was shown are system-level positives.
    let search = r#"{"event":"search","user":"1","time_ms":1260759000000,"search":"s","query":"film drama"}"#;
    folder.write("search.jsonl", search);
    folder.write("crops.toml", "[judge]\nkind = \"encoder\"\n[discriminator]\nalpha = 0.0\n");
    let crops = "synthesize crops crops.toml --log search.jsonl --log feed/log.jsonl --documents feed/corpus.jsonl --out crops";
    let summary = folder.json(&format!("{crops} --without-quality"));
    assert_eq!(summary["labelling"]["sources"]["recommendation"]["found"], 2);
}

#[test]
fn lines_of_another_schema_are_refused_by_file_and_line() {
    let folder = Folder::new();
    folder.write("e.log", "a\t970916105432\tyahoo chat\na 970916105432 yahoo\n");
    folder.run("data import-log excite e.log --out out").refused(&["e.log:2", "separated by tabs"]);
    folder.write("e.log", "a\t971316105432\tyahoo chat\n");
    folder.run("data import-log excite e.log --out out").refused(&["e.log:1", "yymmddhhmmss"]);
    folder.write("e.log", " a\t970916105432\tyahoo chat\n");
    folder.run("data import-log excite e.log --out out").refused(&["e.log:1", "user"]);
    folder.run("data import-log excite nowhere --out out").refused(&["nowhere"]);
    folder.write("r.csv", "userId,movieId,rating,timestamp\n1,2,3\n");
    folder.run("data import-log movielens r.csv --out out").refused(&["r.csv:2", "timestamp"]);
    assert_eq!(folder.names(), ["e.log", "r.csv"]);
}

#[test]
fn the_public_logs_import_whole() {
    let Some(excite) = shared("excite") else { return };
    let folder = Folder::new();
    let path = |path: &std::path::Path| path.display().to_string();
    let import = |schema: &str, from: &str, out: &str| {
        folder.graded(["data", "import-log", schema, from, "--out", out, "--format", "json"]).json()
    };
    let summary = import("excite", &path(&excite), "excite");
    assert_eq!(summary["imported"]["lines"], 4501);
    let histories = &summary["histories"];
    assert_eq!(histories["users_without_queries"], 0);
    let count = |key: &str| histories[key].as_u64().unwrap();
    assert_eq!(count("searches"), summary["imported"]["events"].as_u64().unwrap());
    assert!(count("rewordings_within_window") > 500, "{histories}");
    // Searches alone hold nothing that was opened: CroPS says so rather than writing an empty set.
    folder.write("crops.toml", "[log]\norder = \"user\"\n");
    folder
        .run("synthesize crops crops.toml --log excite/log.jsonl --documents sample --out none")
        .refused(&["nothing to write", "reworded within the window"]);
    let summary = import("movielens", &path(&shared("movielens-small").unwrap()), "movielens");
    assert_eq!(summary["imported"]["events"], 100_004);
    assert_eq!(summary["histories"]["users"], 671);
    assert_eq!(summary["histories"]["users_without_queries"], 671);
}
