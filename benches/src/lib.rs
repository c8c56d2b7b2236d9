//! What the benchmarks share: figures for people, a folder that goes away, and a clinic's working day.
//!
//! A benchmark is a plain program that prints a table and asserts nothing about time. Every row is the median of its
//! samples with the tenth and ninetieth percentile beside it, and the mean time on the processor: the machine may be
//! shared, and then that says more than the clock. Figures and machine: docs/benchmarks.md.
#![allow(clippy::float_arithmetic, reason = "figures for people")]
#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a benchmark that panics is a broken benchmark"
)]

pub mod clinic;
pub mod network;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often something took how long: by the clock, and on the processor by this thread alone.
#[derive(Debug, Default, Clone)]
pub struct Samples {
    clock: Vec<Duration>,
    processor: Vec<Duration>,
}

/// Time that this thread was on a processor; zero where the system does not tell.
#[must_use]
pub fn on_processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default())
}

/// The time below which so many of a hundred lie, in microseconds.
#[must_use]
pub fn percentile(times: &[Duration], percentile: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * percentile / 100).min(sorted.len() - 1)].as_secs_f64() * 1e6
}

impl Samples {
    /// Runs it once and adds how long it took.
    pub fn time<T>(&mut self, act: impl FnOnce() -> T) -> T {
        // Asking the system takes microseconds: it stays outside of what the clock measures.
        let before = on_processor();
        let start = Instant::now();
        let made = act();
        self.clock.push(start.elapsed());
        self.processor.push(on_processor().saturating_sub(before));
        made
    }
}

/// The middle one.
#[must_use]
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Time that this process was on processors, all threads together; zero where the system does not tell.
#[must_use]
pub fn on_processors() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold anything: state first, user and system time 12th and 13th, in hundredths of a second.
    let after = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = after.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// The load average of the last minute, for whoever shares the machine; empty where the system does not tell.
#[must_use]
pub fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// Prints rows as they come.
#[derive(Debug)]
pub struct Table {
    base: Option<f64>,
}

impl Table {
    /// With its headline. The ratio of a row is to the first one's time on the processor.
    #[must_use]
    pub fn new(what: &str) -> Self {
        println!("\n{what}");
        println!(
            "{:<48}{:>9}{:>9}{:>9}{:>11}{:>7}",
            "microseconds", "median", "p10", "p90", "processor", "ratio"
        );
        Self { base: None }
    }

    /// One row: every sample is of `units`, the figures are per unit.
    pub fn row(&mut self, name: &str, samples: &Samples, units: usize) {
        let [low, median, high] = [10, 50, 90].map(|at| percentile(&samples.clock, at) / units as f64);
        let total: Duration = samples.processor.iter().sum(); // the system counts it in steps: a mean
        let processor = total.as_secs_f64() * 1e6 / (units * samples.processor.len()) as f64;
        let ratio = processor / *self.base.get_or_insert(processor);
        println!("{name:<48}{median:>9.2}{low:>9.2}{high:>9.2}{processor:>11.2}{ratio:>7.2}");
    }
}

/// SplitMix64: the same numbers in every run.
#[derive(Debug, Clone, Copy)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.number().to_be_bytes()[..chunk.len()]);
        }
        bytes
    }
}

/// A number from the command line: `--name 7`.
#[must_use]
pub fn option(name: &str, default: usize) -> usize {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1).map_or(default, |number| number.parse().expect("a number"))
}

/// A folder under `TMPDIR` that is removed at the end: the benchmark measures the disk that it is on.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("epione-bench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        Self(dir)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Copies a folder with all that is in it.
///
/// # Panics
/// If that fails.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("readable").filter_map(Result::ok) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).expect("copied");
        }
    }
}
