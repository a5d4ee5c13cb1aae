//! The identity of a server or agent itself: an API key in a file or a certificate, exchanged for tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use photon_api::components::IAM;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::{ClientCertificate, IssueTokenRequest};
use photon_resource::Error;
use tokio::sync::Mutex;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::config::{Endpoints, Invalid};
use crate::outgoing::with_token;

/// How long [`Identity::token`] tries while IAM is not there, as when a whole host starts.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A principal of the system's, known by an API key in a file or by its host's certificate. Clones share the token.
#[derive(Clone)]
pub struct Identity {
    name: Arc<str>,
    proof: Proof,
    endpoints: Arc<Endpoints>,
    client: IamTokenServiceClient<Channel>,
    held: Arc<Mutex<Option<Held>>>,
}

/// What it proves with that it is who it says.
#[derive(Clone, Debug)]
enum Proof {
    /// The API key in this file.
    ApiKey(Arc<Path>),
    /// The certificate in this file, which connections to IAM are made with.
    Certificate(Arc<Path>),
}

struct Held {
    token: String,
    /// From here on a new one is got, if that works.
    renew: Instant,
    /// From here on it is of no use.
    end: Instant,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name)
            .field("proof", &self.proof)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// The principal `name` of the system, whose API key is in `credential_file`; without one, who signs in with the
    /// certificate of `endpoints`. The files are read anew for each token, so that a new key or certificate needs
    /// no restart.
    ///
    /// Errors: there is neither, or `endpoints.iam` is no `https://` URL, where certificates are shown.
    pub fn new(
        name: &str,
        credential_file: Option<&Path>,
        endpoints: &Endpoints,
    ) -> Result<Self, Invalid> {
        let proof = match (credential_file, &endpoints.certificate, &endpoints.key) {
            (Some(file), _, _) => Proof::ApiKey(file.into()),
            (None, Some(certificate), Some(_)) => {
                let iam = endpoints.url(&IAM);
                if !iam.starts_with("https://") {
                    let expected = "an https:// URL, to sign in with endpoints.certificate; or else credential_file";
                    return Err(Invalid::new("endpoints.iam", iam, expected));
                }
                Proof::Certificate(certificate.as_path().into())
            }
            (None, _, _) => {
                let expected = "a file with the API key of this program's identity (a service has it from \
                                LoadCredential=identity:FILE); or else endpoints.certificate and endpoints.key";
                return Err(Invalid::new("credential_file", "", expected));
            }
        };
        Ok(Self {
            name: name.into(),
            proof,
            endpoints: Arc::new(endpoints.clone()),
            client: IamTokenServiceClient::new(endpoints.channel(&IAM)?),
            held: Arc::default(),
        })
    }

    /// A token that is good for at least a third of its lifetime if IAM can be reached. While it can't, an older
    /// one is given until it ends; with none, this tries for 10 s.
    ///
    /// Errors: `Unavailable` (IAM is not there, or the certificate's files can't be used now), `Unauthenticated` (the
    /// key or certificate is not accepted), `Internal` (the key's file can't be read).
    pub async fn token(&self) -> Result<String, Error> {
        // Whoever comes while a token is being got waits for that one.
        let mut held = self.held.lock().await;
        let began = Instant::now();
        if let Some(it) = &*held
            && began < it.renew
        {
            return Ok(it.token.clone());
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.issue().await {
                Ok(new) => {
                    let token = new.token.clone();
                    *held = Some(new);
                    return Ok(token);
                }
                Err(error) => error,
            };
            if let Some(it) = held.as_mut()
                && Instant::now() < it.end
            {
                tracing::warn!(%error, principal = %self.name, "the token could not be renewed yet");
                it.renew = Instant::now() + LONGEST_PAUSE;
                return Ok(it.token.clone());
            }
            if !matches!(error, Error::Unavailable(_)) || began.elapsed() + pause > PATIENCE {
                return Err(error);
            }
            tracing::debug!(%error, principal = %self.name, "no token yet");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Forgets the token, because a server refused it: the next call gets a new one.
    pub async fn forget(&self) {
        *self.held.lock().await = None;
    }

    /// A request with this identity's token and a request id (empty: that of the call which is being answered).
    pub async fn request<T>(&self, message: T, request_id: &str) -> Result<Request<T>, Error> {
        with_token(message, &self.token().await?, request_id)
    }

    async fn issue(&self) -> Result<Held, Error> {
        let (mut client, credential) = match &self.proof {
            Proof::ApiKey(file) => {
                let secret = read_secret(file).await?;
                (self.client.clone(), Credential::ApiKey(secret))
            }
            // A connection of its own: one that is older was made with the certificate of then, which may have ended.
            Proof::Certificate(_) => {
                let channel = self.endpoints.channel(&IAM);
                let channel = channel.map_err(|invalid| Error::Unavailable(invalid.to_string()))?;
                let credential = Credential::Certificate(ClientCertificate {});
                (IamTokenServiceClient::new(channel), credential)
            }
        };
        let mut request = Request::new(IssueTokenRequest {
            principal_id: self.name.to_string(),
            credential: Some(credential),
            ..Default::default()
        });
        request.set_timeout(Duration::from_secs(5));
        let asked = Instant::now();
        let answer = client.issue_token(request).await;
        let answer = answer.map_err(|status| self.explain(&status))?.into_inner();
        let end = answer
            .expires_at
            .and_then(|it| SystemTime::try_from(it).ok());
        let life = end
            .and_then(|end| end.duration_since(SystemTime::now()).ok())
            .ok_or_else(|| Error::Unavailable("IAM gave a token that has ended already".into()))?;
        Ok(Held {
            token: answer.token,
            renew: asked + life * 2 / 3,
            end: asked + life,
        })
    }

    fn explain(&self, status: &Status) -> Error {
        let name = &self.name;
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied | Code::NotFound => {
                let proof = match &self.proof {
                    Proof::ApiKey(file) => format!("API key in {}", file.display()),
                    Proof::Certificate(file) => format!("certificate in {}", file.display()),
                };
                Error::Unauthenticated(format!(
                    "IAM does not accept the {proof} for '{name}': {}",
                    status.message()
                ))
            }
            Code::ResourceExhausted => Error::ResourceExhausted(status.message().to_owned()),
            _ => Error::Unavailable(format!("IAM gave '{name}' no token: {}", status.message())),
        }
    }
}

async fn read_secret(file: &Path) -> Result<String, Error> {
    let path: PathBuf = file.to_owned();
    let text = tokio::fs::read_to_string(&path).await.map_err(|error| {
        Error::internal(format!("the credential file {}: {error}", path.display()))
    })?;
    match text.trim() {
        "" => Err(Error::internal(format!(
            "the credential file {} is empty",
            path.display()
        ))),
        secret => Ok(secret.to_owned()),
    }
}
