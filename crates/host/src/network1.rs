//! systemd-networkd's manager (`org.freedesktop.network1(5)`).

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use zbus::Connection;

use crate::{Error, Result};

/// What an agent asks networkd for.
#[async_trait]
pub trait NetworkManager: Send + Sync {
    /// Reads the `.netdev` and `.network` files again, makes the devices that are new and configures the
    /// links whose files changed; others are left alone. Returns when that has begun, not when it is done.
    async fn reload(&self) -> Result<()>;
    /// Configures one link anew from its file, by interface index.
    async fn reconfigure(&self, index: u32) -> Result<()>;
}

#[zbus::proxy(
    interface = "org.freedesktop.network1.Manager",
    default_service = "org.freedesktop.network1",
    default_path = "/org/freedesktop/network1"
)]
trait Manager {
    fn reload(&self) -> zbus::Result<()>;
    fn reconfigure_link(&self, ifindex: i32) -> zbus::Result<()>;
}

/// Longest time that networkd may take to answer: a host that is booting is slow.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// networkd on the system bus. Connects when it is first needed, and anew after the connection was lost.
#[derive(Debug, Default)]
pub struct Network1 {
    connection: Mutex<Option<Connection>>,
}

impl Network1 {
    async fn manager(&self) -> zbus::Result<ManagerProxy<'static>> {
        let mut held = self.connection.lock().await;
        let connection = match held.take() {
            Some(connection) => connection,
            None => Connection::system().await?,
        };
        *held = Some(connection.clone());
        ManagerProxy::new(&connection).await
    }

    async fn call(
        &self,
        call: &'static str,
        attempt: impl Future<Output = zbus::Result<()>> + Send,
    ) -> Result<()> {
        let result = match tokio::time::timeout(ANSWER_LIMIT, attempt).await {
            Ok(result) => result.map_err(|source| Error::DBus { call, source }),
            Err(_) => Err(Error::TimedOut {
                what: format!("D-Bus call {call}"),
                limit: ANSWER_LIMIT,
            }),
        };
        if result.is_err() {
            // Whatever was wrong, the next call begins with a fresh connection.
            *self.connection.lock().await = None;
        }
        result
    }
}

#[async_trait]
impl NetworkManager for Network1 {
    async fn reload(&self) -> Result<()> {
        self.call("org.freedesktop.network1.Manager.Reload", async {
            self.manager().await?.reload().await
        })
        .await
    }

    async fn reconfigure(&self, index: u32) -> Result<()> {
        let index = i32::try_from(index).map_err(|_| Error::Answer {
            what: "the kernel",
            reason: format!("interface index {index} is above 2147483647"),
        })?;
        self.call("org.freedesktop.network1.Manager.ReconfigureLink", async {
            self.manager().await?.reconfigure_link(index).await
        })
        .await
    }
}
