//! `graded evaluate`: the default, collections, run files, labelled pairs, comparisons.

use crate::graded::Folder;

#[test]
fn nothing_said_evaluates_the_sample_with_bm25_the_embedded_encoder_and_their_fusion() {
    let folder = Folder::new();
    let answer = folder.json("evaluate");
    let systems = answer["systems"].as_array().unwrap();
    let names: Vec<_> = systems.iter().map(|system| system["encoder"].as_str().unwrap()).collect();
    assert!(
        names[0].starts_with("bm25") && names[1] == "embedded" && names[2].starts_with("rrf"),
        "{names:?}"
    );
    for system in systems {
        let measures = system["measures"].as_object().unwrap();
        let expected = ["nDCG@10", "R@100", "AP", "AP(rel=2)", "AP(rel=3)", "RR@10"];
        assert_eq!(measures.keys().collect::<Vec<_>>(), expected);
        assert!(measures.values().all(|value| (0.0..=1.0).contains(&value.as_f64().unwrap())));
        assert!(measures["nDCG@10"].as_f64().unwrap() > 0.5, "{system}");
        assert_eq!(system["missing_queries"].as_array().unwrap().len(), 0);
        assert!(system["query_count"].as_u64().unwrap() >= 60);
    }
    let table = folder.run("evaluate").ok().stdout;
    for column in ["nDCG@10", "R@100", "AP(rel=2)", "AP(rel=3)", "RR@10", "queries", "judged@10", "tied"] {
        assert!(table.contains(column), "{column} is not in:\n{table}");
    }
}

#[test]
fn one_system_answers_with_the_documented_keys() {
    let folder = Folder::new();
    let answer = folder.json("evaluate --encoder bm25 --per-query");
    for key in ["dataset", "encoder", "measures", "queries", "missing_queries", "fingerprint"] {
        assert!(answer.get(key).is_some(), "{key} is not in {answer}");
    }
    let queries = answer["queries"].as_object().unwrap();
    let mean =
        queries.values().map(|query| query["nDCG@10"].as_f64().unwrap()).sum::<f64>() / queries.len() as f64;
    assert!((mean - answer["measures"]["nDCG@10"].as_f64().unwrap()).abs() < 1e-12);
}

#[test]
fn a_saved_run_scores_as_the_retrieval_it_came_from() {
    let folder = Folder::new();
    folder.run("data import sample --out sample").ok();
    let retrieved = folder.json("evaluate --dataset sample --encoder bm25 --save-run bm25.run");
    let read_back = folder.json("evaluate --qrels sample/qrels/test.tsv --run bm25.run");
    assert_eq!(retrieved["measures"], read_back["measures"]);
    folder.run("evaluate --save-run runs").ok();
    assert_eq!(std::fs::read_dir(folder.path("runs")).unwrap().count(), 3);
}

#[test]
fn ties_stand_as_asked_for() {
    let folder = Folder::new();
    folder.write("qrels", "q 0 a 1\nq 0 b 0\n");
    folder.write("run", "q Q0 a 1 1.0 t\nq Q0 b 2 1.0 t\n");
    let rr = |ties: &str| {
        let answer = folder.json(&format!("evaluate --qrels qrels --run run --measures RR@10 --ties {ties}"));
        answer["measures"]["RR@10"].as_f64().unwrap()
    };
    assert_eq!((rr("trec"), rr("run"), rr("docid-asc"), rr("expected")), (0.5, 1.0, 1.0, 0.75));
}

#[test]
fn every_judged_query_counts_unless_only_the_intersection_is_asked_for() {
    let folder = Folder::new();
    folder.write("qrels", "q1 0 a 1\nq2 0 a 1\n");
    folder.write("run", "q1 Q0 a 1 1.0 t\nq9 Q0 a 1 1.0 t\n");
    let line = "evaluate --qrels qrels --run run --measures RR@10";
    let all = folder.json(line);
    assert_eq!(all["measures"]["RR@10"], 0.5);
    assert_eq!(all["missing_queries"], serde_json::json!(["q2"]));
    assert_eq!(all["unjudged_queries"], serde_json::json!(["q9"]));
    assert_eq!(folder.json(&format!("{line} --intersect"))["measures"]["RR@10"], 1.0);
}

#[test]
fn a_document_that_is_its_own_query_is_kept_or_dropped_as_asked_for() {
    let folder = Folder::new();
    folder.write("qrels", "x 0 a 1\n");
    folder.write("run", "x Q0 x 1 2.0 t\nx Q0 a 2 1.0 t\n");
    let line = "evaluate --qrels qrels --run run --measures RR@10";
    assert_eq!(folder.json(&format!("{line} --self-hits keep"))["measures"]["RR@10"], 0.5);
    assert_eq!(folder.json(&format!("{line} --self-hits drop"))["measures"]["RR@10"], 1.0);
    let table = folder.run(&format!("{line} --self-hits drop")).ok().stdout;
    assert!(table.contains("self-hits dropped"), "{table}");
}

#[test]
fn systems_are_compared_with_a_baseline() {
    let folder = Folder::new();
    let answer = folder.json("evaluate --baseline bm25 --measures nDCG@10");
    let comparisons = answer["comparisons"].as_array().unwrap();
    assert_eq!(comparisons.len(), 2);
    for comparison in comparisons {
        let p = |key: &str| comparison[key].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&p("randomization_p")) && (0.0..=1.0).contains(&p("t_test_p")));
        assert!(p("holm_p") >= p("randomization_p"));
        let outcomes = ["wins", "ties", "losses"].map(|key| comparison[key].as_u64().unwrap());
        assert_eq!(outcomes.iter().sum::<u64>(), comparison["queries"].as_u64().unwrap());
    }
    assert!(folder.run("evaluate --baseline bm25").ok().stdout.contains("p (Holm)"));
}

#[test]
fn columns_with_names_of_their_own_can_be_named_wherever_pairs_are_read() {
    let folder = Folder::new();
    let rows = "q1,bread,d1,bake bread at home,3\nq1,bread,d2,paint a fence,0\nq2,bike,d3,fix a flat bike tyre,2\n\
                q2,bike,d4,an oven for a kitchen,1\n";
    folder.write("usual.csv", format!("query_id,query_text,doc_id,document_text,human\n{rows}"));
    folder.write("own.csv", format!("a,b,c,d,e\n{rows}"));
    let flags = "--query a --document c --query-text b --document-text d --human e";
    let own = format!("--pairs own.csv {flags}");
    for (command, more) in [
        ("agree", "--labeler embedded --resamples 10"),
        ("evaluate", "--encoder embedded --measures nDCG@10"),
    ] {
        let said = |pairs: &str| {
            let mut said = folder.json(&format!("{command} {pairs} {more}"));
            let said = said.as_object_mut().unwrap();
            said.retain(|key, _| ["measures", "scores_digest", "query_count"].contains(&key.as_str()));
            serde_json::to_value(said).unwrap()
        };
        let usual = said("--pairs usual.csv");
        assert!(usual.as_object().unwrap().len() > 1, "{command}: {usual}");
        assert_eq!(said(&own), usual, "{command}");
        folder.run(&format!("{command} --pairs own.csv {more}")).refused(&["own.csv"]);
    }
    folder.run(&format!("evaluate {flags}")).refused(&["--pairs"]);

    let columns = "pairs = \"own.csv\"\ncolumns = { query = \"a\", document = \"c\", query_text = \"b\", \
                   document_text = \"d\", human = \"e\" }";
    let recipe = folder.write("evaluate.toml", format!("[data]\n{columns}\n"));
    assert_eq!(folder.json("evaluate evaluate.toml")["systems"][0]["query_count"], 2);
    assert!(folder.run("recipe show evaluate.toml").ok().stdout.contains("document_text = \"d\""));
    std::fs::write(&recipe, "[data]\ncolumns = { human = \"e\" }\n").unwrap();
    folder.run("evaluate evaluate.toml").refused(&["data.columns", "data.pairs"]);
    std::fs::write(&recipe, "[data]\npairs = \"own.csv\"\ncolumns = { grade = \"e\" }\n").unwrap();
    folder.run("evaluate evaluate.toml").refused(&["evaluate.toml", "grade", "human"]);

    // A column of the pairs as the teacher is found by the same columns.
    folder
        .write("own.csv", format!("a,b,c,d,e,t\n{}", rows.replace('\n', ",1\n").replacen(",1\n", ",2\n", 1)));
    let train = |loss: &str, data: &str| {
        folder.write(
            "train.toml",
            format!(
                "[data]\n{columns}\n{data}\n[scorer]\nencoder = \"embedded\"\n[loss]\nname = \"{loss}\"\n\
                 [training]\nsteps = 2\n"
            ),
        );
        folder.json(&format!("train train.toml --out {loss}"))
    };
    assert_eq!(train("listnet", "")["losses"].as_array().unwrap().len(), 2);
    assert_eq!(
        train("margin_mse", "teacher = \"t\"\ndrop_silent = true")["losses"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn vectors_are_cut_to_their_first_values() {
    let folder = Folder::new();
    let answer = folder.json(
        "evaluate --encoder embedded --encoder embedded(dimensions=192) --encoder embedded(dimensions=24) \
         --measures nDCG@10",
    );
    let systems = answer["systems"].as_array().unwrap();
    let of = |at: usize| (&systems[at]["measures"]["nDCG@10"], &systems[at]["fingerprint"]["encoder"]);
    // All 192 values are the model itself; of fewer something is lost, here much.
    assert_eq!(of(0), of(1));
    assert_ne!(of(0).1, of(2).1);
    let values = [0, 2].map(|at| of(at).0.as_f64().unwrap());
    assert!(0.3 < values[1] && values[1] < values[0], "{values:?}");
    for wrong in ["0", "193", "many", ""] {
        let answer = folder.run(&format!("evaluate --encoder embedded(dimensions={wrong})"));
        answer.refused(&["dimensions", "1 to 192"]);
    }
}

#[test]
fn labelled_pairs_rank_each_query_s_own_documents() {
    let folder = Folder::new();
    folder.write(
        "pairs.csv",
        "query_id,document_id,query,document,human\n\
         1,a,kitchen sink smell,\"smelly kitchen sink, fixed with baking soda\",3\n\
         1,b,kitchen sink smell,how to paint a kitchen wall,0\n\
         2,c,learn guitar chords,three easy guitar chords for beginners,3\n\
         2,d,learn guitar chords,\"electric guitar, unboxing\nand review\",1\n",
    );
    let answer =
        folder.json("evaluate --pairs pairs.csv --encoder embedded --measures nDCG@10,PairAP(rel=2)");
    assert_eq!(answer["query_count"], 2);
    assert_eq!(answer["judged_in_top_10"], 1.0);
    assert_eq!(answer["measures"]["nDCG@10"], 1.0);
    // Grades of 1 to 4 would make every document relevant, unnoticed.
    folder
        .write("from_1.csv", "query,document,human\nkitchen sink,a kitchen sink,4\nkitchen sink,a wall,1\n");
    let said = |file: &str| folder.run(&format!("evaluate --pairs {file} --encoder embedded")).ok().stderr;
    assert!(said("from_1.csv").contains("no grade below 1"));
    assert!(!said("pairs.csv").contains("no grade below"));
}

#[test]
fn a_recipe_and_the_same_flags_are_one_evaluation() {
    let folder = Folder::new();
    folder.write(
        "recipe.toml",
        "[data]\ndataset = \"sample\"\n[scorer]\nsystems = [\"bm25(k1=1.2, b=0.75)\"]\n\
         [evaluation]\nmeasures = [\"nDCG@5\"]\n",
    );
    let by_recipe = folder.json("evaluate recipe.toml");
    let by_flags = folder
        .graded([
            "evaluate",
            "--dataset",
            "sample",
            "--encoder",
            "bm25(k1=1.2, b=0.75)",
            "-m",
            "nDCG@5",
            "--format",
            "json",
        ])
        .json();
    assert_eq!(by_recipe["measures"], by_flags["measures"]);
    assert_eq!(by_recipe["fingerprint"]["recipe"], by_flags["fingerprint"]["recipe"]);
}

#[test]
fn a_smaller_memory_budget_gives_the_same_answer() {
    let folder = Folder::new();
    let line = "evaluate --encoder embedded --per-query";
    let plenty = folder.json(line);
    let little = folder.json(&format!("{line} --memory 100K"));
    assert_eq!(plenty["queries"], little["queries"]);
}
