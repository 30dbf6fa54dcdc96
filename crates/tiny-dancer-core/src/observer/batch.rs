//! The context of a batch, for the threads that route its requests.

/// The context of a batch, restored on each thread that routes one of its requests. `()` is no context.
pub trait BatchContext: Default + Send + Sync + 'static {
    /// Restores on drop the context that was current before [`enter`](Self::enter).
    type Guard<'a>;

    /// Makes the context current on this thread, until the guard is dropped.
    fn enter(&self) -> Self::Guard<'_>;
}

impl BatchContext for () {
    type Guard<'a> = ();

    #[inline]
    fn enter(&self) {}
}

impl<B: BatchContext> BatchContext for Option<B> {
    type Guard<'a> = Option<B::Guard<'a>>;

    #[inline]
    fn enter(&self) -> Self::Guard<'_> {
        self.as_ref().map(B::enter)
    }
}

/// One context within another. A tuple drops its members in order, so the inner guard is the first member.
impl<A: BatchContext, B: BatchContext> BatchContext for (A, B) {
    type Guard<'a> = (B::Guard<'a>, A::Guard<'a>);

    #[inline]
    fn enter(&self) -> Self::Guard<'_> {
        let outer = self.0.enter();
        (self.1.enter(), outer)
    }
}
