//! The built binary as the tests call it: in a folder of its own, with a cache of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A folder to work in. Nothing outside it is written to.
pub struct Folder(TempDir);

/// What one call of the binary came to.
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The names of everything in the folder but the cache, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "cache");
        names.sort();
        names
    }

    /// Runs `graded` in this folder.
    pub fn graded<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graded"));
        command.args(arguments).current_dir(self.0.path());
        command.env("GRADED_CACHE", self.path("cache")).env("GRADED_RUNS", self.path("cache/runs"));
        Answer::of(command.output().unwrap())
    }

    /// Runs `graded` with the arguments separated by blanks, in an environment with these variables.
    pub fn graded_with(&self, variables: &[(&str, &str)], line: &str) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graded"));
        command.args(line.split_whitespace()).current_dir(self.0.path());
        command.env("GRADED_CACHE", self.path("cache")).env("GRADED_RUNS", self.path("cache/runs"));
        command.envs(variables.iter().copied());
        Answer::of(command.output().unwrap())
    }

    /// Starts `graded` with the arguments separated by blanks, and does not wait for it.
    #[cfg(target_os = "linux")]
    pub fn start(&self, line: &str) -> std::process::Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graded"));
        command
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .env("GRADED_CACHE", self.path("cache"))
            .env("GRADED_RUNS", self.path("cache/runs"));
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
    }

    /// Runs `graded` with the arguments separated by blanks.
    pub fn run(&self, line: &str) -> Answer {
        self.graded(line.split_whitespace())
    }

    /// Runs `graded ... --format json`, which must succeed, and returns the document.
    pub fn json(&self, line: &str) -> Value {
        self.run(&format!("{line} --format json")).json()
    }
}

impl Answer {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the binary writes UTF-8");
        let code = output.status.code().expect("the binary is not killed by a signal");
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The answer of a call that must succeed.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    /// The one JSON document of a call that must succeed.
    pub fn json(self) -> Value {
        serde_json::from_str(&self.ok().stdout).unwrap()
    }

    /// Asserts that the call was refused as bad input, that nothing went to stdout, and that every one of `words`
    /// stands in the message.
    pub fn refused(self, words: &[&str]) {
        assert_eq!(self.code, 2, "expected exit code 2; stderr: {}", self.stderr);
        assert_eq!(self.stdout, "", "a refused call writes nothing to stdout");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// A file system of so many bytes, mounted in a folder of the test's; unmounted when dropped.
#[cfg(target_os = "linux")]
pub struct SmallDisk(PathBuf);

#[cfg(target_os = "linux")]
impl SmallDisk {
    /// Mounts it at `at`, or `None` (with the reason printed) where this user may not.
    pub fn mount(at: &Path, bytes: usize) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let disk = Self(at.to_path_buf());
        if disk.call("mount", &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]) {
            return Some(disk);
        }
        std::mem::forget(disk);
        println!("skipped: a small file system cannot be mounted here");
        None
    }

    /// Another size; what is there stays.
    pub fn resize(&self, bytes: usize) {
        assert!(self.call("mount", &["-o", &format!("remount,size={bytes}")]));
    }

    fn call(&self, program: &str, arguments: &[&str]) -> bool {
        let output = Command::new(program).args(arguments).arg(&self.0).output();
        output.is_ok_and(|output| output.status.success())
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.call("umount", &[]);
    }
}

/// A folder of public data beside the checkout, or `None` (with the reason printed) when there is none.
pub fn shared(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if !root.is_dir() {
        println!("skipped: ../shared/data is absent");
        return None;
    }
    let path = root.join(name);
    assert!(path.exists(), "../shared/data is there, but {name} is not in it");
    Some(path)
}
