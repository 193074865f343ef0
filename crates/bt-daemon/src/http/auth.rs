//! Who a request comes from: a password, a session's cookie, or a token.
//!
//! Decides: what proves an identity, and who is locked out.
//! Must not know: what is asked.
//! Invariant: no password, token or cookie is kept or logged as text. Who guesses is locked out
//! after [`FAILURES_MAX`] tries, also with the right password then.

use crate::clock::now;
use crate::config::PasswordError;
use crate::secret::secret;
use crate::token::{Scope, Token};
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::Semaphore;

/// Wrong passwords or tokens of one address until it is locked out.
const FAILURES_MAX: u32 = 5;
/// How long it is locked out, in seconds.
const LOCKED_OUT: u64 = 3600;
/// Most addresses whose failures are counted: the oldest is forgotten.
const ADDRESSES_MAX: usize = 4096;
/// Most sessions: the one that was idle for longest ends.
const SESSIONS_MAX: usize = 64;
/// How long a session lasts without a request, in seconds.
const SESSION_IDLE: u64 = 3600;
/// How long a password that was right is known by its digest, in seconds: argon2 takes 20 ms.
const KNOWN: u64 = 300;
/// Most of these digests.
const KNOWN_MAX: usize = 64;
/// Most passwords that are hashed at a time.
const HASHES_MAX: usize = 2;
/// Most tokens.
pub(super) const TOKENS_MAX: usize = 100;
/// Most bytes of a token's name.
pub(super) const TOKEN_NAME_MAX: usize = 64;

/// Who a request comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Identity {
    /// It proves nothing.
    Stranger,
    /// Who guessed too often.
    LockedOut,
    /// Who may do this.
    Known(Scope),
}

/// All that proves an identity.
#[derive(Debug)]
pub(crate) struct Auth {
    password: RwLock<Password>,
    hashes: Arc<Semaphore>,
    table: Mutex<Table>,
    tokens: Mutex<BTreeMap<String, Token>>,
    /// Held while tokens are changed and stored.
    token_turn: tokio::sync::Mutex<()>,
}

/// What a caller must know.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Password {
    user: String,
    /// The password or its hash as it was given, and its hash; `None`: there is none, and every
    /// caller may do everything.
    given_and_hash: Option<(String, String)>,
}

impl Password {
    fn new(user: &str, given: Option<&str>) -> Result<Password, PasswordError> {
        let hash = match given {
            None => None,
            Some("") => return Err(PasswordError("it is empty".into())),
            Some(hash) if hash.starts_with("$argon2") => {
                let wrong = |error| PasswordError(format!("it is no hash: {error}"));
                PasswordHash::new(hash).map_err(wrong)?;
                Some(hash.to_owned())
            }
            Some(text) => {
                let hash = Argon2::default().hash_password(text.as_bytes());
                Some(hash.map_err(|error| PasswordError(error.to_string()))?.to_string())
            }
        };
        // Only a digest of the text stays, to see whether another one is given.
        let given = given.map(|text| hex(&digest(text)));
        Ok(Password { user: user.to_owned(), given_and_hash: given.zip(hash) })
    }

    fn hash(&self) -> Option<&str> {
        self.given_and_hash.as_ref().map(|(_, hash)| &hash[..])
    }
}

/// What is known of callers at this moment.
#[derive(Debug, Default)]
struct Table {
    /// Sessions by the digest of their cookie, with the time of the last request.
    sessions: HashMap<[u8; 32], u64>,
    /// Digests of right passwords, with the time until which they are known.
    known: HashMap<[u8; 32], u64>,
    /// Failures by address, with the time of the last one.
    failures: HashMap<IpAddr, (u32, u64)>,
}

impl Auth {
    /// Takes the user's name, and the password or its hash in PHC format (`$argon2id$…`).
    pub(crate) fn new(
        user: &str,
        password: Option<&str>,
        tokens: BTreeMap<String, Token>,
    ) -> Result<Auth, PasswordError> {
        let password = Password::new(user, password)?;
        Ok(Auth {
            password: RwLock::new(password),
            hashes: Arc::new(Semaphore::new(HASHES_MAX)),
            table: Mutex::default(),
            tokens: Mutex::new(tokens),
            token_turn: tokio::sync::Mutex::default(),
        })
    }

    /// Takes another name and password. Sessions of earlier ones end.
    pub(super) fn set_password(
        &self,
        user: &str,
        password: Option<&str>,
    ) -> Result<(), PasswordError> {
        let digest = password.map(|text| hex(&digest(text)));
        {
            let now = self.password();
            let given = now.given_and_hash.as_ref().map(|(given, _)| given);
            if now.user == user && given == digest.as_ref() {
                return Ok(());
            }
        }
        let password = Password::new(user, password)?;
        *self.password.write().unwrap_or_else(PoisonError::into_inner) = password;
        let mut table = self.table();
        table.sessions.clear();
        table.known.clear();
        Ok(())
    }

    fn password(&self) -> RwLockReadGuard<'_, Password> {
        self.password.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether callers must prove who they are.
    pub(super) fn is_needed(&self) -> bool {
        self.password().hash().is_some()
    }

    /// Finds out who a request comes from.
    pub(super) async fn identify(&self, from: IpAddr, headers: &HeaderMap) -> Identity {
        if !self.is_needed() {
            return Identity::Known(Scope::Write);
        }
        let proof = authorization(headers);
        // Tokens and cookies cannot be guessed: who has one is not locked out by a neighbour.
        let known = match proof {
            Some((kind, token)) if kind.eq_ignore_ascii_case("bearer") => self.token(token),
            Some(_) => None,
            None => cookie(headers).filter(|c| self.has_session(c)).map(|_| Scope::Write),
        };
        if let Some(scope) = known {
            return Identity::Known(scope);
        }
        if self.is_locked_out(from) {
            return Identity::LockedOut;
        }
        if let Some((kind, proof)) = proof {
            let scope = match kind.eq_ignore_ascii_case("basic") {
                true => self.basic(from, proof).await,
                false => None,
            };
            if scope.is_none() {
                self.fail(from);
            }
            return scope.map_or(Identity::Stranger, Identity::Known);
        }
        Identity::Stranger
    }

    /// Returns the value of a new session's cookie for who has the password; `None` for a wrong
    /// one.
    pub(super) async fn log_in(&self, from: IpAddr, user: &str, password: &str) -> Option<String> {
        if self.is_needed() && !self.is_right(from, user, password).await {
            self.fail(from);
            return None;
        }
        let cookie = secret().ok()?;
        let mut table = self.table();
        table.failures.remove(&host(from));
        if table.sessions.len() >= SESSIONS_MAX {
            let coldest = table.sessions.iter().min_by_key(|(_, last)| **last);
            if let Some(coldest) = coldest.map(|(cookie, _)| *cookie) {
                table.sessions.remove(&coldest);
            }
        }
        table.sessions.insert(digest(&cookie), now());
        Some(cookie)
    }

    /// Ends the session of a request.
    pub(super) fn log_out(&self, headers: &HeaderMap) {
        if let Some(cookie) = cookie(headers) {
            self.table().sessions.remove(&digest(cookie));
        }
    }

    /// Returns whether an address is locked out.
    pub(super) fn is_locked_out(&self, from: IpAddr) -> bool {
        let table = self.table();
        let failures = table.failures.get(&host(from));
        failures.is_some_and(|(count, last)| {
            *count >= FAILURES_MAX && now().saturating_sub(*last) < LOCKED_OUT
        })
    }

    /// Waits until no other tokens are being stored.
    pub(super) async fn token_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.token_turn.lock().await
    }

    /// Takes back what was not stored.
    pub(super) fn set_tokens(&self, tokens: BTreeMap<String, Token>) {
        *self.tokens() = tokens;
    }

    /// Makes a token of this name, and returns its text, which is told only now.
    pub(super) fn new_token(&self, name: &str, scope: Scope) -> Option<String> {
        let text = format!("bt_{}{}", secret().ok()?, secret().ok()?);
        let token = Token { scope, made: now(), digest: hex(&digest(&text)) };
        let mut tokens = self.tokens();
        let is_name = !name.is_empty() && name.len() <= TOKEN_NAME_MAX;
        if tokens.len() >= TOKENS_MAX || tokens.contains_key(name) || !is_name {
            return None;
        }
        tokens.insert(name.to_owned(), token);
        Some(text)
    }

    /// Returns whether there was a token of this name.
    pub(super) fn revoke(&self, name: &str) -> bool {
        self.tokens().remove(name).is_some()
    }

    /// Returns the tokens by name.
    pub(super) fn tokens(&self) -> MutexGuard<'_, BTreeMap<String, Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token(&self, text: &str) -> Option<Scope> {
        let digest = hex(&digest(text));
        // Digests are compared: how long that takes says nothing of the text.
        self.tokens().values().find(|token| token.digest == digest).map(|token| token.scope)
    }

    async fn basic(&self, from: IpAddr, proof: &str) -> Option<Scope> {
        let digest = digest(proof);
        let is_known = |until: &u64| now() < *until;
        if self.table().known.get(&digest).is_some_and(is_known) {
            return Some(Scope::Write);
        }
        let text = String::from_utf8(STANDARD.decode(proof.trim()).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        if !self.is_right(from, user, password).await {
            return None;
        }
        let mut table = self.table();
        table.failures.remove(&host(from));
        table.known.retain(|_, until| now() < *until);
        if table.known.len() < KNOWN_MAX {
            table.known.insert(digest, now() + KNOWN);
        }
        Some(Scope::Write)
    }

    async fn is_right(&self, from: IpAddr, user: &str, password: &str) -> bool {
        let right = self.password().clone();
        let Some(hash) = right.hash().map(str::to_owned) else { return false };
        let Ok(place) = Arc::clone(&self.hashes).acquire_owned().await else { return false };
        // Others of its tries may have ended while this one waited.
        if self.is_locked_out(from) {
            return false;
        }
        let password = password.to_owned();
        let check = move || {
            let _place = place;
            PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
            })
        };
        // The hash is computed for a wrong name too, so that its time tells no name.
        let is_password = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        is_password && user == right.user
    }

    fn has_session(&self, cookie: &str) -> bool {
        let mut table = self.table();
        let now = now();
        table.sessions.retain(|_, last| now.saturating_sub(*last) < SESSION_IDLE);
        let session = table.sessions.get_mut(&digest(cookie));
        session.map(|last| *last = now).is_some()
    }

    fn fail(&self, from: IpAddr) {
        let mut table = self.table();
        let now = now();
        if table.failures.len() >= ADDRESSES_MAX {
            let oldest = table.failures.iter().min_by_key(|(_, (_, last))| *last);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                table.failures.remove(&oldest);
            }
        }
        let (count, last) = table.failures.entry(host(from)).or_default();
        if now.saturating_sub(*last) >= LOCKED_OUT {
            *count = 0;
        }
        (*count, *last) = (count.saturating_add(1), now);
        if *count == FAILURES_MAX {
            tracing::warn!(%from, "too many wrong passwords: locked out for an hour");
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what counts as one host: an IPv4 address, or an IPv6 network of 64 bits.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

fn authorization(headers: &HeaderMap) -> Option<(&str, &str)> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    Some(text.split_once(' ').unwrap_or((text, "")))
}

/// Returns the session's cookie. Callers send back the whole `Set-Cookie` line.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split([';', ','])).find_map(|part| part.trim().strip_prefix("SID="))
}

/// Returns a name for who proves itself so, which does not tell the proof.
pub(super) fn name(cookie: &str, authorization: &str) -> String {
    hex(&digest(&format!("{cookie}\n{authorization}")))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("a value"));
        headers
    }

    fn basic(text: &str) -> HeaderMap {
        headers(header::AUTHORIZATION, &format!("Basic {}", STANDARD.encode(text)))
    }

    fn from(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn an_identity_is_proved_by_password_cookie_or_token() {
        let auth = Auth::new("me", Some("pass:word"), BTreeMap::new()).expect("a password");
        let here = from("192.0.2.1");
        let known = Identity::Known(Scope::Write);
        assert_eq!(auth.identify(here, &HeaderMap::new()).await, Identity::Stranger);
        for _ in 0..2 {
            assert_eq!(auth.identify(here, &basic("me:pass:word")).await, known);
        }
        assert_eq!(auth.identify(here, &basic("you:pass:word")).await, Identity::Stranger);
        assert_eq!(auth.log_in(here, "me", "wrong").await, None);
        let cookie = auth.log_in(here, "me", "pass:word").await.expect("a session");
        let line = format!("SID={cookie}; HttpOnly; SameSite=Strict; path=/");
        let session = headers(header::COOKIE, &line);
        assert_eq!(auth.identify(here, &session).await, known);
        auth.log_out(&session);
        assert_eq!(auth.identify(here, &session).await, Identity::Stranger);

        let token = auth.new_token("metrics", Scope::Metrics).expect("a token");
        let bearer = headers(header::AUTHORIZATION, &format!("Bearer {token}"));
        assert_eq!(auth.identify(here, &bearer).await, Identity::Known(Scope::Metrics));
        assert!(auth.revoke("metrics"));
        assert_eq!(auth.identify(here, &bearer).await, Identity::Stranger);
    }

    #[tokio::test]
    async fn who_guesses_is_locked_out_and_nobody_else() {
        let auth = Auth::new("me", Some("right"), BTreeMap::new()).expect("a password");
        for guess in 0..FAILURES_MAX {
            // One IPv6 network is one host.
            let guesser = from(&format!("2001:db8::{guess}"));
            assert_eq!(auth.identify(guesser, &basic("me:wrong")).await, Identity::Stranger);
        }
        let guesser = from("2001:db8::ffff");
        assert_eq!(auth.identify(guesser, &basic("me:right")).await, Identity::LockedOut);
        let other = from("2001:db8:0:1::1");
        assert_eq!(auth.identify(other, &basic("me:right")).await, Identity::Known(Scope::Write));
    }

    #[tokio::test]
    async fn many_guesses_at_once_are_no_more_than_a_few() {
        let auth = Arc::new(Auth::new("me", Some("right"), BTreeMap::new()).expect("a password"));
        let here = from("192.0.2.1");
        let mut tries = tokio::task::JoinSet::new();
        for guess in 0..20 {
            let auth = Arc::clone(&auth);
            let password = if guess < 19 { "wrong" } else { "right" };
            tries.spawn(async move { auth.log_in(here, "me", password).await });
        }
        assert!(tries.join_all().await.iter().all(Option::is_none), "it came after 19 others");
    }

    #[tokio::test]
    async fn who_has_a_session_or_a_token_is_not_locked_out_by_a_neighbour() {
        let auth = Auth::new("me", Some("right"), BTreeMap::new()).expect("a password");
        let here = from("192.0.2.1");
        let cookie = auth.log_in(here, "me", "right").await.expect("a session");
        let token = auth.new_token("a", Scope::Read).expect("a token");
        for _ in 0..FAILURES_MAX {
            auth.identify(here, &headers(header::AUTHORIZATION, "Bearer old")).await;
        }
        let session = headers(header::COOKIE, &format!("SID={cookie}"));
        assert_eq!(auth.identify(here, &session).await, Identity::Known(Scope::Write));
        let bearer = headers(header::AUTHORIZATION, &format!("Bearer {token}"));
        assert_eq!(auth.identify(here, &bearer).await, Identity::Known(Scope::Read));
        assert_eq!(auth.identify(here, &basic("me:right")).await, Identity::LockedOut);
    }

    #[tokio::test]
    async fn a_hash_is_taken_in_place_of_a_password_and_an_empty_one_is_refused() {
        let hash = Argon2::default().hash_password(b"secret").expect("a hash").to_string();
        let auth = Auth::new("me", Some(&hash), BTreeMap::new()).expect("a hash");
        let known = Identity::Known(Scope::Write);
        assert_eq!(auth.identify(from("192.0.2.1"), &basic("me:secret")).await, known);
        assert!(Auth::new("me", Some(""), BTreeMap::new()).is_err());
        assert!(Auth::new("me", Some("$argon2id$nonsense"), BTreeMap::new()).is_err());
    }

    #[tokio::test]
    async fn sessions_are_bounded_and_the_coldest_ends() {
        let auth = Auth::new("", None, BTreeMap::new()).expect("no password");
        for _ in 0..SESSIONS_MAX + 3 {
            assert!(auth.log_in(from("192.0.2.1"), "", "").await.is_some());
        }
        assert_eq!(auth.table().sessions.len(), SESSIONS_MAX);
    }
}
