use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::time::Instant;

use super::*;

/// A number that should equal another; shared so that the test changes both.
#[derive(Default)]
struct World {
    is: AtomicU64,
    should: AtomicU64,
    /// Passes that will fail.
    broken: AtomicU64,
    /// How long `apply` takes, in milliseconds.
    slow_ms: AtomicU64,
    observed: AtomicU64,
    applied: AtomicU64,
    /// `apply` pretends.
    stuck: AtomicU64,
}

struct Counter(Arc<World>);

struct Set(Option<u64>);

impl crate::Plan for Set {
    fn is_empty(&self) -> bool {
        self.0.is_none()
    }
    fn summary(&self) -> String {
        format!("set to {:?}", self.0)
    }
}

#[async_trait]
impl Reconciler for Counter {
    type Observed = (u64, u64);
    type Plan = Set;
    type Error = &'static str;

    async fn observe(&mut self) -> Result<Option<(u64, u64)>, &'static str> {
        self.0.observed.fetch_add(1, Ordering::SeqCst);
        if self.0.broken.load(Ordering::SeqCst) > 0 {
            self.0.broken.fetch_sub(1, Ordering::SeqCst);
            return Err("broken");
        }
        Ok(Some((
            self.0.is.load(Ordering::SeqCst),
            self.0.should.load(Ordering::SeqCst),
        )))
    }

    fn goal(&self) -> u64 {
        self.0.should.load(Ordering::SeqCst)
    }

    fn plan(&self, (is, should): &(u64, u64)) -> Set {
        Set((is != should).then_some(*should))
    }

    async fn apply(&mut self, plan: &Set) -> Result<(), &'static str> {
        tokio::time::sleep(Duration::from_millis(self.0.slow_ms.load(Ordering::SeqCst))).await;
        self.0.applied.fetch_add(1, Ordering::SeqCst);
        if let (Some(value), 0) = (plan.0, self.0.stuck.load(Ordering::SeqCst)) {
            self.0.is.store(value, Ordering::SeqCst);
        }
        Ok(())
    }
}

struct Running {
    world: Arc<World>,
    signal: Signal,
    status: watch::Receiver<Status>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<Counter>,
}

fn start(world: World) -> Running {
    let world = Arc::new(world);
    let signal = Signal::new();
    let driver = Driver::new(
        "test",
        Counter(world.clone()),
        Timing::default(),
        signal.clone(),
    );
    let status = driver.status();
    let cancel = CancellationToken::new();
    let task = tokio::spawn(driver.run(cancel.clone()));
    Running {
        world,
        signal,
        status,
        cancel,
        task,
    }
}

impl Running {
    async fn until(&mut self, wanted: impl Fn(&Status) -> bool) -> Status {
        self.status
            .wait_for(|status| wanted(status))
            .await
            .expect("the driver runs")
            .clone()
    }
}

fn idle(status: &Status) -> bool {
    status.last == Outcome::NothingToDo
}

#[tokio::test(start_paused = true)]
async fn converges_at_the_start_and_then_does_nothing() {
    let mut run = start(World {
        should: 7.into(),
        ..World::default()
    });
    let status = run.until(idle).await;
    assert_eq!(status.passes, 2, "one that applies, one that confirms");
    assert_eq!(run.world.is.load(Ordering::SeqCst), 7);
    assert_eq!(run.world.applied.load(Ordering::SeqCst), 1);

    let status = run.until(|status| status.passes == 5).await;
    assert_eq!((status.applied, status.failed), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_signal_causes_a_pass_at_once_and_the_timer_one_within_its_period() {
    let mut run = start(World::default());
    run.until(idle).await;
    let before = Instant::now();
    run.world.should.store(1, Ordering::SeqCst);
    run.signal.notify();
    run.until(|status| status.applied == 1).await;
    assert_eq!(before.elapsed(), Duration::ZERO);

    run.until(idle).await;
    let before = Instant::now();
    run.world.should.store(2, Ordering::SeqCst);
    run.until(|status| status.applied == 2).await;
    let waited = before.elapsed();
    assert!(waited >= Duration::from_millis(22_500) && waited <= Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn signals_during_a_pass_become_one_more_pass() {
    let mut run = start(World {
        should: 1.into(),
        slow_ms: 1000.into(),
        ..World::default()
    });
    while run.world.observed.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        run.signal.notify();
    }
    run.until(|status| idle(status) && status.passes == 3).await;
    let before = Instant::now();
    run.until(|status| status.passes == 4).await;
    assert!(
        before.elapsed() > Duration::from_secs(20),
        "only the timer is left"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_retried_with_growing_delay_and_signals_do_not_shorten_it() {
    let before = Instant::now();
    let mut run = start(World {
        should: 1.into(),
        broken: 4.into(),
        ..World::default()
    });
    let status = run.until(|status| status.failed == 1).await;
    assert_eq!(
        status.last,
        Outcome::Failed {
            error: "broken".into(),
            failures: 1
        }
    );
    run.signal.notify();
    run.until(idle).await;
    // 250 + 500 + 1000 + 2000 ms, each shortened by a quarter at most.
    let waited = before.elapsed();
    assert!(
        waited >= Duration::from_millis(2812) && waited <= Duration::from_millis(3760),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_never_becomes_empty_does_not_spin() {
    let mut run = start(World {
        should: 1.into(),
        stuck: 1.into(),
        ..World::default()
    });
    let before = Instant::now();
    run.until(|status| status.applied == 8).await;
    assert!(before.elapsed() > Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_new_goal_is_no_repetition() {
    let mut run = start(World {
        stuck: 1.into(),
        ..World::default()
    });
    run.until(idle).await;
    let before = Instant::now();
    for goal in 1..=20 {
        run.world.should.store(goal, Ordering::SeqCst);
        run.signal.notify();
        let applied = run.status.borrow().applied;
        run.until(|status| status.applied > applied).await;
    }
    // Were they all taken for one, the eighth alone would wait for half a minute.
    assert!(
        before.elapsed() < Duration::from_secs(20),
        "{:?}",
        before.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn stops_after_the_pass_in_progress() {
    let run = start(World {
        should: 1.into(),
        slow_ms: 5000.into(),
        ..World::default()
    });
    while run.world.observed.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    run.cancel.cancel();
    let counter = run.task.await.expect("no panic");
    assert_eq!(
        counter.0.is.load(Ordering::SeqCst),
        1,
        "the change is whole"
    );
    assert_eq!(counter.0.observed.load(Ordering::SeqCst), 1);
}
