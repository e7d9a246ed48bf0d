//! Tables of C functions from libraries that are opened at run time.

/// Declares a struct of C functions and its `load`, which looks all of them up.
macro_rules! symbol_table {
    ($(#[$doc:meta])* $visibility:vis struct $table:ident {
        $($field:ident = $symbol:literal: fn($($argument:ty),*) -> $result:ty;)*
    }) => {
        $(#[$doc])*
        $visibility struct $table {
            $(pub $field: unsafe extern "C" fn($($argument),*) -> $result,)*
            /// Keeps the functions in memory.
            _library: libloading::Library,
        }

        impl $table {
            /// The functions of `library`, or the name of the first one that is missing.
            ///
            /// # Safety
            /// The library's functions of these names have these signatures.
            $visibility unsafe fn load(library: libloading::Library) -> Result<Self, &'static str> {
                Ok($table {
                    // SAFETY: the caller vouches for the signatures; `_library` outlives the pointers.
                    $($field: *unsafe { library.get($symbol) }.map_err(|_| $symbol)?,)*
                    _library: library,
                })
            }
        }
    };
}

pub(crate) use symbol_table;

/// The loader's reason why it cannot open a library.
pub(crate) fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
