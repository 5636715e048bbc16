//! What this machine has: processors and memory.

use genera_tensor::Device;
use genera_tensor::backend::cpu::Isa;

/// Number of processors that this process may use.
pub fn n_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The device to compute on, with the number of threads asked for or all processors.
pub fn device(threads: Option<u16>) -> Device {
    Device::cpu(threads.map_or_else(n_cores, usize::from))
}

/// Whether products of bf16 numbers are faster here than those of f32.
pub fn multiplies_bf16() -> bool {
    Isa::detect() == Isa::Avx512Bf16
}

/// Memory that can be had without swapping; `None` where the system does not tell.
///
/// # Units
/// Bytes.
pub fn available_bytes() -> Option<usize> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    let limit = container_limit_bytes().unwrap_or(usize::MAX);
    Some((kib * 1024).min(limit))
}

/// What a container (control group, version 2) leaves this process.
fn container_limit_bytes() -> Option<usize> {
    let read = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let limit: usize = read("memory.max")?.trim().parse().ok()?;
    let used: usize = read("memory.current")?.trim().parse().ok()?;
    Some(limit.saturating_sub(used))
}

/// Largest resident memory of this process so far; `None` where the system does not tell.
///
/// # Units
/// Bytes.
pub fn peak_resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib * 1024)
}
