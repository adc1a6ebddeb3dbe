//! A live model behind any OpenAI-compatible server, as a [`Generator`].
//!
//! Every completion is a request of its own (`chat/completions` without streaming, sample i with seed + i), for servers
//! differ in what `n` means to them. What fails in passing is tried again after a pause drawn from 0 to 0.5 s x 2^attempt
//! (exponential back-off with full jitter), or after what `Retry-After` asks for, which then holds for all requests.
//!
//! **Form.** Under `format = "auto"` the first question that has a schema finds out what the server accepts: a JSON
//! schema, else JSON, else a line at the end. A form is settled when it has been answered, so that a question refused in
//! every form settles nothing.
//!
//! **Another model.** A server may answer under another name than expected. The answer is then refused, or
//! (`model_change = "allow"`) used, the name remembered with it and named in the report.

mod exchange;
mod limits;
mod settings;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use synthesis::asking::{Answer, Usage};
use synthesis::{Generator, Request, SynthesisError};

use exchange::{Completion, Outcome, Road, body};
use limits::{Limits, Spent, estimated_tokens};
pub use settings::{Budget, LiveFile};
use settings::{Form, ModelChange};

/// The shortest upper bound of a pause between attempts.
const FIRST_PAUSE_S: f64 = 0.5;

/// The client.
pub struct Live {
    file: LiveFile,
    revision: String,
    road: Road,
    limits: Limits,
    /// What the server accepts, once that is known.
    form: Mutex<Option<Form>>,
}

type Result<T> = std::result::Result<T, SynthesisError>;

impl Live {
    /// A client of these settings. Nothing is sent yet.
    ///
    /// # Errors
    /// Settings that cannot be, or no key where one is named.
    pub fn open(file: &LiveFile) -> anyhow::Result<Self> {
        file.check()?;
        let road = Road::new(file, file.key()?);
        let form = (file.format != Form::Auto).then_some(file.format);
        let (revision, limits) = (file.revision(), Limits::new(file));
        Ok(Self { file: file.clone(), revision, road, limits, form: Mutex::new(form) })
    }

    fn settled(&self) -> Option<Form> {
        *self.form.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, form: Form) {
        self.form.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(form);
        self.limits.count(|usage| usage.format = Some(form.name().to_owned()));
    }

    /// One completion, in the form the server accepts.
    fn complete(&self, request: &Request, prompt: &str, sample: u32) -> Result<Completion> {
        let all = [Form::JsonSchema, Form::JsonObject, Form::LastLine];
        let settled = self.settled();
        let forms = match &settled {
            _ if request.schema().is_none() => &all[2..],
            Some(form) => std::slice::from_ref(form),
            None => &all[..],
        };
        let mut refusal = None;
        for &form in forms {
            match self.attempt(&body(&self.file, request, prompt, sample, form), prompt) {
                Ok(completion) => {
                    if request.schema().is_some() {
                        self.settle(form);
                    }
                    return Ok(completion);
                }
                // The first refusal is about the whole of what was asked.
                Err(error @ SynthesisError::Refused { .. }) => refusal = refusal.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        let refusal = refusal.unwrap_or_else(|| self.failed("no form to ask in"));
        self.limits.count(|usage| {
            usage.refused += 1;
            usage.first_refusal.get_or_insert_with(|| refusal.to_string());
        });
        Err(refusal)
    }

    /// One completion; what fails in passing is tried again.
    fn attempt(&self, body: &[u8], prompt: &str) -> Result<Completion> {
        let prompt_tokens = estimated_tokens(prompt.chars().count());
        let mut attempt = 1;
        loop {
            let place = self.limits.enter(prompt_tokens).map_err(|spent| self.stopped(&spent))?;
            let outcome = self.road.exchange(body, self.limits.timeout());
            let used =
                match &outcome {
                    Outcome::Answered(completion) => Some(completion.tokens.unwrap_or_else(|| {
                        (prompt_tokens, estimated_tokens(completion.text.chars().count()))
                    })),
                    _ => None,
                };
            self.limits.leave(&place, used);
            match outcome {
                Outcome::Answered(completion) => return self.accepted(completion),
                Outcome::Refused(reason) => {
                    return Err(SynthesisError::Refused { model: self.file.model.clone(), reason });
                }
                Outcome::Final(reason) => return Err(self.failed(reason)),
                Outcome::Passing { reason, .. } if attempt >= self.file.attempts => {
                    return Err(self.failed(format!("{reason} ({attempt} attempts; run again to go on)")));
                }
                Outcome::Passing { kind, reason, retry_after } => {
                    self.limits.count(|usage| *usage.retries.entry(kind.to_owned()).or_default() += 1);
                    let pause = self.pause(attempt, retry_after, &reason)?;
                    self.limits.sleep(pause).map_err(|spent| self.stopped(&spent))?;
                }
            }
            attempt += 1;
        }
    }

    /// How long to wait after a failed attempt.
    fn pause(&self, attempt: u32, asked: Option<Duration>, reason: &str) -> Result<Duration> {
        let longest = self.file.longest_wait_s;
        if let Some(asked) = asked {
            if asked.as_secs_f64() > longest {
                let seconds = asked.as_secs();
                let asks = format!("{reason}; it asks to wait {seconds} s, longest_wait_s allows {longest}");
                return Err(self.failed(asks));
            }
            self.limits.pause(asked);
        }
        let bound = (FIRST_PAUSE_S * f64::from(attempt - 1).exp2()).min(longest);
        Ok(Duration::from_secs_f64(bound * draw()).max(asked.unwrap_or_default()))
    }

    /// Checks under which name an answer was given, and counts it.
    fn accepted(&self, completion: Completion) -> Result<Completion> {
        let expected = self.file.served_as.as_deref().unwrap_or(&self.file.model);
        let other = completion.model.as_deref().filter(|name| *name != expected).map(str::to_owned);
        self.limits.count(|usage| {
            usage.answered += 1;
            usage.without_token_counts += u64::from(completion.tokens.is_none());
            usage.cut_answers += u64::from(completion.is_cut);
            usage.served_as.extend(other.clone());
        });
        match (other, self.file.model_change) {
            (Some(name), ModelChange::Refuse) => Err(self.failed(format!(
                "the server answered as {name:?}, expected {expected:?}; generator.live.served_as = {name:?} expects \
                 it, model_change = \"allow\" takes any"
            ))),
            (other, _) => Ok(Completion { model: other, ..completion }),
        }
    }

    fn failed(&self, reason: impl Into<String>) -> SynthesisError {
        SynthesisError::Generation { model: self.file.model.clone(), reason: reason.into() }
    }

    fn stopped(&self, Spent(what): &Spent) -> SynthesisError {
        let reason =
            format!("{what}; what was answered is in the journal, and the same command goes on from there");
        SynthesisError::Stopped { model: self.file.model.clone(), reason }
    }
}

impl Generator for Live {
    fn model(&self) -> &str {
        &self.file.model
    }

    fn revision(&self) -> &str {
        &self.revision
    }

    fn generate(&self, request: &Request) -> Result<Vec<String>> {
        Ok(self.answer(request)?.completions)
    }

    fn answer(&self, request: &Request) -> Result<Answer> {
        let prompt = request.prompt()?;
        let mut answer = Answer::default();
        for sample in 0..request.samples {
            let completion = self.complete(request, &prompt, sample)?;
            answer.completions.push(completion.text);
            answer.served_as = answer.served_as.or(completion.model);
        }
        Ok(answer)
    }

    fn concurrency(&self) -> usize {
        self.file.concurrency
    }

    fn usage(&self) -> Option<Usage> {
        Some(self.limits.usage())
    }
}

/// A number from 0 to 1 that no two processes share: pauses must not fall together.
fn draw() -> f64 {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let seed = format!("{nanos} {} {:?}", std::process::id(), std::thread::current().id());
    let digest = blake3::hash(seed.as_bytes());
    let bits = u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap_or_default());
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
