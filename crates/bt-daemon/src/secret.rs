//! Texts that cannot be guessed.
//!
//! Decides: how many bits they have.
//! Must not know: what they are for.
//! Invariant: two of them are never the same.

/// Returns 192 random bits as 48 characters.
pub(crate) fn secret() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
