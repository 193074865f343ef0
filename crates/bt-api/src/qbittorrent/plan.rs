//! From an action to what it needs.
//!
//! Decides: which actions there are.
//! Must not know: HTTP, cookies.
//! Invariant: an action that only reads has no commands, and works by GET and by POST; one that
//! changes something works by POST alone.

use super::acts::act;
use super::answer::{WebAnswer, WebPlan};
use super::form::Form;
use super::reads::read;
use crate::state::DaemonState;

/// Returns what an action needs, or the answer to one that is refused.
pub fn plan(
    scope: &str,
    action: &str,
    is_post: bool,
    form: &Form,
    state: &DaemonState,
) -> Result<WebPlan, WebAnswer> {
    if let Some(plan) = read(scope, action, form, state) {
        return plan;
    }
    match act(scope, action, form, state) {
        Some(_) if !is_post => Err(WebAnswer::text(405, "Method Not Allowed")),
        Some(plan) => plan,
        None => Err(WebAnswer::text(404, "Not Found")),
    }
}

#[cfg(test)]
mod tests;
