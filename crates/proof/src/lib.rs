//! What policies can and can't permit: over all requests there can be, not over those that a test thought of. Cedar's
//! symbolic compiler makes a question of two policy sets, and the solver cvc5 answers it, with an example of a request
//! where the answer is no. No server links this: tests do, and `photon role compare`. See decision 0036.
//!
//! ```text
//!  policies ─┐
//!  world ────┴─ Prover::within ─► symcc ─► SMT-LIB ─► cvc5 (a process) ─► holds, or Counterexample
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | `solver` | cvc5 as a process that is talked to |
//! | `world` | what all requests have in common that IAM makes, as Cedar has no word for it |
//! | `prover` | the question, and the request that shows why not |
//! | `compare` | what one role allows that another does not |

mod compare;
mod prover;
mod solver;
mod world;

pub use compare::{Excess, beyond};
pub use prover::{Counterexample, Error, Prover};
pub use world::World;
