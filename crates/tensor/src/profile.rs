//! Where the time of a computation goes, operation by operation.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// On which way an operation was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    /// The value.
    Forward,
    /// The gradients.
    Backward,
    /// What is not on the tape, such as the optimizer.
    Outside,
}

/// Time spent on one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Calls.
    pub n: u64,
    /// All of them together.
    pub time: Duration,
}

/// Adds up the time between marks: whatever was done since the mark before belongs to the operation that a mark names. So
/// the parts sum to the whole.
#[derive(Debug)]
pub struct Profile(Mutex<State>);

#[derive(Debug)]
struct State {
    last: Instant,
    spent: BTreeMap<(&'static str, Pass), Spent>,
}

impl Default for Profile {
    fn default() -> Self {
        Self(Mutex::new(State { last: Instant::now(), spent: BTreeMap::new() }))
    }
}

impl Profile {
    /// Forgets everything; time is counted from here.
    pub fn restart(&self) {
        *self.state() = State { last: Instant::now(), spent: BTreeMap::new() };
    }

    /// Says what was done since the last mark.
    pub fn mark(&self, name: &'static str, pass: Pass) {
        let mut state = self.state();
        let now = Instant::now();
        let time = now - std::mem::replace(&mut state.last, now);
        let spent = state.spent.entry((name, pass)).or_default();
        *spent = Spent { n: spent.n + 1, time: spent.time + time };
    }

    /// What was spent, by operation and pass.
    pub fn spent(&self) -> Vec<(&'static str, Pass, Spent)> {
        self.state().spent.iter().map(|(&(name, pass), &spent)| (name, pass, spent)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Linear, linear, scale};
    use crate::{DType, Device, Gradients, ParamId, Tape, Tensor, Var};

    #[test]
    fn operations_are_named_and_the_parts_sum_to_the_whole() {
        let device = Device::cpu(1).profiled();
        let profile = device.profile().unwrap();
        let weight = Tensor::from_f32(&device, [2, 3], &[1.0; 6]);
        profile.restart();
        let start = Instant::now();
        let tape = Tape::new(&device);
        let x = Var::constant(Tensor::from_f32(&device, [1, 3], &[1.0, 2.0, 3.0]));
        let y = linear(&tape, &x, &tape.parameter(ParamId(0), &weight).into(), Linear::plain(DType::F32));
        let y = scale(&tape, &y, 2.0);
        tape.backward_from(&y, Tensor::from_f32(&device, [1, 2], &[1.0, 1.0]), &mut Gradients::new(1));
        let whole = start.elapsed();
        let spent = profile.spent();
        let names: Vec<_> = spent.iter().map(|&(name, pass, spent)| (name, pass, spent.n)).collect();
        let expect = ["add", "linear"].map(|name| [(name, Pass::Forward, 1), (name, Pass::Backward, 1)]).concat();
        assert_eq!(names, expect);
        assert!(spent.iter().map(|(_, _, spent)| spent.time).sum::<Duration>() <= whole);
    }

    /// What is computed again is not counted as another pass forward.
    #[test]
    fn a_replay_is_told_apart() {
        let device = Device::cpu(1).profiled();
        let profile = device.profile().unwrap();
        let x = Tensor::from_f32(&device, [1, 2], &[1.0, 2.0]);
        profile.restart();
        let tape = Tape::new(&device);
        let x = tape.parameter(ParamId(0), &x);
        let y = tape.checkpoint(vec![x], |tape, x| scale(tape, &scale(tape, &x[0], 2.0), 3.0));
        tape.backward_from(&y, Tensor::from_f32(&device, [1, 2], &[1.0, 1.0]), &mut Gradients::new(1));
        let names: Vec<_> = profile.spent().iter().map(|&(name, pass, spent)| (name, pass, spent.n)).collect();
        // Two operations, and what lies around them.
        assert_eq!(names, [("add", Pass::Forward, 2), ("add", Pass::Backward, 2), ("replay", Pass::Backward, 3)]);
    }
}
