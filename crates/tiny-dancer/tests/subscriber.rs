//! A user's subscriber. This is a test program of its own: if another thread writes the first line of a kind while a
//! subscriber is made, `tracing` may store that no subscriber enables this kind.
#![cfg(feature = "tracing")]
#![expect(clippy::unwrap_used, reason = "tests and their helper functions fail by panicking")]

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
fn a_users_subscriber_receives_the_log_lines() {
    let messages = Messages::default();
    let subscriber = tracing_subscriber::registry().with(messages.clone());
    tracing::subscriber::with_default(subscriber, || {
        let router = Router::new(RouterConfig::default()).unwrap();
        router.route(RoutingRequest::new(&[], &[])).unwrap_err();
    });
    let received = messages.0.lock().unwrap();
    assert!(received.len() >= 2, "the start and the error: {received:?}");
}
