//! cvc5 as a process that is talked to in SMT-LIB.

use cedar_policy_symcc::SmtLibScript;
use cedar_policy_symcc::solver::{Decision, DecisionWithModel, Solver, SolverError};
use photon_host::process::{self, Piped};
use tokio::io::{AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufStream};

/// How long cvc5 may take for one question, in milliseconds. All that we ask takes it well under a second; a condition
/// with much arithmetic can take it forever.
const LIMIT: u32 = 60_000;

/// A running cvc5; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Cvc5 {
    stream: BufStream<Piped>,
}

impl Cvc5 {
    /// Starts `program`.
    ///
    /// Errors: it can't be started.
    pub(crate) fn start(program: &str) -> Result<Self, photon_host::Error> {
        let arguments = ["--lang=smt2.6", &format!("--tlimit-per={LIMIT}")].map(str::to_owned);
        Ok(Self {
            stream: BufStream::new(process::pipe(program, &arguments)?),
        })
    }

    /// The next line that it says, without the end of the line.
    async fn line(&mut self) -> Result<String, SolverError> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await? {
            0 => Err(SolverError::Solver("cvc5 has ended".to_owned())),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

fn refused(line: String) -> SolverError {
    match line.starts_with("(error") {
        true => SolverError::Solver(line),
        false => SolverError::UnrecognizedSolverOutput(line),
    }
}

impl Solver for Cvc5 {
    fn smtlib_input(&mut self) -> &mut (dyn AsyncWrite + Unpin + Send) {
        &mut self.stream
    }

    async fn enable_models(&mut self) -> Result<(), SolverError> {
        Ok(self
            .smtlib_input()
            .set_option("produce-models", "true")
            .await?)
    }

    async fn check_sat(&mut self) -> Result<Decision, SolverError> {
        self.smtlib_input().check_sat().await?;
        self.stream.flush().await?;
        let line = self.line().await?;
        match line.as_str() {
            "sat" => Ok(Decision::Sat),
            "unsat" => Ok(Decision::Unsat),
            "unknown" => Ok(Decision::Unknown),
            _ => Err(refused(line)),
        }
    }

    async fn check_sat_with_model(&mut self) -> Result<DecisionWithModel, SolverError> {
        match self.check_sat().await? {
            Decision::Sat => {}
            Decision::Unsat => return Ok(DecisionWithModel::Unsat),
            Decision::Unknown => return Ok(DecisionWithModel::Unknown),
        }
        self.smtlib_input().get_model().await?;
        self.stream.flush().await?;
        // A bracket on a line of its own, one definition after another, and the closing bracket on its own line.
        let mut model = self.line().await?;
        if model != "(" {
            return Err(refused(model));
        }
        loop {
            let line = self.line().await?;
            model.push('\n');
            model.push_str(&line);
            if line == ")" {
                return Ok(DecisionWithModel::Sat { model });
            }
        }
    }
}
