//! Puts a corrected model card into a bundle, `repack BUNDLE CARD`: the digest, which leaves the card out, stays the same.

use scorer::Bundle;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, card] = arguments.as_slice() else { return Err("expected BUNDLE CARD".into()) };
    let old = Bundle::from_bytes(&std::fs::read(bundle)?)?;
    let mut files: std::collections::BTreeMap<String, Vec<u8>> =
        old.names().filter_map(|name| Some((name.to_owned(), old.get(name)?.to_vec()))).collect();
    files.insert("README.md".into(), std::fs::read(card)?);
    let new = Bundle::from_files(files)?;
    std::fs::write(bundle, new.to_bytes())?;
    println!("{}", new.digest());
    Ok(())
}
