//! One request and its reply: sent, read within bounds, and sorted into what it means for whoever asked.
//!
//! | what came | what it means |
//! |---|---|
//! | 200 with a completion | [`Outcome::Answered`] |
//! | 429, 408, 425, 5xx, no connection, silence, a reply cut short, 200 with anything but a completion | [`Outcome::Passing`]: try again |
//! | 400, 413, 422 | [`Outcome::Refused`]: this question, or its form |
//! | 401, 403, 404, other 4xx, redirects | [`Outcome::Final`]: nothing will be answered |
//!
//! Redirects are not followed: the key would go where the recipe does not say.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value, json};
use synthesis::Request;
use ureq::Agent;
use ureq::http::Response;

use super::settings::{Form, Key, LiveFile};
use crate::runs::clock;

/// What a server says, shortened for a message.
const MOST_WORDS_OF_A_SERVER: usize = 300;

/// What a reply means.
#[derive(Debug)]
pub enum Outcome {
    /// A completion.
    Answered(Completion),
    /// Nothing this time.
    Passing {
        /// In a word, for counting.
        kind: &'static str,
        /// In words.
        reason: String,
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// Not this question, or not in this form.
    Refused(String),
    /// Nothing at all.
    Final(String),
}

/// A completion as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Completion {
    /// The text.
    pub text: String,
    /// The model's name.
    pub model: Option<String>,
    /// Tokens of prompt and completion, where the server counts them.
    pub tokens: Option<(u64, u64)>,
    /// Whether it was cut at the longest length allowed.
    pub is_cut: bool,
}

/// The road to one server.
pub struct Road {
    agent: Agent,
    url: String,
    key: Option<Key>,
    largest_reply_bytes: u64,
}

impl Road {
    /// The road to the server of these settings.
    pub fn new(file: &LiveFile, key: Option<Key>) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs_f64(file.timeout_s.min(20.0))))
            .max_idle_connections_per_host(file.concurrency)
            .user_agent(concat!("graded/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let url = format!("{}/chat/completions", file.base_url.trim_end_matches('/'));
        Self { agent, url, key, largest_reply_bytes: file.largest_reply_bytes }
    }

    /// Sends one request and reads its reply; both together take at most `timeout`.
    pub fn exchange(&self, body: &[u8], timeout: Duration) -> Outcome {
        match self.exchanged(body, timeout) {
            Outcome::Passing { kind, reason, retry_after } => {
                Outcome::Passing { kind, reason: self.safe(&reason), retry_after }
            }
            Outcome::Refused(reason) => Outcome::Refused(self.safe(&reason)),
            Outcome::Final(reason) => Outcome::Final(self.safe(&reason)),
            Outcome::Answered(completion) => Outcome::Answered(Completion {
                text: self.without_key(&completion.text),
                model: completion.model.map(|model| self.safe(&model)),
                ..completion
            }),
        }
    }

    fn exchanged(&self, body: &[u8], timeout: Duration) -> Outcome {
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("accept-encoding", "identity");
        if let Some(key) = &self.key {
            request = request.header("authorization", key.header());
        }
        let sent = request.config().timeout_global(Some(timeout)).build().send(body);
        let response = match sent {
            Ok(response) => response,
            Err(error) => return failed(&error),
        };
        let status = response.status().as_u16();
        let retry_after = retry_after(&response);
        let redirect = header(&response, "location").map(str::to_owned);
        let read = response.into_body().into_with_config().limit(self.largest_reply_bytes).read_to_vec();
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(ureq::Error::BodyExceedsLimit(_)) => {
                let most = self.largest_reply_bytes;
                return passing(
                    "too large",
                    format!("a reply of more than {most} bytes (largest_reply_bytes)"),
                );
            }
            // Of an error the status is enough.
            Err(_) if status != 200 => Vec::new(),
            Err(error) => return failed(&error),
        };
        let words = words(&bytes);
        match status {
            200 => completion(&bytes),
            300..=399 => {
                let to = redirect.unwrap_or_default();
                Outcome::Final(format!(
                    "redirected ({status}) to {to}; expected base_url to be the server's own address"
                ))
            }
            429 => Outcome::Passing { kind: "429", reason: format!("429 {words}"), retry_after },
            408 | 425 | 500..=599 => {
                let kind = if status >= 500 { "5xx" } else { "408" };
                Outcome::Passing { kind, reason: format!("{status} {words}"), retry_after }
            }
            400 | 413 | 422 => Outcome::Refused(format!("{status} {words}")),
            _ => Outcome::Final(format!("the server answered {status} {words}")),
        }
    }

    fn without_key(&self, text: &str) -> String {
        self.key.as_ref().map_or_else(|| text.to_owned(), |key| key.taken_out_of(text))
    }

    /// A server's words for a message: without the key, shortened, without control characters.
    fn safe(&self, text: &str) -> String {
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        self.without_key(text).chars().take(2 * MOST_WORDS_OF_A_SERVER).map(plain).collect()
    }
}

fn passing(kind: &'static str, reason: String) -> Outcome {
    Outcome::Passing { kind, reason, retry_after: None }
}

/// A request that brought no reply, or only a part of one.
fn failed(error: &ureq::Error) -> Outcome {
    match error {
        ureq::Error::Timeout(_) => passing("timeout", error.to_string()),
        ureq::Error::Io(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::Protocol(_)
        | ureq::Error::BodyStalled
        | ureq::Error::HostNotFound => passing("connection", error.to_string()),
        _ => Outcome::Final(error.to_string()),
    }
}

/// The body of a request, for a prompt and a form.
pub fn body(file: &LiveFile, request: &Request, prompt: &str, sample: u32, form: Form) -> Vec<u8> {
    let mut body = json!({
        "model": file.model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": request.temperature,
        // Servers read it as a signed number.
        "seed": (request.seed.wrapping_add(u64::from(sample))) & (i64::MAX as u64),
        "max_tokens": file.max_tokens,
    });
    if let Some(schema) = request.schema() {
        match form {
            Form::JsonSchema => {
                let schema = json!({"name": "answer", "strict": true, "schema": schema});
                body["response_format"] = json!({"type": "json_schema", "json_schema": schema});
            }
            Form::JsonObject => body["response_format"] = json!({"type": "json_object"}),
            Form::Auto | Form::LastLine => {}
        }
    }
    if let Some(body) = body.as_object_mut() {
        body.retain(|key, _| !file.omit.contains(key));
        body.extend(file.extra.iter().map(|(key, value)| (key.clone(), json!(value))));
    }
    serde_json::to_vec(&body).unwrap_or_default()
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    model: Option<String>,
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

/// The completion in the body of a 200.
fn completion(bytes: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return passing("not UTF-8", "a reply that is not UTF-8".to_owned());
    };
    let reply: Reply = match serde_json::from_str(text) {
        Ok(reply) => reply,
        Err(error) => {
            return passing(
                "malformed",
                format!("expected a chat completion ({error}), found {}", words(bytes)),
            );
        }
    };
    let Some(choice) = reply.choices.into_iter().next() else {
        return passing("no choices", "a completion without choices".to_owned());
    };
    if choice.finish_reason.as_deref() == Some("content_filter") {
        return Outcome::Refused("the server's content filter".to_owned());
    }
    Outcome::Answered(Completion {
        text: choice.message.content.unwrap_or_default(),
        model: reply.model.filter(|model| !model.is_empty()),
        tokens: reply.usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens)),
        is_cut: choice.finish_reason.as_deref() == Some("length"),
    })
}

/// What a server says of an error: its `error.message`, or the beginning of whatever came.
fn words(bytes: &[u8]) -> String {
    let message = serde_json::from_slice::<Value>(bytes).ok().and_then(|value| {
        let message = value.pointer("/error/message").or(value.get("error")).or(value.get("message"))?;
        message.as_str().map(str::to_owned)
    });
    let text =
        message.unwrap_or_else(|| String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned());
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MOST_WORDS_OF_A_SERVER).collect()
}

fn header<'r, T>(response: &'r Response<T>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

fn retry_after<T>(response: &Response<T>) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    wait_of(header(response, "retry-after")?, now)
}

/// `Retry-After` as seconds or as a date (RFC 9110, 10.2.3), seen from `now` in seconds since 1970; a date that has passed
/// is no wait.
fn wait_of(written: &str, now: u64) -> Option<Duration> {
    let written = written.trim();
    if let Ok(seconds) = written.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(1e9)));
    }
    http_date(written).map(|then| Duration::from_secs(then.saturating_sub(now)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` in seconds since 1970.
fn http_date(written: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let fields: Vec<&str> = written.split_once(", ")?.1.split([' ', ':']).collect();
    let &[day, month, year, hour, minute, second, "GMT"] = &fields[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let microseconds = clock::parse(&format!("{year}{month:02}{day}T{hour}{minute}{second}.000000Z"))?;
    u64::try_from(microseconds / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_wait_a_server_asks_for_is_read_in_both_forms() {
        assert_eq!(wait_of("7", 0), Some(Duration::from_secs(7)));
        assert_eq!(wait_of(" 0.5 ", 0), Some(Duration::from_millis(500)));
        // RFC 9110's own example is 784,111,777 seconds after 1970 began.
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(wait_of(date, 784_111_770), Some(Duration::from_secs(7)));
        assert_eq!(wait_of(date, 784_111_800), Some(Duration::ZERO));
        for wrong in ["", "soon", "-3", "inf", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Abc 1994 08:49:37 GMT"] {
            assert_eq!(wait_of(wrong, 0), None, "{wrong}");
        }
    }

    #[test]
    fn a_completion_is_found_and_anything_else_is_passing() {
        let whole = br#"{"model":"m-1","choices":[{"message":{"content":"x"},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
        let Outcome::Answered(answer) = completion(whole) else { panic!("not answered") };
        let expected =
            Completion { text: "x".into(), model: Some("m-1".into()), tokens: Some((3, 1)), is_cut: true };
        assert_eq!(answer, expected);
        for (bytes, expected) in [
            (&whole[..40], "malformed"),
            (b"<html>busy</html>".as_slice(), "malformed"),
            (br#"{"answer":"x"}"#.as_slice(), "malformed"),
            (br#"{"choices":[]}"#.as_slice(), "no choices"),
            (b"{\"choices\":\"\xff\"}".as_slice(), "not UTF-8"),
        ] {
            let Outcome::Passing { kind, .. } = completion(bytes) else { panic!("{bytes:?} did not pass") };
            assert_eq!(kind, expected);
        }
    }
}
