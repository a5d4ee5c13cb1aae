//! `/metrics` in Prometheus exposition format.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::listen;

/// Calls that a server answered.
pub const CALLS: &str = "photon_grpc_calls_total";
/// How long they took.
pub const SECONDS: &str = "photon_grpc_call_seconds";
/// Those that are not answered yet.
pub const UNDER_WAY: &str = "photon_grpc_calls_under_way";
/// Connections and calls that were not let in.
pub const REFUSED: &str = "photon_refused_total";
/// Events that were cut off for their age or number.
pub const EVENTS_CUT: &str = "photon_events_cut_total";
/// Events that the last daily round found or left in the store.
pub const EVENTS_KEPT: &str = "photon_events_kept";
/// Chains that it left alone because they are not as they were written.
pub const EVENTS_UNCUT: &str = "photon_events_chains_not_cut";

/// From a decision in memory to a call that waits for a disk or another server.
const BUCKETS: [f64; 14] = [
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// The process's one recorder; made and installed by the first call.
pub fn recorder() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        started();
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(SECONDS.to_owned()), &BUCKETS)
            .expect("the list of buckets is not empty");
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // Fails if the program installed another one first; then ours stays empty.
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed: /metrics has only the process");
        }
        metrics::describe_counter!(CALLS, "gRPC calls that ended, by method and status code");
        metrics::describe_histogram!(
            SECONDS,
            metrics::Unit::Seconds,
            "time from a gRPC call's arrival to its answer; of a streaming call, to its end"
        );
        metrics::describe_counter!(REFUSED, "connections and calls not let in, by why");
        metrics::describe_counter!(EVENTS_CUT, "events cut off for their age or number");
        metrics::describe_gauge!(
            EVENTS_KEPT,
            "events in the store, as of the last daily round"
        );
        metrics::describe_gauge!(
            EVENTS_UNCUT,
            "chains of events that are not as they were written, so that nothing is cut off there"
        );
        metrics::describe_gauge!(UNDER_WAY, "gRPC calls and streams under way");
        handle
    })
}

/// How long it waits before it tries again to listen: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));

/// Serves `/metrics` until `shutdown`. An address on which it can't listen is told and tried again: that nobody measures
/// a program is no reason not to run.
pub async fn serve(address: SocketAddr, name: &'static str, shutdown: CancellationToken) {
    // Samples are kept from here on, so they are folded from here on.
    let handle = recorder();
    tokio::spawn(fold(handle, shutdown.clone()));
    match listen(address).await {
        Ok(listener) => {
            tokio::spawn(answer(handle, listener, name, shutdown));
        }
        Err(error) => {
            tracing::error!("/metrics: {error:#}; trying again until that works");
            tokio::spawn(async move {
                if let Some(listener) = try_again(address, &shutdown).await {
                    answer(handle, listener, name, shutdown).await;
                }
            });
        }
    }
}

/// The listener, once it can be had; `None`: not before the program stops.
async fn try_again(address: SocketAddr, shutdown: &CancellationToken) -> Option<TcpListener> {
    let (mut pause, longest) = AGAIN;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return None,
        }
        match listen(address).await {
            Ok(listener) => return Some(listener),
            Err(error) => tracing::debug!("/metrics: {error:#}"),
        }
        pause = longest.min(pause * 2);
    }
}

/// Histograms collect samples until they are folded into their buckets; without scrapes nobody else would.
async fn fold(handle: &PrometheusHandle, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            _ = ticks.tick() => handle.run_upkeep(),
            () = shutdown.cancelled() => return,
        }
    }
}

async fn answer(
    handle: &'static PrometheusHandle,
    listener: TcpListener,
    name: &'static str,
    shutdown: CancellationToken,
) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving /metrics");
    }
    let page = move || async move {
        let mut text = handle.render();
        text.push_str(&process(name));
        (
            [("content-type", "text/plain; version=0.0.4; charset=utf-8")],
            text,
        )
    };
    let router = axum::Router::new().route("/metrics", get(page));
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the metrics listener ended");
    }
}

/// When the recorder was made, which every program does first.
fn started() -> SystemTime {
    static STARTED: OnceLock<SystemTime> = OnceLock::new();
    *STARTED.get_or_init(SystemTime::now)
}

/// The metrics that every process has by the names that Prometheus's client libraries agreed on, from
/// proc_pid_stat(5) and proc_pid_fd(5). What can't be read is left out.
fn process(name: &str) -> String {
    use std::fmt::Write;

    let mut text = String::new();
    let mut metric = |metric: &str, kind: &str, value: f64| {
        let _ = writeln!(text, "# TYPE {metric} {kind}\n{metric} {value}");
    };
    // The command's name, in parentheses, may have spaces and parentheses itself: fields count after it.
    if let Ok(stat) = std::fs::read_to_string("/proc/self/stat")
        && let Some((_, fields)) = stat.rsplit_once(") ")
        && let fields = fields.split(' ').filter_map(|it| it.parse().ok())
        && let fields = fields.collect::<Vec<f64>>()
        && fields.len() > 20
    {
        // Field 3 (state) is no number, so index 0 is field 4: utime 14, stime 15, num_threads 20, vsize 23,
        // rss 24 (in pages).
        const TICKS_PER_SECOND: f64 = 100.0;
        if let [utime, stime] = fields[10..12] {
            metric(
                "process_cpu_seconds_total",
                "counter",
                (utime + stime) / TICKS_PER_SECOND,
            );
        }
        metric("process_threads", "gauge", fields[16]);
        metric("process_virtual_memory_bytes", "gauge", fields[19]);
        metric(
            "process_resident_memory_bytes",
            "gauge",
            fields[20] * 4096.0,
        );
    }
    if let Ok(started) = started().duration_since(UNIX_EPOCH) {
        let seconds = started.as_secs_f64().floor();
        metric("process_start_time_seconds", "gauge", seconds);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the directory that is being read.
        metric(
            "process_open_fds",
            "gauge",
            files.count().saturating_sub(1) as f64,
        );
    }
    let _ = writeln!(
        text,
        "# TYPE photon_build_info gauge\nphoton_build_info{{component=\"{name}\",version=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION")
    );
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// Something that is no `/metrics` of ours has its port; the program runs, and answers there when it goes.
    #[tokio::test]
    async fn a_taken_port_is_waited_for_and_keeps_nobody_from_running() {
        let busy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = busy.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        serve(address, "test", shutdown.clone()).await;
        drop(busy);
        let text = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let Ok(mut stream) = TcpStream::connect(address).await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let request = b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
                stream.write_all(request).await.unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).await.unwrap();
                return text;
            }
        });
        let text = text.await.expect("an answer within a minute");
        assert!(
            text.contains("photon_build_info{component=\"test\""),
            "{text}"
        );
        shutdown.cancel();
    }
}
