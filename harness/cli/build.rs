//! With the feature `page`: lists the files of the browser page for `commands/serve.rs` to embed, and fails with a plain
//! sentence where `wasm/build` has not made them.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_PAGE").is_none() {
        return;
    }
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../..");
    let folder = root.join("target/wasm/page");
    println!("cargo::rerun-if-changed={}", folder.display());
    let Ok(folder) = folder.canonicalize() else {
        println!(
            "cargo::error=the feature `page` embeds target/wasm/page, which is not there; wasm/build makes it"
        );
        return;
    };
    let mut listed = String::from("[\n");
    list(&folder, "", &mut listed);
    listed.push(']');
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("page.rs");
    if let Err(error) = std::fs::write(&out, listed) {
        println!("cargo::error={}: {error}", out.display());
    }
}

/// Adds `("name", include_bytes!("path")),` for every file below `folder`.
fn list(folder: &Path, prefix: &str, listed: &mut String) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), format!("{prefix}{}", entry.file_name().display()));
        if path.is_dir() {
            list(&path, &format!("{name}/"), listed);
        } else {
            listed.push_str(&format!(
                "    ({name:?}, include_bytes!({:?}) as &[u8]),\n",
                path.display().to_string()
            ));
        }
    }
}
