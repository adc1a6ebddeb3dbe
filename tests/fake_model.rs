//! A server that speaks the chat completions protocol as badly as a test asks for. One thread a connection, one request a
//! connection, nothing but the standard library.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// From 0.
    pub number: usize,
    pub at: Instant,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Seen {
    pub fn prompt(&self) -> &str {
        self.body["messages"][0]["content"].as_str().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// How the form of the answer is asked for.
    pub fn form(&self) -> &str {
        self.body["response_format"]["type"].as_str().unwrap_or("none")
    }
}

/// What is sent back.
pub enum Reply {
    /// A status, further headers (each with its line end), a body.
    Whole(u16, String, Vec<u8>),
    /// A 200 whose body ends after so many bytes of what was announced.
    Cut(Vec<u8>, usize),
    /// Nothing for a while, then the end of the connection.
    Silence(Duration),
    /// A 200 whose body does not end by itself: so many bytes of it.
    Huge(usize),
}

impl Reply {
    /// A 200 with a completion.
    pub fn says(content: &str) -> Self {
        Self::says_as("fake-1", content)
    }

    /// The same in another model's name.
    pub fn says_as(model: &str, content: &str) -> Self {
        let body = json!({
            "id": "x", "object": "chat.completion", "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        });
        Self::Whole(200, String::new(), serde_json::to_vec(&body).unwrap())
    }

    /// An error as such servers write it.
    pub fn error(status: u16, message: &str) -> Self {
        let body = json!({"error": {"message": message, "type": "x"}});
        Self::Whole(status, String::new(), serde_json::to_vec(&body).unwrap())
    }
}

/// The server.
pub struct FakeModel {
    /// Up to `/v1`.
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    most_under_way: Arc<AtomicUsize>,
}

impl FakeModel {
    pub fn start(behave: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (all, most_under_way, behave) = (seen.clone(), most.clone(), Arc::new(behave));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, behave) = (all.clone(), behave.clone());
                let (under_way, most) = (under_way.clone(), most.clone());
                std::thread::spawn(move || {
                    most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    if let Some(request) = read(&stream, &seen) {
                        let reply = behave(&request);
                        // Taken off before the client can have its reply.
                        under_way.fetch_sub(1, Ordering::SeqCst);
                        send(stream, reply);
                    } else {
                        under_way.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Self { url, seen, most_under_way }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn most_under_way(&self) -> usize {
        self.most_under_way.load(Ordering::SeqCst)
    }
}

fn read(stream: &TcpStream, seen: &Mutex<Vec<Seen>>) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse::<usize>().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut seen = seen.lock().unwrap();
    let body = serde_json::from_slice(&body).ok()?;
    let request = Seen { number: seen.len(), at: Instant::now(), path, headers, body };
    seen.push(request.clone());
    Some(request)
}

/// Whoever asked may be gone: nothing here fails.
fn send(mut stream: TcpStream, reply: Reply) {
    let head = |status: u16, headers: &str, length: usize| {
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n")
    };
    let bytes = match reply {
        Reply::Whole(status, headers, body) => {
            [head(status, &headers, body.len()).into_bytes(), body].concat()
        }
        Reply::Cut(body, at) => [head(200, "", body.len()).as_bytes(), &body[..at]].concat(),
        Reply::Silence(time) => {
            std::thread::sleep(time);
            Vec::new()
        }
        Reply::Huge(bytes) => {
            let head = b"HTTP/1.1 200 X\r\nconnection: close\r\n\r\n{\"choices\": \"".to_vec();
            [head, vec![b'x'; bytes]].concat()
        }
    };
    drop(stream.write_all(&bytes));
}
