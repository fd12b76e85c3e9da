//! `sluice topic delete`

use clap::Args;
use kafka_lite::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use serde_json::json;

use crate::client::cluster::missing_topic;
use crate::client::error::check;
use crate::client::limits::REQUEST_TIMEOUT;
use crate::client::{ClientError, Connection};
use crate::command::client::{CommandError, TableOptions, finish};
use crate::command::output::Table;

const EXAMPLES: &str = "\
Examples:
  sluice topic delete orders audit";

/// Arguments of `sluice topic delete`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DeleteArguments {
    /// Names of the topics; they are deleted without a question
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    #[command(flatten)]
    options: TableOptions,
}

impl DeleteArguments {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        let mut cluster = self.options.connect()?;
        let mut table = Table::new(&["TOPIC", "STATUS"]);
        let mut errors = Vec::new();
        for name in &self.names {
            let done = cluster.at_controller(|controller| delete(controller, name));
            let status = if done.is_ok() { "deleted" } else { "failed" };
            table.push(vec![json!(name), json!(status)]);
            errors.extend(done.err());
        }
        self.options.output().table(&table)?;
        finish(errors)
    }
}

fn delete(controller: &mut Connection, name: &str) -> Result<(), ClientError> {
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some(name.into()),
            ..DeleteTopicState::default()
        }],
        topic_names: vec![name.into()],
        timeout_ms: i32::try_from(REQUEST_TIMEOUT.as_millis()).unwrap_or(i32::MAX),
    };
    let answer = controller.call(&request)?;
    let response: DeleteTopicsResponse<'_> = answer.read()?;
    let result = response.responses.first();
    let result = result.ok_or_else(|| missing_topic(name))?;
    check(result.error_code, result.error_message.as_deref(), || {
        format!("topic {name}")
    })
}
