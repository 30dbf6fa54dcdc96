//! The end of a program that serves: Ctrl-C, or the SIGTERM of a supervisor.

use std::future::Future;

/// Takes both signals from here on, and returns a future that ends with the first of them. Call it within a tokio runtime.
///
/// What comes after is up to the program: it lets its server finish, flushes the spans that are left, and returns from
/// `main`.
///
/// # Errors
/// If the system refuses to hand over a signal.
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
/// None here; the signature is that of other systems.
#[cfg(not(unix))]
pub fn requested() -> std::io::Result<impl Future<Output = ()> + Send> {
    Ok(async {
        // Without the signal there is nothing to wait for.
        let _ = tokio::signal::ctrl_c().await;
    })
}
