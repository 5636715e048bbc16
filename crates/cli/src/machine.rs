//! What this machine has: processors and memory.

use genera_tensor::Device;
use genera_tensor::backend::cpu::Isa;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Number of processors that this process may use.
pub fn n_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The device to compute on, with the number of threads asked for or all processors.
pub fn device(threads: Option<u16>) -> Device {
    Device::cpu(threads.map_or_else(n_cores, usize::from))
}

/// The name that the processor gives itself; `None` where the system does not tell.
pub fn processor_name() -> Option<String> {
    processor_named_in(&fs::read_to_string("/proc/cpuinfo").ok()?)
}

/// The processor of Linux's list: "model name" on most, "Model" (the board's) or "cpu model" on others.
fn processor_named_in(cpuinfo: &str) -> Option<String> {
    let value = |key: &str| {
        let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let mut values = fields.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim());
        values.find(|value| !value.is_empty()).map(str::to_owned)
    };
    ["model name", "cpu model", "Model"].into_iter().find_map(value)
}

/// Whether products of bf16 numbers are faster here than those of f32.
pub fn multiplies_bf16() -> bool {
    Isa::detect() == Isa::Avx512Bf16
}

/// The instruction sets that the kernels use or could, and whether this processor has each; none where they are not known.
#[cfg(target_arch = "x86_64")]
pub fn instruction_sets() -> Vec<(&'static str, bool)> {
    macro_rules! detected {
        ($($name:tt)*) => { vec![$(($name, std::arch::is_x86_feature_detected!($name))),*] };
    }
    detected!["avx2" "fma" "f16c" "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512bf16" "avx512vnni"]
}

/// The instruction sets that the kernels use or could, and whether this processor has each; none where they are not known.
#[cfg(not(target_arch = "x86_64"))]
pub fn instruction_sets() -> Vec<(&'static str, bool)> {
    Vec::new()
}

/// What the last-level caches of all processors hold together; `None` where the system does not tell.
///
/// # Units
/// Bytes.
pub fn last_level_cache_bytes() -> Option<usize> {
    // By level and the processors that share it, so that each is counted once.
    let mut caches = BTreeMap::new();
    for processor in fs::read_dir("/sys/devices/system/cpu").ok()?.flatten() {
        for cache in fs::read_dir(processor.path().join("cache")).into_iter().flatten().flatten() {
            if let Some((level, shared, n_bytes)) = cache_of(&cache.path()) {
                caches.insert((level, shared), n_bytes);
            }
        }
    }
    let (&(last, _), _) = caches.last_key_value()?;
    Some(caches.iter().filter(|((level, _), _)| *level == last).map(|(_, n_bytes)| n_bytes).sum())
}

/// Level, processors and bytes of a cache.
fn cache_of(directory: &Path) -> Option<(u32, String, usize)> {
    let read = |name: &str| fs::read_to_string(directory.join(name)).ok();
    let size = read("size")?;
    let kib: usize = size.trim().strip_suffix('K')?.parse().ok()?;
    Some((read("level")?.trim().parse().ok()?, read("shared_cpu_list")?, kib << 10))
}

/// Memory that can be had without swapping; `None` where the system does not tell.
///
/// # Units
/// Bytes.
pub fn available_bytes() -> Option<usize> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    let limit = container_limit_bytes().unwrap_or(usize::MAX);
    Some((kib * 1024).min(limit))
}

/// What a container (control group, version 2) leaves this process.
fn container_limit_bytes() -> Option<usize> {
    container_limit_in(&|name| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok())
}

/// The same by the files of a control group. Pages of files that nobody has read of late count as used, but the system takes them
/// back when memory is asked for.
fn container_limit_in(read: &dyn Fn(&str) -> Option<String>) -> Option<usize> {
    let limit: usize = read("memory.max")?.trim().parse().ok()?;
    let used: usize = read("memory.current")?.trim().parse().ok()?;
    let statistics = read("memory.stat").unwrap_or_default();
    let of_files = statistics.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
    Some(limit.saturating_sub(used.saturating_sub(of_files.unwrap_or(0))))
}

/// Largest resident memory of this process so far; `None` where the system does not tell.
///
/// # Units
/// Bytes.
pub fn peak_resident_bytes() -> Option<usize> {
    status_bytes("VmHWM:")
}

/// Resident memory of this process; `None` where the system does not tell.
///
/// # Units
/// Bytes.
pub fn resident_bytes() -> Option<usize> {
    status_bytes("VmRSS:")
}

fn status_bytes(name: &str) -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib * 1024)
}

/// Lets [`peak_resident_bytes`] count from here, where the system can do that.
pub fn forget_peak_resident_bytes() {
    // Where it cannot, the peak is that of the whole life.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Pages of memory that this process touched for the first time so far, or again after they were given back ("minor faults");
/// `None` where the system does not tell.
pub fn n_minor_faults() -> Option<u64> {
    stat([7]).map(|[n]| n)
}

/// Time that the threads of this process spent on processors; `None` where the system does not tell.
///
/// # Units
/// Seconds, to a hundredth.
pub fn processor_seconds() -> Option<f64> {
    /// What the system calls a second here, on all architectures.
    const TICKS: f64 = 100.0;
    stat([11, 12]).map(|[user, system]| (user + system) as f64 / TICKS)
}

/// Numbers that the system keeps of this process, by their place behind its name.
fn stat<const N: usize>(places: [usize; N]) -> Option<[u64; N]> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program comes second, in brackets, and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let mut numbers = [0; N];
    for (number, place) in numbers.iter_mut().zip(places) {
        *number = fields.get(place)?.parse().ok()?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_processor_is_found_by_its_name() {
        let name = |text| super::processor_named_in(text);
        let of_two =
            "processor\t: 0\nmodel\t\t: 17\nmodel name\t: Some CPU: 2 GHz\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(name(of_two).as_deref(), Some("Some CPU: 2 GHz"));
        assert_eq!(name("processor\t: 0\nmodel name\t:\nModel\t: Some Board\n").as_deref(), Some("Some Board"));
        assert_eq!(name("processor\t: 0\n"), None);
    }

    #[test]
    fn pages_of_files_are_free_in_a_container() {
        let of = |statistics: Option<&'static str>| {
            super::container_limit_in(&|name| match name {
                "memory.max" => Some("8000\n".to_owned()),
                "memory.current" => Some("7900\n".to_owned()),
                _ => statistics.map(str::to_owned),
            })
        };
        assert_eq!(of(Some("anon 900\ninactive_anon 3\ninactive_file 6000\nactive_file 1000\n")), Some(6100));
        assert_eq!(of(None), Some(100));
        assert_eq!(super::container_limit_in(&|_| Some("max\n".to_owned())), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn time_on_processors_is_counted() {
        let before = super::processor_seconds().unwrap();
        let start = std::time::Instant::now();
        while super::processor_seconds().unwrap() < before + 0.05 {
            assert!(start.elapsed().as_secs() < 60, "a thread that works gets a processor");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn fresh_pages_are_counted() {
        let before = super::n_minor_faults().unwrap();
        let fresh = std::hint::black_box(vec![1_u8; 64 << 20]);
        let n = super::n_minor_faults().unwrap() - before;
        // One each, or one for each page of 2 MiB; other tests may touch some as well.
        assert!(n >= fresh.len() as u64 >> 21, "{n}");
    }
}
