//! The commit that is checked out around the working folder, read from git's own files: no process is started.

use std::fs;
use std::path::{Path, PathBuf};

/// The full hash, where the working folder lies in a git checkout that has a commit.
pub fn checked_out() -> Option<String> {
    let here = std::env::current_dir().ok()?;
    let git = here.ancestors().map(|folder| folder.join(".git")).find(|git| git.exists())?;
    of(&folder(&git)?)
}

/// `.git` itself, or the folder that a work tree's `.git` file names.
fn folder(git: &Path) -> Option<PathBuf> {
    if git.is_dir() {
        return Some(git.to_path_buf());
    }
    let named = fs::read_to_string(git).ok()?;
    Some(git.parent()?.join(named.strip_prefix("gitdir:")?.trim()))
}

fn of(folder: &Path) -> Option<String> {
    let head = fs::read_to_string(folder.join("HEAD")).ok()?;
    let Some(name) = head.trim().strip_prefix("ref: ") else { return hash(&head) };
    let shared = fs::read_to_string(folder.join("commondir")).map(|named| folder.join(named.trim()));
    let homes = [Some(folder.to_path_buf()), shared.ok()];
    homes.into_iter().flatten().find_map(|home| {
        let loose = fs::read_to_string(home.join(name)).ok().and_then(|text| hash(&text));
        loose.or_else(|| {
            let packed = fs::read_to_string(home.join("packed-refs")).ok()?;
            packed.lines().find_map(|line| hash(line.strip_suffix(name)?))
        })
    })
}

fn hash(text: &str) -> Option<String> {
    let hash = text.trim();
    let is_hash = hash.len() >= 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| hash.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn heads_are_found_loose_packed_detached_and_in_work_trees() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("packed/HEAD", "ref: refs/heads/main\n");
        assert_eq!(of(&root.path().join("packed")), None, "a branch without a commit");
        write("packed/packed-refs", &format!("# pack-refs with: peeled\n{HASH} refs/heads/main\n"));
        assert_eq!(of(&root.path().join("packed")).as_deref(), Some(HASH));
        write("detached/HEAD", &format!("{HASH}\n"));
        assert_eq!(of(&root.path().join("detached")).as_deref(), Some(HASH));
        write("tree/.git", "gitdir: ../packed/worktrees/tree\n");
        write("packed/worktrees/tree/HEAD", "ref: refs/heads/side\n");
        write("packed/worktrees/tree/commondir", "../..\n");
        write("packed/refs/heads/side", &format!("{HASH}\n"));
        let tree = folder(&root.path().join("tree/.git")).unwrap();
        assert_eq!(of(&tree).as_deref(), Some(HASH));
    }
}
