//! `graded serve`: what it answers, and what it refuses.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::graded::Folder;

/// The files of a page, each with its own name as content.
const FILES: [&str; 18] = [
    "index.html",
    "page.css",
    "page.js",
    "charts.js",
    "dom.js",
    "client.js",
    "worker.js",
    "load.js",
    "engine.js",
    "pool.js",
    "pool-web.js",
    "wasm.js",
    "wasm_bg.wasm",
    "wasm_relaxed_bg.wasm",
    "embedded.bundle",
    "sample/corpus.jsonl",
    "sample/queries.jsonl",
    "sample/judgments.tsv",
];

/// A running server, ended with its test.
struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn page() -> Folder {
    let folder = Folder::new();
    for name in FILES {
        folder.write(&format!("page/{name}"), name);
    }
    folder.write("secret.txt", "secret");
    folder
}

impl Server {
    fn start(folder: &Folder) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_graded"))
            .args(["serve", "--port", "0", "--quiet", "--page"])
            .arg(folder.path("page"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().trim_start_matches("http://127.0.0.1:").trim_end_matches('/').parse().unwrap();
        Self { process, port }
    }

    /// Sends `request`, with `PORT` replaced, and reads everything that comes back.
    fn say(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(request.replace("PORT", &self.port.to_string()).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> String {
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n"))
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn the_files_of_the_page_are_served_with_their_types_and_the_policy() {
    let folder = page();
    let server = Server::start(&folder);
    for name in FILES {
        let answer = server.get(&format!("/{name}"));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{name}: {answer}");
        assert_eq!(body(&answer), name);
    }
    let root = server.get("/?from=somewhere");
    assert_eq!(body(&root), "index.html");
    for header in [
        "Content-Type: text/html; charset=utf-8",
        "Content-Security-Policy: default-src 'none'; script-src 'self' 'wasm-unsafe-eval'",
        "frame-ancestors 'none'",
        "Cross-Origin-Opener-Policy: same-origin",
        "Cross-Origin-Embedder-Policy: require-corp",
        "X-Content-Type-Options: nosniff",
    ] {
        assert!(root.contains(header), "{header} is not in {root}");
    }
    assert!(server.get("/wasm_bg.wasm").contains("Content-Type: application/wasm\r\n"));
    assert!(server.get("/worker.js").contains("Content-Type: text/javascript; charset=utf-8\r\n"));
    let head = server.say("HEAD /page.js HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n");
    assert!(head.contains("Content-Length: 7\r\n") && body(&head).is_empty(), "{head}");
}

#[test]
fn nothing_else_has_a_name_here() {
    let folder = page();
    let server = Server::start(&folder);
    let paths = [
        "/../secret.txt",
        "/page.js/",
        "//page.js",
        "/%2e%2e/secret.txt",
        "/sample/../../secret.txt",
        "/sample",
    ];
    for path in paths {
        assert!(server.get(path).starts_with("HTTP/1.1 404 Not Found\r\n"), "{path}");
    }
}

#[test]
fn other_hosts_and_other_methods_are_refused() {
    let folder = page();
    let server = Server::start(&folder);
    for host in
        ["Host: evil.example:PORT\r\n", "Host: 127.0.0.1\r\n", "", "Host: localhost:PORT\r\nHost: x\r\n"]
    {
        let answer = server.say(&format!("GET / HTTP/1.1\r\n{host}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{host}: {answer}");
        assert!(!answer.contains("index.html"));
    }
    let answer = server.say("POST / HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{answer}");
    assert!(server.say("nonsense\r\n\r\n").starts_with("HTTP/1.1 400 Bad Request\r\n"));
}

#[test]
fn a_head_without_end_is_cut_off_and_the_server_stays() {
    let folder = page();
    let server = Server::start(&folder);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.write_all(format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(16 << 10)).as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
    // A client that says nothing holds nobody up.
    let silent = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    assert!(server.get("/").starts_with("HTTP/1.1 200 OK"));
    drop(silent);
}

#[test]
fn a_port_in_use_and_a_page_that_is_none_are_wrong_usage() {
    let folder = page();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    folder.run(&format!("serve --page page --port {port}")).refused(&["127.0.0.1", &port, "--port"]);
    folder.run("serve --page nowhere").refused(&["nowhere", "wasm/build"]);
    folder.write("half/index.html", "x");
    folder.run("serve --page half").refused(&["half", "page.css", "wasm/build"]);
}

#[test]
#[cfg(not(feature = "page"))]
fn a_binary_without_the_page_says_what_makes_one() {
    Folder::new().run("serve --port 0").refused(&["without the page", "wasm/build"]);
}
