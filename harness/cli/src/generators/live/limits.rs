//! What keeps the asking within bounds: how many requests at a time and a minute, and the budget of the run.
//!
//! Rates are kept by spacing: after a request of n tokens the next one starts n / rate minutes later, so that no minute
//! holds more than the rate and no server sees a burst. Tokens are estimated before a request and put right after it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use synthesis::asking::Usage;

use super::settings::{LiveFile, Price};

/// Four characters a token: an estimate, wherever a server does not count.
pub fn estimated_tokens(characters: usize) -> u64 {
    characters.div_ceil(4) as u64
}

/// The limits of one run, and what it has used.
pub struct Limits {
    file: LiveFile,
    state: Mutex<State>,
    room: Condvar,
}

struct State {
    under_way: usize,
    /// When the first request was made.
    begun: Option<Instant>,
    /// When the next request may start, by the rate of requests, by that of tokens, and by what a server asked for.
    next_by_requests: Option<Instant>,
    next_by_tokens: Option<Instant>,
    paused_until: Option<Instant>,
    /// Tokens of what is under way, estimated.
    reserved_tokens: (u64, u64),
    usage: Usage,
}

/// A budget that is spent, in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Spent(pub String);

/// A request's place: what was reserved for it.
pub struct Place {
    tokens: (u64, u64),
}

impl Limits {
    /// The limits of these settings.
    pub fn new(file: &LiveFile) -> Self {
        let usage = Usage {
            cost: file.price.as_ref().map(|_| 0.0),
            currency: file.price.as_ref().map(|price| price.currency.clone()),
            ..Usage::default()
        };
        let state = State {
            under_way: 0,
            begun: None,
            next_by_requests: None,
            next_by_tokens: None,
            paused_until: None,
            reserved_tokens: (0, 0),
            usage,
        };
        Self { file: file.clone(), state: Mutex::new(state), room: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request of so many prompt tokens may start, and counts it.
    ///
    /// # Errors
    /// When a budget is spent, or would be by this request.
    pub fn enter(&self, prompt_tokens: u64) -> Result<Place, Spent> {
        let tokens = (prompt_tokens, u64::from(self.file.max_tokens));
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            self.affords(&state, tokens, now)?;
            if state.under_way >= self.file.concurrency {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let next = [state.next_by_requests, state.next_by_tokens, state.paused_until];
            match next.into_iter().flatten().max().filter(|next| *next > now) {
                None => break,
                Some(next) => {
                    self.in_time(&state, next)?;
                    let waited = self.room.wait_timeout(state, next - now);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        let now = Instant::now();
        state.begun.get_or_insert(now);
        let spaced = |rate: Option<f64>, amount: u64| {
            rate.map(|rate| now + Duration::from_secs_f64((amount as f64 * 60.0 / rate).min(86_400.0)))
        };
        state.next_by_requests = spaced(self.file.requests_per_minute, 1);
        state.next_by_tokens = spaced(self.file.tokens_per_minute, tokens.0 + tokens.1);
        state.under_way += 1;
        state.reserved_tokens.0 += tokens.0;
        state.reserved_tokens.1 += tokens.1;
        state.usage.requests += 1;
        Ok(Place { tokens })
    }

    /// Takes back what was reserved, and lets the next one in. `used`: the tokens that a reply has cost.
    pub fn leave(&self, place: &Place, used: Option<(u64, u64)>) {
        let mut state = self.lock();
        state.under_way -= 1;
        state.reserved_tokens.0 -= place.tokens.0;
        state.reserved_tokens.1 -= place.tokens.1;
        if let Some((prompt, completion)) = used {
            state.usage.prompt_tokens += prompt;
            state.usage.completion_tokens += completion;
            // The estimate is put right; it was on the safe side as a rule.
            let (was, is) = (place.tokens.0 + place.tokens.1, prompt + completion);
            if let (Some(rate), Some(next)) = (self.file.tokens_per_minute, state.next_by_tokens) {
                let shift = Duration::from_secs_f64((was.abs_diff(is) as f64 * 60.0 / rate).min(86_400.0));
                state.next_by_tokens = if is > was { Some(next + shift) } else { next.checked_sub(shift) };
            }
        }
        drop(state);
        self.room.notify_all();
    }

    /// Keeps everybody out for a while, because the server asked for it.
    pub fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        state.paused_until = Some(state.paused_until.map_or(until, |before| before.max(until)));
    }

    /// Sleeps before another attempt.
    ///
    /// # Errors
    /// When the time budget ends before.
    pub fn sleep(&self, wait: Duration) -> Result<(), Spent> {
        self.in_time(&self.lock(), Instant::now() + wait)?;
        std::thread::sleep(wait);
        Ok(())
    }

    /// How long the next request may take.
    pub fn timeout(&self) -> Duration {
        let timeout = Duration::from_secs_f64(self.file.timeout_s.min(1e6));
        let state = self.lock();
        match (self.file.budget.wall_s, state.begun) {
            (Some(wall_s), Some(begun)) => {
                let left = Duration::from_secs_f64(wall_s.min(1e9)).saturating_sub(begun.elapsed());
                timeout.min(left).max(Duration::from_millis(1))
            }
            _ => timeout,
        }
    }

    /// Counts something.
    pub fn count(&self, count: impl FnOnce(&mut Usage)) {
        count(&mut self.lock().usage);
    }

    /// What was used so far.
    pub fn usage(&self) -> Usage {
        let state = self.lock();
        let mut usage = state.usage.clone();
        usage.seconds = state.begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        usage.cost = self.cost(usage.prompt_tokens, usage.completion_tokens);
        usage
    }

    fn cost(&self, prompt_tokens: u64, completion_tokens: u64) -> Option<f64> {
        self.file.price.as_ref().map(|price: &Price| price.of(prompt_tokens, completion_tokens))
    }

    /// Whether the budget bears another request: what is under way is counted at its estimate.
    fn affords(&self, state: &State, tokens: (u64, u64), now: Instant) -> Result<(), Spent> {
        let (budget, usage) = (&self.file.budget, &state.usage);
        let spent = |what: String| Err(Spent(what));
        if let Some(most) = budget.requests.filter(|most| usage.requests >= *most) {
            return spent(format!("all {most} requests of the budget are made (budget.requests)"));
        }
        let prompt = usage.prompt_tokens + state.reserved_tokens.0 + tokens.0;
        let completion = usage.completion_tokens + state.reserved_tokens.1 + tokens.1;
        if let Some(most) = budget.tokens.filter(|most| prompt + completion > *most) {
            let used = usage.prompt_tokens + usage.completion_tokens;
            return spent(format!(
                "{used} of {most} tokens are used; the next request may exceed them (budget.tokens)"
            ));
        }
        if let (Some(most), Some(cost)) = (budget.cost, self.cost(prompt, completion))
            && cost > most
        {
            let used = self.cost(usage.prompt_tokens, usage.completion_tokens).unwrap_or_default();
            return spent(format!(
                "{used:.4} of {most} are spent; the next request may exceed it (budget.cost)"
            ));
        }
        self.in_time(state, now)
    }

    fn in_time(&self, state: &State, then: Instant) -> Result<(), Spent> {
        let (Some(wall_s), Some(begun)) = (self.file.budget.wall_s, state.begun) else { return Ok(()) };
        if then.saturating_duration_since(begun).as_secs_f64() >= wall_s {
            return Err(Spent(format!("the {wall_s} s of the budget have passed (budget.wall_s)")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::generators::live::settings::Budget;

    fn limits(change: impl FnOnce(&mut LiveFile)) -> Limits {
        let mut file = LiveFile { max_tokens: 100, ..LiveFile::default() };
        change(&mut file);
        Limits::new(&file)
    }

    #[test]
    fn requests_are_spaced_by_their_rate_and_by_their_tokens() {
        let by_requests = limits(|file| file.requests_per_minute = Some(1200.0));
        let by_tokens = limits(|file| file.tokens_per_minute = Some(600_000.0));
        for (limits, each) in [(by_requests, 0.05), (by_tokens, 0.05)] {
            let begun = Instant::now();
            for _ in 0..5 {
                let place = limits.enter(400).unwrap();
                limits.leave(&place, Some((400, 100)));
            }
            let seconds = begun.elapsed().as_secs_f64();
            assert!(seconds >= 4.0 * each - 0.001, "{seconds} s");
        }
    }

    #[test]
    fn a_budget_counts_what_is_under_way_and_is_never_exceeded() {
        let tokens = limits(|file| file.budget = Budget { tokens: Some(1000), ..Budget::default() });
        let one = tokens.enter(400).unwrap();
        let said = tokens.enter(500).err().unwrap();
        assert!(said.0.contains("0 of 1000"), "{said:?}");
        let other = tokens.enter(400).unwrap();
        tokens.leave(&one, Some((400, 5)));
        tokens.leave(&other, None);
        assert!(tokens.enter(490).is_ok());
        let usage = tokens.usage();
        assert_eq!((usage.requests, usage.prompt_tokens, usage.completion_tokens), (3, 400, 5));
        let price = Price { prompt_per_million: 1000.0, completion_per_million: 0.0, currency: "EUR".into() };
        let cost = limits(|file| {
            file.price = Some(price);
            file.budget = Budget { cost: Some(0.5), ..Budget::default() };
        });
        let place = cost.enter(400).unwrap();
        cost.leave(&place, Some((400, 7)));
        assert!(cost.enter(101).is_err() && cost.enter(100).is_ok());
        assert_eq!(cost.usage().cost, Some(0.4));
        let time = limits(|file| file.budget = Budget { wall_s: Some(0.05), ..Budget::default() });
        let place = time.enter(1).unwrap();
        time.leave(&place, None);
        assert!(time.sleep(Duration::from_secs(3600)).is_err());
        std::thread::sleep(Duration::from_millis(60));
        assert!(time.enter(1).is_err());
    }

    #[test]
    fn no_more_are_under_way_than_allowed() {
        let limits = limits(|file| file.concurrency = 1);
        let place = limits.enter(1).unwrap();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| limits.enter(1).map(|_| begun.elapsed()));
            std::thread::sleep(Duration::from_millis(50));
            limits.leave(&place, None);
            assert!(waiting.join().unwrap().unwrap() >= Duration::from_millis(50));
        });
    }
}
