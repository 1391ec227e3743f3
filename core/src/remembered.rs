//! What is looked up once and remembered, without ever waiting for another thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, RwLock, TryLockError};

/// A value that is only there to save a look: whoever finds another thread at it does
/// without. So a thread that is stopped in the middle keeps nobody waiting.
#[derive(Debug, Default)]
pub(crate) struct Remembered<T>(RwLock<T>);

impl<T> Remembered<T> {
    /// What is remembered; `None` also if another thread is at it.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> Option<R>) -> Option<R> {
        match self.0.try_read() {
            Ok(value) => look(&value),
            // Only the functions here change it, and they do not panic half-way.
            Err(TryLockError::Poisoned(value)) => look(&value.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Remembers something, unless another thread is at it.
    pub(crate) fn note(&self, note: impl FnOnce(&mut T)) {
        match self.0.try_write() {
            Ok(mut value) => note(&mut value),
            Err(TryLockError::Poisoned(value)) => note(&mut value.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
    }
}

/// The same for a value that never changes once it is known: a look is one load.
#[derive(Debug)]
pub(crate) struct Known<T> {
    value: OnceLock<T>,
    /// Somebody fills it in, and nobody else tries: who did would wait for him.
    is_taken: AtomicBool,
}

impl<T> Known<T> {
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Remembers it, unless somebody else does.
    pub(crate) fn note(&self, value: T) {
        if !self.is_taken.swap(true, Ordering::Relaxed) {
            let _ = self.value.set(value);
        }
    }
}

impl<T> Default for Known<T> {
    fn default() -> Known<T> {
        Known { value: OnceLock::new(), is_taken: AtomicBool::new(false) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R6.8
    #[test]
    fn nobody_waits_for_whoever_is_at_it() {
        let remembered = Remembered::<Option<u32>>::default();
        remembered.note(|value| *value = Some(1));
        let at_it = remembered.0.write().unwrap();
        assert_eq!(remembered.look(|value| *value), None);
        remembered.note(|value| *value = Some(2));
        drop(at_it);
        assert_eq!(remembered.look(|value| *value), Some(1));

        let known = Known::default();
        known.is_taken.store(true, Ordering::Relaxed);
        known.note(1);
        assert_eq!(known.get(), None);
        known.is_taken.store(false, Ordering::Relaxed);
        known.note(2);
        known.note(3);
        assert_eq!(known.get(), Some(&2));
    }
}
