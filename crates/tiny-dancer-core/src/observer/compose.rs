//! Compositions of observers: none, one chosen at run time, a shared one, several.

use super::{
    BatchStart, BreakerTransition, BudgetEvent, Decided, Detail, Failed, MemoryEvent, ModelReload, Observer,
    OutcomeReported, PromiseBroken, RequestEnd, RequestStart, SpanIds, StageEnd, StageStart,
};
use std::sync::Arc;

/// No observer.
impl Observer for () {
    type Request = ();
    type Stage = ();
    type Batch = ();

    #[inline]
    fn on_request_start(&self, _: &RequestStart<'_>) {}

    #[inline]
    fn detail(&self, (): &()) -> Detail {
        Detail::Off
    }

    #[inline]
    fn is_enabled(&self, (): &(), _: &StageStart<'_>) -> bool {
        false
    }
}

/// The same observer, shared.
impl<O: Observer> Observer for Arc<O> {
    type Request = O::Request;
    type Stage = O::Stage;
    type Batch = O::Batch;

    #[inline]
    fn on_batch_start(&self, event: &BatchStart) -> O::Batch {
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
    fn span(&self, request: &O::Request) -> Option<SpanIds> {
        O::span(self, request)
    }

    #[inline]
    fn is_enabled(&self, request: &O::Request, event: &StageStart<'_>) -> bool {
        O::is_enabled(self, request, event)
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

    #[inline]
    fn on_budget(&self, event: &BudgetEvent<'_>) {
        O::on_budget(self, event);
    }

    #[inline]
    fn on_memory(&self, event: &MemoryEvent) {
        O::on_memory(self, event);
    }
}

/// An observer chosen at run time.
impl<O: Observer> Observer for Option<O> {
    type Request = Option<O::Request>;
    type Stage = Option<O::Stage>;
    type Batch = Option<O::Batch>;

    #[inline]
    fn on_batch_start(&self, event: &BatchStart) -> Self::Batch {
        self.as_ref().map(|observer| observer.on_batch_start(event))
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
    fn span(&self, request: &Self::Request) -> Option<SpanIds> {
        let (observer, request) = self.as_ref().zip(request.as_ref())?;
        observer.span(request)
    }

    #[inline]
    fn is_enabled(&self, request: &Self::Request, event: &StageStart<'_>) -> bool {
        self.as_ref()
            .zip(request.as_ref())
            .is_some_and(|(observer, request)| observer.is_enabled(request, event))
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

    #[inline]
    fn on_budget(&self, event: &BudgetEvent<'_>) {
        if let Some(observer) = self {
            observer.on_budget(event);
        }
    }

    #[inline]
    fn on_memory(&self, event: &MemoryEvent) {
        if let Some(observer) = self {
            observer.on_memory(event);
        }
    }
}

/// A member's part of a tuple's request: its context and its detail.
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

    #[inline(always)]
    fn stage_start<O: Observer<Request = R>>(
        &mut self,
        observer: &O,
        event: &StageStart<'_>,
    ) -> Option<O::Stage> {
        self.is_enabled(observer, event).then(|| observer.on_stage_start(&mut self.request, event))
    }

    /// Whether the member's detail includes the event, and the member enables it.
    #[inline(always)]
    fn is_enabled<O: Observer<Request = R>>(&self, observer: &O, event: &StageStart<'_>) -> bool {
        self.detail >= event.detail() && observer.is_enabled(&self.request, event)
    }

    #[inline(always)]
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

    /// The member's span, unless its detail is off.
    #[inline]
    fn span<O: Observer<Request = R>>(&self, observer: &O) -> Option<SpanIds> {
        if self.detail == Detail::Off { None } else { observer.span(&self.request) }
    }

    /// The request, if the member's detail is this one or above.
    #[inline]
    fn at(&mut self, detail: Detail) -> Option<&mut R> {
        (self.detail >= detail).then_some(&mut self.request)
    }

    #[inline(always)]
    fn end<O: Observer<Request = R>>(self, observer: &O, event: &RequestEnd) {
        if self.detail >= event.detail() {
            observer.on_request_end(self.request, event);
        }
    }
}

/// Nests expressions in pairs: `(a, (b, c))`.
macro_rules! nested {
    ($only:expr) => { $only };
    ($first:expr, $($rest:expr),+) => { ($first, nested!($($rest),+)) };
}

/// The same for types.
macro_rules! nested_type {
    ($only:ty) => { $only };
    ($first:ty, $($rest:ty),+) => { ($first, nested_type!($($rest),+)) };
}

macro_rules! tuple {
    ($($member:ident $index:tt),+; reversed $($last:tt),+) => {
        /// Several observers, called in order. Ends are called in the opposite order, so that they nest.
        impl<$($member: Observer),+> Observer for ($($member,)+) {
            type Request = ($(Part<$member::Request>,)+);
            type Stage = ($(Option<$member::Stage>,)+);
            type Batch = nested_type!($($member::Batch),+);

            #[inline]
            fn on_batch_start(&self, event: &BatchStart) -> Self::Batch {
                nested!($(self.$index.on_batch_start(event)),+)
            }

            #[inline]
            fn on_request_start(&self, event: &RequestStart<'_>) -> Self::Request {
                ($(Part::start(&self.$index, event),)+)
            }

            #[inline(always)]
            fn on_stage_start(&self, request: &mut Self::Request, event: &StageStart<'_>) -> Self::Stage {
                ($(request.$index.stage_start(&self.$index, event),)+)
            }

            #[inline]
            fn detail(&self, request: &Self::Request) -> Detail {
                Detail::Off$(.max(request.$index.detail))+
            }

            #[inline]
            fn span(&self, request: &Self::Request) -> Option<SpanIds> {
                None$(.or_else(|| request.$index.span(&self.$index)))+
            }

            #[inline(always)]
            fn is_enabled(&self, request: &Self::Request, event: &StageStart<'_>) -> bool {
                $(request.$index.is_enabled(&self.$index, event))||+
            }

            #[inline(always)]
            fn on_stage_end(&self, request: &mut Self::Request, stage: Self::Stage, event: &StageEnd) {
                $(request.$last.stage_end(&self.$last, stage.$last, event);)+
            }

            #[inline]
            fn on_decision(&self, request: &mut Self::Request, event: &Decided<'_>) {
                $(if let Some(request) = request.$index.at(event.detail()) {
                    self.$index.on_decision(request, event);
                })+
            }

            #[inline]
            fn on_error(&self, request: &mut Self::Request, event: &Failed<'_>) {
                $(if let Some(request) = request.$index.at(Detail::Unsuccessful) {
                    self.$index.on_error(request, event);
                })+
            }

            #[inline(always)]
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

            #[inline]
            fn on_budget(&self, event: &BudgetEvent<'_>) {
                $(self.$index.on_budget(event);)+
            }

            #[inline]
            fn on_memory(&self, event: &MemoryEvent) {
                $(self.$index.on_memory(event);)+
            }
        }
    };
}

tuple!(A 0, B 1; reversed 1, 0);
tuple!(A 0, B 1, C 2; reversed 2, 1, 0);
tuple!(A 0, B 1, C 2, D 3; reversed 3, 2, 1, 0);
