//! Whatever the bytes are, a reader returns values or an error that names the file: it never panics. Arbitrary bytes,
//! and valid files with bytes replaced, taken out or cut off. Seeds of past failures are kept beside this file.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use datasets::manifest::{Manifest, Unpack};
use datasets::pairs::{self, PairOptions};
use datasets::table::TableFormat;
use datasets::trec::{self, JudgmentOptions, RunFile, RunOptions};
use datasets::{Error, OpenOptions, open};
use proptest::collection::vec;
use proptest::prelude::*;

const NAME: &str = "fuzzed";

/// Files that are right, of every kind.
const VALID: &[&[u8]] = &[
    b"1 Q0 a 1 2.5 t\n1\tQ0\tb\t2\t-1e-1\tt\n# c\n2 Q0 a 1 3 t",
    b"{\"q\": {\"d\": 1.5, \"e\": 2}, \"r\": {}}",
    b"1 0 a 2\n1 0 b -1\r\n\n2\t0\ta\t0",
    b"query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t-1\n",
    b"query,docid,human,predicted,text\nq,d,1,2,\"a\n\"\"b\"\", c\"\nq,e,,x,\n",
    b"{\"query_id\":\"q\",\"doc_id\":\"d\",\"human\":1,\"teacher\":{\"a\":2}}\n{\"query_id\":1,\"doc_id\":2,\"human\":null}\n",
    b"<DOC>\n<DOCNO> d </DOCNO>\n<TITLE>t</TITLE><TEXT>a < b &amp; c</TEXT>\n</DOC>\n<DOC><DOCNO>e</DOCNO></DOC>",
    b"<top>\n<num> Number: 301\n<title> a b\n<desc> Description:\nc\n</top>\n<top><num>2</num><desc>d</desc></top>",
    b".I 001\n.T\na\n.A\nb\n.W\nc\n.I 2\n.W\n",
    b"{\"_id\": \"a\", \"title\": \"t\", \"text\": \"x\", \"metadata\": {}}\n{\"_id\": 2, \"text\": \"y\"}\n",
    b"name = \"x\"\ndescription = \"d\"\nformat = \"beir\"\nlicence = \"MIT\"\n[[files]]\npath = \"a\"\n",
];

/// A valid file with some of its bytes replaced, and perhaps cut off.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let interesting =
        prop_oneof![any::<u8>(), prop::sample::select(b" \t\r\n\"',.{}[]<>/\\#-+0eE\xff\0".to_vec())];
    let edits = vec((any::<prop::sample::Index>(), interesting, any::<bool>()), 0..8);
    (prop::sample::select(VALID), edits, any::<prop::sample::Index>(), prop::bool::weighted(0.2)).prop_map(
        |(valid, edits, end, cut)| {
            let mut bytes = valid.to_vec();
            for (at, byte, insert) in edits {
                let at = at.index(bytes.len());
                if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        },
    )
}

/// An error must name the file it is about.
fn named<T>(result: Result<T, Error>) {
    if let Err(error) = result {
        assert!(error.to_string().starts_with(NAME), "{error}");
        assert!(error.line() != Some(0), "lines count from 1: {error}");
    }
}

fn read_everything(bytes: &[u8]) {
    let name = Path::new(NAME);
    named(RunFile::from_bytes(bytes.to_vec(), name, &RunOptions::default()).and_then(|run| {
        run.tag();
        run.rankings().try_for_each(|ranking| ranking.map(drop))
    }));
    for refuse_conflicts in [true, false] {
        let options = JudgmentOptions { refuse_conflicts, ..JudgmentOptions::default() };
        named(trec::parse_judgments(bytes, name, &options));
    }
    for format in [TableFormat::Csv, TableFormat::Tsv, TableFormat::Jsonl] {
        let options = PairOptions { format: Some(format), ..PairOptions::default() };
        named(pairs::parse(bytes, name, &options));
        named(pairs::parse_ratings(bytes, name, &[], &options));
    }
    named(trec::parse_documents(bytes, name));
    named(trec::parse_topics(bytes, name));
    trec::text_of_markup(&String::from_utf8_lossy(bytes));
    if let Ok(toml) = std::str::from_utf8(bytes) {
        named(Manifest::parse(toml, name));
    }
}

/// Folders of every layout whose files are all `bytes`.
fn open_everything(bytes: &[u8]) {
    let layouts: [&[&str]; 6] = [
        &["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"],
        &["docs.trec", "topics.txt", "qrels.txt", "pages.tar.gz"],
        &["tiny.all", "tiny.qry", "tinyqrel"],
        &["products/1.json.zip", "x_rated.csv", "x_individual_ratings.csv"],
        &["annotator_01.tsv", "annotator_02.tsv", "llm-qrels.txt"],
        &["pairs.jsonl"],
    ];
    for layout in layouts {
        let folder = tempfile::tempdir().unwrap();
        for file in layout {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        if let Err(error) = open(folder.path(), &OpenOptions::default()) {
            assert!(error.path().starts_with(folder.path()), "{error}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    fs::write(&archive, bytes).unwrap();
    for kind in [Unpack::Zip, Unpack::TarGz] {
        let limits = datasets::archive::Limits { total_bytes: 1 << 20, members: 100 };
        let _ = datasets::archive::unpack(&archive, kind, &folder.path().join("out"), None, &limits);
    }
}

#[test]
fn valid_files_are_read_by_somebody() {
    for valid in VALID {
        read_everything(valid);
        open_everything(valid);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_are_values_or_an_error(bytes in vec(any::<u8>(), 0..300)) {
        read_everything(&bytes);
    }

    #[test]
    fn mutated_files_are_values_or_an_error(bytes in mutated()) {
        read_everything(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn folders_of_mutated_files_open_or_not(bytes in mutated()) {
        open_everything(&bytes);
    }

    #[test]
    fn packed_mutations_open_or_not(bytes in mutated(), cut in any::<prop::sample::Index>()) {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        let packed = encoder.finish().unwrap();
        open_everything(&packed[..cut.index(packed.len())]);
        open_everything(&packed);
    }
}
