//! The page: one file, in the program.

use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::IntoResponse;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use raft_core::membership::Membership;

use super::Http;
use crate::settings::HTTP;

const PAGE: &str = include_str!("page.html");

/// What stands between two marks.
fn between<'a>(text: &'a str, open: &str, close: &str) -> &'a str {
    let rest = text.split_once(open).map_or("", |(_, rest)| rest);
    rest.split_once(close).map_or("", |(inside, _)| inside)
}

fn hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    format!("'sha256-{}'", BASE64_STANDARD.encode(digest))
}

/// The one script and the one style that a browser may take, by their hashes.
static HASHES: LazyLock<(String, String)> = LazyLock::new(|| {
    (hash(between(PAGE, "<script>", "</script>")), hash(between(PAGE, "<style>", "</style>")))
});

/// Nothing from elsewhere, nothing that was not in the file; events from the members.
fn policy(membership: &Membership) -> String {
    let (script, style) = &*HASHES;
    let pages = membership.members.values().filter_map(|member| member.attributes.get(HTTP));
    let others: String = pages.map(|page| format!(" http://{page}")).collect();
    format!(
        "default-src 'none'; script-src {script}; style-src {style}; img-src data:; connect-src 'self'{others}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

pub(super) async fn page(State(state): State<Arc<Http>>) -> impl IntoResponse {
    let headers: [(HeaderName, String); 2] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".into()),
        (header::CONTENT_SECURITY_POLICY, policy(&state.server.node.status().membership)),
    ];
    (headers, PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A style or a handler in an attribute would not be allowed, and a second script would have no hash.
    #[test]
    fn the_page_keeps_to_its_policy() {
        for (part, times) in [("<script", 1), ("</script>", 1), ("<style", 1), ("</style>", 1)] {
            assert_eq!(PAGE.matches(part).count(), times, "{part}");
        }
        for banned in [" style=\"", " onclick=", " onload=", "javascript:", "innerHTML", "eval(", "https://"]
        {
            assert!(!PAGE.contains(banned), "{banned}");
        }
        // The name of a language is no address.
        let addresses = PAGE.replace("http://www.w3.org/2000/svg", "").replace("`http://${", "");
        assert!(!addresses.contains("http://"));
        assert!(policy(&Membership::default()).contains("default-src 'none'; script-src 'sha256-"));
    }
}
