//! Distils the static table that ships with the crate: `distill TEACHER_FOLDER CARD LICENSE OUT DIMENSIONS VOCABULARY`
//! with an optional seventh argument, a file with one training text per line.

use std::collections::BTreeMap;
use std::path::Path;

use scorer::{Bundle, DistillOptions, distill};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [teacher, card, license, out, dimensions, vocabulary, texts @ ..] = arguments.as_slice() else {
        return Err("expected TEACHER_FOLDER CARD LICENSE OUT DIMENSIONS VOCABULARY [TEXTS]".into());
    };
    let teacher = read_folder(Path::new(teacher))?;
    let texts = texts.first().map(std::fs::read_to_string).transpose()?.unwrap_or_default();
    let texts: Vec<&str> = texts.lines().collect();
    let options = DistillOptions {
        dimensions: dimensions.parse()?,
        vocabulary: vocabulary.parse()?,
        ascii_only: true,
        ..DistillOptions::default()
    };
    let (card, license) = (std::fs::read_to_string(card)?, std::fs::read_to_string(license)?);
    let bytes = distill(&teacher, &texts, &options, &card, &license)?.to_bytes();
    std::fs::write(out, &bytes)?;
    println!("{out}: {} bytes", bytes.len());
    Ok(())
}

fn read_folder(folder: &Path) -> Result<Bundle, Error> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)?.chain(std::fs::read_dir(folder.join("1_Pooling"))?) {
        let path = entry?.path();
        let name = path.strip_prefix(folder)?.to_string_lossy().replace('\\', "/");
        if Bundle::takes(&name) {
            files.insert(name, std::fs::read(&path)?);
        }
    }
    Ok(Bundle::from_files(files)?)
}
