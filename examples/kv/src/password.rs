//! The password of `--requirepass`.

use ring::hmac;

/// A password to compare with. Only what is needed to know it again is kept.
#[derive(Clone)]
pub(crate) struct Password {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

impl Password {
    /// What to compare with.
    pub(crate) fn new(password: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"raft-kv --requirepass");
        let tag = hmac::sign(&key, password.as_bytes());
        Self { key, tag }
    }

    /// Whether this is it. How long this takes depends on the length of what is given, and on nothing else.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        hmac::verify(&self.key, given, self.tag.as_ref()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_password_is_it() {
        let password = Password::new("secret");
        assert!(password.is(b"secret"));
        for wrong in ["", "s", "secre", "secreT", "Secret", "secrets", "secret\0"] {
            assert!(!password.is(wrong.as_bytes()), "{wrong:?}");
        }
        assert_eq!(format!("{password:?}"), "Password");
    }
}
