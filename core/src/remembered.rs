//! What is looked up once and remembered, without ever waiting for another thread.

use std::sync::{RwLock, TryLockError};

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
    }
}
