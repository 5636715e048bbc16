//! How the learning rate goes over a run: up while warming up, then down.

/// The learning rate's course, as a share of its peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Number of steps of the run.
    pub steps: u64,
    /// Steps over which it rises from nothing to the peak.
    pub warmup_steps: u64,
    /// How it goes down after that.
    pub descent: Descent,
    /// Share of the peak it goes down to, and would reach at the step after the last: so that the last one learns, too.
    pub floor: f64,
}

/// How the learning rate goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descent {
    /// Half a cosine: Loshchilov and Hutter, arXiv 1608.03983.
    Cosine,
    /// A straight line.
    Linear,
    /// Level, then down over the last steps as 1 − √progress: Hägele et al., arXiv 2405.18392.
    Late {
        /// Number of the last steps.
        decay_steps: u64,
    },
    /// √(warm-up / step): Vaswani et al., arXiv 1706.03762, section 5.3. Has no floor.
    InverseSqrt,
    /// Not at all. Has no floor.
    Constant,
}

impl Schedule {
    /// Share of the peak at step `step`, counted from 1. The first step of a descent still has the share before it, as in
    /// Hugging Face transformers and nanoGPT.
    ///
    /// # Range
    /// 0 to 1; steps beyond the last are at the floor.
    pub fn share(&self, step: u64) -> f64 {
        let Self { steps, warmup_steps, floor, .. } = *self;
        if step < warmup_steps {
            return step as f64 / warmup_steps as f64;
        }
        let progress = |from: u64| {
            let (done, all) = (step.saturating_sub(from + 1) as f64, steps.saturating_sub(from).max(1) as f64);
            (done / all).min(1.0)
        };
        let between = |share: f64| floor + (1.0 - floor) * share;
        match self.descent {
            Descent::Cosine => between(0.5 * (1.0 + (std::f64::consts::PI * progress(warmup_steps)).cos())),
            Descent::Linear => between(1.0 - progress(warmup_steps)),
            Descent::Late { decay_steps } => {
                between(1.0 - progress(steps.saturating_sub(decay_steps).max(warmup_steps)).sqrt())
            }
            Descent::InverseSqrt => (warmup_steps.max(1) as f64 / step.max(1) as f64).sqrt(),
            Descent::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(descent: Descent, expect: &[(u64, f64)]) {
        let schedule = Schedule { steps: 110, warmup_steps: 10, descent, floor: 0.1 };
        for &(step, share) in expect {
            let found = schedule.share(step);
            assert!((found - share).abs() < 1e-12, "{descent:?} at step {step}: {found}, expected {share}");
        }
    }

    #[test]
    fn shares_of_the_peak() {
        let rising = [(1, 0.1), (5, 0.5), (10, 1.0)];
        for descent in [Descent::Cosine, Descent::Linear, Descent::InverseSqrt, Descent::Constant] {
            check(descent, &rising);
        }
        check(Descent::Cosine, &[(11, 1.0), (61, 0.55), (111, 0.1), (500, 0.1)]);
        check(Descent::Linear, &[(11, 1.0), (61, 0.55), (36, 0.775), (110, 0.109), (111, 0.1), (500, 0.1)]);
        check(Descent::Late { decay_steps: 50 }, &[(10, 1.0), (61, 1.0), (86, 1.0 - 0.9 * 0.5_f64.sqrt()), (111, 0.1)]);
        check(Descent::InverseSqrt, &[(40, 0.5), (90, 1.0 / 3.0)]);
        check(Descent::Constant, &[(110, 1.0)]);
    }

    #[test]
    fn every_step_learns() {
        for descent in [Descent::Cosine, Descent::Linear, Descent::Late { decay_steps: 9 }, Descent::InverseSqrt] {
            for (steps, warmup_steps) in [(1, 0), (1, 1), (1, 5), (2, 1), (3, 3), (40, 2), (0, 0)] {
                let schedule = Schedule { steps, warmup_steps, descent, floor: 0.0 };
                for step in 1..=steps.max(1) {
                    let share = schedule.share(step);
                    assert!(share > 0.0 && share <= 1.0, "{descent:?} {steps} {warmup_steps} at {step}: {share}");
                }
            }
        }
    }
}
