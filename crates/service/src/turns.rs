//! Turns that are handed out fairly: whoever has many waiting keeps nobody else waiting for all of them.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// So many may have their turn at the same time, and so many of one key. Those who wait get the next one round about, one
/// for each key.
#[derive(Debug)]
pub struct Turns<K: Eq + Hash + Clone> {
    most_of_key: usize,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K: Eq + Hash + Clone> {
    free: usize,
    held: HashMap<K, usize>,
    /// Those whose turn is next, each once.
    round: VecDeque<K>,
    waiting: HashMap<K, VecDeque<oneshot::Sender<Turn<K>>>>,
}

/// Somebody's turn, until it is dropped.
#[derive(Debug)]
pub struct Turn<K: Eq + Hash + Clone>(Option<(Arc<Turns<K>>, K)>);

impl<K: Eq + Hash + Clone> State<K> {
    /// Takes a turn for `key`; `false`: there is none that it may have now.
    fn take(&mut self, key: &K, most: usize) -> bool {
        if self.free == 0 || self.held.get(key).is_some_and(|held| *held >= most) {
            return false;
        }
        self.free -= 1;
        *self.held.entry(key.clone()).or_default() += 1;
        true
    }

    fn give_back(&mut self, key: &K) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(key) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(key);
            }
        }
    }
}

impl<K: Eq + Hash + Clone> Turns<K> {
    /// `at_once` in all, and `most_of_key` of one key.
    pub fn new(at_once: usize, most_of_key: usize) -> Arc<Self> {
        Arc::new(Turns {
            most_of_key,
            state: Mutex::new(State {
                free: at_once,
                held: HashMap::new(),
                round: VecDeque::new(),
                waiting: HashMap::new(),
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn of `key`'s. Who stops waiting loses nothing of anybody's.
    pub async fn take(self: Arc<Self>, key: K) -> Turn<K> {
        let turn = {
            let mut state = self.lock();
            if state.take(&key, self.most_of_key) {
                drop(state);
                return Turn(Some((self, key)));
            }
            let (sender, turn) = oneshot::channel();
            let State { round, waiting, .. } = &mut *state;
            let own = waiting.entry(key.clone()).or_insert_with(|| {
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

    /// The next who waits and may have a turn, which is taken for it.
    fn next(&self) -> Option<(K, oneshot::Sender<Turn<K>>)> {
        let mut state = self.lock();
        for _ in 0..state.round.len() {
            let key = state.round.pop_front()?;
            if !state.take(&key, self.most_of_key) {
                state.round.push_back(key);
                continue;
            }
            let waiting = state.waiting.get_mut(&key);
            let next = waiting.and_then(VecDeque::pop_front);
            match state.waiting.get(&key).is_none_or(VecDeque::is_empty) {
                true => {
                    state.waiting.remove(&key);
                }
                false => state.round.push_back(key.clone()),
            }
            match next {
                Some(next) => return Some((key, next)),
                None => state.give_back(&key),
            }
        }
        None
    }
}

impl<K: Eq + Hash + Clone> Drop for Turn<K> {
    fn drop(&mut self) {
        let Some((turns, key)) = self.0.take() else {
            return;
        };
        turns.lock().give_back(&key);
        while let Some((key, next)) = turns.next() {
            match next.send(Turn(Some((Arc::clone(&turns), key)))) {
                Ok(()) => return,
                // Nobody waits there any more: it goes to the next.
                Err(mut unwanted) => {
                    if let Some((turns, key)) = unwanted.0.take() {
                        turns.lock().give_back(&key);
                    }
                }
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
        let turns = Turns::new(1, 1);
        let told = Arc::default();
        let held = Arc::clone(&turns).take(0).await;
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
        let turns = Turns::new(1, 1);
        let held = Arc::clone(&turns).take(0).await;
        for _ in 0..3 {
            let late =
                tokio::time::timeout(Duration::from_millis(1), Arc::clone(&turns).take(1)).await;
            assert!(late.is_err());
        }
        let told = Arc::default();
        let last = wait(&turns, 2, &told);
        tokio::task::yield_now().await;
        drop(held);
        last.await.unwrap();
        assert_eq!(turns.lock().free, 1);
        drop(Arc::clone(&turns).take(1).await);
        assert_eq!(turns.lock().free, 1);
    }

    #[tokio::test]
    async fn one_has_no_more_than_its_part_and_the_rest_is_for_others() {
        let turns = Turns::new(4, 2);
        let take =
            |key: u8| tokio::time::timeout(Duration::from_millis(5), Arc::clone(&turns).take(key));
        let (first, _second) = (take(1).await.unwrap(), take(1).await.unwrap());
        assert!(take(1).await.is_err());
        let told = Arc::default();
        let waiting = wait(&turns, 1, &told);
        tokio::task::yield_now().await;
        let _others = (take(2).await.unwrap(), take(3).await.unwrap());
        drop(first);
        waiting.await.unwrap();
        assert_eq!(turns.lock().free, 1);
        assert_eq!(turns.lock().held.len(), 3);
    }
}
