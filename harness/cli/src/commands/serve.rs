//! `graded serve`: the page of `wasm/page` on this machine's loopback address, and nowhere else.
//!
//! A fixed table of files answers GET and HEAD; nothing a request says becomes a path. Requests that name another host
//! are refused, so that no page of the network can reach this one through a name that it resolves to 127.0.0.1 (DNS
//! rebinding). What the server cannot read within [`PATIENCE`] and [`LONGEST_HEAD`] it does not answer at length.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use crate::arguments::Options;
use crate::cache;
use crate::exit::Usage;

/// Flags of `graded serve`.
#[derive(Debug, Args)]
pub struct Command {
    /// The port to listen on; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8321)]
    port: u16,
    /// The folder that `wasm/build` made [default: the page inside the binary, or `page` beside it]
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
}

/// The page's files and their types: what `wasm/build` writes into `target/wasm/page`.
const FILES: [(&str, &str); 18] = [
    ("index.html", "text/html; charset=utf-8"),
    ("page.css", "text/css; charset=utf-8"),
    ("page.js", "text/javascript; charset=utf-8"),
    ("charts.js", "text/javascript; charset=utf-8"),
    ("dom.js", "text/javascript; charset=utf-8"),
    ("client.js", "text/javascript; charset=utf-8"),
    ("worker.js", "text/javascript; charset=utf-8"),
    ("load.js", "text/javascript; charset=utf-8"),
    ("engine.js", "text/javascript; charset=utf-8"),
    ("pool.js", "text/javascript; charset=utf-8"),
    ("pool-web.js", "text/javascript; charset=utf-8"),
    ("wasm.js", "text/javascript; charset=utf-8"),
    ("wasm_bg.wasm", "application/wasm"),
    ("wasm_relaxed_bg.wasm", "application/wasm"),
    ("embedded.bundle", "application/octet-stream"),
    ("sample/corpus.jsonl", "application/octet-stream"),
    ("sample/queries.jsonl", "application/octet-stream"),
    ("sample/judgments.tsv", "application/octet-stream"),
];
/// As in the page itself; here also against being framed.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; worker-src 'self'; \
    connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The most bytes of a request's line and headers.
const LONGEST_HEAD: usize = 16 << 10;
/// How long a request may take to arrive, and a client to take what it asked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// More connections than any page opens.
const MOST_CONNECTIONS: usize = 64;
const LARGEST_FILE: u64 = 256 << 20;

/// One file to serve.
struct Served {
    name: &'static str,
    kind: &'static str,
    content: Vec<u8>,
}

/// Runs `graded serve` until it is stopped.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<()> {
    let files = Arc::new(files(command.page.as_deref())?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, command.port)).map_err(|error| {
        Usage::error(format!("127.0.0.1:{}: {error}; --port takes another", command.port))
    })?;
    let port = listener.local_addr()?.port();
    if !options.quiet {
        eprintln!("serving on this machine alone; Ctrl-C ends it");
    }
    let mut out = io::stdout();
    writeln!(out, "http://127.0.0.1:{port}/").and_then(|()| out.flush())?;
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if open.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (files, open) = (Arc::clone(&files), Arc::clone(&open));
        std::thread::spawn(move || {
            // A client that hangs up is no error of ours.
            let _ = answer(stream, &files, port);
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
    Ok(())
}

/// The page's files: of the folder named, of the binary, or of the folder beside it.
fn files(named: Option<&Path>) -> anyhow::Result<Vec<Served>> {
    if let Some(folder) = named {
        return read(folder);
    }
    if let Some(files) = embedded() {
        return Ok(files);
    }
    let binary = std::env::current_exe().context("where this program lies")?;
    let beside = binary.parent().unwrap_or(Path::new(".")).join("page");
    if beside.is_dir() {
        return read(&beside);
    }
    let looked = format!("this binary was built without the page, and {} is not there", beside.display());
    Err(Usage::error(format!("{looked}; `wasm/build` makes one: --page target/wasm/page")))
}

fn read(folder: &Path) -> anyhow::Result<Vec<Served>> {
    let file = |(name, kind): (&'static str, &'static str)| {
        let path = folder.join(name);
        if !path.is_file() {
            let lacks = format!("{}: expected the page that `wasm/build` makes", folder.display());
            return Err(Usage::error(format!("{lacks}; {name} is not there")));
        }
        Ok(Served { name, kind, content: cache::read_whole(&path, LARGEST_FILE)? })
    };
    FILES.into_iter().map(file).collect()
}

#[cfg(not(feature = "page"))]
fn embedded() -> Option<Vec<Served>> {
    None
}

/// The files that the build put into the binary (`build.rs` says where they lie).
#[cfg(feature = "page")]
fn embedded() -> Option<Vec<Served>> {
    const CONTENTS: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/page.rs"));
    let file = |(name, kind): (&'static str, &'static str)| {
        let (_, content) = CONTENTS.iter().find(|(found, _)| *found == name)?;
        Some(Served { name, kind, content: content.to_vec() })
    };
    FILES.into_iter().map(file).collect()
}

/// What a request asks for.
struct Request {
    head_only: bool,
    path: String,
}

/// Why a request gets no file: the status line and one sentence.
type Refusal = (&'static str, &'static str);

fn answer(mut stream: TcpStream, files: &[Served], port: u16) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = read_head(&mut stream)?;
    let found = head.and_then(|head| parse(&head, port)).and_then(|request| {
        let name = if request.path == "/" { "index.html" } else { &request.path[1..] };
        let file = files.iter().find(|file| file.name == name);
        file.map(|file| (file, request.head_only)).ok_or(("404 Not Found", "There is no such file."))
    });
    match found {
        Ok((file, head_only)) => {
            write_head(&mut stream, "200 OK", file.kind, file.content.len())?;
            if !head_only {
                stream.write_all(&file.content)?;
            }
        }
        Err((status, sentence)) => {
            write_head(&mut stream, status, "text/plain; charset=utf-8", sentence.len())?;
            stream.write_all(sentence.as_bytes())?;
        }
    }
    stream.shutdown(Shutdown::Write)
}

/// The bytes up to the blank line.
fn read_head(stream: &mut TcpStream) -> io::Result<Result<Vec<u8>, Refusal>> {
    let start = Instant::now();
    let (mut head, mut part) = (Vec::new(), [0; 1024]);
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        let Some(left) = PATIENCE.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
            return Ok(Err(("408 Request Timeout", "The request took too long.")));
        };
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) => return Ok(Err(("400 Bad Request", "The request ends too soon."))),
            Ok(count) => head.extend_from_slice(&part[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
        if head.len() > LONGEST_HEAD {
            return Ok(Err(("431 Request Header Fields Too Large", "The request's head is too long.")));
        }
    }
    Ok(Ok(head))
}

fn parse(head: &[u8], port: u16) -> Result<Request, Refusal> {
    let bad = |sentence| ("400 Bad Request", sentence);
    let head = std::str::from_utf8(head).map_err(|_| bad("The request is not text."))?;
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = words[..] else {
        return Err(bad("Expected a request line of HTTP/1.1."));
    };
    let hosts: Vec<&str> = lines
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.eq_ignore_ascii_case("host"))
        .map(|(_, host)| host.trim())
        .collect();
    let own = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    if !matches!(hosts[..], [host] if own.iter().any(|own| own.eq_ignore_ascii_case(host))) {
        return Err(("403 Forbidden", "This server answers to 127.0.0.1 and localhost only."));
    }
    if !["GET", "HEAD"].contains(&method) {
        return Err(("405 Method Not Allowed", "Expected GET or HEAD."));
    }
    let path = target.split('?').next().unwrap_or_default();
    if !path.starts_with('/') {
        return Err(bad("Expected a path."));
    }
    Ok(Request { head_only: method == "HEAD", path: path.to_owned() })
}

fn write_head(stream: &mut TcpStream, status: &str, kind: &str, length: usize) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\
         Content-Security-Policy: {POLICY}\r\nCross-Origin-Opener-Policy: same-origin\r\n\
         Cross-Origin-Embedder-Policy: require-corp\r\nCross-Origin-Resource-Policy: same-origin\r\n\
         X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-cache\r\n\
         Allow: GET, HEAD\r\n\r\n"
    );
    stream.write_all(head.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn status(head: &str) -> &'static str {
        parse(head.as_bytes(), 80).map_or_else(|(status, _)| status, |_| "200 OK")
    }

    #[test]
    fn a_request_names_this_host_once() {
        assert_eq!(status("GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n"), "200 OK");
        assert_eq!(status("GET / HTTP/1.1\r\nhOsT:LOCALHOST:80\r\n\r\n"), "200 OK");
        for head in
            ["", "Host: evil.example:80\r\n", "Host: 127.0.0.1\r\n", "Host: localhost:80\r\nHost: a\r\n"]
        {
            assert_eq!(status(&format!("GET / HTTP/1.1\r\n{head}\r\n")), "403 Forbidden", "{head}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let host = "Host: localhost:80\r\n\r\n";
        assert_eq!(status(&format!("POST / HTTP/1.1\r\n{host}")), "405 Method Not Allowed");
        assert_eq!(status(&format!("GET http://localhost:80/ HTTP/1.1\r\n{host}")), "400 Bad Request");
        assert_eq!(status(&format!("GET / HTTP/2\r\n{host}")), "400 Bad Request");
        assert_eq!(status(&format!("GET  / HTTP/1.1\r\n{host}")), "400 Bad Request");
        assert_eq!(status("\r\n\r\n"), "400 Bad Request");
    }
}
