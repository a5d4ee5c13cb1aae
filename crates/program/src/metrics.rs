//! `/metrics` in Prometheus exposition format.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// Calls that a server answered.
pub const CALLS: &str = "photon_grpc_calls_total";
/// How long they took.
pub const SECONDS: &str = "photon_grpc_call_seconds";
/// Those that are not answered yet.
pub const UNDER_WAY: &str = "photon_grpc_calls_under_way";
/// Connections and calls that were not let in.
pub const REFUSED: &str = "photon_refused_total";

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
        metrics::describe_gauge!(UNDER_WAY, "gRPC calls and streams under way");
        handle
    })
}

/// Serves `/metrics` until `shutdown`.
///
/// Errors: the address can't be bound.
pub async fn serve(
    address: SocketAddr,
    name: &'static str,
    shutdown: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let handle = recorder();
    let listener = tokio::net::TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let page = move || async move {
        let mut text = handle.render();
        text.push_str(&process(name));
        (
            [("content-type", "text/plain; version=0.0.4; charset=utf-8")],
            text,
        )
    };
    let router = axum::Router::new().route("/metrics", get(page));
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            // Histograms collect samples until they are folded into their buckets; without scrapes nobody
            // else would.
            let mut ticks = tokio::time::interval(Duration::from_secs(5));
            loop {
                tokio::select! {
                    _ = ticks.tick() => handle.run_upkeep(),
                    () = shutdown.cancelled() => return,
                }
            }
        }
    });
    tokio::spawn(async move {
        let stop = shutdown.cancelled_owned();
        if let Err(error) = axum::serve(listener, router)
            .with_graceful_shutdown(stop)
            .await
        {
            tracing::error!(%error, "the metrics listener ended");
        }
    });
    Ok(bound)
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
