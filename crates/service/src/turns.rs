//! Turns that are handed out fairly: whoever has many waiting keeps nobody else waiting for all of them.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// So many may have their turn at the same time. Those who wait get the next one round about, one for each key.
#[derive(Debug)]
pub(crate) struct Turns<K: Eq + Hash + Copy> {
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K: Eq + Hash + Copy> {
    free: usize,
    /// Those whose turn is next, each once.
    round: VecDeque<K>,
    waiting: HashMap<K, VecDeque<oneshot::Sender<Turn<K>>>>,
}

/// Somebody's turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<K: Eq + Hash + Copy>(Option<Arc<Turns<K>>>);

impl<K: Eq + Hash + Copy> Turns<K> {
    pub fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Turns {
            state: Mutex::new(State {
                free: at_once,
                round: VecDeque::new(),
                waiting: HashMap::new(),
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn of `key`'s. Who stops waiting loses nothing of anybody's.
    pub async fn take(self: &Arc<Self>, key: K) -> Turn<K> {
        let turn = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Turn(Some(Arc::clone(self)));
            }
            let (sender, turn) = oneshot::channel();
            let State { round, waiting, .. } = &mut *state;
            let own = waiting.entry(key).or_insert_with(|| {
                round.push_back(key);
                VecDeque::new()
            });
            // Those who gave up are not kept for longer than their key waits.
            own.retain(|sender| !sender.is_closed());
            own.push_back(sender);
            turn
        };
        // A sender is dropped only when it has sent, or nobody listens.
        turn.await.unwrap_or(Turn(None))
    }

    /// The next who waits; if nobody does, the turn is free.
    fn next(&self) -> Option<oneshot::Sender<Turn<K>>> {
        let mut state = self.lock();
        while let Some(key) = state.round.pop_front() {
            let waiting = state.waiting.get_mut(&key);
            let next = waiting.and_then(VecDeque::pop_front);
            match state.waiting.get(&key).is_none_or(VecDeque::is_empty) {
                true => {
                    state.waiting.remove(&key);
                }
                false => state.round.push_back(key),
            }
            if let Some(next) = next {
                return Some(next);
            }
        }
        state.free += 1;
        None
    }
}

impl<K: Eq + Hash + Copy> Drop for Turn<K> {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        while let Some(next) = turns.next() {
            match next.send(Turn(Some(Arc::clone(&turns)))) {
                Ok(()) => return,
                // Nobody waits there any more: this one is not given back, but goes to the next.
                Err(mut unwanted) => unwanted.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Waits for a turn, and tells its name when it has it.
    fn wait(
        turns: &Arc<Turns<u8>>,
        key: u8,
        told: &Arc<Mutex<Vec<u8>>>,
    ) -> tokio::task::JoinHandle<()> {
        let (turns, told) = (Arc::clone(turns), Arc::clone(told));
        tokio::spawn(async move {
            let _turn = turns.take(key).await;
            told.lock().unwrap().push(key);
        })
    }

    #[tokio::test]
    async fn one_who_comes_last_is_not_last_in_a_crowd_of_one_other() {
        let turns = Turns::new(1);
        let told = Arc::default();
        let held = turns.take(0).await;
        let mut waiting = Vec::new();
        for key in [1, 1, 1, 1, 2, 3] {
            waiting.push(wait(&turns, key, &told));
            tokio::task::yield_now().await;
        }
        drop(held);
        for one in waiting {
            one.await.unwrap();
        }
        assert_eq!(*told.lock().unwrap(), [1, 2, 3, 1, 1, 1]);
        assert_eq!(turns.lock().free, 1);
        assert!(turns.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_takes_no_turn_with_it() {
        let turns = Turns::new(1);
        let held = turns.take(0).await;
        for _ in 0..3 {
            let late = tokio::time::timeout(Duration::from_millis(1), turns.take(1)).await;
            assert!(late.is_err());
        }
        let told = Arc::default();
        let last = wait(&turns, 2, &told);
        tokio::task::yield_now().await;
        drop(held);
        last.await.unwrap();
        assert_eq!(turns.lock().free, 1);
        drop(turns.take(1).await);
        assert_eq!(turns.lock().free, 1);
    }
}
