//! Small collections that a person can check by eye, and what happens when they are damaged.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use datasets::archive::{Limits, unpack};
use datasets::check::{Kind, check};
use datasets::manifest::{Manifest, Unpack};
use datasets::trec::{RunFile, RunOptions};
use datasets::{Collection, Error, Format, OpenOptions, import, open, store};
use flate2::write::GzEncoder;
use relevance::Grade;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn read(path: &Path) -> datasets::Result<Collection> {
    open(path, &OpenOptions::default())
}

fn triples(collection: &Collection) -> Vec<(String, String, Grade)> {
    let of_query = |query: &relevance::QueryJudgments| {
        let id = query.query().to_owned();
        query.iter().map(|(document, grade)| (id.clone(), document.to_owned(), grade)).collect::<Vec<_>>()
    };
    collection.judgments.queries().flat_map(of_query).collect()
}

fn judged(triples: &[(&str, &str, Grade)]) -> Vec<(String, String, Grade)> {
    triples.iter().map(|&(query, document, grade)| (query.to_owned(), document.to_owned(), grade)).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A copy of the BEIR fixture that may be damaged.
fn beir_copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("qrels")).unwrap();
    for file in ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "qrels/train.tsv"] {
        fs::copy(fixture("beir").join(file), copy.path().join(file)).unwrap();
    }
    copy
}

#[test]
fn a_beir_folder() {
    let collection = read(&fixture("beir")).unwrap();
    assert_eq!((collection.name.as_str(), collection.format), ("beir", Format::Beir));
    assert_eq!(collection.documents[0].full_text(), "Cats Cats sleep a lot.");
    assert_eq!(collection.documents[2].full_text(), "Fish");
    let expected = judged(&[("q1", "d1", 2), ("q1", "d2", 1), ("q2", "d2", 2), ("q2", "d3", 0)]);
    assert_eq!(triples(&collection), expected);
    assert_eq!((collection.split.as_deref(), collection.splits.len()), (Some("test"), 2));
    assert_eq!((collection.scale_is_stated, collection.scale.highest()), (false, 2));
    let train = OpenOptions { split: Some("train".into()), ..OpenOptions::default() };
    assert_eq!(triples(&open(&fixture("beir"), &train).unwrap()), judged(&[("q1", "d3", 1)]));
    let dev = OpenOptions { split: Some("dev".into()), ..OpenOptions::default() };
    let message = open(&fixture("beir"), &dev).unwrap_err().to_string();
    assert!(
        message.ends_with("expected one of the splits test, train, found a request for \"dev\""),
        "{message}"
    );
}

#[test]
fn a_beir_folder_of_packed_files_is_the_same_collection() {
    let copy = beir_copy();
    for (file, end) in [("corpus.jsonl", "gz"), ("queries.jsonl", "zst"), ("qrels/test.tsv", "gz")] {
        let plain = fs::read(copy.path().join(file)).unwrap();
        let packed = if end == "gz" { gzip(&plain) } else { zstd::encode_all(&plain[..], 3).unwrap() };
        fs::write(copy.path().join(format!("{file}.{end}")), packed).unwrap();
        fs::remove_file(copy.path().join(file)).unwrap();
    }
    let (packed, plain) = (read(copy.path()).unwrap(), read(&fixture("beir")).unwrap());
    assert_eq!((&packed.documents, &packed.queries), (&plain.documents, &plain.queries));
    assert_eq!(triples(&packed), triples(&plain));
}

#[test]
fn a_trec_folder_and_its_run() {
    let collection = read(&fixture("trec")).unwrap();
    assert_eq!(collection.format, Format::Trec);
    assert_eq!(collection.documents[0].title, "Cats");
    assert_eq!(collection.queries[0].text, "sleeping cats");
    assert_eq!(triples(&collection), judged(&[("1", "d1", 1), ("1", "d2", 0), ("2", "d2", 1)]));
    let run = RunFile::open(&fixture("trec/hand.run"), &RunOptions::default()).unwrap();
    let scores: Vec<_> = run.ranking(0).unwrap().hits.iter().map(|hit| (hit.document, hit.score)).collect();
    assert_eq!(scores, [("d1", 2.5), ("d2", 1.25)]);
}

#[test]
fn a_smart_folder_without_a_manifest_keeps_its_codes_and_is_suspected() {
    let collection = read(&fixture("smart")).unwrap();
    assert_eq!((collection.format, collection.documents.len()), (Format::Smart, 2));
    assert_eq!(collection.queries[1].id, "2", "counted by position, printed as 009");
    assert_eq!(collection.judgments.grade("1", "1"), Some(1));
    let kinds: Vec<_> = check(&collection).into_iter().map(|finding| finding.kind).collect();
    assert!(kinds.contains(&Kind::CodesMayRunBackwards), "{kinds:?}");
    assert!(kinds.contains(&Kind::JudgedDocumentMissing), "{kinds:?}");
}

#[test]
fn what_is_damaged_is_named_with_file_and_line() {
    let said = |file: &str, content: &[u8]| {
        let copy = beir_copy();
        fs::write(copy.path().join(file), content).unwrap();
        let error = read(copy.path()).unwrap_err();
        error.to_string().replace(&format!("{}/", copy.path().display()), "")
    };
    let good = fs::read(fixture("beir/corpus.jsonl")).unwrap();
    let expected = "corpus.jsonl:4: expected a JSON object with \"_id\" and \"text\", found";
    assert_eq!(said("corpus.jsonl", &[&good[..], b"[]\n"].concat()), format!("{expected} an array"));
    let no_text = [&good[..], b"{\"_id\": \"d4\"}\n"].concat();
    assert_eq!(said("corpus.jsonl", &no_text), format!("{expected} an object without \"text\""));
    let message = said("corpus.jsonl", &[&good[..], b"\xfe\n"].concat());
    assert_eq!(message, "corpus.jsonl:4: expected UTF-8 text, found the byte 0xfe");
    let message = said("qrels/test.tsv", b"query-id\tcorpus-id\tscore\nq1\td1\thigh\n");
    assert_eq!(message, "qrels/test.tsv:2: expected a whole number as grade, found \"high\"");
    let packed = gzip(&good);
    let message = said("corpus.jsonl", &packed[..packed.len() - 10]);
    assert!(message.starts_with("corpus.jsonl: expected a complete gzip stream"), "{message}");
}

#[test]
fn an_id_that_stands_twice_is_refused_unless_asked_for() {
    let copy = beir_copy();
    for file in ["corpus.jsonl", "queries.jsonl"] {
        let good = fs::read_to_string(fixture("beir").join(file)).unwrap();
        let first = good.lines().next().unwrap();
        fs::write(copy.path().join(file), format!("{good}{first}\n")).unwrap();
        let error = read(copy.path()).unwrap_err();
        let (again, path) = (good.lines().count() as u64 + 1, copy.path().join(file));
        assert!(
            matches!(&error, Error::DuplicateId { line, first_line: 1, .. } if *line == again),
            "{error}"
        );
        assert_eq!(error.path(), path);
        let keep = OpenOptions { keep_duplicates: true, ..OpenOptions::default() };
        let kinds: Vec<_> =
            check(&open(copy.path(), &keep).unwrap()).into_iter().map(|finding| finding.kind).collect();
        let kind = if file == "corpus.jsonl" { Kind::DuplicateDocumentId } else { Kind::DuplicateQueryId };
        assert!(kinds.contains(&kind), "{kinds:?}");
        fs::write(copy.path().join(file), good).unwrap();
    }
}

#[test]
fn judgments_without_a_line_and_splits_that_do_not_exist_are_refused() {
    let copy = beir_copy();
    fs::write(copy.path().join("qrels/test.tsv"), "query-id\tcorpus-id\tscore\n").unwrap();
    assert!(read(copy.path()).unwrap_err().to_string().ends_with("found no judgments, only a header"));
    fs::remove_file(copy.path().join("qrels/test.tsv")).unwrap();
    fs::remove_file(copy.path().join("qrels/train.tsv")).unwrap();
    let message = read(copy.path()).unwrap_err().to_string();
    assert!(message.ends_with("qrels: expected judgments as <split>.tsv (test.tsv), found no such file"));
    let other = OpenOptions { split: Some("dev".into()), ..OpenOptions::default() };
    for name in ["trec", "smart"] {
        let message = open(&fixture(name), &other).unwrap_err().to_string();
        assert!(
            message.ends_with("expected no split, as the collection has none, found a request for \"dev\"")
        );
    }
    let sample = datasets::sample().unwrap();
    sample.require_split("test").unwrap();
    let message = sample.require_split("dev").unwrap_err().to_string();
    assert_eq!(message, "sample: expected one of the splits test, found a request for \"dev\"");
}

#[test]
fn budgets_are_kept_and_both_numbers_said() {
    let small = OpenOptions { memory_bytes: 100, ..OpenOptions::default() };
    let error = open(&fixture("beir"), &small).unwrap_err();
    assert!(matches!(error, Error::MemoryBudget { budget_bytes: 100, need_bytes: 175.., .. }), "{error}");
    let narrow = OpenOptions { document_bytes: 60, ..OpenOptions::default() };
    let error = open(&fixture("beir"), &narrow).unwrap_err();
    assert!(matches!(error, Error::DocumentTooLarge { line: 1, limit_bytes: 60, .. }), "{error}");
}

#[test]
fn nothing_known_is_said_so() {
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(read(empty.path()).unwrap_err(), Error::Unrecognised { .. }));
    assert!(matches!(read(&empty.path().join("absent")).unwrap_err(), Error::Io { .. }));
}

#[test]
fn a_folder_of_collections_names_them() {
    let collections = tempfile::tempdir().unwrap();
    for forum in ["physics", "android"] {
        let folder = collections.path().join(forum);
        fs::create_dir(&folder).unwrap();
        for file in ["corpus.jsonl", "queries.jsonl"] {
            fs::copy(fixture("beir").join(file), folder.join(file)).unwrap();
        }
    }
    let message = read(collections.path()).unwrap_err().to_string();
    assert!(message.ends_with("found a folder of collections: open one of android, physics"), "{message}");
}

#[test]
fn an_imported_collection_reads_back_as_it_was() {
    let target = tempfile::tempdir().unwrap();
    for name in ["beir", "trec", "smart"] {
        let original = read(&fixture(name)).unwrap();
        let out = target.path().join(name);
        import::write_beir(&original, &out).unwrap();
        let again = read(&out).unwrap();
        assert_eq!((&again.documents, &again.queries), (&original.documents, &original.queries));
        assert_eq!(triples(&again), triples(&original));
        assert!(matches!(import::write_beir(&original, &out).unwrap_err(), Error::Exists { .. }));
    }
    let sample = datasets::sample().unwrap();
    import::write_beir(&sample, &target.path().join("sample")).unwrap();
    let again = read(&target.path().join("sample")).unwrap();
    assert_eq!((again.name.as_str(), &again.scale), ("sample", &sample.scale));
    assert_eq!(again.documents, sample.documents);
    let names: Vec<_> =
        fs::read_dir(target.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "no temporary folder is left: {names:?}");
}

#[test]
fn an_id_that_has_no_place_in_a_table_leaves_no_half_written_folder() {
    let mut collection = read(&fixture("beir")).unwrap();
    collection.judgments.insert("q1", "a\tb", 1);
    let target = tempfile::tempdir().unwrap();
    let message = import::write_beir(&collection, &target.path().join("out")).unwrap_err().to_string();
    assert!(message.contains("ids without tabs"), "{message}");
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
}

/// A tar archive of `(name, type, bytes)`.
fn tar(members: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (name, kind, bytes) in members {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        header[156] = *kind;
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        all.extend(header);
        all.extend(*bytes);
        all.resize(all.len().next_multiple_of(512), 0);
    }
    all.resize(all.len() + 1024, 0);
    all
}

/// A zip archive of stored `(name, unix mode, bytes)`.
fn zip(members: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let (mut all, mut directory) = (Vec::new(), Vec::new());
    let short = |number: usize| u16::try_from(number).unwrap().to_le_bytes();
    let long = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    for (name, mode, bytes) in members {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let (sum, size, offset) = (crc.sum().to_le_bytes(), long(bytes.len()), long(all.len()));
        let common =
            [&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..], &sum, &size, &size, &short(name.len()), &[0, 0]]
                .concat();
        all.extend([b"PK\x03\x04", &common[..], name.as_bytes(), bytes].concat());
        let mode = (mode << 16).to_le_bytes();
        let entry = [b"PK\x01\x02", &[20, 3][..], &common, &[0; 6], &mode, &offset, name.as_bytes()].concat();
        directory.extend(entry);
    }
    let (count, offset) = (short(members.len()), long(all.len()));
    let end = [b"PK\x05\x06", &[0; 4][..], &count, &count, &long(directory.len()), &offset, &[0, 0]].concat();
    [all, directory, end].concat()
}

/// Unpacks `bytes` below a fresh folder: the folder, and what came of it.
fn unpacked(bytes: &[u8], kind: Unpack, limits: &Limits) -> (tempfile::TempDir, datasets::Result<()>) {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    fs::write(&archive, bytes).unwrap();
    let result = unpack(&archive, kind, &folder.path().join("out"), Some("set"), limits);
    (folder, result)
}

#[test]
fn archives_unpack_below_their_prefix() {
    let file = 0o100_644;
    let zipped = zip(&[("set/", 0o040_755, b""), ("set/a/b.txt", file, b"hello"), ("other/x", file, b"no")]);
    let tarred =
        gzip(&tar(&[("./set/", b'5', b""), ("set/a/b.txt", b'0', b"hello"), ("other/x", b'0', b"no")]));
    for (bytes, kind) in [(zipped, Unpack::Zip), (tarred, Unpack::TarGz)] {
        let (folder, result) = unpacked(&bytes, kind, &Limits::default());
        result.unwrap();
        assert_eq!(fs::read(folder.path().join("out/a/b.txt")).unwrap(), b"hello");
        assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 1);
    }
}

#[test]
fn archives_that_leave_their_folder_link_or_swell_are_refused_by_name() {
    let file = 0o100_644;
    let small = Limits { total_bytes: 10, members: 2 };
    let bomb = vec![0u8; 1 << 20];
    let cases: Vec<(Vec<u8>, Unpack, &str)> = vec![
        (zip(&[("../evil", file, b"x")]), Unpack::Zip, "../evil"),
        (zip(&[("/etc/evil", file, b"x")]), Unpack::Zip, "/etc/evil"),
        (zip(&[("set/..\\evil", file, b"x")]), Unpack::Zip, "evil"),
        (zip(&[("set/link", 0o120_777, b"/etc/passwd")]), Unpack::Zip, "set/link"),
        (zip(&[("set/bomb", file, &bomb)]), Unpack::Zip, "set/bomb"),
        (zip(&[("a", file, b""), ("b", file, b""), ("c", file, b"")]), Unpack::Zip, "\"c\""),
        (gzip(&tar(&[("set/../../evil", b'0', b"x")])), Unpack::TarGz, "set/../../evil"),
        (gzip(&tar(&[("/evil", b'0', b"x")])), Unpack::TarGz, "/evil"),
        (gzip(&tar(&[("set/link", b'2', b"")])), Unpack::TarGz, "set/link"),
        (gzip(&tar(&[("set/device", b'3', b"")])), Unpack::TarGz, "set/device"),
        (gzip(&tar(&[("set/bomb", b'0', &bomb)])), Unpack::TarGz, "set/bomb"),
    ];
    for (bytes, kind, name) in cases {
        let (folder, result) = unpacked(&bytes, kind, &small);
        let error = result.unwrap_err();
        assert!(matches!(error, Error::RefusedMember { .. }) && error.to_string().contains(name), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the archive is left after {name}");
    }
}

#[test]
fn archives_that_end_early_are_damaged() {
    let whole = tar(&[("set/a", b'0', &[7; 3000])]);
    let (_, result) = unpacked(&gzip(&whole[..2000]), Unpack::TarGz, &Limits::default());
    assert!(matches!(result.unwrap_err(), Error::Compressed { kind: "tar", .. }));
    let packed = gzip(&whole);
    let (_, result) = unpacked(&packed[..packed.len() / 2], Unpack::TarGz, &Limits::default());
    assert!(matches!(result.unwrap_err(), Error::Compressed { .. }));
    let whole = zip(&[("set/a", 0o100_644, &[7; 3000])]);
    let (_, result) = unpacked(&whole[..whole.len() / 2], Unpack::Zip, &Limits::default());
    assert!(matches!(result.unwrap_err(), Error::Compressed { kind: "zip", .. }));
}

/// A manifest of the BEIR fixture's corpus, with a digest.
fn manifest(sha256: &str) -> Manifest {
    let toml = format!(
        "name = \"tiny\"\ndescription = \"d\"\nformat = \"beir\"\nlicence = \"none\"\n\
         [[files]]\npath = \"corpus.jsonl\"\nsha256 = \"{sha256}\"\n[[files]]\npath = \"queries.jsonl\"\n\
         [[files]]\npath = \"qrels/test.tsv\"\n"
    );
    Manifest::parse(&toml, Path::new("tiny.toml")).unwrap()
}

#[test]
fn a_collection_is_placed_whole_or_not_at_all() {
    let cache = tempfile::tempdir().unwrap();
    let sha256 = store::digest(&fixture("beir/corpus.jsonl")).unwrap().sha256;
    let error = store::place(&manifest(&"0".repeat(64)), &fixture("beir"), cache.path()).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { algorithm: "sha256", .. }), "{error}");
    assert!(store::list(cache.path()).is_empty() && fs::read_dir(cache.path()).unwrap().count() == 0);
    let folder = store::place(&manifest(&sha256), &fixture("beir"), cache.path()).unwrap();
    assert_eq!(store::list(cache.path()), ["tiny"]);
    assert_eq!(read(&folder).unwrap().documents.len(), 3);
    let arrived: store::Arrived =
        toml::from_str(&fs::read_to_string(folder.join("arrived.toml")).unwrap()).unwrap();
    let pinned: Vec<_> = arrived.files.iter().map(|file| file.pinned).collect();
    assert_eq!((pinned, &arrived.files[0].digests.sha256), (vec![true, false, false], &sha256));
}

#[test]
fn of_many_who_place_one_collection_nobody_fails() {
    let cache = tempfile::tempdir().unwrap();
    let sha256 = store::digest(&fixture("beir/corpus.jsonl")).unwrap().sha256;
    let (start, manifest) = (std::sync::Barrier::new(8), manifest(&sha256));
    std::thread::scope(|scope| {
        let place = || {
            start.wait();
            store::place(&manifest, &fixture("beir"), cache.path())
        };
        let all: Vec<_> = (0..8).map(|_| scope.spawn(place)).collect();
        for one in all {
            assert_eq!(read(&one.join().unwrap().unwrap()).unwrap().documents.len(), 3);
        }
    });
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1, "no temporary folder is left");
}

#[test]
fn an_archive_without_the_files_it_is_for_leaves_nothing() {
    let corpus = fs::read(fixture("beir/corpus.jsonl")).unwrap();
    let all = "corpus.jsonl, queries.jsonl, qrels/*.tsv";
    let cases = [
        (zip(&[("other/corpus.jsonl", 0o100_644, &corpus)]), all),
        (zip(&[("tiny/corpus.jsonl", 0o100_644, &corpus)]), "queries.jsonl, qrels/*.tsv"),
        (zip(&[]), all),
    ];
    for (bytes, missing) in cases {
        let (cache, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let source = from.path().join("tiny.zip");
        fs::write(&source, &bytes).unwrap();
        let toml = "name = \"tiny\"\ndescription = \"d\"\nformat = \"beir\"\nlicence = \"none\"\n[[files]]\n\
                    path = \"tiny.zip\"\nrole = \"archive\"\nunpack = \"zip\"\nstrip_prefix = \"tiny\"\n";
        let manifest = Manifest::parse(toml, Path::new("tiny.toml")).unwrap();
        let error = store::place(&manifest, from.path(), cache.path()).unwrap_err();
        let Error::Incomplete { missing: found, .. } = &error else { panic!("{error}") };
        assert_eq!(found.join(", "), missing);
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
        fs::write(&source, &bytes[..bytes.len() / 2]).unwrap();
        let error = store::place(&manifest, from.path(), cache.path()).unwrap_err();
        assert_eq!(error.path(), source, "named by where it came from: {error}");
    }
}

#[test]
fn an_archive_of_forums_is_a_collection_of_collections() {
    let members = ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"]
        .map(|file| (format!("tiny/cats/{file}"), fs::read(fixture("beir").join(file)).unwrap()));
    let members: Vec<_> =
        members.iter().map(|(name, bytes)| (name.as_str(), 0o100_644, &bytes[..])).collect();
    let (cache, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(from.path().join("tiny.zip"), zip(&members)).unwrap();
    let toml = "name = \"tiny\"\ndescription = \"d\"\nformat = \"beir\"\nlicence = \"none\"\n[[files]]\n\
                path = \"tiny.zip\"\nrole = \"archive\"\nunpack = \"zip\"\nstrip_prefix = \"tiny\"\n";
    let manifest = Manifest::parse(toml, Path::new("tiny.toml")).unwrap();
    let folder = store::place(&manifest, from.path(), cache.path()).unwrap();
    assert_eq!(read(&folder.join("cats")).unwrap().documents.len(), 3);
}

#[test]
fn fetched_files_are_verified_and_put_together() {
    let cache = tempfile::tempdir().unwrap();
    let zipped = zip(&[
        ("tiny/corpus.jsonl", 0o100_644, &fs::read(fixture("beir/corpus.jsonl")).unwrap()),
        ("tiny/queries.jsonl", 0o100_644, &fs::read(fixture("beir/queries.jsonl")).unwrap()),
        ("tiny/qrels/test.tsv", 0o100_644, &fs::read(fixture("beir/qrels/test.tsv")).unwrap()),
    ]);
    let toml = format!(
        "name = \"tiny\"\ndescription = \"d\"\nformat = \"beir\"\nlicence = \"none\"\n[[files]]\npath = \"tiny.zip\"\n\
         bytes = {}\nunpack = \"zip\"\nstrip_prefix = \"tiny\"\n",
        zipped.len()
    );
    let manifest = Manifest::parse(&toml, Path::new("tiny.toml")).unwrap();
    let download = store::download_path(cache.path(), &manifest, &manifest.files[0]);
    fs::create_dir_all(download.parent().unwrap()).unwrap();
    fs::write(&download, &zipped[1..]).unwrap();
    let error = store::finish(&manifest, cache.path()).unwrap_err();
    assert!(matches!(error, Error::WrongSize { .. }) && !download.exists(), "{error}");
    fs::write(&download, &zipped).unwrap();
    let folder = store::finish(&manifest, cache.path()).unwrap();
    assert!(!download.exists() && !folder.join("tiny.zip").exists());
    assert_eq!(read(&folder).unwrap().judgments.pairs(), 4);
}
