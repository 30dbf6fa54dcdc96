//! A subscriber of the user's own. A program by itself: where another thread writes the first line of a kind at the same
//! time as a subscriber is made, `tracing` may take that kind of line for one that no subscriber enables.
#![cfg(feature = "tracing")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::sync::{Arc, Mutex};
use tiny_dancer::{Router, RouterConfig, RoutingRequest};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Keeps the messages of tracing events.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Messages {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut text = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            if field.name() == "message" {
                text = format!("{value:?}");
            }
        });
        self.0.lock().unwrap().push(text);
    }
}

#[test]
fn a_subscriber_of_the_users_own_receives_the_log_lines() {
    let messages = Messages::default();
    let subscriber = tracing_subscriber::registry().with(messages.clone());
    tracing::subscriber::with_default(subscriber, || {
        let router = Router::new(RouterConfig::default()).unwrap();
        router.route(RoutingRequest::new(&[], &[])).unwrap_err();
    });
    let received = messages.0.lock().unwrap();
    assert!(received.len() >= 2, "the start and the error: {received:?}");
}
