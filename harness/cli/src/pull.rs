//! Fetching one file over HTTP: resumed where it stopped, checked against its digest, renamed only when whole. The
//! only network code of the program.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::http::StatusCode;

use crate::arguments::Options;
use crate::progress;

/// How often a broken connection is taken up again before the next address is tried.
const ATTEMPTS: u32 = 4;
/// A server that sends nothing for this long has gone away.
const SILENCE: Duration = Duration::from_secs(60);

/// What to fetch, and what it must turn out to be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Addresses of the same file, tried in order.
    pub urls: &'a [String],
    /// The file's size, where it is pinned.
    pub bytes: Option<u64>,
    /// The file's digest in hexadecimal, where it is pinned.
    pub sha256: Option<&'a str>,
}

/// Fetches `wanted` into `target` and returns its sha256. Bytes already fetched by an earlier, interrupted call are
/// kept in `target.part` and not fetched again.
///
/// # Errors
/// When no address answers, or what arrived is not what is pinned (the part file is then removed).
pub fn fetch(wanted: Wanted<'_>, target: &Path, options: &Options) -> anyhow::Result<String> {
    let part = with_suffix(target, ".part");
    let folder = target.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let mut failures = Vec::new();
    for url in wanted.urls {
        match fetch_from(url, wanted.bytes, &part, options) {
            Ok(()) => return accept(wanted, &part, target),
            Err(error) => failures.push(format!("{url}: {error:#}")),
        }
    }
    bail!("no address could be fetched from ({})", failures.join("; "))
}

/// The sha256 of a file in hexadecimal.
pub fn sha256(path: &Path) -> anyhow::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).with_context(|| path.display().to_string())? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn accept(wanted: Wanted<'_>, part: &Path, target: &Path) -> anyhow::Result<String> {
    let found = sha256(part)?;
    if let Some(expected) = wanted.sha256.filter(|expected| !expected.eq_ignore_ascii_case(&found)) {
        std::fs::remove_file(part).with_context(|| part.display().to_string())?;
        bail!("{}: expected sha256 {expected}, found {found}; nothing was kept", target.display());
    }
    std::fs::rename(part, target).with_context(|| target.display().to_string())?;
    Ok(found)
}

fn fetch_from(url: &str, bytes: Option<u64>, part: &Path, options: &Options) -> anyhow::Result<()> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_per_read(Some(SILENCE))
        .build()
        .into();
    let mut attempt = 1;
    loop {
        match continue_part(&agent, url, bytes, part, options) {
            Err(error) if attempt < ATTEMPTS && is_passing(&error) => {
                progress::say(options, format!("{url}: {error:#}; trying again"));
                std::thread::sleep(Duration::from_millis(250 << attempt));
                attempt += 1;
            }
            ended => return ended,
        }
    }
}

/// Asks for what `part` lacks and appends it.
fn continue_part(
    agent: &Agent,
    url: &str,
    bytes: Option<u64>,
    part: &Path,
    options: &Options,
) -> anyhow::Result<()> {
    let have = std::fs::metadata(part).map_or(0, |metadata| metadata.len());
    if bytes.is_some_and(|bytes| have == bytes) {
        return Ok(());
    }
    let mut request = agent.get(url).header("accept-encoding", "identity");
    if have > 0 {
        request = request.header("range", format!("bytes={have}-"));
    }
    let response = request.call()?;
    let status = response.status();
    let have = match status {
        StatusCode::PARTIAL_CONTENT => have,
        StatusCode::OK => 0,
        // The part is longer than the file, or the server cannot resume: begin again.
        StatusCode::RANGE_NOT_SATISFIABLE => {
            std::fs::remove_file(part)?;
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the server refused to resume").into());
        }
        _ => bail!("the server answered {status}"),
    };
    let rest = response.body().content_length();
    let bar = progress::bytes(options, &file_name(url), rest.map(|rest| rest + have).or(bytes));
    bar.set_position(have);
    let mut file =
        OpenOptions::new().create(true).append(have > 0).write(true).truncate(have == 0).open(part)?;
    copy(&mut response.into_body().into_reader(), &mut file, |read| bar.inc(read))?;
    bar.finish_and_clear();
    let now = std::fs::metadata(part)?.len();
    match bytes.or(rest.map(|rest| rest + have)) {
        Some(expected) if now < expected => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the connection ended after {now} of {expected} bytes"),
        )
        .into()),
        Some(expected) if now > expected => {
            std::fs::remove_file(part)?;
            bail!("expected {expected} bytes, found {now}")
        }
        _ => Ok(()),
    }
}

fn copy(from: &mut impl Read, to: &mut File, mut each: impl FnMut(u64)) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer)? {
            0 => return to.flush(),
            read => {
                to.write_all(&buffer[..read])?;
                each(read as u64);
            }
        }
    }
}

/// Whether asking again may help: a connection that broke off, not one that was never there.
fn is_passing(error: &anyhow::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut, UnexpectedEof};
    let passing = |error: &io::Error| {
        matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut | UnexpectedEof)
    };
    match error.downcast_ref::<ureq::Error>() {
        Some(ureq::Error::Io(error)) => passing(error),
        Some(ureq::Error::Timeout(_)) => true,
        Some(_) => false,
        None => error.downcast_ref::<io::Error>().is_some_and(passing),
    }
}

fn file_name(url: &str) -> String {
    url.rsplit('/').next().unwrap_or(url).to_owned()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use clap::Parser;

    use super::*;

    fn options() -> Options {
        crate::arguments::Arguments::parse_from(["graded", "--quiet", "doctor"]).options
    }

    fn content() -> Vec<u8> {
        (0..100_000u32).flat_map(u32::to_le_bytes).collect()
    }

    /// A server on loopback that breaks off after `cut` bytes of its first answer, and honours ranges. Returns its
    /// address and the ranges it was asked for.
    fn serve(cut: usize, answers: usize) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file.bin", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let content = content();
            let mut ranges = Vec::new();
            for answer in 0..answers {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let range = lines
                    .take_while(|line| !line.is_empty())
                    .find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
                let from: usize =
                    range.as_deref().map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
                let rest = &content[from..];
                let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    rest.len()
                );
                stream.write_all(head.as_bytes()).unwrap();
                let sent = if answer == 0 { rest.len().min(cut) } else { rest.len() };
                let _ = stream.write_all(&rest[..sent]);
                ranges.push(range.unwrap_or_default());
            }
            ranges
        });
        (url, server)
    }

    #[test]
    fn a_broken_download_is_taken_up_where_it_stopped() {
        let (url, server) = serve(150_000, 2);
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file.bin");
        let wanted = Wanted { urls: &[url], bytes: Some(400_000), sha256: None };
        fetch(wanted, &target, &options()).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), content());
        assert_eq!(server.join().unwrap(), ["", "150000-"]);
        assert!(!with_suffix(&target, ".part").exists());
    }

    #[test]
    fn what_is_not_what_was_pinned_is_not_kept() {
        let (url, server) = serve(usize::MAX, 1);
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file.bin");
        let wanted = Wanted { urls: &[url], bytes: None, sha256: Some("00") };
        let error = fetch(wanted, &target, &options()).unwrap_err().to_string();
        server.join().unwrap();
        assert!(error.contains("expected sha256 00"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_next_address_is_tried_when_one_is_gone() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (url, server) = serve(usize::MAX, 1);
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file.bin");
        let urls = [format!("http://{gone}/file.bin"), url];
        fetch(Wanted { urls: &urls, bytes: None, sha256: None }, &target, &options()).unwrap();
        server.join().unwrap();
        assert!(target.exists());
    }
}
