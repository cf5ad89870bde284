//! The part of AWS KMS that tokenmint needs, with real cryptography and the error types of KMS: `CreateKey`,
//! `GetPublicKey` and `Sign` with RSA-2048 keys, `GenerateMac` with HMAC-256 keys,
//! `GenerateDataKeyPairWithoutPlaintext` and `Decrypt` with symmetric keys. The protocol is awsJson1.1.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::RwLock,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest::{self, Digest},
    encoding::{AsDer, Pkcs8V1Der},
    error::Unspecified,
    hmac,
    rand::{SecureRandom as _, SystemRandom},
    rsa::{KeyPair, KeySize},
    signature::{self, KeyPair as _, RsaEncoding},
};
use axum::http::StatusCode;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};
use uuid::Uuid;

const ARN_PREFIX: &str = "arn:aws:kms:local:000000000000:key/";
/// These ids are the same on every machine, so that `events/env.json` works for `sam local`. That of the signing key is
/// only another name of it: its own id is the `kid` of its tokens, and a new key with an old `kid` would fail wherever
/// the old one is cached.
const SIGNING_KEY_NAME: &str = "00000000-0000-4000-8000-000000000001";
pub(crate) const MAC_KEY_ID: &str = "00000000-0000-4000-8000-000000000002";
pub(crate) const WRAPPING_KEY_ID: &str = "00000000-0000-4000-8000-000000000003";
const MAX_MESSAGE_BYTES: usize = 4096;
const MAC_ALGORITHMS: [&str; 4] = ["HMAC_SHA_224", "HMAC_SHA_256", "HMAC_SHA_384", "HMAC_SHA_512"];

/// The keys of the local account.
#[derive(Debug)]
pub(crate) struct Kms {
    keys: RwLock<BTreeMap<String, Key>>,
    signing_key_id: String,
    directory: Option<PathBuf>,
}

enum Key {
    Rsa(Box<KeyPair>),
    Hmac([u8; 32]),
    Symmetric([u8; 32]),
}

impl Key {
    /// Reads a key from a file. The extension says which kind of key it is.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = || -> io::Result<[u8; 32]> {
            let length = |_| io::Error::other("a key has another length than 32 bytes");
            fs::read(path)?.try_into().map_err(length)
        };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("pkcs8") => {
                let key = KeyPair::from_pkcs8(&fs::read(path)?).map_err(io::Error::other)?;
                Ok(Some(Self::Rsa(Box::new(key))))
            }
            Some("hmac") => Ok(Some(Self::Hmac(bytes()?))),
            Some("symmetric") => Ok(Some(Self::Symmetric(bytes()?))),
            _ => Ok(None),
        }
    }

    fn write(&self, directory: &Path, id: &str) -> io::Result<()> {
        match self {
            Self::Rsa(key) => {
                let pkcs8: Pkcs8V1Der<'_> = key.as_der().map_err(io::Error::other)?;
                write_private(&directory.join(format!("{id}.pkcs8")), pkcs8.as_ref())
            }
            Self::Hmac(key) => write_private(&directory.join(format!("{id}.hmac")), key),
            Self::Symmetric(key) => write_private(&directory.join(format!("{id}.symmetric")), key),
        }
    }

    const fn spec(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RSA_2048",
            Self::Hmac(_) => "HMAC_256",
            Self::Symmetric(_) => "SYMMETRIC_DEFAULT",
        }
    }
}

/// Shows no key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec())
    }
}

/// Type and message.
#[derive(Debug)]
struct KmsError(&'static str, String);

struct Algorithm {
    name: &'static str,
    encoding: &'static dyn RsaEncoding,
    digest: &'static digest::Algorithm,
}

static ALGORITHMS: [Algorithm; 6] = [
    Algorithm { name: "RSASSA_PKCS1_V1_5_SHA_256", encoding: &signature::RSA_PKCS1_SHA256, digest: &digest::SHA256 },
    Algorithm { name: "RSASSA_PKCS1_V1_5_SHA_384", encoding: &signature::RSA_PKCS1_SHA384, digest: &digest::SHA384 },
    Algorithm { name: "RSASSA_PKCS1_V1_5_SHA_512", encoding: &signature::RSA_PKCS1_SHA512, digest: &digest::SHA512 },
    Algorithm { name: "RSASSA_PSS_SHA_256", encoding: &signature::RSA_PSS_SHA256, digest: &digest::SHA256 },
    Algorithm { name: "RSASSA_PSS_SHA_384", encoding: &signature::RSA_PSS_SHA384, digest: &digest::SHA384 },
    Algorithm { name: "RSASSA_PSS_SHA_512", encoding: &signature::RSA_PSS_SHA512, digest: &digest::SHA512 },
];
/// KMS's algorithms for other keys than RSA.
const OTHER_ALGORITHMS: [&str; 4] = ["ECDSA_SHA_256", "ECDSA_SHA_384", "ECDSA_SHA_512", "SM2DSA"];

impl Kms {
    /// Opens the keys in `directory`, or keeps them in memory without one. Creates the keys of the stack that do not
    /// exist yet.
    ///
    /// # Errors
    /// If the directory cannot be used, a file in it is not a key, or a key cannot be created.
    pub(crate) fn open(directory: Option<PathBuf>) -> io::Result<Self> {
        let mut keys = BTreeMap::new();
        if let Some(directory) = &directory {
            fs::create_dir_all(directory)?;
            for entry in fs::read_dir(directory)? {
                let path = entry?.path();
                if let Some(key) = Key::read(&path)? {
                    keys.insert(path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), key);
                }
            }
        }
        let signing_key_id = signing_key_id(directory.as_deref())?;
        let kms = Self { keys: RwLock::new(keys), signing_key_id, directory };
        kms.create_if_missing(kms.signing_key_id(), new_rsa_key)?;
        kms.create_if_missing(MAC_KEY_ID, || random_bytes().map(Key::Hmac))?;
        kms.create_if_missing(WRAPPING_KEY_ID, || random_bytes().map(Key::Symmetric))?;
        Ok(kms)
    }

    /// The id of the key that signs tokens.
    pub(crate) fn signing_key_id(&self) -> &str {
        &self.signing_key_id
    }

    fn create_if_missing(&self, id: &str, create: impl FnOnce() -> io::Result<Key>) -> io::Result<()> {
        let missing = self.keys.read().is_ok_and(|keys| !keys.contains_key(id));
        if missing { self.keep(id.to_owned(), create()?) } else { Ok(()) }
    }

    fn keep(&self, id: String, key: Key) -> io::Result<()> {
        if let Some(directory) = &self.directory {
            key.write(directory, &id)?;
        }
        self.keys.write().map_err(|_| io::Error::other("poisoned"))?.insert(id, key);
        Ok(())
    }

    /// Answers a request: the operation is what follows `TrentService.` in `X-Amz-Target`.
    pub(crate) fn answer(&self, operation: &str, body: &[u8]) -> (StatusCode, Value) {
        let result = match serde_json::from_slice(body) {
            Err(error) => Err(KmsError("SerializationException", error.to_string())),
            Ok(request) => match operation {
                "CreateKey" => self.create_key(&request),
                "Decrypt" => self.decrypt(&request),
                "GenerateDataKeyPairWithoutPlaintext" => self.generate_data_key_pair(&request),
                "GenerateMac" => self.generate_mac(&request),
                "GetPublicKey" => self.get_public_key(&request),
                "Sign" => self.sign(&request),
                _ => Err(KmsError("UnknownOperationException", String::new())),
            },
        };
        match result {
            Ok(answer) => (StatusCode::OK, answer),
            Err(KmsError("KMSInternalException", message)) => {
                let body = json!({"__type": "KMSInternalException", "message": message});
                (StatusCode::INTERNAL_SERVER_ERROR, body)
            }
            Err(KmsError(kind, message)) => (StatusCode::BAD_REQUEST, json!({"__type": kind, "message": message})),
        }
    }

    fn create_key(&self, request: &Value) -> Result<Value, KmsError> {
        let parameter = |name: &str| request[name].as_str().unwrap_or_default();
        let (spec, usage) = (parameter("KeySpec"), parameter("KeyUsage"));
        let key = match (spec, usage) {
            ("RSA_2048", "SIGN_VERIFY") => new_rsa_key(),
            ("HMAC_256", "GENERATE_VERIFY_MAC") => random_bytes().map(Key::Hmac),
            ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT") => random_bytes().map(Key::Symmetric),
            _ => {
                let message = "This KMS makes keys for SIGN_VERIFY with RSA_2048, for GENERATE_VERIFY_MAC with \
                               HMAC_256 and for ENCRYPT_DECRYPT with SYMMETRIC_DEFAULT";
                return Err(KmsError("UnsupportedOperationException", message.to_owned()));
            }
        };
        let id = Uuid::new_v4().to_string();
        self.keep(id.clone(), key.map_err(internal)?).map_err(internal)?;
        let arn = format!("{ARN_PREFIX}{id}");
        let metadata = json!({
            "AWSAccountId": "000000000000", "Arn": arn, "KeyId": id, "Enabled": true, "KeyState": "Enabled",
            "KeySpec": spec, "KeyUsage": usage, "Origin": "AWS_KMS", "KeyManager": "CUSTOMER",
        });
        Ok(json!({"KeyMetadata": metadata}))
    }

    fn generate_mac(&self, request: &Value) -> Result<Value, KmsError> {
        let algorithm = request["MacAlgorithm"].as_str().unwrap_or_default();
        if !MAC_ALGORITHMS.contains(&algorithm) {
            let constraint = "failed to satisfy constraint: Member must satisfy enum value set";
            return Err(validation(&format!("Value at 'macAlgorithm' {constraint}")));
        }
        let message = message(request)?;
        self.with_key(request, |arn, key| match key {
            Key::Hmac(key) if algorithm == "HMAC_SHA_256" => {
                let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &message);
                Ok(json!({"KeyId": arn, "Mac": STANDARD.encode(mac), "MacAlgorithm": algorithm}))
            }
            key => Err(incompatible(algorithm, key)),
        })
    }

    fn get_public_key(&self, request: &Value) -> Result<Value, KmsError> {
        self.with_key(request, |arn, key| {
            let Key::Rsa(key) = key else {
                let message = format!("{arn} has the key spec {} which is not valid for GetPublicKey.", key.spec());
                return Err(KmsError("UnsupportedOperationException", message));
            };
            let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> = key.public_key().as_der().map_err(internal)?;
            Ok(json!({
                "KeyId": arn,
                "PublicKey": STANDARD.encode(spki.as_ref()),
                "KeySpec": "RSA_2048",
                "CustomerMasterKeySpec": "RSA_2048",
                "KeyUsage": "SIGN_VERIFY",
                "SigningAlgorithms": ALGORITHMS.each_ref().map(|algorithm| algorithm.name),
            }))
        })
    }

    fn sign(&self, request: &Value) -> Result<Value, KmsError> {
        let name = request["SigningAlgorithm"].as_str().unwrap_or_default();
        let algorithm = ALGORITHMS.iter().find(|algorithm| algorithm.name == name);
        if algorithm.is_none() && !OTHER_ALGORITHMS.contains(&name) {
            return Err(validation(
                "Value at 'signingAlgorithm' failed to satisfy constraint: Member must satisfy enum value set",
            ));
        }
        let message = message(request)?;
        self.with_key(request, |arn, key| {
            let (Some(Algorithm { encoding, digest: hash, .. }), Key::Rsa(key)) = (algorithm, key) else {
                return Err(incompatible(name, key));
            };
            let mut signature = vec![0; key.public_modulus_len()];
            match request["MessageType"].as_str() {
                None | Some("RAW") => {
                    key.sign(*encoding, &SystemRandom::new(), &message, &mut signature).map_err(internal)?;
                }
                Some("DIGEST") => {
                    let digest = Digest::import_less_safe(&message, hash)
                        .map_err(|_| validation(&format!("Digest is invalid length for algorithm {name}.")))?;
                    key.sign_digest(*encoding, &digest, &mut signature).map_err(internal)?;
                }
                Some(_) => {
                    return Err(validation(
                        "Value at 'messageType' failed to satisfy constraint: Member must satisfy enum value set",
                    ));
                }
            }
            Ok(json!({"KeyId": arn, "Signature": STANDARD.encode(signature), "SigningAlgorithm": name}))
        })
    }

    fn generate_data_key_pair(&self, request: &Value) -> Result<Value, KmsError> {
        if request["KeyPairSpec"] != "RSA_2048" {
            return Err(KmsError("UnsupportedOperationException", "This KMS makes key pairs of RSA_2048".to_owned()));
        }
        let context = context(request)?;
        self.with_key(request, |arn, key| {
            let Key::Symmetric(key) = key else { return Err(incompatible("SYMMETRIC_DEFAULT", key)) };
            let pair = generate_key_pair().map_err(internal)?;
            let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(internal)?;
            let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(internal)?;
            let mut sealed = pkcs8.as_ref().to_vec();
            let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(internal)?;
            let nonce = key.seal_in_place_append_tag(Aad::from(context), &mut sealed).map_err(internal)?;
            // The ciphertext contains the ARN of the key and the nonce, as the opaque form of KMS does.
            let blob = [arn.as_bytes(), b"\0", nonce.as_ref(), &sealed].concat();
            Ok(json!({
                "KeyId": arn,
                "KeyPairSpec": "RSA_2048",
                "PrivateKeyCiphertextBlob": STANDARD.encode(blob),
                "PublicKey": STANDARD.encode(spki.as_ref()),
            }))
        })
    }

    fn decrypt(&self, request: &Value) -> Result<Value, KmsError> {
        let context = context(request)?;
        let invalid = || KmsError("InvalidCiphertextException", String::new());
        let blob =
            request["CiphertextBlob"].as_str().and_then(|blob| STANDARD.decode(blob).ok()).ok_or_else(invalid)?;
        let at = blob.iter().position(|byte| *byte == 0).ok_or_else(invalid)?;
        let (made_by, sealed) = (&blob[..at], &blob[at + 1..]);
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(invalid)?;
        self.with_key(request, |arn, key| {
            let Key::Symmetric(key) = key else { return Err(incompatible("SYMMETRIC_DEFAULT", key)) };
            if arn.as_bytes() != made_by {
                let message = "The key ID in the request does not identify a CMK that can perform this operation.";
                return Err(KmsError("IncorrectKeyException", message.to_owned()));
            }
            let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(internal)?;
            let mut sealed = sealed.to_vec();
            let opened = key.open_in_place(Nonce::from(nonce), Aad::from(context), &mut sealed);
            let plaintext = STANDARD.encode(opened.map_err(|_| invalid())?);
            Ok(json!({"KeyId": arn, "Plaintext": plaintext, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}))
        })
    }

    /// Finds the key by the id or ARN in `KeyId`.
    fn with_key(
        &self,
        request: &Value,
        answer: impl FnOnce(&str, &Key) -> Result<Value, KmsError>,
    ) -> Result<Value, KmsError> {
        let given = request["KeyId"]
            .as_str()
            .filter(|id| !id.is_empty())
            .ok_or_else(|| validation("Value at 'keyId' failed to satisfy constraint: Member must not be null"))?;
        let id = given.strip_prefix(ARN_PREFIX).unwrap_or(given);
        let id = if id == SIGNING_KEY_NAME { &self.signing_key_id } else { id };
        let arn = format!("{ARN_PREFIX}{id}");
        let keys = self.keys.read().map_err(internal)?;
        match keys.get(id) {
            Some(key) => answer(&arn, key),
            None => Err(KmsError("NotFoundException", format!("Key '{arn}' does not exist"))),
        }
    }
}

/// The id of the signing key, which is kept beside the keys.
fn signing_key_id(directory: Option<&Path>) -> io::Result<String> {
    let Some(file) = directory.map(|directory| directory.join("signing-key-id")) else {
        return Ok(Uuid::new_v4().to_string());
    };
    match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = Uuid::new_v4().to_string();
            write_private(&file, id.as_bytes())?;
            Ok(id)
        }
        read => read,
    }
}

fn new_rsa_key() -> io::Result<Key> {
    generate_key_pair().map(|key| Key::Rsa(Box::new(key))).map_err(io::Error::other)
}

/// Generating takes a tenth of a second or more. Other requests go on meanwhile; otherwise they could time out.
fn generate_key_pair() -> Result<KeyPair, Unspecified> {
    let generate = || KeyPair::generate(KeySize::Rsa2048);
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(generate),
        _ => generate(),
    }
}

fn random_bytes() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// The encryption context in a form that does not depend on the order of its entries.
fn context(request: &Value) -> Result<String, KmsError> {
    let context = serde_json::from_value::<Option<BTreeMap<String, String>>>(request["EncryptionContext"].clone());
    let context = context.map_err(|error| KmsError("SerializationException", error.to_string()))?;
    serde_json::to_string(&context.unwrap_or_default()).map_err(internal)
}

/// The message to sign or to make the MAC of.
fn message(request: &Value) -> Result<Vec<u8>, KmsError> {
    let message = request["Message"].as_str().and_then(|message| STANDARD.decode(message).ok());
    message.filter(|message| (1..=MAX_MESSAGE_BYTES).contains(&message.len())).ok_or_else(|| {
        validation("Value at 'message' failed to satisfy constraint: Member must have length between 1 and 4096")
    })
}

fn incompatible(algorithm: &str, key: &Key) -> KmsError {
    let message = format!("Algorithm {algorithm} is incompatible with key spec {}.", key.spec());
    KmsError("InvalidKeyUsageException", message)
}

fn validation(message: &str) -> KmsError {
    KmsError("ValidationException", format!("1 validation error detected: {message}"))
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn internal(error: impl ToString) -> KmsError {
    KmsError("KMSInternalException", error.to_string())
}

/// Writes a file that only its owner may read, whole or not at all.
fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let unfinished = path.with_extension("unfinished");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
    };

    use super::*;

    fn with_keys() -> (Kms, String) {
        let kms = Kms::open(None).unwrap();
        let id = kms.signing_key_id().to_owned();
        (kms, id)
    }

    fn refusal(kms: &Kms, operation: &str, request: &Value) -> String {
        let (status, body) = kms.answer(operation, request.to_string().as_bytes());
        assert_eq!(status, StatusCode::BAD_REQUEST);
        body["__type"].as_str().unwrap().to_owned()
    }

    fn verifies(
        kms: &Kms,
        id: &str,
        algorithm: &'static dyn VerificationAlgorithm,
        message: &[u8],
        answer: &Value,
    ) -> bool {
        let (_, key) = kms.answer("GetPublicKey", json!({"KeyId": id}).to_string().as_bytes());
        let key = STANDARD.decode(key["PublicKey"].as_str().unwrap()).unwrap();
        let signature = STANDARD.decode(answer["Signature"].as_str().unwrap()).unwrap();
        UnparsedPublicKey::new(algorithm, key).verify(message, &signature).is_ok()
    }

    #[test]
    fn a_data_key_pair_opens_for_its_context_and_key_only() {
        let (kms, signing_key) = with_keys();
        let signing_key = signing_key.as_str();
        let generate =
            json!({"KeyId": WRAPPING_KEY_ID, "KeyPairSpec": "RSA_2048", "EncryptionContext": {"a": "1", "b": "2"}});
        let (status, pair) = kms.answer("GenerateDataKeyPairWithoutPlaintext", generate.to_string().as_bytes());
        assert_eq!((status, pair["PrivateKeyPlaintext"].is_null()), (StatusCode::OK, true));
        let decrypt = |key: &str, context: Value| {
            let blob = &pair["PrivateKeyCiphertextBlob"];
            json!({"KeyId": key, "CiphertextBlob": blob, "EncryptionContext": context})
        };
        let right = decrypt(WRAPPING_KEY_ID, json!({"b": "2", "a": "1"}));
        let (_, opened) = kms.answer("Decrypt", right.to_string().as_bytes());
        let private_key = STANDARD.decode(opened["Plaintext"].as_str().unwrap()).unwrap();
        let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
            KeyPair::from_pkcs8(&private_key).unwrap().public_key().as_der().unwrap();
        assert_eq!(STANDARD.encode(spki.as_ref()), pair["PublicKey"].as_str().unwrap());

        let wrong = |request: Value| refusal(&kms, "Decrypt", &request);
        assert_eq!(wrong(decrypt(WRAPPING_KEY_ID, json!({"a": "1"}))), "InvalidCiphertextException");
        assert_eq!(wrong(decrypt(signing_key, json!({"a": "1", "b": "2"}))), "InvalidKeyUsageException");
        let create = json!({"KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT"});
        let (_, other) = kms.answer("CreateKey", create.to_string().as_bytes());
        let other = other["KeyMetadata"]["KeyId"].as_str().unwrap();
        assert_eq!(wrong(decrypt(other, json!({"a": "1", "b": "2"}))), "IncorrectKeyException");
        assert_eq!(wrong(json!({"KeyId": WRAPPING_KEY_ID, "CiphertextBlob": "AA=="})), "InvalidCiphertextException");
    }

    #[test]
    fn it_signs_raw_messages_and_digests() {
        let (kms, id) = with_keys();
        let id = id.as_str();
        let sign = |kind: &str, message: &[u8], algorithm: &str| {
            let message = STANDARD.encode(message);
            let request = json!({"KeyId": id, "Message": message, "MessageType": kind, "SigningAlgorithm": algorithm});
            let (status, answer) = kms.answer("Sign", request.to_string().as_bytes());
            assert_eq!(status, StatusCode::OK, "{answer}");
            answer
        };
        let digest = digest::digest(&digest::SHA256, b"message");
        let raw = sign("RAW", b"message", "RSASSA_PKCS1_V1_5_SHA_256");
        assert!(verifies(&kms, id, &RSA_PKCS1_2048_8192_SHA256, b"message", &raw));
        assert_eq!(raw, sign("DIGEST", digest.as_ref(), "RSASSA_PKCS1_V1_5_SHA_256"), "PKCS#1 v1.5 is deterministic");
        let pss = sign("RAW", b"message", "RSASSA_PSS_SHA_512");
        assert!(verifies(&kms, id, &RSA_PSS_2048_8192_SHA512, b"message", &pss));
    }

    #[test]
    fn it_makes_macs() {
        let (kms, rsa) = with_keys();
        let rsa = rsa.as_str();
        let id = MAC_KEY_ID;
        let request = json!({"KeyId": id, "Message": STANDARD.encode("message"), "MacAlgorithm": "HMAC_SHA_256"});
        let (status, answer) = kms.answer("GenerateMac", request.to_string().as_bytes());
        assert_eq!(status, StatusCode::OK);
        assert_eq!(STANDARD.decode(answer["Mac"].as_str().unwrap()).unwrap().len(), 32);
        assert_eq!(kms.answer("GenerateMac", request.to_string().as_bytes()).1, answer);
        let with = |field: &str, value: &str| {
            let mut request = request.clone();
            request[field] = value.into();
            refusal(&kms, "GenerateMac", &request)
        };
        assert_eq!(with("KeyId", rsa), "InvalidKeyUsageException");
        assert_eq!(with("KeyId", "none"), "NotFoundException");
        assert_eq!(with("MacAlgorithm", "HMAC_SHA_512"), "InvalidKeyUsageException");
        assert_eq!(with("MacAlgorithm", "HS256"), "ValidationException");
        assert_eq!(refusal(&kms, "GetPublicKey", &json!({"KeyId": id})), "UnsupportedOperationException");
    }

    #[test]
    fn keys_are_kept_in_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let public_key = || {
            let kms = Kms::open(Some(directory.path().to_owned())).unwrap();
            kms.answer("GetPublicKey", json!({"KeyId": SIGNING_KEY_NAME}).to_string().as_bytes()).1
        };
        assert_eq!(public_key(), public_key());
    }

    #[test]
    fn it_refuses_as_kms_does() {
        let (kms, id) = with_keys();
        let id = id.as_str();
        let sign = json!({
            "KeyId": id, "Message": STANDARD.encode([0; 32]), "MessageType": "DIGEST",
            "SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256",
        });
        let with = |field: &str, value: &str| {
            let mut request = sign.clone();
            request[field] = value.into();
            refusal(&kms, "Sign", &request)
        };
        assert_eq!(with("KeyId", "1234abcd-12ab-34cd-56ef-1234567890ab"), "NotFoundException");
        assert_eq!(with("KeyId", "alias/tokens"), "NotFoundException");
        assert_eq!(with("KeyId", ""), "ValidationException");
        assert_eq!(with("SigningAlgorithm", "ECDSA_SHA_256"), "InvalidKeyUsageException");
        assert_eq!(with("SigningAlgorithm", "RS256"), "ValidationException");
        assert_eq!(with("Message", &STANDARD.encode([0; 31])), "ValidationException");
        assert_eq!(with("Message", ""), "ValidationException");
        assert_eq!(with("Message", &STANDARD.encode([0; 4097])), "ValidationException");
        assert_eq!(with("MessageType", "HASH"), "ValidationException");
        assert_eq!(refusal(&kms, "GetPublicKey", &json!({"KeyId": "none"})), "NotFoundException");
        assert_eq!(
            refusal(&kms, "CreateKey", &json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"})),
            "UnsupportedOperationException"
        );
        assert_eq!(refusal(&kms, "DeleteEverything", &json!({})), "UnknownOperationException");
    }
}
