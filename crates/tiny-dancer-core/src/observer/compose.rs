//! Observers made of observers: none, one chosen at run time, a shared one, several.

use super::{
    BatchStart, BreakerTransition, Decided, Detail, Failed, ModelReload, Observer, OutcomeReported,
    PromiseBroken, RequestEnd, RequestStart, StageEnd, StageStart,
};
use std::sync::Arc;

/// Nobody listens.
impl Observer for () {
    type Request = ();
    type Stage = ();

    #[inline]
    fn on_request_start(&self, _: &RequestStart<'_>) {}

    #[inline]
    fn on_stage_start(&self, (): &mut (), _: &StageStart<'_>) {}

    #[inline]
    fn detail(&self, (): &()) -> Detail {
        Detail::Off
    }
}

/// The same observer, shared.
impl<O: Observer> Observer for Arc<O> {
    type Request = O::Request;
    type Stage = O::Stage;

    #[inline]
    fn on_batch_start(&self, event: &BatchStart) -> impl Fn(&mut dyn FnMut()) + Send + Sync {
        O::on_batch_start(self, event)
    }

    #[inline]
    fn on_request_start(&self, event: &RequestStart<'_>) -> O::Request {
        O::on_request_start(self, event)
    }

    #[inline]
    fn on_stage_start(&self, request: &mut O::Request, event: &StageStart<'_>) -> O::Stage {
        O::on_stage_start(self, request, event)
    }

    #[inline]
    fn detail(&self, request: &O::Request) -> Detail {
        O::detail(self, request)
    }

    #[inline]
    fn hears(&self, event: &StageStart<'_>) -> bool {
        O::hears(self, event)
    }

    #[inline]
    fn on_stage_end(&self, request: &mut O::Request, stage: O::Stage, event: &StageEnd) {
        O::on_stage_end(self, request, stage, event);
    }

    #[inline]
    fn on_decision(&self, request: &mut O::Request, event: &Decided<'_>) {
        O::on_decision(self, request, event);
    }

    #[inline]
    fn on_error(&self, request: &mut O::Request, event: &Failed<'_>) {
        O::on_error(self, request, event);
    }

    #[inline]
    fn on_request_end(&self, request: O::Request, event: &RequestEnd) {
        O::on_request_end(self, request, event);
    }

    #[inline]
    fn on_outcome(&self, event: &OutcomeReported) {
        O::on_outcome(self, event);
    }

    #[inline]
    fn on_promise_broken(&self, event: &PromiseBroken) {
        O::on_promise_broken(self, event);
    }

    #[inline]
    fn on_breaker_transition(&self, event: &BreakerTransition) {
        O::on_breaker_transition(self, event);
    }

    #[inline]
    fn on_model_reload(&self, event: &ModelReload<'_>) {
        O::on_model_reload(self, event);
    }
}

/// An observer chosen at run time.
impl<O: Observer> Observer for Option<O> {
    type Request = Option<O::Request>;
    type Stage = Option<O::Stage>;

    #[inline]
    fn on_batch_start(&self, event: &BatchStart) -> impl Fn(&mut dyn FnMut()) + Send + Sync {
        let enter = self.as_ref().map(|observer| observer.on_batch_start(event));
        move |route: &mut dyn FnMut()| match &enter {
            Some(enter) => enter(route),
            None => route(),
        }
    }

    #[inline]
    fn on_request_start(&self, event: &RequestStart<'_>) -> Self::Request {
        self.as_ref().map(|observer| observer.on_request_start(event))
    }

    #[inline]
    fn on_stage_start(&self, request: &mut Self::Request, event: &StageStart<'_>) -> Self::Stage {
        let (observer, request) = self.as_ref().zip(request.as_mut())?;
        Some(observer.on_stage_start(request, event))
    }

    #[inline]
    fn detail(&self, request: &Self::Request) -> Detail {
        self.as_ref()
            .zip(request.as_ref())
            .map_or(Detail::Off, |(observer, request)| observer.detail(request))
    }

    #[inline]
    fn hears(&self, event: &StageStart<'_>) -> bool {
        self.as_ref().is_some_and(|observer| observer.hears(event))
    }

    #[inline]
    fn on_stage_end(&self, request: &mut Self::Request, stage: Self::Stage, event: &StageEnd) {
        if let (Some(observer), Some(request), Some(stage)) = (self, request, stage) {
            observer.on_stage_end(request, stage, event);
        }
    }

    #[inline]
    fn on_decision(&self, request: &mut Self::Request, event: &Decided<'_>) {
        if let (Some(observer), Some(request)) = (self, request) {
            observer.on_decision(request, event);
        }
    }

    #[inline]
    fn on_error(&self, request: &mut Self::Request, event: &Failed<'_>) {
        if let (Some(observer), Some(request)) = (self, request) {
            observer.on_error(request, event);
        }
    }

    #[inline]
    fn on_request_end(&self, request: Self::Request, event: &RequestEnd) {
        if let (Some(observer), Some(request)) = (self, request) {
            observer.on_request_end(request, event);
        }
    }

    #[inline]
    fn on_outcome(&self, event: &OutcomeReported) {
        if let Some(observer) = self {
            observer.on_outcome(event);
        }
    }

    #[inline]
    fn on_promise_broken(&self, event: &PromiseBroken) {
        if let Some(observer) = self {
            observer.on_promise_broken(event);
        }
    }

    #[inline]
    fn on_breaker_transition(&self, event: &BreakerTransition) {
        if let Some(observer) = self {
            observer.on_breaker_transition(event);
        }
    }

    #[inline]
    fn on_model_reload(&self, event: &ModelReload<'_>) {
        if let Some(observer) = self {
            observer.on_model_reload(event);
        }
    }
}

/// A member's part of a tuple's request: its context, and what it asked for.
#[derive(Debug)]
pub struct Part<R> {
    request: R,
    detail: Detail,
}

impl<R> Part<R> {
    #[inline]
    fn start<O: Observer<Request = R>>(observer: &O, event: &RequestStart<'_>) -> Self {
        let request = observer.on_request_start(event);
        let detail = observer.detail(&request);
        Self { request, detail }
    }

    #[inline]
    fn stage_start<O: Observer<Request = R>>(
        &mut self,
        observer: &O,
        event: &StageStart<'_>,
    ) -> Option<O::Stage> {
        let hears = self.detail >= event.detail() && observer.hears(event);
        hears.then(|| observer.on_stage_start(&mut self.request, event))
    }

    #[inline]
    fn stage_end<O: Observer<Request = R>>(
        &mut self,
        observer: &O,
        stage: Option<O::Stage>,
        event: &StageEnd,
    ) {
        if let Some(stage) = stage {
            observer.on_stage_end(&mut self.request, stage, event);
        }
    }

    /// The request, if the member wants to hear what needs this detail.
    #[inline]
    fn heard(&mut self, detail: Detail) -> Option<&mut R> {
        (self.detail >= detail).then_some(&mut self.request)
    }

    #[inline]
    fn end<O: Observer<Request = R>>(self, observer: &O, event: &RequestEnd) {
        if self.detail >= event.detail() {
            observer.on_request_end(self.request, event);
        }
    }
}

/// Enters one context within another.
fn within(
    outer: impl Fn(&mut dyn FnMut()) + Send + Sync,
    inner: impl Fn(&mut dyn FnMut()) + Send + Sync,
) -> impl Fn(&mut dyn FnMut()) + Send + Sync {
    move |route: &mut dyn FnMut()| outer(&mut || inner(&mut *route))
}

macro_rules! tuple {
    ($($member:ident $index:tt),+; reversed $($last:tt),+) => {
        /// Several observers, told in order; ends are told in the opposite order, so that they nest.
        impl<$($member: Observer),+> Observer for ($($member,)+) {
            type Request = ($(Part<$member::Request>,)+);
            type Stage = ($(Option<$member::Stage>,)+);

            #[inline]
            fn on_batch_start(&self, event: &BatchStart) -> impl Fn(&mut dyn FnMut()) + Send + Sync {
                let enter = |route: &mut dyn FnMut()| route();
                $(let enter = within(self.$last.on_batch_start(event), enter);)+
                enter
            }

            #[inline]
            fn on_request_start(&self, event: &RequestStart<'_>) -> Self::Request {
                ($(Part::start(&self.$index, event),)+)
            }

            #[inline]
            fn on_stage_start(&self, request: &mut Self::Request, event: &StageStart<'_>) -> Self::Stage {
                ($(request.$index.stage_start(&self.$index, event),)+)
            }

            #[inline]
            fn detail(&self, request: &Self::Request) -> Detail {
                Detail::Off$(.max(request.$index.detail))+
            }

            #[inline]
            fn hears(&self, event: &StageStart<'_>) -> bool {
                $(self.$index.hears(event))||+
            }

            #[inline]
            fn on_stage_end(&self, request: &mut Self::Request, stage: Self::Stage, event: &StageEnd) {
                $(request.$last.stage_end(&self.$last, stage.$last, event);)+
            }

            #[inline]
            fn on_decision(&self, request: &mut Self::Request, event: &Decided<'_>) {
                $(if let Some(request) = request.$index.heard(event.detail()) {
                    self.$index.on_decision(request, event);
                })+
            }

            #[inline]
            fn on_error(&self, request: &mut Self::Request, event: &Failed<'_>) {
                $(if let Some(request) = request.$index.heard(Detail::Unsuccessful) {
                    self.$index.on_error(request, event);
                })+
            }

            #[inline]
            fn on_request_end(&self, request: Self::Request, event: &RequestEnd) {
                $(request.$last.end(&self.$last, event);)+
            }

            #[inline]
            fn on_outcome(&self, event: &OutcomeReported) {
                $(self.$index.on_outcome(event);)+
            }

            #[inline]
            fn on_promise_broken(&self, event: &PromiseBroken) {
                $(self.$index.on_promise_broken(event);)+
            }

            #[inline]
            fn on_breaker_transition(&self, event: &BreakerTransition) {
                $(self.$index.on_breaker_transition(event);)+
            }

            #[inline]
            fn on_model_reload(&self, event: &ModelReload<'_>) {
                $(self.$index.on_model_reload(event);)+
            }
        }
    };
}

tuple!(A 0, B 1; reversed 1, 0);
tuple!(A 0, B 1, C 2; reversed 2, 1, 0);
tuple!(A 0, B 1, C 2, D 3; reversed 3, 2, 1, 0);
