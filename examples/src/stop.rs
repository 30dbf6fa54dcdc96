//! The end of a program that serves: Ctrl-C, or the SIGTERM of a supervisor.

use std::future::Future;

/// Handles both signals from now on, and returns a future that ends with the first of them. Call it within a tokio runtime.
///
/// Then the program lets its server finish, flushes the remaining spans, and returns from `main`.
///
/// # Errors
/// If the system refuses a handler of a signal.
#[cfg(unix)]
pub fn requested() -> std::io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ctrl-C, where there is no SIGTERM.
///
/// # Errors
/// None; the signature is that of Unix.
#[cfg(not(unix))]
pub fn requested() -> std::io::Result<impl Future<Output = ()> + Send> {
    Ok(async {
        // An error means that the signal cannot arrive, so waiting ends.
        let _ = tokio::signal::ctrl_c().await;
    })
}
