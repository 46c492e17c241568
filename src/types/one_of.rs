//! One of several handles in one word: the low bits of the address say which.
//!
//! Lives here: the promise that such handles give ([`Handle`]), a box that gives it ([`Owned`]), the word itself
//! ([`Word`]), and the macro that makes a type of one ([`one_of!`]). May not: what the handles lead to.
//!
//! A plain enum of boxes takes two words, and an enum of such enums three; small collections would pay for them.
//!
//! Invariants:
//! 1. The three low bits of a handle are its type's `TAG`, and the rest is the address of what it leads to.
//! 2. A `Word` was made from a handle of one of its types. These have different tags, so the low bits name the type.
#![allow(
    unsafe_code,
    reason = "tagged addresses, which safe types cannot express"
)]

use std::marker::PhantomData;
use std::mem::{ManuallyDrop, align_of, size_of};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

const TAG_BITS: usize = 7;

/// A handle that fits a [`Word`].
///
/// # Safety
/// The type is `repr(transparent)` around a `NonNull`, never a null one, and upholds invariant 1 at all times.
pub unsafe trait Handle: Sized {
    /// What the three low bits are.
    const TAG: usize;
}

/// A box with a tag.
#[repr(transparent)]
pub struct Owned<T, const TAG: usize>(NonNull<T>, PhantomData<T>);

// SAFETY: it owns its value as a `Box` does.
unsafe impl<T: Send, const TAG: usize> Send for Owned<T, TAG> {}
// SAFETY: as above.
unsafe impl<T: Sync, const TAG: usize> Sync for Owned<T, TAG> {}

// SAFETY: `new` adds the tag to an address whose low bits are clear, and nothing changes it.
unsafe impl<T, const TAG: usize> Handle for Owned<T, TAG> {
    const TAG: usize = TAG;
}

impl<T, const TAG: usize> Owned<T, TAG> {
    const HAS_ROOM: () =
        assert!(TAG <= TAG_BITS && align_of::<T>() > TAG_BITS && size_of::<T>() > 0);

    /// Puts a value on the heap.
    pub fn new(value: T) -> Owned<T, TAG> {
        let () = Self::HAS_ROOM;
        let address = NonNull::from(Box::leak(Box::new(value)));
        Owned(address.map_addr(|address| address | TAG), PhantomData)
    }

    #[inline]
    fn address(&self) -> *mut T {
        self.0.as_ptr().wrapping_byte_sub(TAG)
    }
}

impl<T, const TAG: usize> Deref for Owned<T, TAG> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: invariant 1: the address is that of the box's value, which lives as long as this handle.
        unsafe { &*self.address() }
    }
}

impl<T, const TAG: usize> DerefMut for Owned<T, TAG> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; the borrow is unique.
        unsafe { &mut *self.address() }
    }
}

impl<T, const TAG: usize> Drop for Owned<T, TAG> {
    fn drop(&mut self) {
        // SAFETY: `new` leaked this box; the handle is not used again.
        drop(unsafe { Box::from_raw(self.address()) });
    }
}

/// A handle of one of the types of the tuple `T`. Dropping it is up to the type that [`one_of!`] makes around it.
#[repr(transparent)]
pub struct Word<T>(NonNull<u8>, PhantomData<T>);

// SAFETY: a word is one of the handles of `T`.
unsafe impl<T: Send> Send for Word<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Word<T> {}

impl<T> Word<T> {
    /// The word of a handle, which has to be of one of the types of `T`.
    #[inline]
    pub fn new<H: Handle>(handle: H) -> Word<T> {
        const { assert!(size_of::<H>() == size_of::<NonNull<u8>>()) };
        let handle = ManuallyDrop::new(handle);
        // SAFETY: a handle is a `NonNull` in other clothes, and it is moved from here.
        let word = unsafe { (&raw const handle).cast::<NonNull<u8>>().read() };
        debug_assert_eq!(word.addr().get() & TAG_BITS, H::TAG);
        Word(word, PhantomData)
    }

    /// Which handle it is.
    #[inline]
    pub fn tag(&self) -> usize {
        self.0.addr().get() & TAG_BITS
    }

    /// The word as the handle that it is.
    ///
    /// # Safety
    /// `H` is the type of `T` with this tag.
    #[inline]
    pub unsafe fn as_ref<H: Handle>(&self) -> &H {
        debug_assert_eq!(self.tag(), H::TAG);
        // SAFETY: by invariant 2 the word was made from an `H`, which is a `NonNull` in other clothes.
        unsafe { &*(&raw const self.0).cast::<H>() }
    }

    /// The word as the handle that it is, to change it: whatever `H` is put there has the same tag.
    ///
    /// # Safety
    /// `H` is the type of `T` with this tag.
    #[inline]
    pub unsafe fn as_mut<H: Handle>(&mut self) -> &mut H {
        debug_assert_eq!(self.tag(), H::TAG);
        // SAFETY: as above; the borrow is unique.
        unsafe { &mut *(&raw mut self.0).cast::<H>() }
    }
}

/// Makes a type of one word that is one of several handles with different tags, and two enums to look into it:
///
/// ```text
/// one_of! {
///     /// A set.
///     pub Set, SetRef, SetMut { Intset(Intset), Listpack(Listpack) }
/// }
/// let set = Set::from(Intset::new());
/// match set.view() { SetRef::Intset(ints) => .., SetRef::Listpack(list) => .. }
/// ```
macro_rules! one_of {
    ($(#[$meta:meta])* pub $name:ident, $look:ident, $edit:ident { $($variant:ident($handle:ty)),+ $(,)? }) => {
        $(#[$meta])*
        #[repr(transparent)]
        pub struct $name($crate::types::one_of::Word<($($handle,)+)>);

        /// A look at which of its encodings it has.
        pub enum $look<'a> { $($variant(&'a $handle)),+ }

        /// The same, to change it within its encoding.
        pub enum $edit<'a> { $($variant(&'a mut $handle)),+ }

        #[allow(unsafe_code, reason = "the tag names the handle's type")]
        impl $name {
            const TAGS_DIFFER: () = {
                let mut seen = 0u8;
                $(
                    let bit = 1 << <$handle as $crate::types::one_of::Handle>::TAG;
                    assert!(seen & bit == 0);
                    seen |= bit;
                )+
                let _ = seen;
            };

            /// Which encoding it has.
            #[inline]
            pub fn view(&self) -> $look<'_> {
                // SAFETY: each arm asks for the type that its tag stands for; by `TAGS_DIFFER` there is one.
                unsafe {
                    match self.0.tag() {
                        $(<$handle as $crate::types::one_of::Handle>::TAG => $look::$variant(self.0.as_ref()),)+
                        _ => unreachable!("a word has the tag of one of its handles"),
                    }
                }
            }

            /// Which encoding it has, to change it.
            #[inline]
            pub fn view_mut(&mut self) -> $edit<'_> {
                // SAFETY: as in `view`.
                unsafe {
                    match self.0.tag() {
                        $(<$handle as $crate::types::one_of::Handle>::TAG => $edit::$variant(self.0.as_mut()),)+
                        _ => unreachable!("a word has the tag of one of its handles"),
                    }
                }
            }
        }

        $(
            impl From<$handle> for $name {
                #[inline]
                fn from(handle: $handle) -> $name {
                    let () = $name::TAGS_DIFFER;
                    $name($crate::types::one_of::Word::new(handle))
                }
            }
        )+

        impl Drop for $name {
            fn drop(&mut self) {
                #[allow(unsafe_code, reason = "the word is dropped as the handle that it is")]
                match self.view_mut() {
                    // SAFETY: the word is not used again.
                    $($edit::$variant(handle) => unsafe { std::ptr::drop_in_place(handle) },)+
                }
            }
        }
    };
}
pub(crate) use one_of;

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    one_of! {
        /// A number or a counted text.
        pub Either, EitherRef, EitherMut { Number(Owned<u64, 3>), Text(Owned<Rc<String>, 0>) }
    }

    #[test]
    fn a_word_is_what_it_was_made_of_and_drops_it() {
        assert_eq!(size_of::<Option<Either>>(), 8);
        let text = Rc::new(String::from("text"));
        let mut either = Either::from(Owned::<_, 0>::new(text.clone()));
        assert!(matches!(either.view(), EitherRef::Text(found) if **found == text));
        assert_eq!(Rc::strong_count(&text), 2);
        if let EitherMut::Text(found) = either.view_mut() {
            *found = Owned::new(Rc::new(String::from("other")));
        }
        assert_eq!(Rc::strong_count(&text), 1);
        assert!(matches!(either.view(), EitherRef::Text(found) if ***found == "other"));
        either = Owned::<_, 3>::new(7).into();
        if let EitherMut::Number(number) = either.view_mut() {
            **number += 1;
        }
        assert!(matches!(either.view(), EitherRef::Number(number) if **number == 8));
    }
}
