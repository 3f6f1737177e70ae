//! Who may scrape: who knows a password of the web config, or holds a bearer token with which the API server lets him.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use tokio_rustls::TlsAcceptor;

use super::served::Peer;
use super::tokens::Tokens;
use super::turns::Turns;
use super::web_config::{Rules, WebConfigFile};
use crate::workload::kubernetes::Reviewer;

/// Of a password that nobody has, so that an unknown user takes as long as a known one.
const NOBODYS: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// It is answered.
    Given,
    /// Who asks did not say who he is, or not rightly.
    Unauthorized,
    /// He said it, and may not.
    Forbidden,
    /// Nobody can tell now.
    Unknown,
}

/// Guards a port.
pub struct Guard {
    file: Option<WebConfigFile>,
    tokens: Option<Tokens>,
    /// Passwords that were right, by user: a keyed hash of password and what it was checked against.
    right: Mutex<HashMap<String, [u64; 2]>>,
    keys: [RandomState; 2],
    turns: Turns,
}

impl Guard {
    /// By the file at `web_config`, and by what the API server says of bearer tokens. Without either there is nothing
    /// to guard.
    ///
    /// # Errors
    /// The file, or one that it names, cannot be used.
    pub fn new(
        web_config: Option<&Path>,
        reviewer: Option<Reviewer>,
    ) -> anyhow::Result<Option<Guard>> {
        let file = web_config.map(WebConfigFile::read).transpose()?;
        if file.is_none() && reviewer.is_none() {
            return Ok(None);
        }
        Ok(Some(Guard {
            file,
            tokens: reviewer.map(Tokens::new),
            right: Mutex::default(),
            keys: Default::default(),
            turns: Turns::default(),
        }))
    }

    /// Whether the port speaks TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.tls().is_some()
    }

    pub(super) fn tls(&self) -> Option<TlsAcceptor> {
        self.rules()?.tls.clone()
    }

    fn rules(&self) -> Option<Arc<Rules>> {
        self.file.as_ref().map(WebConfigFile::rules)
    }

    /// How to say who one is: the challenges of a 401.
    pub(super) fn challenges(&self) -> impl Iterator<Item = &'static str> {
        let passwords = self.rules().is_some_and(|rules| !rules.users.is_empty());
        let basic = passwords.then_some("Basic");
        basic
            .into_iter()
            .chain(self.tokens.as_ref().map(|_| "Bearer"))
    }

    /// Whether `peer`, who asks for `path` with these fields, is answered.
    pub(super) async fn permits(&self, peer: Peer, fields: &HeaderMap, path: &str) -> Permit {
        let rules = self.rules();
        let rules = rules.as_ref().filter(|rules| !rules.users.is_empty());
        if rules.is_none() && self.tokens.is_none() {
            return Permit::Given;
        }
        let field = fields.get(AUTHORIZATION);
        let Some((scheme, credentials)) = field
            .and_then(|field| field.to_str().ok())
            .and_then(|field| field.split_once(' '))
        else {
            return Permit::Unauthorized;
        };
        let credentials = credentials.trim();
        match (rules, &self.tokens) {
            (Some(rules), _) if scheme.eq_ignore_ascii_case("basic") => {
                if self.knows_password(peer, rules, credentials).await {
                    Permit::Given
                } else {
                    Permit::Unauthorized
                }
            }
            (_, Some(tokens)) if scheme.eq_ignore_ascii_case("bearer") => {
                tokens.permit(&self.turns, peer, credentials, path).await
            }
            _ => Permit::Unauthorized,
        }
    }

    async fn knows_password(&self, peer: Peer, rules: &Rules, credentials: &str) -> bool {
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(credentials)
            .ok();
        let Some((user, password)) = decoded.and_then(|credentials| {
            let (user, password) = std::str::from_utf8(&credentials).ok()?.split_once(':')?;
            Some((user.to_owned(), password.to_owned()))
        }) else {
            return false;
        };
        let known = rules.users.get(&user);
        let hash = known.map_or(NOBODYS, String::as_str).to_owned();
        let of_both = self
            .keys
            .each_ref()
            .map(|key| key.hash_one((&password, &hash)));
        let is_right = |right: &HashMap<String, [u64; 2]>| right.get(&user) == Some(&of_both);
        if is_right(&self.right.lock().unwrap_or_else(PoisonError::into_inner)) {
            return true;
        }
        let check = async move || {
            let checked = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash));
            known.is_some() && matches!(checked.await, Ok(Ok(true)))
        };
        let permits = self.turns.check(peer, check, |right| *right).await;
        if permits {
            let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            right.retain(|user, _| rules.users.contains_key(user));
            right.insert(user, of_both);
        }
        permits
    }
}
