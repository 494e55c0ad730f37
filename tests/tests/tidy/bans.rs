//! A bad sample for each ban of the top's `.clippy.toml`, as `actors/src/tests/bans.rs` has them for the actors' own: an
//! expectation that clippy does not fulfil fails the build. Nothing here does what it names.

/// Names things that clippy must refuse.
macro_rules! refused {
    ($($sample:expr),* $(,)?) => {
        $({
            #[expect(clippy::disallowed_methods, reason = "a bad sample")]
            let _sample = $sample;
        })*
    };
}

#[test]
fn methods_are_refused() {
    refused! {
        tokio::task::block_in_place::<fn(), ()>,
        std::process::exit,
        std::mem::forget::<u8>,
        std::env::set_var::<&str, &str>,
    }
}
