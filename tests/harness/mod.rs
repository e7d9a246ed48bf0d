//! The main function of test programs with tests that need something which a machine may lack: a GPU, data, a Python.
//! Without it such a test counts as ignored, and a last line says how many ran.

use libtest_mimic::{Arguments, Trial};

/// A test of such a program.
pub struct Test {
    name: String,
    body: fn(),
    /// Why the test cannot run here.
    lacking: Option<String>,
}

/// The test `body`, which needs nothing.
pub fn test(name: &str, body: fn()) -> Test {
    Test { name: name.replace(' ', ""), body, lacking: None }
}

impl Test {
    /// A test that needs something. `found` tells whether this machine has it, or the reason why it is not usable.
    pub fn needs(self, found: &Result<(), String>) -> Self {
        Test { lacking: found.clone().err(), ..self }
    }

    /// Whether another test starts this one, on each of several ranks. It is ignored otherwise.
    fn is_rank(&self) -> bool {
        self.name.rsplit("::").next().is_some_and(|name| name.starts_with("rank_"))
    }
}

/// Names each test after its function: `tests![one_process::logits_match_the_cpu]`.
#[macro_export]
macro_rules! tests {
    ($($body:path),+ $(,)?) => { [$($crate::harness::test(stringify!($body), $body)),+] };
}

/// Runs the tests that the command line asks for, and ends the process. The options are those of every test program.
pub fn main(tests: impl IntoIterator<Item = Test>) -> ! {
    let arguments = Arguments::from_args();
    let tests: Vec<Test> = tests.into_iter().collect();
    let lacking: Vec<String> = tests.iter().filter_map(|test| test.lacking.clone()).collect();
    let trial = |test: Test| {
        let (is_ignored, body) = (test.lacking.is_some() || test.is_rank(), test.body);
        let run = move || {
            body();
            Ok(())
        };
        Trial::test(test.name, run).with_ignored_flag(is_ignored)
    };
    let total = tests.iter().filter(|test| !test.is_rank()).count();
    let conclusion = libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect());
    if !arguments.list && !lacking.is_empty() {
        let mut reasons = lacking;
        reasons.dedup();
        println!("{} of {total} tests ran: {}", conclusion.num_passed + conclusion.num_failed, reasons.join("; "));
    }
    conclusion.exit()
}
