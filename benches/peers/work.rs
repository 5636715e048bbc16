//! What the peers written in Rust share: the sizes of the models, the command line, the batch, the clock and the line
//! that is printed.

use std::time::Instant;

const WARM_UP: usize = 3;

/// The sizes of a model, those of `recipes/bench-*.toml`.
pub struct Sizes {
    pub n_layers: usize,
    pub n_heads: usize,
    pub width: usize,
    pub context: usize,
    pub rows: usize,
    pub vocabulary: usize,
}

const A: Sizes = Sizes { n_layers: 6, n_heads: 6, width: 384, context: 256, rows: 12, vocabulary: 8192 };
const B: Sizes = Sizes { n_layers: 4, n_heads: 4, width: 128, context: 128, rows: 32, vocabulary: 512 };
const C: Sizes = Sizes { n_layers: 12, n_heads: 12, width: 768, context: 512, rows: 4, vocabulary: 16384 };

/// What the command line asks for.
pub struct Work {
    pub sizes: Sizes,
    n_steps: usize,
}

impl Work {
    /// Reads `MODEL [--steps N]`. There are as many threads as `RAYON_NUM_THREADS` says, by default as the system has.
    pub fn from_arguments() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let sizes = match arguments.first().map(String::as_str) {
            Some("a") => A,
            Some("b") => B,
            Some("c") => C,
            _ => fail("the first argument is the model: a, b or c"),
        };
        let mut n_steps = 10;
        for option in arguments[1..].chunks(2) {
            let number = option.get(1).and_then(|value| value.parse().ok()).filter(|&number| number > 0);
            match (option[0].as_str(), number) {
                ("--steps", Some(number)) => n_steps = number,
                _ => fail(&format!("expected --steps N, found {}", option.join(" "))),
            }
        }
        Self { sizes, n_steps }
    }

    /// Random tokens, as many as the batch has.
    pub fn tokens(&self, seed: u64) -> Vec<u32> {
        let next = |state: &u64| Some(state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407));
        let states = std::iter::successors(Some(seed), next).skip(1);
        states
            .take(self.sizes.rows * self.sizes.context)
            .map(|s| (s >> 33) as u32 % self.sizes.vocabulary as u32)
            .collect()
    }

    /// Times the steps, each of which returns its loss, and prints the JSON object, with the version of `package` in
    /// `lock` and the number of weights.
    pub fn measure(&self, package: &str, lock: &str, n_parameters: usize, mut step: impl FnMut() -> f32) {
        let (mut seconds, mut loss) = (Vec::new(), f32::NAN);
        for _ in 0..self.n_steps + WARM_UP {
            let start = Instant::now();
            loss = step();
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.drain(..WARM_UP);
        seconds.sort_by(f64::total_cmp);
        let median = (seconds[(self.n_steps - 1) / 2] + seconds[self.n_steps / 2]) / 2.0;
        let tokens_per_s = (self.sizes.rows * self.sizes.context) as f64 / median;
        let entry = lock.split_once(&format!("name = \"{package}\"\nversion = ")).expect("a locked package").1;
        let fields = [
            ("tokens_per_s", tokens_per_s.to_string()),
            ("seconds_per_step", median.to_string()),
            ("peak_memory_bytes", peak_memory_bytes().to_string()),
            ("n_parameters", n_parameters.to_string()),
            ("loss", loss.to_string()),
            ("version", entry.lines().next().expect("a version").to_owned()),
        ];
        println!("{{{}}}", fields.map(|(name, value)| format!("\"{name}\": {value}")).join(", "));
    }
}

fn fail(message: &str) -> ! {
    eprintln!("{message}");
    std::process::exit(2)
}

fn peak_memory_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number of kB")
}
