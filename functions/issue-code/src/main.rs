//! The Lambda function `issue-code`.

use issue_code::IssueCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    shared::runtime::function::run::<IssueCode>().await
}
