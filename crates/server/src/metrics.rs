//! What is counted, under the names that vLLM gave these numbers, in the text format of Prometheus.

use crate::worker::Said;
use genera_engine::generate::{Finish, Request};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Upper ends of the buckets of durations.
///
/// # Units
/// Seconds.
const SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
];
/// Upper ends of the buckets of counts of tokens.
const TOKENS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0];
/// Why answers end, as labels.
const FINISHES: [&str; 4] = ["stop", "length", "abort", "error"];

/// The counts of one model.
#[derive(Debug)]
pub struct Gauges {
    n_running: AtomicUsize,
    n_waiting: AtomicUsize,
    /// Share of the pages in use, in millionths.
    cache_share: AtomicU64,
    n_reused_tokens: AtomicU64,
    n_prompt_tokens: AtomicU64,
    n_generated_tokens: AtomicU64,
    finished: [AtomicU64; FINISHES.len()],
    to_first_token: Histogram,
    between_tokens: Histogram,
    whole: Histogram,
    prompt_tokens: Histogram,
    generated_tokens: Histogram,
}

impl Default for Gauges {
    fn default() -> Self {
        Self {
            n_running: AtomicUsize::new(0),
            n_waiting: AtomicUsize::new(0),
            cache_share: AtomicU64::new(0),
            n_reused_tokens: AtomicU64::new(0),
            n_prompt_tokens: AtomicU64::new(0),
            n_generated_tokens: AtomicU64::new(0),
            finished: Default::default(),
            to_first_token: Histogram::new(SECONDS),
            between_tokens: Histogram::new(SECONDS),
            whole: Histogram::new(SECONDS),
            prompt_tokens: Histogram::new(TOKENS),
            generated_tokens: Histogram::new(TOKENS),
        }
    }
}

impl Gauges {
    /// How many answers are made and wait now.
    pub fn set_state(&self, n_running: usize, n_waiting: usize) {
        self.n_running.store(n_running, Ordering::Relaxed);
        self.n_waiting.store(n_waiting, Ordering::Relaxed);
    }

    /// Which share of the pages for keys and values is in use, and how many prompt tokens so far needed no reading.
    pub fn set_cache(&self, share: f64, n_reused: u64) {
        self.cache_share.store((share * 1e6) as u64, Ordering::Relaxed);
        self.n_reused_tokens.store(n_reused, Ordering::Relaxed);
    }

    /// Writes all of them for the model of this name.
    pub fn write(&self, model: &str, out: &mut Page) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        out.value(
            "num_requests_running",
            "gauge",
            "Answers in progress.",
            model,
            self.n_running.load(Ordering::Relaxed) as f64,
        );
        out.value(
            "num_requests_waiting",
            "gauge",
            "Answers that wait.",
            model,
            self.n_waiting.load(Ordering::Relaxed) as f64,
        );
        let about = "Share of the memory for keys and values that requests use, 1 is all of it.";
        out.value("kv_cache_usage_perc", "gauge", about, model, load(&self.cache_share) / 1e6);
        let about = "Tokens of prompts that had been read before.";
        out.value("prefix_cache_hits_total", "counter", about, model, load(&self.n_reused_tokens));
        out.value("prompt_tokens_total", "counter", "Tokens of prompts.", model, load(&self.n_prompt_tokens));
        out.value("generation_tokens_total", "counter", "Tokens of answers.", model, load(&self.n_generated_tokens));
        for (reason, count) in FINISHES.iter().zip(&self.finished) {
            let labels = format!("{},finished_reason=\"{reason}\"", model_label(model));
            out.line("request_success_total", "counter", "Answers that ended, by why.", &labels, load(count));
        }
        out.histogram("time_to_first_token_seconds", "Time to the first token.", model, &self.to_first_token);
        out.histogram("inter_token_latency_seconds", "Time between tokens.", model, &self.between_tokens);
        out.histogram("e2e_request_latency_seconds", "Time of whole requests.", model, &self.whole);
        out.histogram("request_prompt_tokens", "Tokens of a prompt.", model, &self.prompt_tokens);
        out.histogram("request_generation_tokens", "Tokens of an answer.", model, &self.generated_tokens);
    }
}

/// Measures one request.
#[derive(Debug)]
pub struct Recorder {
    /// Tokens of each answer's prompt.
    n_prompt: Vec<usize>,
    start: Instant,
    /// When each answer had its newest token, and how many it has.
    newest: Vec<(Option<Instant>, u64)>,
}

impl Recorder {
    /// Starts the clock for these requests.
    pub fn new(requests: &[Request]) -> Self {
        let n_of = |request: &Request| request.prompt.len() + request.source.as_ref().map_or(0, Vec::len);
        let n_prompt = requests.iter().map(n_of).collect();
        Self { n_prompt, start: Instant::now(), newest: vec![(None, 0); requests.len()] }
    }

    /// Counts what was said; `None` when nothing more comes.
    pub fn saw(&mut self, said: Option<&Said>, gauges: &Gauges) {
        match said {
            Some(Said::Token { choice, .. }) => self.saw_token(*choice, gauges),
            Some(Said::Finished { choice, finish }) => self.saw_end(*choice, finish, gauges),
            Some(Said::Begun { .. } | Said::Refused(_)) => {}
            Some(Said::Failed) | None => {
                gauges.finished[3].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts an answer that nobody waits for any more.
    pub fn left(&mut self, choice: usize, gauges: &Gauges) {
        self.count_end(choice, 2, gauges);
    }

    /// Counts an answer that a text has ended.
    pub fn ended(&mut self, choice: usize, gauges: &Gauges) {
        self.count_end(choice, 0, gauges);
    }

    fn saw_token(&mut self, choice: usize, gauges: &Gauges) {
        let (newest, n) = &mut self.newest[choice];
        let now = Instant::now();
        match newest.replace(now) {
            Some(before) => gauges.between_tokens.add_duration(now - before),
            None => gauges.to_first_token.add_duration(now - self.start),
        }
        *n += 1;
        gauges.n_generated_tokens.fetch_add(1, Ordering::Relaxed);
    }

    fn saw_end(&self, choice: usize, finish: &Finish, gauges: &Gauges) {
        let reason = match finish {
            Finish::Stop(_) => 0,
            Finish::MaxTokens | Finish::ContextFull => 1,
            Finish::Cancelled => 2,
            Finish::NothingAllowed | Finish::Faulty(_) | Finish::NotFinite => 3,
        };
        self.count_end(choice, reason, gauges);
    }

    fn count_end(&self, choice: usize, reason: usize, gauges: &Gauges) {
        gauges.finished[reason].fetch_add(1, Ordering::Relaxed);
        let n_prompt = self.n_prompt[choice];
        gauges.n_prompt_tokens.fetch_add(n_prompt as u64, Ordering::Relaxed);
        gauges.whole.add_duration(self.start.elapsed());
        gauges.prompt_tokens.add(n_prompt as f64);
        gauges.generated_tokens.add(self.newest[choice].1 as f64);
    }
}

/// Counts by size.
#[derive(Debug)]
struct Histogram {
    ends: &'static [f64],
    /// One a bucket, the last for what lies beyond.
    counts: Vec<AtomicU64>,
    /// Sum in millionths.
    sum: AtomicU64,
}

impl Histogram {
    fn new(ends: &'static [f64]) -> Self {
        Self { ends, counts: (0..=ends.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    fn add(&self, value: f64) {
        let at = self.ends.iter().position(|&end| value <= end).unwrap_or(self.ends.len());
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }

    fn add_duration(&self, duration: Duration) {
        self.add(duration.as_secs_f64());
    }
}

/// The text that Prometheus reads.
#[derive(Debug, Default)]
pub struct Page {
    /// The lines of each metric, in the order in which they came first: the format wants them together.
    metrics: Vec<(String, String)>,
}

impl Page {
    fn value(&mut self, name: &str, kind: &str, help: &str, model: &str, value: f64) {
        self.line(name, kind, help, &model_label(model), value);
    }

    fn line(&mut self, name: &str, kind: &str, help: &str, labels: &str, value: f64) {
        let lines = self.lines_of(name, kind, help);
        // Writing to a text cannot fail.
        let _ = writeln!(lines, "vllm:{name}{{{labels}}} {value}");
    }

    fn histogram(&mut self, name: &str, help: &str, model: &str, histogram: &Histogram) {
        let labels = model_label(model);
        let lines = self.lines_of(name, "histogram", help);
        let mut total = 0;
        for (i, count) in histogram.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let end = histogram.ends.get(i).map_or("+Inf".to_owned(), f64::to_string);
            let _ = writeln!(lines, "vllm:{name}_bucket{{{labels},le=\"{end}\"}} {total}");
        }
        let sum = histogram.sum.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(lines, "vllm:{name}_sum{{{labels}}} {sum}\nvllm:{name}_count{{{labels}}} {total}");
    }

    fn lines_of(&mut self, name: &str, kind: &str, help: &str) -> &mut String {
        let at = self.metrics.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            let head = format!("# HELP vllm:{name} {help}\n# TYPE vllm:{name} {kind}\n");
            self.metrics.push((name.to_owned(), head));
            self.metrics.len() - 1
        });
        &mut self.metrics[at].1
    }

    /// All of it.
    pub fn into_text(self) -> String {
        self.metrics.into_iter().map(|(_, lines)| lines).collect()
    }
}

fn model_label(model: &str) -> String {
    let escaped = model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("model_name=\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_several_models_stand_together() {
        let gauges = Gauges::default();
        gauges.set_state(2, 3);
        gauges.set_cache(0.25, 7);
        let mut recorder = Recorder::new(&[Request::new(vec![1, 2])]);
        let token = Said::Token { choice: 0, token: 1, logprob: 0.0, top_logprobs: Vec::new() };
        recorder.saw(Some(&token), &gauges);
        recorder.saw(Some(&token), &gauges);
        recorder.saw(Some(&Said::Finished { choice: 0, finish: Finish::MaxTokens }), &gauges);
        let mut page = Page::default();
        gauges.write("a", &mut page);
        gauges.write("b\"c", &mut page);
        let text = page.into_text();
        for line in [
            "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name=\"a\"} 2\nvllm:num_requests_running{model_name=\"b\\\"c\"} 2\n",
            "vllm:kv_cache_usage_perc{model_name=\"b\\\"c\"} 0.25\n",
            "vllm:prefix_cache_hits_total{model_name=\"a\"} 7\n",
            "vllm:prompt_tokens_total{model_name=\"a\"} 2\n",
            "vllm:generation_tokens_total{model_name=\"a\"} 2\n",
            "vllm:request_success_total{model_name=\"a\",finished_reason=\"length\"} 1\n",
            "vllm:time_to_first_token_seconds_count{model_name=\"a\"} 1\n",
            "vllm:inter_token_latency_seconds_count{model_name=\"a\"} 1\n",
            "vllm:request_generation_tokens_bucket{model_name=\"a\",le=\"2\"} 1\n",
            "vllm:request_generation_tokens_bucket{model_name=\"a\",le=\"+Inf\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
