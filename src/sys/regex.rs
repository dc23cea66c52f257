//! Extended regular expressions of the C library (regcomp(3)), as grep -E -i uses them.

use std::ffi::CString;
use std::mem::MaybeUninit;

/// A compiled expression that ignores the case of letters.
pub struct Expression(Box<libc::regex_t>);

impl Expression {
    /// Compiles an extended expression (POSIX). `None` when it is none, or holds a NUL byte.
    pub fn new(pattern: &str) -> Option<Self> {
        let pattern = CString::new(pattern).ok()?;
        let flags = libc::REG_EXTENDED | libc::REG_ICASE | libc::REG_NEWLINE | libc::REG_NOSUB;
        let mut place = Box::new(MaybeUninit::<libc::regex_t>::zeroed());
        // SAFETY: regcomp writes the structure that the first pointer shows, in a place that does not
        // move as long as this value lives, and reads the NUL-ended pattern.
        if unsafe { libc::regcomp(place.as_mut_ptr(), pattern.as_ptr(), flags) } != 0 {
            return None;
        }
        // SAFETY: the call succeeded, so the structure is set; MaybeUninit<T> has the layout of T.
        let compiled = unsafe { Box::from_raw(Box::into_raw(place).cast::<libc::regex_t>()) };
        Some(Self(compiled))
    }

    /// Whether some line of the text matches. NUL bytes count as ends of lines.
    pub fn matches(&self, text: &[u8]) -> bool {
        let lines: Vec<u8> = text.iter().map(|byte| if *byte == 0 { b'\n' } else { *byte }).collect();
        let Ok(lines) = CString::new(lines) else { return false };
        // SAFETY: the structure was set by regcomp, the text ends with NUL, and no matches are asked
        // for, so nothing is written.
        unsafe { libc::regexec(&raw const *self.0, lines.as_ptr(), 0, std::ptr::null_mut(), 0) == 0 }
    }
}

impl Drop for Expression {
    fn drop(&mut self) {
        // SAFETY: set by regcomp, and freed once.
        unsafe { libc::regfree(&raw mut *self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_grep_does() {
        let expression = Expression::new("</ *html *>").unwrap();
        assert!(expression.matches(b"<p>x</p>\n</HTML >\n"));
        assert!(!expression.matches(b"<html>"));
        let lines = Expression::new("^(a|b)+$").unwrap();
        assert!(lines.matches(b"x\nabba\ny"));
        assert!(lines.matches(b"x\0ab\0y"));
        assert!(!lines.matches(b"xabba"));
        assert!(!lines.matches(b""));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for pattern in ["(", "[a", "a\\", "x{2,1}", "nul\0"] {
            assert!(Expression::new(pattern).is_none(), "{pattern}");
        }
    }

    #[test]
    fn hostile_bytes_do_no_harm() {
        let expression = Expression::new("x[^y]*z").unwrap();
        let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
        expression.matches(&bytes);
        assert!(expression.matches(b"x\xff\xfe\x80z") || !cfg!(target_env = "gnu"));
    }
}
