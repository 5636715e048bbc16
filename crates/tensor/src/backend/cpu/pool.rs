//! Threads that share the work of one kernel call at a cost of a few microseconds.
//!
//! Between two calls that follow each other closely the workers spin, so that they are awake for the next; after
//! [`SPIN`] they sleep and cost nothing. Which thread runs which task is not fixed, and a kernel may make as many tasks as
//! suit the threads: for the same bits on any number of threads, each element is one task's, as one chain of operations in
//! a fixed order; only partial sums, which are added up in the order of the tasks, are cut by shape alone.

use crate::dtype::ViewMut;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a worker stays awake for the next call. Waking a sleeper takes about as long.
const SPIN: Duration = Duration::from_micros(80);

/// In [`Shared::state`]: workers may join the call.
const OPEN: u64 = 1 << 16;
/// In [`Shared::state`]: the threads are to end.
const SHUTDOWN: u64 = 1 << 17;
/// In [`Shared::state`]: the number of the call stands above this bit, the number of workers inside below [`OPEN`].
const CALL: u64 = 1 << 18;

thread_local! {
    /// Whether this thread is inside a task of some pool: then a nested call runs inline.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// A fixed number of threads, the caller's among them.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    /// The processor that is left for the caller where the workers are pinned.
    callers_cpu: Option<usize>,
}

struct Worker {
    thread: Thread,
    handle: Option<JoinHandle<()>>,
    asleep: Arc<AtomicBool>,
}

/// Keeps a value on cache lines of its own (two: the prefetcher fetches pairs).
#[repr(align(128))]
struct OwnLine<T>(T);

type Task<'a> = dyn Fn(usize) + Sync + 'a;

struct Shared {
    /// Number of the call, [`SHUTDOWN`], [`OPEN`], and how many workers are inside the call.
    state: OwnLine<AtomicU64>,
    /// The next task to claim.
    next: OwnLine<AtomicUsize>,
    /// Whether a caller owns the workers.
    busy: AtomicBool,
    /// The call's tasks; written only while the state is closed and no worker is inside.
    call: UnsafeCell<Option<(*const Task<'static>, usize)>>,
    /// What the first task that panicked said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `call` is written by the one caller that holds `busy`, while the state is closed and no worker is inside; workers
// read it only after joining an open state, which the write happens before. Its pointee is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it is tied to a thread.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `n_threads` threads (at least 1; fewer if the system grants no more). The caller of [`Pool::run`] is one.
    pub(crate) fn new(n_threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: OwnLine(AtomicU64::new(0)),
            next: OwnLine(AtomicUsize::new(0)),
            busy: AtomicBool::new(false),
            call: UnsafeCell::new(None),
            panic: Mutex::new(None),
        });
        let cpus = cpus_to_pin(n_threads);
        let spawn = |i: usize| Worker::spawn(i, shared.clone(), cpus.get(i).copied());
        let workers = (1..n_threads.min(OPEN as usize)).map_while(spawn).collect();
        Self { shared, workers, callers_cpu: cpus.first().copied() }
    }

    /// Number of threads, the caller's included.
    pub(crate) fn n_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(0)` … `task(n_tasks - 1)`, each once, on whichever thread is free, and returns when all are done.
    ///
    /// Tasks are claimed in ascending order, so a task may wait for tasks of lower number. A call from inside a task, or
    /// while another thread's call is under way, runs all its tasks on the calling thread.
    ///
    /// # Panics
    /// When a task panics: with the first such panic. On several threads the other tasks run all the same.
    pub(crate) fn run(&self, n_tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let inline = n_tasks <= 1 || self.workers.is_empty() || IN_TASK.get();
        if inline || self.shared.busy.swap(true, Ordering::Acquire) {
            (0..n_tasks).for_each(task);
            return;
        }
        if let Some(cpu) = self.callers_cpu {
            leave_for(cpu);
        }
        self.open(n_tasks, task);
        self.shared.work(n_tasks, task);
        self.close();
        let panic = self.shared.panic.lock().expect("nobody panics while holding it").take();
        self.shared.busy.store(false, Ordering::Release);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Runs `task(i, part i)` for every part of `split`: the way to write to disjoint parts of slices without unsafe code.
    ///
    /// ```text
    /// pool.for_each((chunks(out, width), chunks(mean, 1)), |i, (out, mean)| …);
    /// ```
    pub(crate) fn for_each<S: Split>(&self, split: S, task: impl Fn(usize, S::Part) + Sync) {
        let split = &split;
        // SAFETY: `run` calls every number below `n_parts` once.
        self.run(split.n_parts(), &|i| task(i, unsafe { split.part(i) }));
    }

    /// Lets the workers in.
    fn open(&self, n_tasks: usize, task: &Task<'_>) {
        // SAFETY: only the lifetime changes. `close` returns after the last worker has left, so no one uses it afterwards.
        let task = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task) };
        // SAFETY: this thread holds `busy`, the state is closed and no worker is inside.
        unsafe { *self.shared.call.get() = Some((task, n_tasks)) };
        self.shared.next.0.store(0, Ordering::Relaxed);
        self.shared.state.0.fetch_add(CALL | OPEN, Ordering::SeqCst);
        for worker in self.workers.iter().take(n_tasks - 1) {
            worker.wake();
        }
    }

    /// Lets no more workers in and waits for those inside. A worker that is still asleep is not waited for.
    fn close(&self) {
        let state = &self.shared.state.0;
        let mut inside = state.fetch_and(!OPEN, Ordering::AcqRel) & (OPEN - 1);
        let mut n_spins = 0_u32;
        while inside > 0 {
            // A worker inside may have lost its core to another program: after a while let it have this one.
            n_spins += 1;
            if n_spins.is_multiple_of(256) {
                std::thread::yield_now()
            } else {
                std::hint::spin_loop()
            }
            inside = state.load(Ordering::Acquire) & (OPEN - 1);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.0.fetch_or(SHUTDOWN, Ordering::SeqCst);
        for worker in &mut self.workers {
            worker.wake();
            if let Some(handle) = worker.handle.take() {
                // A worker catches the panics of its tasks, so it ends well.
                let _ = handle.join();
            }
        }
    }
}

impl Worker {
    fn spawn(i: usize, shared: Arc<Shared>, cpu: Option<usize>) -> Option<Self> {
        let asleep = Arc::new(AtomicBool::new(false));
        let flag = asleep.clone();
        let body = move || {
            if let Some(cpu) = cpu {
                pin_to(cpu);
            }
            IN_TASK.set(true);
            shared.serve(&flag);
        };
        let handle = std::thread::Builder::new().name(format!("genera-{i}")).spawn(body).ok()?;
        Some(Self { thread: handle.thread().clone(), handle: Some(handle), asleep })
    }

    fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
    }
}

impl Shared {
    /// A worker's life.
    fn serve(&self, asleep: &AtomicBool) {
        let mut last = 0;
        loop {
            let state = self.wait_for_change(last, asleep);
            if state & SHUTDOWN != 0 {
                return;
            }
            last = state / CALL;
            if self.join(state) {
                // SAFETY: having joined, this worker may read the call, and the caller keeps it alive until it leaves.
                let (task, n_tasks) = unsafe { (*self.call.get()).expect("an open call is set") };
                // SAFETY: as above.
                self.work(n_tasks, unsafe { &*task });
                self.state.0.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// Waits until a call other than number `last` is open, or the end has come: first awake, then asleep.
    fn wait_for_change(&self, last: u64, asleep: &AtomicBool) -> u64 {
        let is_news = |state: u64| state & SHUTDOWN != 0 || (state & OPEN != 0 && state / CALL != last);
        let start = Instant::now();
        while start.elapsed() < SPIN {
            for _ in 0..32 {
                let state = self.state.0.load(Ordering::Acquire);
                if is_news(state) {
                    return state;
                }
                std::hint::spin_loop();
            }
        }
        // The flag is set before the state is looked at, and the caller changes the state before it looks at the flag: one of
        // the two sees the other.
        asleep.store(true, Ordering::SeqCst);
        let state = loop {
            let state = self.state.0.load(Ordering::SeqCst);
            if is_news(state) {
                break state;
            }
            std::thread::park();
        };
        asleep.store(false, Ordering::Relaxed);
        state
    }

    /// Enters the call seen in `state`, unless it has closed meanwhile.
    fn join(&self, mut state: u64) -> bool {
        let call = state / CALL;
        while state & OPEN != 0 && state / CALL == call {
            match self.state.0.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Claims and runs tasks until none is left.
    fn work(&self, n_tasks: usize, task: &Task<'_>) {
        let outside = IN_TASK.replace(true);
        loop {
            let i = self.next.0.fetch_add(1, Ordering::Relaxed);
            if i >= n_tasks {
                break;
            }
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(i))) {
                self.panic.lock().expect("nobody panics while holding it").get_or_insert(payload);
            }
        }
        IN_TASK.set(outside);
    }
}

/// Something that can be handed out in disjoint parts, each to one task. See [`Pool::for_each`].
pub(crate) trait Split: Sync {
    /// What a task gets.
    type Part;

    /// How many parts there are.
    fn n_parts(&self) -> usize;

    /// Part `i`.
    ///
    /// # Safety
    /// `i` is below [`Split::n_parts`] and each part is taken at most once.
    unsafe fn part(&self, i: usize) -> Self::Part;
}

/// A slice in consecutive chunks. See [`chunks`].
pub(crate) struct Chunks<'a, T> {
    start: *mut T,
    len: usize,
    chunk_len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: sharing it only lets threads take disjoint parts, each a `&mut [T]`, which may be sent when `T` may.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}
// SAFETY: it stands for a `&mut [T]`.
unsafe impl<T: Send> Send for Chunks<'_, T> {}

/// Splits a slice into chunks of `chunk_len` elements; the last may be shorter.
pub(crate) fn chunks<T: Send>(slice: &mut [T], chunk_len: usize) -> Chunks<'_, T> {
    assert!(chunk_len > 0, "chunks need at least one element");
    Chunks { start: slice.as_mut_ptr(), len: slice.len(), chunk_len, borrow: PhantomData }
}

impl<'a, T: Send> Split for Chunks<'a, T> {
    type Part = &'a mut [T];

    fn n_parts(&self) -> usize {
        self.len.div_ceil(self.chunk_len)
    }

    unsafe fn part(&self, i: usize) -> &'a mut [T] {
        let first = i * self.chunk_len;
        assert!(first < self.len, "chunk {i} of {}", self.n_parts());
        let len = self.chunk_len.min(self.len - first);
        // SAFETY: the range lies inside the slice that `self` borrows for 'a, and no other chunk overlaps it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), len) }
    }
}

/// The elements of a [`ViewMut`] in consecutive chunks. See [`view_chunks`].
pub(crate) enum ViewChunks<'a> {
    F32(Chunks<'a, f32>),
    Bf16(Chunks<'a, half::bf16>),
}

/// Splits a view into chunks of `chunk_len` elements; the last may be shorter.
pub(crate) fn view_chunks(view: ViewMut<'_>, chunk_len: usize) -> ViewChunks<'_> {
    match view {
        ViewMut::F32(data) => ViewChunks::F32(chunks(data, chunk_len)),
        ViewMut::Bf16(data) => ViewChunks::Bf16(chunks(data, chunk_len)),
    }
}

impl<'a> Split for ViewChunks<'a> {
    type Part = ViewMut<'a>;

    fn n_parts(&self) -> usize {
        match self {
            ViewChunks::F32(chunks) => chunks.n_parts(),
            ViewChunks::Bf16(chunks) => chunks.n_parts(),
        }
    }

    unsafe fn part(&self, i: usize) -> ViewMut<'a> {
        match self {
            // SAFETY: the caller keeps the same contract.
            ViewChunks::F32(chunks) => ViewMut::F32(unsafe { chunks.part(i) }),
            // SAFETY: the caller keeps the same contract.
            ViewChunks::Bf16(chunks) => ViewMut::Bf16(unsafe { chunks.part(i) }),
        }
    }
}

/// Tuples are split side by side; all members must have the same number of parts.
macro_rules! split_tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Split),+> Split for ($($name,)+) {
            type Part = ($($name::Part,)+);

            fn n_parts(&self) -> usize {
                let n_parts = self.0.n_parts();
                $(assert_eq!(self.$index.n_parts(), n_parts, "slices split side by side need as many parts each");)+
                n_parts
            }

            unsafe fn part(&self, i: usize) -> Self::Part {
                // SAFETY: the caller keeps the same contract.
                ($(unsafe { self.$index.part(i) },)+)
            }
        }
    };
}

/// A split, and another beside it where there is one.
pub(crate) struct Beside<S, T>(pub(crate) S, pub(crate) Option<T>);

impl<S: Split, T: Split> Split for Beside<S, T> {
    type Part = (S::Part, Option<T::Part>);

    fn n_parts(&self) -> usize {
        let n_parts = self.0.n_parts();
        assert!(self.1.as_ref().is_none_or(|other| other.n_parts() == n_parts), "both splits need as many parts");
        n_parts
    }

    unsafe fn part(&self, i: usize) -> Self::Part {
        // SAFETY: the caller keeps the same contract.
        (unsafe { self.0.part(i) }, self.1.as_ref().map(|other| unsafe { other.part(i) }))
    }
}

/// Splits one behind the other. See [`joined`].
pub(crate) struct Joined<S> {
    splits: Vec<S>,
    /// Number of parts up to the end of each.
    ends: Vec<usize>,
}

/// All parts of the first split, then those of the second, and so on. Each comes with the number of its split and its
/// number there.
pub(crate) fn joined<S: Split>(splits: Vec<S>) -> Joined<S> {
    let mut end = 0;
    let ends = splits.iter().map(|split| (end += split.n_parts(), end).1).collect();
    Joined { splits, ends }
}

impl<S: Split> Split for Joined<S> {
    type Part = (usize, usize, S::Part);

    fn n_parts(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    unsafe fn part(&self, i: usize) -> Self::Part {
        let split = self.ends.partition_point(|&end| end <= i);
        let before = if split == 0 { 0 } else { self.ends[split - 1] };
        // SAFETY: with each `i` once, each part of each split is taken once, and `i - before` is below their number.
        (split, i - before, unsafe { self.splits[split].part(i - before) })
    }
}

split_tuple!(A 0, B 1);
split_tuple!(A 0, B 1, C 2);
split_tuple!(A 0, B 1, C 2, D 3);

/// The processors to pin the threads to, one each: all that this process may use, and only when there are just as many.
///
/// Unpinned, the system now and then leaves two threads on one core for dozens of calls. `GENERA_PIN=0` turns it off.
/// The first is the calling thread's, which is never pinned, since it belongs to somebody else; see [`leave_for`].
#[cfg(target_os = "linux")]
fn cpus_to_pin(n_threads: usize) -> Vec<usize> {
    if n_threads < 2 || std::env::var("GENERA_PIN").is_ok_and(|value| value == "0") {
        return Vec::new();
    }
    // SAFETY: a zeroed set is valid, and the call writes at most the size given.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return Vec::new();
        }
        set
    };
    // SAFETY: every number is below CPU_SETSIZE.
    let is_set = |&cpu: &usize| unsafe { libc::CPU_ISSET(cpu, &set) };
    let cpus: Vec<_> = (0..libc::CPU_SETSIZE as usize).filter(is_set).collect();
    if cpus.len() == n_threads { cpus } else { Vec::new() }
}

#[cfg(not(target_os = "linux"))]
fn cpus_to_pin(_n_threads: usize) -> Vec<usize> {
    Vec::new()
}

/// Pins the current thread; without effect if the system refuses.
#[cfg(target_os = "linux")]
fn pin_to(cpu: usize) {
    // SAFETY: a zeroed set is valid, `cpu` is below CPU_SETSIZE, and the call only reads the set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

#[cfg(not(target_os = "linux"))]
fn pin_to(_cpu: usize) {}

/// Moves the current thread to `cpu` when it runs on another, and leaves it free to be moved again: beside a pinned thread
/// the system has been seen to leave it for seconds while `cpu` was idle, which halves the speed.
#[cfg(target_os = "linux")]
fn leave_for(cpu: usize) {
    // SAFETY: it takes nothing and reads the number of the processor.
    if unsafe { libc::sched_getcpu() } == cpu as libc::c_int {
        return;
    }
    // SAFETY: a zeroed set is valid, `cpu` is below CPU_SETSIZE, and the calls read or write at most the size given.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, size, &mut allowed) == 0 && libc::CPU_ISSET(cpu, &allowed) {
            pin_to(cpu);
            libc::sched_setaffinity(0, size, &allowed);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn leave_for(_cpu: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for n_threads in [1, 2, 3, 5] {
            let pool = Pool::new(n_threads);
            for n_tasks in [0, 1, 2, 3, 17, 1000] {
                let counts: Vec<_> = (0..n_tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(n_tasks, &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{n_threads} {n_tasks}");
            }
        }
    }

    #[test]
    fn calls_follow_each_other_at_any_distance() {
        let pool = Pool::new(3);
        let total = AtomicUsize::new(0);
        for round in 0..2000 {
            pool.run(4, &|i| {
                total.fetch_add(i, Ordering::Relaxed);
            });
            if round % 500 == 0 {
                // Long enough for the workers to fall asleep.
                let start = Instant::now();
                while start.elapsed() < 2 * SPIN {}
            }
        }
        assert_eq!(total.load(Ordering::Relaxed), 2000 * 6);
    }

    #[test]
    fn nested_and_concurrent_calls_run() {
        let pool = Pool::new(2);
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        pool.run(5, &|_| {
                            pool.run(3, &|i| {
                                total.fetch_add(i, Ordering::Relaxed);
                            })
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 4 * 100 * 5 * 3);
    }

    #[test]
    fn a_panic_reaches_the_caller_after_the_other_tasks() {
        let pool = Pool::new(2);
        let done = AtomicUsize::new(0);
        let call = || {
            pool.run(10, &|i| {
                if i == 3 {
                    panic!("task three");
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
        };
        let payload = catch_unwind(AssertUnwindSafe(call)).expect_err("the panic is passed on");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"task three"));
        assert_eq!(done.load(Ordering::Relaxed), 9);
        pool.run(10, &|_| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.load(Ordering::Relaxed), 19);
    }

    #[test]
    fn parts_are_disjoint_and_complete() {
        let pool = Pool::new(2);
        let (mut rows, mut sums) = (vec![1.0_f32; 103], vec![0_usize; 11]);
        pool.for_each((view_chunks(ViewMut::F32(&mut rows), 10), chunks(&mut sums, 1)), |i, (mut row, sum)| {
            for j in 0..row.len() {
                row.put(j, i as f32, true);
            }
            sum[0] = row.len();
        });
        assert_eq!(sums, [10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 3]);
        assert!(rows.iter().enumerate().all(|(j, &value)| value == 1.0 + (j / 10) as f32));
    }

    #[test]
    fn joined_splits_are_disjoint_and_complete() {
        let pool = Pool::new(2);
        let mut rows = [vec![0_usize; 25], vec![], vec![0; 3], vec![0; 40]];
        let mut marks = vec![false; 4];
        let [a, b, c, d] = &mut rows;
        let mut splits: Vec<_> = [a, b, c].into_iter().map(|row| Beside(chunks(row, 10), None)).collect();
        splits.push(Beside(chunks(d, 10), Some(chunks(&mut marks, 1))));
        pool.for_each(joined(splits), |i, (split, within, (row, mark))| {
            row.iter_mut().for_each(|value| *value += 100 * i + 10 * split + within);
            if let Some(mark) = mark {
                mark[0] = !mark[0];
            }
        });
        let first_of_chunks = rows.map(|row| row.chunks(10).map(|chunk| chunk[0]).collect::<Vec<_>>());
        assert_eq!(first_of_chunks, [vec![0, 101, 202], vec![], vec![320], vec![430, 531, 632, 733]]);
        assert_eq!(marks, [true; 4]);
    }

    #[test]
    #[should_panic(expected = "as many parts")]
    fn unequal_numbers_of_parts_are_refused() {
        Pool::new(1).for_each((chunks(&mut [0_u8; 4], 1), chunks(&mut [0_u8; 4], 2)), |_, _| {});
    }
}
