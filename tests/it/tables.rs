//! Tables in documents are compared with the code they speak of, so that they cannot lie.

use std::fs;
use std::path::Path;

use weir::problem::{Code, GrpcStatus, Outcome};
use weir_tests::plugins::rogues::{Ending, ROWS};

use crate::layers;

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_readme_lists_every_code_as_it_is() {
    let readme = document("README.md");
    let listed: Vec<&str> =
        readme.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 6).collect();
    let expected: Vec<String> = Code::ALL
        .iter()
        .map(|code| {
            let (name, status, grpc) = (code.name(), code.status(), code.grpc().name());
            format!("| `{name}` | {status} | {grpc} | {} | {} |", code.outcome().name(), code.title())
        })
        .collect();
    assert_eq!(listed, expected, "the table of codes in README.md");
}

#[test]
fn the_table_of_rogues_is_that_of_the_run() {
    let text = document("tests/README.md");
    for (sin, ending) in ROWS {
        let told = match ending {
            Ending::OnError(codes) => format!("on_error: {}", codes.join(", ")),
            Ending::Stored => "stored".to_owned(),
            Ending::Dropped => "dropped".to_owned(),
        };
        assert!(text.contains(&format!("| `{sin}` | {told} |")), "{sin} in tests/README.md");
    }
}

#[test]
fn the_readme_names_every_outcome() {
    let readme = document("README.md");
    for outcome in Outcome::ALL {
        assert!(readme.contains(&format!("`{}`", outcome.name())), "{} is not in README.md", outcome.name());
    }
}

#[test]
fn codes_of_a_class_agree_with_their_outcome() {
    for code in Code::ALL {
        let (status, outcome) = (code.status(), code.outcome());
        let agrees = match outcome {
            Outcome::Refused => (400..500).contains(&status),
            Outcome::Failed | Outcome::Unknown => status >= 500,
            _ => false,
        };
        assert!(agrees, "{} is {status} and {outcome:?}", code.name());
    }
}

#[test]
fn every_code_has_a_grpc_status_of_its_own_kind() {
    for code in Code::ALL {
        let (status, grpc) = (code.status(), code.grpc());
        assert_ne!(grpc, GrpcStatus::Unknown, "{}: what is HTTP's {status} in gRPC?", code.name());
        // These two invite a client to try again by itself.
        let again = matches!(grpc, GrpcStatus::Unavailable | GrpcStatus::DeadlineExceeded);
        assert!(!again || status >= 500 || status == 408, "{}", code.name());
    }
}

#[test]
fn architecture_draws_the_import_line_that_the_test_keeps() {
    let text = document("ARCHITECTURE.md").replace('\n', " ");
    let row = |row: &&[&str]| match row {
        [module] => (*module).to_owned(),
        modules => format!("{{{}}}", modules.join(", ")),
    };
    let line = layers::LINE.iter().map(row).collect::<Vec<_>>().join(" · ");
    assert!(text.contains(&line), "ARCHITECTURE.md has another import line than {line}");
    assert!(document("ARCHITECTURE.md").lines().count() <= 200);
}
