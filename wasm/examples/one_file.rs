//! Writes a model's folder as one file: `one_file FOLDER FILE`. The tests show such files of float models to the module,
//! which runs them in 8 bits only.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use scorer::Bundle;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, file] = arguments.as_slice() else { return Err("expected: FOLDER FILE".into()) };
    let mut files = BTreeMap::new();
    for name in scorer::bundle::FILES {
        if let Ok(content) = std::fs::read(Path::new(folder).join(name)) {
            files.insert(name.to_owned(), content);
        }
    }
    std::fs::write(file, Bundle::from_files(files)?.to_bytes())?;
    Ok(())
}
