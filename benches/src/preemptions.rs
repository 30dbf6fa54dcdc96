//! How often the scheduler took a thread off its core, so that a time in which it did is not taken for ours.

use std::fs;

/// How often so far this thread had to make room for another program, as Linux counts it. A thread that waits of its own
/// accord, for a lock or for input, is not counted: that is a cost. 0 on systems without this count.
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
    fn a_thread_that_makes_room_is_counted() {
        // More threads than cores, none of which ever waits: at least one must make room.
        let threads = 2 * thread::available_parallelism().unwrap().get();
        let spin = || {
            let before = preemptions();
            while preemptions() == before {}
        };
        thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(spin))));
    }
}
