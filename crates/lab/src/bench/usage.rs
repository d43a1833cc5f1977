//! The resources that the processes of a run use: processor time and peak memory.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// The time between two looks. A process that lives shorter may be missed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What one process, with all its children, used while it was watched.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Used {
    /// The process's name in reports.
    name: &'static str,
    /// How many processors it kept busy, on average.
    cores: f64,
    /// The peak of its resident memory at any look, in MiB. For several processes this is the sum, so memory that they
    /// share counts once for each.
    peak_mib: f64,
}

/// A running measurement.
pub(super) struct Watch {
    stop: oneshot::Sender<()>,
    looking: JoinHandle<anyhow::Result<Vec<Used>>>,
}

/// A process and its children, over time.
struct Watched {
    name: &'static str,
    root: Pid,
    /// Milliseconds of processor time by process: at the first look and at the last.
    processor: HashMap<Pid, (u64, u64)>,
    peak: u64,
}

impl Watch {
    /// Starts to watch these processes, and this one as `generator`.
    pub(super) fn begin(processes: &[(&'static str, Option<u32>)]) -> Self {
        let own = [("generator", Some(std::process::id()))];
        let mut watched: Vec<_> = processes
            .iter()
            .chain(&own)
            .filter_map(|&(name, id)| {
                let root = Pid::from_u32(id?);
                Some(Watched { name, root, processor: HashMap::new(), peak: 0 })
            })
            .collect();
        let (stop, mut stopped) = oneshot::channel();
        let looking = tokio::spawn(async move {
            let started = Instant::now();
            let mut system = System::new()?;
            let mut looks = interval(LOOK_EVERY);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = looks.tick() => look(&mut system, &mut watched, started.elapsed() < LOOK_EVERY),
                    _ = &mut stopped => break,
                }
            }
            look(&mut system, &mut watched, false);
            let seconds = started.elapsed().as_secs_f64();
            Ok(watched.into_iter().map(|watched| watched.used(seconds)).collect())
        });
        Self { stop, looking }
    }

    /// Ends the measurement and returns what each process used.
    pub(super) async fn end(self) -> anyhow::Result<Vec<Used>> {
        // The watching task runs until this message, so it is still there to receive it.
        let _ = self.stop.send(());
        self.looking.await?
    }
}

fn look(system: &mut System, watched: &mut [Watched], first: bool) {
    let what = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    let roots: Vec<Pid> = watched.iter().map(|watched| watched.root).collect();
    for watched in watched {
        let mut memory = 0;
        for (&pid, process) in system.processes() {
            // Count the process for the nearest watched one above it: the generator is the parent of the others.
            let mut above = Some(pid);
            while let Some(at) = above
                && !roots.contains(&at)
            {
                above = system.process(at).and_then(sysinfo::Process::parent);
            }
            if above == Some(watched.root) {
                let now = process.accumulated_cpu_time();
                // A process that started after the first look has used all of its time since then.
                watched.processor.entry(pid).or_insert((if first { now } else { 0 }, now)).1 = now;
                memory += process.memory();
            }
        }
        watched.peak = watched.peak.max(memory);
    }
}

impl Watched {
    fn used(self, seconds: f64) -> Used {
        let milliseconds: u64 = self.processor.values().map(|(first, last)| last - first).sum();
        let cores = milliseconds as f64 / 1000.0 / seconds.max(f64::EPSILON);
        Used { name: self.name, cores, peak_mib: self.peak as f64 / f64::from(1 << 20) }
    }
}

impl Used {
    /// The usage over several periods of equal length: mean of cores, peak of memory.
    pub(super) fn over(times: &[Vec<Self>]) -> Vec<Self> {
        let names = times.first().into_iter().flatten().map(|used| used.name);
        names
            .map(|name| {
                let of = || times.iter().flatten().filter(|used| used.name == name);
                let cores = of().map(|used| used.cores).sum::<f64>() / times.len() as f64;
                Self { name, cores, peak_mib: of().map(|used| used.peak_mib).fold(0.0, f64::max) }
            })
            .collect()
    }

    /// The process's name in reports.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// How many processors it kept busy, on average.
    pub(super) fn cores(&self) -> f64 {
        self.cores
    }

    /// The peak of its resident memory, in MiB.
    pub(super) fn peak_mib(&self) -> f64 {
        self.peak_mib
    }
}
