//! Ids of requests that a client can return, and cannot invent.

use crate::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tiny_dancer::ModelType;
use tiny_dancer_memory::RequestId;

/// The first characters of an id, which tell it from others.
const PREFIX: &str = "td-";
/// The bytes of a signature: 128 bits.
const SIGNATURE: usize = 16;

/// Signs ids by a secret.
#[derive(Clone, Debug)]
pub(crate) struct Signer(Hmac<Sha256>);

impl Signer {
    /// A signer by this secret, or by a random one.
    pub(crate) fn new(secret: Option<&Secret>) -> Result<Self, getrandom::Error> {
        let mut random = [0; 32];
        let key = if let Some(secret) = secret {
            secret.expose().as_bytes()
        } else {
            getrandom::fill(&mut random)?;
            &random
        };
        let mac = Hmac::new_from_slice(key);
        Ok(Self(mac.expect("HMAC has keys of any length (RFC 2104)")))
    }

    /// The text of an id: of a request that this model answered for this client.
    pub(crate) fn sign(&self, id: RequestId, served: ModelType, client: Option<&str>) -> String {
        let signature = self.mac(id, served, client).finalize().into_bytes();
        let served = if served == ModelType::Lightweight { 'l' } else { 'p' };
        format!(
            "{PREFIX}{}{served}{}",
            const_hex::encode(id.as_bytes()),
            const_hex::encode(&signature[..SIGNATURE])
        )
    }

    /// The id and the model that answered; `None` unless this client got the id.
    pub(crate) fn verify(&self, text: &str, client: Option<&str>) -> Option<(RequestId, ModelType)> {
        let rest = text.strip_prefix(PREFIX)?;
        let (id, rest) = rest.split_at_checked(32)?;
        let (served, signature) = rest.split_at_checked(1)?;
        let served = match served {
            "l" => ModelType::Lightweight,
            "p" => ModelType::Powerful,
            _ => return None,
        };
        let mut bytes = [0; 16];
        const_hex::decode_to_slice(id, &mut bytes).ok()?;
        let mut expected = [0; SIGNATURE];
        const_hex::decode_to_slice(signature, &mut expected).ok()?;
        let id = RequestId::from_bytes(bytes);
        self.mac(id, served, client).verify_truncated_left(&expected).ok()?;
        Some((id, served))
    }

    fn mac(&self, id: RequestId, served: ModelType, client: Option<&str>) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(id.as_bytes());
        mac.update(&[served as u8, u8::from(client.is_some())]);
        mac.update(client.unwrap_or_default().as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(secret: &str) -> Signer {
        Signer::new(Some(&Secret::new(secret))).unwrap()
    }

    #[test]
    fn an_id_is_known_after_a_restart_with_the_same_secret() {
        let id = RequestId::now();
        for served in ModelType::ALL {
            let text = signer("s").sign(id, served, Some("a"));
            assert_eq!(signer("s").verify(&text, Some("a")), Some((id, served)));
            assert_eq!(signer("t").verify(&text, Some("a")), None, "another secret");
        }
    }

    #[test]
    fn an_id_of_another_client_or_with_any_other_character_is_refused() {
        let text = signer("s").sign(RequestId::now(), ModelType::Lightweight, Some("a"));
        assert_eq!(signer("s").verify(&text, Some("b")), None);
        assert_eq!(signer("s").verify(&text, None), None);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(signer("s").verify(&String::from_utf8(changed).unwrap(), Some("a")), None, "{at}");
            assert_eq!(signer("s").verify(&text[..at], Some("a")), None, "{at}");
        }
    }

    #[test]
    fn without_a_secret_each_signer_has_its_own() {
        let (one, two) = (Signer::new(None).unwrap(), Signer::new(None).unwrap());
        let text = one.sign(RequestId::now(), ModelType::Powerful, None);
        assert!(one.verify(&text, None).is_some() && two.verify(&text, None).is_none());
    }
}
