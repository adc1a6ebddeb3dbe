//! A language model in this process, as a [`Generator`]: a GGUF file or safetensors, through candle.
//!
//! The model lives on a thread of its own, which answers one question after the other, with a pool of threads of its own
//! beneath. Both are needed: the pipelines ask from the threads of the common pool, which wait for their answers, and a
//! network that shared the pool with them would wait for threads that wait for it.
//!
//! What is asked for in a schema is asked for by the prompt alone. No draw and no greedy answer depends on what was asked
//! before; they are the same again on the same machine, while other processors may round otherwise.

mod files;
mod settings;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context;
use rayon::ThreadPool;
use scorer::language_model::{LanguageModel, Sampling, Settings};
use synthesis::asking::Usage;
use synthesis::{Generator, Request, SynthesisError};

use self::files::Files;
pub use self::settings::LocalFile;
use crate::arguments::Options;
use crate::progress;

/// So much of the digest names a model.
const DIGITS: usize = 16;

type Result<T> = std::result::Result<T, SynthesisError>;

/// The way to a model on its thread.
pub struct Local {
    model: String,
    revision: String,
    questions: Mutex<Sender<Question>>,
    account: Arc<Account>,
}

/// A question on its way: one completion is wanted.
struct Question {
    prompt: String,
    temperature: f64,
    seed: u64,
    reply: Sender<Result<String>>,
}

impl Local {
    /// Loads the model that these settings name.
    ///
    /// # Errors
    /// Settings that cannot be, files that are missing, or a model that cannot be run.
    pub fn open(file: &LocalFile, options: &Options) -> anyhow::Result<Self> {
        file.check()?;
        let begun = Instant::now();
        let files = Files::open(&file.model)?;
        let model = format!("local {}", &files.digest[..DIGITS]);
        let account = Arc::new(Account::new(&model, file));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(rayon::current_num_threads()).build()?;
        let settings = Settings {
            context_tokens: file.context_tokens as usize,
            system: file.system.clone(),
            thinking: file.thinking,
        };
        let (questions, asked) = channel();
        let (ready, loaded) = channel();
        let answering = Answering { file: file.clone(), account: account.clone(), pool };
        std::thread::Builder::new().name("language model".to_owned()).spawn(move || {
            let model = answering.pool.install(|| files.load(&settings));
            drop(files);
            match model {
                Ok(model) => {
                    let about = format!("{} of {} layers", model.architecture(), model.layers());
                    // Whoever opened it may be gone: then nobody asks either.
                    drop(ready.send(Ok((about, model.context_tokens()))));
                    answering.run(model, &asked);
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        })?;
        let shown = file.model.display();
        let loaded = loaded.recv().with_context(|| format!("{shown}: the model cannot be loaded"))?;
        let (about, context_tokens) = loaded.with_context(|| shown.to_string())?;
        let seconds = begun.elapsed().as_secs_f64();
        progress::say(
            options,
            format!("{shown}: {about}, {context_tokens} tokens of context, loaded in {seconds:.1} s"),
        );
        Ok(Self { model, revision: file.revision(), questions: Mutex::new(questions), account })
    }

    fn ask(&self, prompt: &str, temperature: f64, seed: u64) -> Result<String> {
        let (reply, answer) = channel();
        let question = Question { prompt: prompt.to_owned(), temperature, seed, reply };
        let sent = self.questions.lock().unwrap_or_else(PoisonError::into_inner).send(question);
        // Its thread ends early by a fault in candle alone, which that has told on stderr.
        let ended = |_| self.account.failed("the model's thread has ended");
        sent.map_err(|_| self.account.failed("the model's thread has ended"))?;
        answer.recv().map_err(ended)?
    }
}

impl Generator for Local {
    fn model(&self) -> &str {
        &self.model
    }

    fn revision(&self) -> &str {
        &self.revision
    }

    fn generate(&self, request: &Request) -> Result<Vec<String>> {
        let prompt = request.prompt()?;
        let sample =
            |at: u32| self.ask(&prompt, request.temperature, request.seed.wrapping_add(u64::from(at)));
        (0..request.samples).map(sample).collect()
    }

    fn usage(&self) -> Option<Usage> {
        Some(self.account.usage())
    }
}

/// What the model's thread works with.
struct Answering {
    file: LocalFile,
    account: Arc<Account>,
    pool: ThreadPool,
}

impl Answering {
    /// Answers until nobody can ask any more.
    fn run(&self, mut model: LanguageModel, questions: &Receiver<Question>) {
        for question in questions {
            let answer = self.pool.install(|| self.answer(&mut model, &question));
            drop(question.reply.send(answer));
        }
    }

    fn answer(&self, model: &mut LanguageModel, question: &Question) -> Result<String> {
        let ids = model.ids(&question.prompt)?;
        let max_tokens = self.file.max_tokens as usize;
        let most = model.context_tokens();
        if ids.len() + max_tokens > most {
            let found = format!("{} tokens of prompt and max_tokens {max_tokens}", ids.len());
            return Err(self.account.refused(format!("{found}, context_tokens is {most}")));
        }
        self.account.enter(ids.len() as u64)?;
        let Question { temperature, seed, .. } = *question;
        let sampling = Sampling { temperature, top_p: self.file.top_p, seed, max_tokens };
        let begun = Instant::now();
        let mut spent = Ok(());
        let mut written = 0;
        let answer = model.complete(&ids, &sampling, &mut |tokens| {
            written = tokens as u64;
            spent = self.account.in_time();
            spent.is_ok()
        });
        let tokens = answer.as_ref().ok().and_then(|answer| Some(answer.as_ref()?.tokens as u64));
        self.account.leave(ids.len() as u64, tokens.unwrap_or(written), begun.elapsed().as_secs_f64());
        spent?;
        match answer {
            Ok(Some(completion)) => {
                self.account.answered(completion.is_cut);
                Ok(completion.text)
            }
            Ok(None) => Err(self.account.failed("the writing was ended")),
            Err(error) => Err(self.account.failed(error.to_string())),
        }
    }
}

/// What was used, and what may be.
struct Account {
    model: String,
    file: LocalFile,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    begun: Option<Instant>,
    /// Time in which the model computed.
    busy_s: f64,
    usage: Usage,
}

impl Account {
    fn new(model: &str, file: &LocalFile) -> Self {
        let usage = Usage {
            currency: file.price.as_ref().map(|price| price.currency.clone()),
            format: Some("last_line".to_owned()),
            ..Usage::default()
        };
        let state = Mutex::new(State { usage, ..State::default() });
        Self { model: model.to_owned(), file: file.clone(), state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cost(&self, state: &State) -> Option<f64> {
        self.file.price.as_ref().map(|price| price.of(state.busy_s))
    }

    /// Counts a question of so many tokens, where the budget bears it and the longest answer.
    fn enter(&self, prompt_tokens: u64) -> Result<()> {
        self.in_time()?;
        let mut state = self.lock();
        let (budget, usage) = (&self.file.budget, &state.usage);
        if let Some(most) = budget.requests.filter(|most| usage.requests >= *most) {
            return Err(self.stopped(format!("all {most} requests of the budget are made (budget.requests)")));
        }
        let used = usage.prompt_tokens + usage.completion_tokens;
        let next = prompt_tokens + u64::from(self.file.max_tokens);
        if let Some(most) = budget.tokens.filter(|most| used + next > *most) {
            return Err(self.stopped(format!(
                "{used} of {most} tokens are used; the next request may exceed them (budget.tokens)"
            )));
        }
        state.begun.get_or_insert_with(Instant::now);
        state.usage.requests += 1;
        Ok(())
    }

    fn leave(&self, prompt_tokens: u64, tokens: u64, seconds: f64) {
        let mut state = self.lock();
        state.usage.prompt_tokens += prompt_tokens;
        state.usage.completion_tokens += tokens;
        state.busy_s += seconds;
    }

    fn answered(&self, is_cut: bool) {
        let mut state = self.lock();
        state.usage.answered += 1;
        state.usage.cut_answers += u64::from(is_cut);
    }

    /// Whether time and money last.
    fn in_time(&self) -> Result<()> {
        let state = self.lock();
        let budget = &self.file.budget;
        let passed = state.begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        if let Some(wall_s) = budget.wall_s.filter(|wall_s| passed >= *wall_s) {
            return Err(self.stopped(format!("the {wall_s} s of the budget have passed (budget.wall_s)")));
        }
        match (budget.cost, self.cost(&state)) {
            (Some(most), Some(cost)) if cost >= most => {
                Err(self.stopped(format!("{cost:.4} of {most} are spent (budget.cost)")))
            }
            _ => Ok(()),
        }
    }

    fn usage(&self) -> Usage {
        let state = self.lock();
        Usage {
            seconds: state.begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64()),
            cost: self.cost(&state),
            ..state.usage.clone()
        }
    }

    fn refused(&self, reason: String) -> SynthesisError {
        let refusal = SynthesisError::Refused { model: self.model.clone(), reason };
        let mut state = self.lock();
        state.usage.refused += 1;
        state.usage.first_refusal.get_or_insert_with(|| refusal.to_string());
        refusal
    }

    fn failed(&self, reason: impl Into<String>) -> SynthesisError {
        SynthesisError::Generation { model: self.model.clone(), reason: reason.into() }
    }

    fn stopped(&self, what: String) -> SynthesisError {
        let reason =
            format!("{what}; what was answered is in the journal, and the same command goes on from there");
        SynthesisError::Stopped { model: self.model.clone(), reason }
    }
}
