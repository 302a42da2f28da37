//! Who may ask: bearer tokens, compared in constant time.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Longer than any token somebody means; what is longer is refused unread.
const MAX_LENGTH: usize = 1024;

/// The tokens that open the service. Several, so that a new one can be handed out before an old one is withdrawn.
pub struct Tokens {
    /// Of each, its hash: all are equally long, so that a comparison tells nothing about the length either.
    hashes: Vec<[u8; 32]>,
}

impl Tokens {
    /// From these tokens; from none, [`allow`](Self::allow) lets everybody in, which somebody must have asked for.
    ///
    /// # Errors
    /// A token that no header could carry, or that is too long.
    pub fn new(tokens: &[String]) -> Result<Self, String> {
        for token in tokens {
            if token.is_empty() || token.len() > MAX_LENGTH || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!("a token must be 1 to {MAX_LENGTH} visible ASCII characters"));
            }
        }
        Ok(Tokens { hashes: tokens.iter().map(|token| Sha256::digest(token).into()).collect() })
    }

    /// Whether a request with these headers may pass.
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        self.hashes.is_empty() || bearer(headers).is_some_and(|token| self.know(token))
    }

    fn know(&self, token: &[u8]) -> bool {
        if token.len() > MAX_LENGTH {
            return false;
        }
        let hash = Sha256::digest(token);
        // Every one is looked at, whether or not one before it was right.
        let found = self.hashes.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&hash));
        found.into()
    }
}

/// What comes after `Bearer`, of which HTTP does not care how it is written.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(tokens: &Tokens, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        tokens.allow(&headers)
    }

    #[test]
    fn any_of_the_tokens_opens_and_nothing_else() {
        let tokens = Tokens::new(&["first-token".into(), "second-token".into()]).unwrap();
        assert!(asks(&tokens, "Bearer first-token") && asks(&tokens, "bearer second-token"));
        for wrong in [
            "Bearer first-toke",
            "Bearer first-token2",
            "Bearer ",
            "Bearer",
            "",
            "first-token",
            "Basic first-token",
            "Bearer first-token second-token",
        ] {
            assert!(!asks(&tokens, wrong), "{wrong}");
        }
        assert!(!asks(&tokens, &format!("Bearer {}", "x".repeat(MAX_LENGTH + 1))));
        assert!(!tokens.allow(&HeaderMap::new()));
    }

    #[test]
    fn tokens_that_no_header_can_carry_are_refused() {
        for bad in ["", "two words", "tab\t", "schlüssel", &"x".repeat(MAX_LENGTH + 1)] {
            assert!(Tokens::new(&[bad.into()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn without_tokens_everybody_may() {
        assert!(Tokens::new(&[]).unwrap().allow(&HeaderMap::new()));
    }
}
