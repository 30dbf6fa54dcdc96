//! The number of preemptions of a thread, by which disturbed measurements are recognised.

use std::fs;

/// The number of times so far that the scheduler gave this thread's core to another program, as Linux counts it. Waiting for
/// a lock or for input does not count: it is a cost of the measured code. 0 on systems without this count.
pub(crate) fn preemptions() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let count = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_preempted_thread_is_counted() {
        // With more threads than cores, none of which waits, all are preempted in the end.
        let threads = 2 * thread::available_parallelism().unwrap().get();
        let spin = || {
            let before = preemptions();
            while preemptions() == before {}
        };
        thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(spin))));
    }
}
